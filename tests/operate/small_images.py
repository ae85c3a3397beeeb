"""Images of a few bytes, pushed as any client of ECR does."""

import hashlib
import json
from typing import Any


def push(ecr: Any, repository: str, *layers: bytes, index_of: tuple[str, ...] = (), tag: str = "") -> str:
    """An image, or an index of images; returns its digest."""
    names = []
    for layer in layers:
        upload = {
            "repositoryName": repository,
            "uploadId": ecr.initiate_layer_upload(repositoryName=repository)["uploadId"],
        }
        ecr.upload_layer_part(**upload, partFirstByte=0, partLastByte=len(layer) - 1, layerPartBlob=layer)
        names.append(f"sha256:{hashlib.sha256(layer).hexdigest()}")
        ecr.complete_layer_upload(**upload, layerDigests=names[-1:])
    kind = "image.index" if index_of else "image.manifest"
    manifest: dict[str, Any] = {"schemaVersion": 2, "mediaType": f"application/vnd.oci.{kind}.v1+json"}
    if index_of:
        manifest["manifests"] = [{"digest": digest} for digest in index_of]
    else:
        manifest |= {"config": {"digest": names[0]}, "layers": [{"digest": name} for name in names[1:]]}
    text = json.dumps(manifest, indent=3)  # the digest is of these very bytes
    named = {"imageTag": tag} if tag else {}
    put = ecr.put_image(
        repositoryName=repository, imageManifest=text, imageManifestMediaType=manifest["mediaType"], **named
    )
    digest: str = put["image"]["imageId"]["imageDigest"]
    return digest
