"""Copies of what a release is made of: the image, byte for byte under its digest, and the artefact, under another key.

Both can break off and begin again: what has arrived is looked for first, and nothing is taken for whole before its
digest says so.
"""

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session

from operate.errors import OperateError
from operate.promotion_gates import Source
from operate.releases import HashedStream, split_uri

PART_BYTES = 8 << 20  # of an upload to S3; at least 5 MB, at most 10,000 of them
MOST_PARTS = 10_000
UPLOADS_AT_MOST = 5
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the copies go."""

    s3: Any
    ecr: Any
    bucket: str
    key_arn: str
    repository: str


# ---- the artefact ----------------------------------------------------------------------------------------------------


def copy_artifact(source: Source, place: Place, say: Say) -> dict[str, str]:
    """The artefact in the target's bucket, encrypted by its key; `s3_uri`, `version_id`, `sha256`.

    The bytes go through this machine, which is how their SHA-256 is known before S3 makes an object of them. A broken
    upload goes on where it stopped. Raises OperateError where the bytes are not those of the release.
    """
    wanted = source.pin["artifact"]["sha256"]
    key = f"releases/{wanted}/model.tar.gz"
    if version := _there(place, key, wanted):
        say("artefact was there already; its SHA-256 is verified")
    attempts = iter(range(UPLOADS_AT_MOST))
    while version is None:
        try:
            version = _upload(source, place, key, say)
            say("artefact copied, and its SHA-256 verified on the way")
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchUpload" or next(attempts, None) is None:
                raise
            version = _there(place, key, wanted)  # another promotion went on with this upload, and ended it
    return {"s3_uri": f"s3://{place.bucket}/{key}", "version_id": version, "sha256": wanted}


def _there(place: Place, key: str, wanted: str) -> str | None:
    """The version of the object that has these bytes, all read; None where there is none."""
    try:
        found = place.s3.get_object(Bucket=place.bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return None
        raise
    if HashedStream(found["Body"]).rest() != wanted:
        raise OperateError(
            f"s3://{place.bucket}/{key} is there, and its bytes are others than its name says.",
            todo="Somebody wrote into the bucket: find out who (access logs), and delete that version.",
        )
    return str(found["VersionId"])


def _upload(source: Source, place: Place, key: str, say: Say) -> str:
    wanted = source.pin["artifact"]
    bucket, source_key = split_uri(wanted["s3_uri"])
    found = source.s3.get_object(Bucket=bucket, Key=source_key, VersionId=wanted["version_id"])
    size = max(PART_BYTES, -(-found["ContentLength"] // MOST_PARTS))
    upload, parts = _begun(place, key)
    if parts:
        say(f"going on with an upload that broke off after {len(parts)} parts")
    digest, done = hashlib.sha256(), []
    for number, block in enumerate(_blocks(found["Body"], size), start=1):
        digest.update(block)
        checksum = base64.b64encode(hashlib.sha256(block).digest()).decode()
        about = {"Bucket": place.bucket, "Key": key, "UploadId": upload, "PartNumber": number}
        if (kept := parts.get(number)) is None or kept["Size"] != len(block) or kept.get("ChecksumSHA256") != checksum:
            kept = place.s3.upload_part(**about, Body=block, ChecksumSHA256=checksum)
        done.append({"PartNumber": number, "ETag": kept["ETag"], "ChecksumSHA256": checksum})
        if number % 16 == 0:
            say(f"artefact: {number * size / 1e6:.0f} of {found['ContentLength'] / 1e6:.0f} MB")
    if digest.hexdigest() != wanted["sha256"]:
        place.s3.abort_multipart_upload(Bucket=place.bucket, Key=key, UploadId=upload)
        raise OperateError(
            f"{wanted['s3_uri']} has SHA-256 {digest.hexdigest()}, and {wanted['sha256']} was approved: nothing was "
            "copied.",
            todo="Somebody wrote into the source's bucket: find out who, then approve the model anew or train again.",
        )
    try:
        whole = place.s3.complete_multipart_upload(
            Bucket=place.bucket,
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": done},
            IfNoneMatch="*",  # of two promotions of one release, one makes the object and the other finds it
        )
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
            raise
        if (version := _there(place, key, wanted["sha256"])) is None:
            raise
        return version
    return str(whole.get("VersionId") or place.s3.head_object(Bucket=place.bucket, Key=key)["VersionId"])


def _begun(place: Place, key: str) -> tuple[str, Mapping[int, Mapping[str, Any]]]:
    """An upload of this key that has begun, with the parts that arrived; else a new one."""
    listed = place.s3.list_multipart_uploads(Bucket=place.bucket, Prefix=key).get("Uploads", [])
    for one in (one for one in listed if one["Key"] == key):
        pages = place.s3.get_paginator("list_parts").paginate(Bucket=place.bucket, Key=key, UploadId=one["UploadId"])
        return one["UploadId"], {part["PartNumber"]: part for page in pages for part in page.get("Parts", [])}
    begun = place.s3.create_multipart_upload(
        Bucket=place.bucket,
        Key=key,
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId=place.key_arn,
        ChecksumAlgorithm="SHA256",
    )
    return begun["UploadId"], {}


def _blocks(body: Any, size: int) -> Iterator[bytes]:
    while block := body.read(size):
        yield block


# ---- the image -------------------------------------------------------------------------------------------------------


def copy_image(source: Source, place: Place, say: Say) -> None:
    """The image of the release in the target's repository, under the same digest. Raises OperateError."""
    digest = source.pin["image_digest"]
    if _has(place, digest):
        say("image was there already, under the same digest")
        return
    described = source.ecr.describe_images(**source.repository, imageIds=[{"imageDigest": digest}])["imageDetails"]
    tags = described[0].get("imageTags", [])
    moved = _copy_manifest(source, place, digest, tags)
    say(f"image copied, {moved / 1e6:.1f} MB of layers; its digest is the same")


