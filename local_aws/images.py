"""Images: the code that jobs and endpoints run, by digest, never the working tree.

`<repository>:<target>-<sha256>` names the code bundle with that SHA-256. CodeBuild (builds.py) makes the image: it
fetches the bundle, verifies it, and pushes an OCI manifest with the bundle as its one layer to the account's ECR
repository. `<repository>@sha256:<manifest digest>` then names the same code for good. Below `images/` lie the bundle,
`<sha256>.zip`, and the folder unpacked from it, `<sha256>/`: it is compared with the bundle each time, so what runs is
what the digest says even if somebody edited the folder.
"""

import contextlib
import hashlib
import json
import re
import shutil
import stat
import sys
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from botocore.exceptions import ClientError

from local_aws import identity
from local_aws.clients import client
from local_aws.files import write_whole
from local_aws.ministack_hooks.ecr import layer
from local_aws.settings import current

URI = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/"
    r"(?P<repository>[a-z0-9][a-z0-9._/-]*)(?::(?P<tag>[\w.-]+)|@(?P<digest>sha256:[0-9a-f]{64}))"
)
TAG = re.compile(r"(?P<target>cpu|gpu)-(?P<sha256>[0-9a-f]{64})")
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
EMPTY_CONFIG = {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "data": "e30="} | {
    "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
}
ENTRY_POINT = "launch.py"
MOST_BYTES = 1 << 30  # of all files of a bundle, unpacked: code, not a zip bomb

_building = threading.Lock()


class ImageError(ValueError):
    """The image cannot be had; the message says which part of it is missing or wrong, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """`digest` of the manifest, `sha256:…`, as `repository@<digest>` names it; `folder` holds its unpacked code."""

    digest: str
    folder: Path


def resolve(image_uri: str, account: str, region: str) -> Image:
    """The image that `image_uri` names, for a job of `account` in `region`. Raises ImageError."""
    uri = URI.fullmatch(image_uri)
    if uri is None:
        raise ImageError(
            f"{image_uri!r} does not name an image: give <account>.dkr.ecr.<region>.amazonaws.com/<repository>, "
            "then :<tag> or @sha256:<digest>"
        )
    if (uri["account"], uri["region"]) != (account, region):
        raise ImageError(f"{image_uri} is not in ECR of account {account} in {region}: copy the image there first")
    ecr = client("ecr", account, region)
    with _building:
        if uri["digest"]:
            manifest = _manifest(ecr, uri["repository"], {"imageDigest": uri["digest"]})
            if manifest is None:
                raise ImageError(f"{image_uri}: the repository has no image with this digest")
        else:
            manifest = _manifest(ecr, uri["repository"], {"imageTag": uri["tag"]})
            if manifest is None:
                raise ImageError(
                    f"{image_uri}: the repository has no image with this tag. Deploying the training stack starts its "
                    "build in CodeBuild; that build says what became of it"
                )
        digest = f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
        _pull(ecr, uri["repository"], manifest)
        if uri["digest"] and digest != uri["digest"]:
            raise ImageError(f"{image_uri}: the manifest kept under this digest is another one ({digest})")
        sha256 = _layer(image_uri, manifest)
        with identity.as_the_service():  # pulling has a right to the layer, wherever we have it from
            content = layer(uri["repository"], f"sha256:{sha256}", account) or _bundle(sha256, account, region)
            return Image(digest=digest, folder=_unpacked(sha256, content))


def command(image: Image, verb: str | Sequence[str]) -> list[str]:
    """What runs `verb` (with its arguments) of the image, by this machine's interpreter."""
    return [sys.executable, str(image.folder / ENTRY_POINT), *([verb] if isinstance(verb, str) else verb)]


def _manifest(ecr: Any, repository: str, image_id: dict[str, str]) -> str | None:
    """The manifest that ECR keeps; None where it has no such image. Raises ImageError where it has no repository."""
    try:
        found = ecr.batch_get_image(repositoryName=repository, imageIds=[image_id])["images"]
    except ClientError as error:
        raise ImageError(f"ECR repository {repository}: {error.response['Error']['Message']}") from error
    return found[0]["imageManifest"] if found else None


def _pull(ecr: Any, repository: str, manifest: str) -> None:
    """What else a role needs permissions for when it pulls: to sign in to the registry, and to be told where each layer
    is. Raises ImageError. The layer itself is here already."""
    if identity.acting() is None:
        return
    try:
        ecr.get_authorization_token()
        for one in json.loads(manifest).get("layers", []):
            ecr.get_download_url_for_layer(repositoryName=repository, layerDigest=one["digest"])
    except ClientError as error:
        raise ImageError(f"ECR repository {repository}: {error.response['Error']['Message']}") from error


def fetch(image_uri: str, bundle_uri: str, account: str, region: str) -> None:
    """Have the bundle of a tag here, verified: the first half of a build. Raises ImageError."""
    named = TAG.fullmatch(image_uri.rpartition(":")[2])
    if named is None:
        raise ImageError(f"{image_uri} cannot be built: tags are <cpu or gpu>-<SHA-256 of the code bundle>")
    bucket, _, key = bundle_uri.removeprefix("s3://").partition("/")
    with _building:  # of two that fetch one bundle, one would take the folder away that the other looks at
        _unpacked(named["sha256"], _bundle(named["sha256"], account, region, bucket=bucket, key=key))


