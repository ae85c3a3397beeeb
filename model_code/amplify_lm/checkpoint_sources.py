"""Where a checkpoint may lie, each turned into a folder on this machine for as long as it is read.

| source | what it is |
|---|---|
| `path/to/folder` | a folder of any layout of checkpoint_layout.py |
| `path/to/model.tar.gz`, `s3://bucket/…/model.tar.gz` | what SageMaker makes of a training job |
| `s3://bucket/prefix/` | the same folder in S3; only the checkpoint's own files are fetched |
| `hf:owner/name@revision` | a repository of the Hugging Face Hub (checkpoint_hub.py) |
"""

import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .checkpoint_errors import CheckpointError
from .checkpoint_hub import hub_snapshot
from .checkpoint_layout import detect

ARCHIVES = (".tar.gz", ".tgz", ".tar")
# What tarfile and its decompressors raise for damaged bytes; the last two for links to nothing and to themselves.
_DAMAGED = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, KeyError, RecursionError)
LISTED_AT_MOST = 20_000  # objects below one prefix; a checkpoint has a dozen, a mistyped prefix a whole bucket


@dataclass(frozen=True, kw_only=True)
class Located:
    """A checkpoint's folder, and its source with everything that moves pinned (the Hub's revision as a commit)."""

    folder: Path
    source: str


@contextmanager
def locate(source: str | Path) -> Iterator[Located]:
    """The source's files as a local folder; a temporary one is removed on leaving. Raises CheckpointError."""
    text = str(source)
    if not text:
        raise CheckpointError("no source: wanted a folder, a model.tar.gz, s3://… or hf:<owner>/<name>@<revision>")
    if text.startswith("hf:"):
        folder, pinned = hub_snapshot(text.removeprefix("hf:"))
        yield Located(folder=folder, source=f"hf:{pinned}")
        return
    path = Path(source)
    if path.is_dir():
        yield Located(folder=path, source=text)
        return
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as scratch:
        if text.startswith("s3://"):
            _fetch_s3(text, Path(scratch))
        elif path.is_file():
            unpack(path, Path(scratch))
        else:
            raise CheckpointError("no such folder or file")
        yield Located(folder=Path(scratch), source=text)


def unpack(archive: Path, folder: Path, also: Collection[str] = ()) -> None:
    """Unpack a checkpoint out of a `model.tar.gz`: its own files, and of the names in `also` those that are there.

    Nothing else is written, whatever the archive holds or its members link to. Raises CheckpointError.
    """
    try:
        with tarfile.open(archive, "r:*") as tar:
            members = {member.name.removeprefix("./"): member for member in tar if not member.isdir()}
            if outside := [name for name in members if name.startswith("/") or ".." in PurePosixPath(name).parts]:
                raise CheckpointError(f"not a model.tar.gz: {outside[0]} would lie outside of its folder")
            wanted = {*detect(members).files, *(name for name in also if name in members)}
            # In the archive's order: to go back in a compressed file is to read it from its beginning.
            for name in sorted(wanted, key=lambda name: members[name].offset):
                _extract(tar, members[name], folder / name)
    except CheckpointError:
        raise
    except (*_DAMAGED, OSError) as error:
        reason = str(error).partition(":\n")[0]  # tarfile goes on to say how each of its readers failed
        raise CheckpointError(f"not a readable model.tar.gz: {reason}") from error


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = tar.extractfile(member)  # of a link: what it points to, which is in the archive or nowhere
    if content is None:
        raise CheckpointError(f"not a model.tar.gz: {member.name} is no file")
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)


def _fetch_s3(uri: str, folder: Path) -> None:
    # Late, and with any error of boto3's: a server that loads from its own disk needs no client.
    import boto3
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not bucket:
        raise CheckpointError("wanted s3://<bucket>/<prefix>/ or s3://<bucket>/<path>/model.tar.gz")
    try:
        client = boto3.client("s3")
        if key.endswith(ARCHIVES):
            archive = folder / "model.archive"
            client.download_file(bucket, key, str(archive))
            unpack(archive, folder)
            archive.unlink()
        else:
            _fetch_prefix(client, bucket, key.rstrip("/") + "/" if key else "", folder)
    except (ClientError, BotoCoreError, Boto3Error) as error:
        raise CheckpointError(f"S3 says: {error}") from error


def _fetch_prefix(client: Any, bucket: str, prefix: str, folder: Path) -> None:
    names: list[str] = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        names += [item["Key"].removeprefix(prefix) for item in page.get("Contents", [])]
        if len(names) > LISTED_AT_MOST:
            raise CheckpointError(
                f"more than {LISTED_AT_MOST} objects below the prefix: name the checkpoint's own folder"
            )
    if not names:
        raise CheckpointError("no objects below this prefix")
    for name in detect(names).files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        client.download_file(bucket, prefix + name, str(target))
