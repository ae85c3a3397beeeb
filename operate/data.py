"""What people bring: proteins (`proteins/` is trained on, `heldout/` only scored) and weights (`weights/<name>/`)."""

import hashlib
import re
import tarfile
from pathlib import Path
from typing import Any, Literal

from botocore.exceptions import ClientError

from operate import fasta
from operate.errors import OperateError

READY_KEY = "proteins/READY"

Prefix = Literal["proteins", "heldout"]


def add(s3: Any, bucket: str, prefix: Prefix, path: Path, *, folder: str = "") -> tuple[str, bool]:
    """Upload one FASTA file, into a `folder` (with its `/`) below the prefix where one is given.

    Returns its URI, and whether the same bytes were there already.

    Raises OperateError for what does not even begin like FASTA: it would only fail later, in a job. The records
    themselves are judged there, by the rules that training goes by.
    """
    fasta.check_for_upload(path)
    key = f"{prefix}/{folder}{path.name}"
    return f"s3://{bucket}/{key}", not _put(s3, bucket, key, path)


def ready(s3: Any, bucket: str) -> str:
    """Put the object that says "these proteins are all": EventBridge begins a run on it. Returns its URI."""
    s3.put_object(Bucket=bucket, Key=READY_KEY, Body=b"")
    return f"s3://{bucket}/{READY_KEY}"


def add_weights(s3: Any, bucket: str, path: Path, name: str) -> str:
    """Upload a checkpoint, a folder or a `model.tar.gz`; returns the URI that `init` takes.

    Which layout it has, and whether it is sound, is judged where it is read. Raises OperateError where there is nothing
    to upload, or where other files lie under the name already: two checkpoints in one folder are none.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise OperateError(f"{name!r} is no name for weights.", todo="Give letters, digits, '.', '_' and '-': --name …")
    prefix = f"weights/{name}"
    if path.is_file():
        files, uri = {f"{prefix}/model.tar.gz": path}, f"s3://{bucket}/{prefix}/model.tar.gz"
        if not tarfile.is_tarfile(path):
            raise OperateError(f"{path} is no archive.", todo="Give a checkpoint's folder, or its model.tar.gz.")
    else:
        found = (file for file in sorted(path.rglob("*")) if file.is_file())
        files = {f"{prefix}/{file.relative_to(path).as_posix()}": file for file in found}
        uri = f"s3://{bucket}/{prefix}/"
    if not files:
        raise OperateError(f"{path} holds no files.", todo="Give a checkpoint's folder, or its model.tar.gz.")
    there = s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", [])
    if strangers := sorted({one["Key"] for one in there} - set(files)):
        raise OperateError(
            f"{uri} holds other files already, such as {strangers[0]}.",
            todo="Give another name: --name of `amplify weights add`, whose answer `train --init` and `register` take.",
        )
    for key, file in files.items():
        _put(s3, bucket, key, file)
    return uri


def listed(s3: Any, bucket: str) -> list[dict[str, Any]]:
    """The FASTA files below `proteins/` and `heldout/`: use, file, bytes."""
    found = []
    for prefix, use in (("proteins/", "training"), ("heldout/", "held out")):
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for one in page.get("Contents", []):
                if one["Key"] == READY_KEY:
                    continue
                found.append({"use": use, "file": one["Key"].removeprefix(prefix), "bytes": one["Size"]})
    return found


def remove(s3: Any, bucket: str, keys: list[str]) -> None:
    """Delete files; the bucket keeps their versions. Raises OperateError, and deletes none, where one is not there."""
    prefixes = {"training": "proteins/", "held out": "heldout/"}
    there = {prefixes[one["use"]] + one["file"] for one in listed(s3, bucket)}
    if unknown := [key for key in keys if key not in there]:
        known = ", ".join(sorted(there)) or "nothing"
        raise OperateError(
            f"s3://{bucket}/{unknown[0]} is not there; there is {known}.",
            todo="Give the name as `amplify data list` shows it, with --held-out for a held-out file.",
        )
    for key in keys:
        s3.delete_object(Bucket=bucket, Key=key)


def _put(s3: Any, bucket: str, key: str, path: Path) -> bool:
    """Upload a file where the same bytes are not there already; returns whether it was uploaded."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if _digest_there(s3, bucket, key) == digest:
        return False
    # Our own digest beside S3's: a multipart upload's checksum is of its parts, an encrypted object's ETag of neither.
    s3.upload_file(str(path), bucket, key, ExtraArgs={"Metadata": {"sha256": digest}})
    return True


def _digest_there(s3: Any, bucket: str, key: str) -> str | None:
    try:
        return s3.head_object(Bucket=bucket, Key=key)["Metadata"].get("sha256")
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            return None
        raise
