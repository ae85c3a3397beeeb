"""Between folders and S3: what SageMaker does before and after a container runs, and with checkpoints while it runs.

Objects travel in one stream each: the server's S3 reads a whole object for every range that is asked for.
"""

import logging
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from local_aws.clients import client
from local_aws.errors import SageMakerError
from local_aws.store import Scope

logger = logging.getLogger("local_aws")

ONE_STREAM = TransferConfig(multipart_threshold=5 * 1024**3, use_threads=False)  # 5 GiB: the most of one PutObject
CHUNK = 1 << 20
REFUSALS = (ClientError, BotoCoreError, SageMakerError)  # the last: the role that acts cannot be assumed


class S3Error(Exception):
    """Files could not be fetched or put; the message names the URI and what S3 said."""


def split(uri: str) -> tuple[str, str]:
    """(bucket, key) of an S3 URI. Raises S3Error."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise S3Error(f"{uri!r} is no S3 URI: give s3://bucket/key")
    return bucket, key


def download_prefix(scope: Scope, uri: str, folder: Path, share: tuple[int, int] = (0, 1)) -> int:
    """Fetch every object under `uri`, a prefix or one object, into `folder`. Returns how many there were.

    The part of a key after the prefix is the path below `folder`. Of the `share` (i, n), only each n-th object is
    fetched, from the i-th on. Raises S3Error.
    """
    bucket, prefix = split(uri)
    s3 = client("s3", scope.account, scope.region)
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", []):
                if item["Key"].endswith("/"):
                    continue  # a "folder" that the console made
                if count % share[1] == share[0]:
                    _download(s3, bucket, item["Key"], _below(folder, relative_key(item["Key"], prefix)))
                count += 1
    except (*REFUSALS, OSError) as error:
        raise S3Error(f"{uri}: {error}") from error
    return count


def download_object(scope: Scope, uri: str, file: Path) -> None:
    """Fetch one object. Raises S3Error."""
    bucket, key = split(uri)
    try:
        _download(client("s3", scope.account, scope.region), bucket, key, file)
    except (*REFUSALS, OSError) as error:
        raise S3Error(f"{uri}: {error}") from error


def upload_file(scope: Scope, file: Path, uri: str, kms_key: str | None = None) -> None:
    """Put one file. Raises S3Error; FileNotFoundError where the file went meanwhile."""
    bucket, key = split(uri)
    extra = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
    try:
        s3 = client("s3", scope.account, scope.region)
        s3.upload_file(str(file), bucket, key, ExtraArgs=extra, Config=ONE_STREAM)
    except FileNotFoundError:
        raise
    except Exception as error:  # boto3 wraps what S3 says in several kinds
        if not file.exists():  # what over https, where a file is opened late, comes as another kind, too
            raise FileNotFoundError(f"{file} is gone") from error
        raise S3Error(f"{uri}: {error}") from error


def read_object(scope: Scope, uri: str) -> bytes:
    """The content of one object. Raises S3Error."""
    bucket, key = split(uri)
    try:
        content: bytes = client("s3", scope.account, scope.region).get_object(Bucket=bucket, Key=key)["Body"].read()
    except REFUSALS as error:
        raise S3Error(f"{uri}: {error}") from error
    return content


def put_object(
    scope: Scope, uri: str, content: bytes, kms_key: str | None = None, content_type: str = "application/octet-stream"
) -> None:
    """Put one object. Raises S3Error."""
    bucket, key = split(uri)
    extra = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key} if kms_key else {}
    try:
        s3 = client("s3", scope.account, scope.region)
        s3.put_object(Bucket=bucket, Key=key, Body=content, ContentType=content_type, **extra)
    except REFUSALS as error:
        raise S3Error(f"{uri}: {error}") from error


class FolderUpload:
    """Keeps an S3 prefix as complete as a folder is: each `sync` puts the files that are new or changed since the last.

    Nothing is ever deleted there, as with SageMaker's checkpoints.
    """

    def __init__(self, scope: Scope, folder: Path, uri: str, kms_key: str | None = None) -> None:
        self._scope = scope
        self._folder = folder
        self._uri = uri.rstrip("/")
        self._kms_key = kms_key
        self._seen: dict[Path, tuple[int, int]] = {}

    def assume_uploaded(self) -> None:
        """What lies in the folder now came from S3."""
        self._seen = {path: _state(path) for path in self._folder.rglob("*") if path.is_file()}

    def sync(self) -> int:
        """Put what is new, oldest first, so that a file that points to others comes after them. Returns how many.

        Raises S3Error.
        """
        states: dict[Path, tuple[int, int]] = {}
        for path in self._folder.rglob("*"):
            try:
                if path.is_file() and not path.is_symlink():
                    states[path] = _state(path)
            except FileNotFoundError:
                continue  # the container tidied up
        fresh = sorted((state, path) for path, state in states.items() if self._seen.get(path) != state)
        for state, path in fresh:
            try:
                key = path.relative_to(self._folder).as_posix()
                upload_file(self._scope, path, f"{self._uri}/{key}", self._kms_key)
                self._seen[path] = state
            except FileNotFoundError:
                continue
        return len(fresh)


def relative_key(key: str, prefix: str) -> str:
    """Where the object `key`, found under `prefix`, goes below its folder.

    >>> relative_key("proteins/a/b.fasta", "proteins/"), relative_key("x/model.tar.gz", "x/model.tar.gz")
    ('a/b.fasta', 'model.tar.gz')
    """
    rest = key[len(prefix) :]
    if prefix.endswith("/") or not prefix:
        return rest
    if rest.startswith("/"):
        return rest[1:]
    return key[prefix.rfind("/") + 1 :]


def pack(folders: list[Path], archive: Path) -> None:
    """Make one tar.gz of all that lies in `folders`, under names relative to each.

    A name that several have is taken from the first: AWS asks the hosts of a job not to write such, and promises
    nothing.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for path in folder.rglob("*"):
            name = path.relative_to(folder).as_posix()
            if name in found and not path.is_dir():
                logger.warning("%s is left out of the archive: an earlier host has a file of this name", path)
            found.setdefault(name, path)
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:  # weights do not compress: do not try hard
        for name, path in sorted(found.items()):
            tar.add(path, arcname=name, recursive=False)


def unpack(archive: Path, folder: Path) -> None:
    """Extract a tar.gz into `folder` and never outside it: no absolute names, no `..`, no links that lead out.

    Raises tarfile.TarError, EOFError or OSError where it is no sound archive.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "r:gz") as tar:
        tar.extractall(folder, filter="data")


def _download(s3: Any, bucket: str, key: str, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    body = s3.get_object(Bucket=bucket, Key=key)["Body"]
    with file.open("wb") as out:
        shutil.copyfileobj(body, out, CHUNK)


def _below(folder: Path, key: str) -> Path:
    """A path inside `folder`. Raises S3Error for keys that lead out of it: S3 allows `..` in them."""
    if ".." in PurePosixPath(key).parts or key.startswith("/"):
        raise S3Error(f"the key {key!r} is no path below a folder")
    return folder / key


def _state(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size
