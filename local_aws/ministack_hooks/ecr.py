"""Layers of images, and repositories of other accounts: ministack's ECR keeps manifests only, of its caller's account.

A layer is uploaded in parts, held to its digest, and fetched from an address that is good for a while, as on AWS. An
image whose layers are missing is refused: a copy that forgot them would be found out on AWS only.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import ministack.app as ministack
from ministack.core import responses
from ministack.services import ecr

from local_aws.ministack_hooks.cloudformation import Properties
from local_aws.ministack_hooks.requests import Headers, Query, account, region, request_scope

LAYER_PATH = "/_local_aws/layers/"
GOOD_SECONDS = 3600.0
READS_OF_OTHERS = ("_describe_images", "_batch_get_image", "_get_download_url_for_layer")

Answer = tuple[int, dict[str, str], bytes]
_uploads: dict[str, bytearray] = {}
_addresses: dict[str, tuple[float, bytes]] = {}  # token → until when, and what


def keep_layers(endpoint_url: str) -> None:
    """Give ECR the layers of images, whose addresses are below `endpoint_url`."""

    def _initiate_layer_upload(request: Properties) -> Any:
        upload = secrets.token_hex(16)
        _uploads[upload] = bytearray()
        return _answer(request, uploadId=upload, partSize=10 << 20)

    def _upload_layer_part(request: Properties) -> Any:
        upload = _uploads.get(request["uploadId"])
        if upload is None:
            return _error("UploadNotFoundException", f"The upload {request['uploadId']} does not exist")
        part = base64.b64decode(request["layerPartBlob"])
        if request["partFirstByte"] != len(upload) or request["partLastByte"] != len(upload) + len(part) - 1:
            return _error("InvalidLayerPartException", f"Invalid layer part: the next byte is {len(upload)}")
        upload += part
        return _answer(request, uploadId=request["uploadId"], lastByteReceived=len(upload) - 1)

    def _complete_layer_upload(request: Properties) -> Any:
        content = bytes(_uploads.pop(request["uploadId"], b""))
        [digest] = request["layerDigests"]
        if (found := f"sha256:{hashlib.sha256(content).hexdigest()}") != digest:
            return _error("InvalidLayerException", f"Layer digest {found} does not match {digest}")
        kept = _layers(request)
        if digest in kept:
            return _error("LayerAlreadyExistsException", f"Layer {digest} already exists")
        ecr._layer_blobs[request["repositoryName"]] = {**kept, digest: content}
        return _answer(request, uploadId=request["uploadId"], layerDigest=digest)

    def _batch_check_layer_availability(request: Properties) -> Any:
        kept = _layers(request)
        layers = [
            {
                "layerDigest": digest,
                "layerAvailability": "AVAILABLE" if digest in kept else "UNAVAILABLE",
                "layerSize": len(kept.get(digest, b"")),
            }
            for digest in request["layerDigests"]
        ]
        return responses.json_response({"layers": layers, "failures": []})

    def _get_download_url_for_layer(request: Properties) -> Any:
        content = _layers(request).get(request["layerDigest"])
        if content is None:
            return _error("LayersNotFoundException", f"The layer {request['layerDigest']} does not exist")
        token = secrets.token_urlsafe(30)
        for old in [one for one, (until, _) in _addresses.items() if until < time.monotonic()]:
            del _addresses[old]
        _addresses[token] = (time.monotonic() + GOOD_SECONDS, content)
        url = f"{endpoint_url}{LAYER_PATH}{token}"
        return responses.json_response({"downloadUrl": url, "layerDigest": request["layerDigest"]})

    put = ecr._put_image

    def _put_image(request: Properties) -> Any:
        manifest = request.get("imageManifest", "")
        digest = ecr._image_digest(manifest)
        if request.get("imageDigest") not in (None, digest):
            return _error("ImageDigestDoesNotMatchException", f"The image's digest is {digest}")
        if request.get("repositoryName") in ecr._repositories:
            kept = _layers(request)
            if missing := [one for one in _named_in(manifest) if one not in kept]:
                return _error("LayersNotFoundException", f"Layers with digests {missing} required for pushing image")
        return put(request)

    ours: dict[str, Callable[[Properties], Any]] = {
        "_initiate_layer_upload": _initiate_layer_upload,
        "_upload_layer_part": _upload_layer_part,
        "_complete_layer_upload": _complete_layer_upload,
        "_batch_check_layer_availability": _batch_check_layer_availability,
        "_get_download_url_for_layer": _get_download_url_for_layer,
        "_put_image": _put_image,
    }
    for name, handler in ours.items():
        setattr(ecr, name, _checking_repository(handler))
    for name in READS_OF_OTHERS:
        setattr(ecr, name, _in_registry(getattr(ecr, name)))
    _tell_of_scans()


def _tell_of_scans() -> None:
    """No scanner is here: every image is one that cannot be scanned, in the words of Amazon Inspector."""
    handle = ministack.SERVICE_HANDLERS["ecr"]

    def _describe_image_scan_findings(request: Properties) -> Any:
        name, image_id = request.get("repositoryName", ""), request.get("imageId", {})
        if (image := ecr._find_image(name, image_id) if name in ecr._repositories else None) is None:
            return _error("ImageNotFoundException", f"The image with imageId {image_id} does not exist in '{name}'")
        status = {"status": "UNSUPPORTED_IMAGE", "description": "local AWS has no scanner"}
        told = {"imageId": image["imageId"], "imageScanStatus": status}
        return _answer(request, **told)

    async def answer(method: str, path: str, headers: Headers, body: bytes, query: Query) -> Any:
        if headers.get("x-amz-target", "").endswith(".DescribeImageScanFindings"):
            return _in_registry(_describe_image_scan_findings)(json.loads(body))
        return await handle(method, path, headers, body, query)

    ministack.SERVICE_HANDLERS["ecr"] = answer


def layer_at(path: str) -> bytes | None:
    """What lies at the address of a layer; None where it is no such address, or its time is over."""
    until, content = _addresses.get(path.removeprefix(LAYER_PATH), (0.0, b""))
    return content if until > time.monotonic() else None


def layer(repository: str, digest: str, of: str) -> bytes | None:
    """A layer of a repository of account `of`, for the server's own use."""
    with request_scope(of, region()):
        found: bytes | None = ecr._layer_blobs.get(repository, {}).get(digest)
    return found


