"""Proteins into the data bucket: `proteins/` is trained on, `heldout/` only scored."""

import hashlib
from pathlib import Path
from typing import Any, Literal

from botocore.exceptions import ClientError

from operate import fasta

Prefix = Literal["proteins", "heldout"]


def add(s3: Any, bucket: str, prefix: Prefix, path: Path) -> tuple[str, bool]:
    """Upload one FASTA file; returns its URI, and whether the same bytes were there already.

    Raises OperateError for what does not even begin like FASTA: it would only fail later, in a job. The records
    themselves are judged there, by the rules that training goes by.
    """
    fasta.check_beginning(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    key = f"{prefix}/{path.name}"
    uri = f"s3://{bucket}/{key}"
    if _digest_there(s3, bucket, key) == digest:
        return uri, True
    # Our own digest beside S3's: a multipart upload's checksum is of its parts, an encrypted object's ETag of neither.
    s3.upload_file(str(path), bucket, key, ExtraArgs={"Metadata": {"sha256": digest}})
    return uri, False


def listed(s3: Any, bucket: str) -> list[dict[str, Any]]:
    """The files below `proteins/` and `heldout/`: use, file, bytes."""
    found = []
    for prefix, use in (("proteins/", "training"), ("heldout/", "held out")):
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for one in page.get("Contents", []):
                found.append({"use": use, "file": one["Key"].removeprefix(prefix), "bytes": one["Size"]})
    return found


def _digest_there(s3: Any, bucket: str, key: str) -> str | None:
    try:
        return s3.head_object(Bucket=bucket, Key=key)["Metadata"].get("sha256")
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            return None
        raise