def _has(place: Place, digest: str) -> bool:
    found = place.ecr.batch_get_image(repositoryName=place.repository, imageIds=[{"imageDigest": digest}])
    return bool(found["images"])


def _copy_manifest(source: Source, place: Place, digest: str, tags: list[str]) -> int:
    """One manifest with all that it names, before itself: layers, or the images of an index. Returns bytes moved."""
    [image] = source.ecr.batch_get_image(
        **source.repository, imageIds=[{"imageDigest": digest}], acceptedMediaTypes=ACCEPTED
    )["images"]
    text, kind = image["imageManifest"], image["imageManifestMediaType"]
    if (found := f"sha256:{hashlib.sha256(text.encode()).hexdigest()}") != digest:
        raise OperateError(
            f"The manifest that {source.environment.name} keeps under {digest} is {found}: nothing was copied.",
            todo="Find out who changed the image; build it anew.",
        )
    manifest = json.loads(text)
    if kind in INDEX_TYPES:
        moved = sum(_copy_manifest(source, place, one["digest"], []) for one in manifest["manifests"])
    else:
        moved = sum(_copy_layer(source, place, one) for one in _layers(manifest))
    for named in [{"imageTag": tag} for tag in tags] or [{}]:
        try:
            place.ecr.put_image(
                repositoryName=place.repository,
                imageManifest=text,
                imageManifestMediaType=kind,
                imageDigest=digest,
                **named,
            )
        except (place.ecr.exceptions.ImageAlreadyExistsException, place.ecr.exceptions.ImageTagAlreadyExistsException):
            continue  # somebody was faster; a tag never moves
    return moved


ACCEPTED = [
    *INDEX_TYPES,
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
]


def _layers(manifest: dict[str, Any]) -> list[str]:
    """What has to be in a repository before a manifest: its layers, and its configuration where it is apart."""
    config = manifest.get("config", {})
    apart = [config["digest"]] if "digest" in config and "data" not in config else []
    return [*dict.fromkeys([*apart, *(one["digest"] for one in manifest.get("layers", []))])]


def _copy_layer(source: Source, place: Place, digest: str) -> int:
    """Returns how many bytes it took. Raises OperateError where the layer is another than its digest says."""
    there = place.ecr.batch_check_layer_availability(repositoryName=place.repository, layerDigests=[digest])
    if [one["layerAvailability"] for one in there["layers"]] == ["AVAILABLE"]:
        return 0
    url = source.ecr.get_download_url_for_layer(**source.repository, layerDigest=digest)["downloadUrl"]
    begun = place.ecr.initiate_layer_upload(repositoryName=place.repository)
    about = {"repositoryName": place.repository, "uploadId": begun["uploadId"]}
    hashed, first = hashlib.sha256(), 0
    for block in _download(url, int(begun["partSize"])):
        hashed.update(block)
        place.ecr.upload_layer_part(
            **about, partFirstByte=first, partLastByte=first + len(block) - 1, layerPartBlob=block
        )
        first += len(block)
    if f"sha256:{hashed.hexdigest()}" != digest:
        raise OperateError(
            f"Layer {digest} arrived as sha256:{hashed.hexdigest()}: the image was not copied.",
            todo="Promote again; should it repeat itself, the source's repository is damaged: build the image anew.",
        )
    try:
        place.ecr.complete_layer_upload(**about, layerDigests=[digest])
    except place.ecr.exceptions.LayerAlreadyExistsException:
        return 0
    return first


def _download(url: str, size: int) -> Iterator[bytes]:
    """The bytes at an address that ECR gave, in blocks. Raises OperateError where they do not come."""
    request: Any = AWSRequest(method="GET", url=url, stream_output=True)
    verify: Any = os.environ.get("AWS_CA_BUNDLE") or True
    answer = URLLib3Session(verify=verify).send(request.prepare())
    if answer.status_code != 200:
        raise OperateError(f"A layer of the image cannot be fetched: {answer.status_code}", todo="Promote again.")
    yield from _blocks(answer.raw, size)