def _checking_repository(handler: Callable[[Properties], Any]) -> Callable[[Properties], Any]:
    def _handler(request: Properties) -> Any:
        name = request.get("repositoryName", "")
        if name not in ecr._repositories:
            message = f"The repository with name '{name}' does not exist in the registry with id '{account()}'"
            return _error("RepositoryNotFoundException", message)
        return handler(request)

    return _handler


def _in_registry(handler: Callable[[Properties], Any]) -> Callable[[Properties], Any]:
    """Answer in the account that `registryId` names: whether its caller may has been asked before."""

    def _handler(request: Properties) -> Any:
        with request_scope(request.get("registryId") or account(), region()):
            return handler(request)

    return _handler


def _layers(request: Properties) -> dict[str, bytes]:
    kept: dict[str, bytes] = ecr._layer_blobs.get(request["repositoryName"], {})
    return kept


def _named_in(manifest: str) -> list[str]:
    """Digests that a manifest names: its layers, and its configuration where that does not stand in it."""
    try:
        told = json.loads(manifest)
    except ValueError:
        return []
    if not isinstance(told, dict):
        return []
    config = told.get("config", {})
    return [one["digest"] for one in told.get("layers", [])] + (
        [config["digest"]] if "digest" in config and "data" not in config else []
    )


def _answer(request: Properties, **members: Any) -> Any:
    about = {"registryId": account(), "repositoryName": request["repositoryName"]}
    return responses.json_response(about | members)


def _error(code: str, message: str) -> Any:
    return responses.error_response_json(code, message, 400)