def push(image_uri: str, account: str, region: str) -> Image:
    """Make the image of a bundle that was fetched, and push it: the other half. Raises ImageError.

    A tag never moves: where there is one, it is the image, whoever built it.
    """
    uri = URI.fullmatch(image_uri)
    if uri is None or not uri["tag"]:
        raise ImageError(f"{image_uri!r} does not name an image by its tag")
    with _building:
        ecr = client("ecr", account, region)
        if _manifest(ecr, uri["repository"], {"imageTag": uri["tag"]}) is None:
            _push(ecr, uri["repository"], uri["tag"], account, region)
    return resolve(image_uri, account, region)


def _push(ecr: Any, repository: str, tag: str, account: str, region: str) -> None:
    sha256 = tag.partition("-")[2]
    content = _bundle(sha256, account, region)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": EMPTY_CONFIG,
            "layers": [{"mediaType": "application/zip", "digest": f"sha256:{sha256}", "size": len(content)}],
            "annotations": {"org.opencontainers.image.ref.name": tag},  # cpu and gpu are two images
        },
        sort_keys=True,
    )
    there = ecr.batch_check_layer_availability(repositoryName=repository, layerDigests=[f"sha256:{sha256}"])
    if there["layers"][0]["layerAvailability"] != "AVAILABLE":
        upload = ecr.initiate_layer_upload(repositoryName=repository)["uploadId"]
        part = {"repositoryName": repository, "uploadId": upload, "partFirstByte": 0, "partLastByte": len(content) - 1}
        ecr.upload_layer_part(**part, layerPartBlob=content)
        ecr.complete_layer_upload(repositoryName=repository, uploadId=upload, layerDigests=[f"sha256:{sha256}"])
    with contextlib.suppress(ecr.exceptions.ImageTagAlreadyExistsException):  # somebody was faster: theirs is the image
        ecr.put_image(
            repositoryName=repository, imageManifest=manifest, imageManifestMediaType=MANIFEST_TYPE, imageTag=tag
        )


def _layer(image_uri: str, manifest: str) -> str:
    """The SHA-256 of the bundle in a manifest. Raises ImageError where it is not an image of ours."""
    try:
        (one,) = json.loads(manifest)["layers"]
        algorithm, _, sha256 = one["digest"].partition(":")
    except (ValueError, KeyError, TypeError) as error:
        raise ImageError(f"{image_uri} is not an image of a code bundle: local AWS runs no other") from error
    if algorithm != "sha256" or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ImageError(f"{image_uri}: its layer's digest is {one['digest']!r}, not a SHA-256")
    return sha256


def _bundle(sha256: str, account: str, region: str, *, bucket: str = "", key: str = "") -> bytes:
    """The bundle's bytes: kept ones, where they are still what their name says; else from S3 (the CDK's assets)."""
    kept = current().images / f"{sha256}.zip"
    if kept.is_file() and hashlib.sha256(content := kept.read_bytes()).hexdigest() == sha256:
        return content
    bucket, key = bucket or f"cdk-hnb659fds-assets-{account}-{region}", key or f"{sha256}.zip"
    try:
        content = client("s3", account, region).get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        why = f": {error}"
        if code in ("NoSuchKey", "NoSuchBucket"):
            why = f" ({code}): deploy the stack that names it, `cdk deploy` uploads it"
        raise ImageError(f"the code bundle s3://{bucket}/{key} cannot be read{why}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ImageError(f"the code bundle s3://{bucket}/{key} was changed: its SHA-256 is {found}; deploy it again")
    write_whole(kept, content)
    return content


def _unpacked(sha256: str, content: bytes) -> Path:
    """The folder with the files of a bundle and no others, made anew where it is not. Raises ImageError."""
    folder = current().images / sha256
    with tempfile.TemporaryFile() as file:
        file.write(content)
        try:
            with zipfile.ZipFile(file) as bundle:
                names = _safe_names(bundle)
                if not _holds(folder, bundle, names):
                    _unpack(bundle, names, folder)
        except zipfile.BadZipFile as error:
            raise ImageError(f"the code bundle {sha256} is no zip file ({error})") from error
    return folder


def _safe_names(bundle: zipfile.ZipFile) -> list[str]:
    """The files of a bundle. Raises ImageError where one could land outside its folder, or none is the entry point."""
    entries = [entry for entry in bundle.infolist() if not entry.is_dir()]
    names = [entry.filename for entry in entries]
    for entry in entries:
        path = PurePosixPath(entry.filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or kind not in (0, stat.S_IFREG):
            raise ImageError(f"the code bundle holds {entry.filename!r}, which is no file below its own folder")
    if len(set(names)) < len(names):
        raise ImageError("the code bundle holds a file twice")
    if (size := sum(entry.file_size for entry in entries)) > MOST_BYTES:
        raise ImageError(f"the code bundle would unpack to {size} bytes; code takes at most {MOST_BYTES}")
    if ENTRY_POINT not in names:
        raise ImageError(f"the code bundle has no {ENTRY_POINT}: give the folder model_code, not its parent")
    return names


def _holds(folder: Path, bundle: zipfile.ZipFile, names: list[str]) -> bool:
    """Whether `folder` is this bundle, byte for byte."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    return found.keys() == set(names) and all(
        not found[name].is_symlink() and found[name].read_bytes() == bundle.read(name) for name in names
    )


def _unpack(bundle: zipfile.ZipFile, names: list[str], folder: Path) -> None:
    """Put the files of a bundle, read-only, where `folder` is, whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)  # the first image may be a pushed one
    new = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=folder.parent))
    for name in names:
        file = new / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bundle.read(name))
        file.chmod(0o444)
    new.chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
