"""Approving a model: from a registered package to the release pin `releases/<env>.json` (docs/seams.md, 6).

Everything that the pin names is looked at first: the image's digest is the registry's, the artefact's SHA-256 is of the
bytes that lie there now, and it must be the artefact that was evaluated.
"""

import hashlib
import json
import re
import tarfile
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from operate.aws import Aws
from operate.errors import MAY_NOT, OperateError, is_refusal
from operate.provenance import code_commit
from operate.settings import ROOT
from stacks.release import SCHEMA, faults_of

BLOCK_BYTES = 1 << 20
BROKEN_ARCHIVE = (tarfile.TarError, zlib.error, EOFError)
CODE_TAG = re.compile(r"(?:cpu|gpu)-[0-9a-f]{64}")

SAID = ("model_package_version", "image_digest", "artifact", "evaluation", "approved_by", "approved_at")
"""What a pin of every schema says, and the commands show."""

Pin = dict[str, Any]


def packages(aws: Aws, group: str) -> list[dict[str, Any]]:
    """The registered packages of a group, newest first."""
    paginator = aws.client("sagemaker").get_paginator("list_model_packages")
    pages = paginator.paginate(ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending")
    found = [package for page in pages for package in page["ModelPackageSummaryList"]]
    return sorted(found, key=lambda package: -package["ModelPackageVersion"])


def package_of(aws: Aws, group: str, chosen: str) -> str:
    """The ARN of a package given as `latest`, a version number or an ARN. Raises OperateError where there is none."""
    if chosen.startswith("arn:"):
        return chosen
    found = packages(aws, group)
    if not found:
        raise OperateError(f"Group {group} holds no model yet.", todo="Train one: `amplify train --watch`.")
    by_version = {str(package["ModelPackageVersion"]): package["ModelPackageArn"] for package in found}
    if chosen != "latest" and chosen not in by_version:
        raise OperateError(f"Group {group} has no version {chosen}.", todo=f"It has {', '.join(by_version)}.")
    return found[0]["ModelPackageArn"] if chosen == "latest" else by_version[chosen]


def package_of_execution(aws: Aws, execution: str) -> str:
    """The ARN of the package that a pipeline run registered. Raises OperateError where it registered none."""
    pages = (
        aws.client("sagemaker").get_paginator("list_pipeline_execution_steps").paginate(PipelineExecutionArn=execution)
    )
    for page in pages:
        for step in page["PipelineExecutionSteps"]:
            if arn := step.get("Metadata", {}).get("RegisterModel", {}).get("Arn"):
                return arn
    raise OperateError("The run registered no model.", todo="See its steps with `amplify runs`.")


def evaluation_of(aws: Aws, package_arn: str) -> dict[str, Any]:
    """The evaluation.json that a package was registered with."""
    return _evaluation(aws, aws.client("sagemaker").describe_model_package(ModelPackageName=package_arn))


def image_tag_of(aws: Aws, package_arn: str) -> str | None:
    """The tag of the package's image that names its code; None where the image is not one of ours."""
    package = aws.client("sagemaker").describe_model_package(ModelPackageName=package_arn)
    [container] = package["InferenceSpecification"]["Containers"]
    return _image(aws, container["Image"])["tag"]


def approve(aws: Aws, package_arn: str, approved_by: str, before: Pin | None = None) -> Pin:
    """Check a package, set it to Approved in the registry, and return its pin. Raises OperateError.

    `before` is the environment's release until now, the one that this is compared with.
    """
    sagemaker = aws.client("sagemaker")
    try:
        package = sagemaker.describe_model_package(ModelPackageName=package_arn)
    except ClientError as error:
        message = error.response["Error"]["Message"]
        raise OperateError(f"{package_arn} cannot be read: {message}", todo="See `amplify runs`.") from None
    checked = _checked_pin(aws, package, approved_by, before)
    if faults := faults_of(checked, aws.environment):
        raise OperateError(
            f"{package_arn} is none that {aws.environment.name} could deploy: {'; '.join(faults)}.",
            todo="Nothing was approved or written. `amplify runs` names the packages of this environment.",
        )
    sagemaker.update_model_package(
        ModelPackageArn=package_arn, ModelApprovalStatus="Approved", ApprovalDescription=f"by {approved_by}"[:256]
    )
    return checked


def pin(
    *,
    package: dict[str, Any],
    image_digest: str,
    code_bundle: str,
    artifact: dict[str, str],
    data_manifest_sha256: str | None,
    evaluation: dict[str, Any],
    before: Pin | None,
    approved_by: str,
) -> Pin:
    """The pin's content: `artifact` has s3_uri, version_id and sha256."""
    return {
        "schema": SCHEMA,
        "model_package_arn": package["ModelPackageArn"],
        "model_package_version": package["ModelPackageVersion"],
        "image_digest": image_digest,
        "artifact": artifact,
        "recipe": package.get("CustomerMetadataProperties", {}).get("recipe", "unknown"),
        "evaluation": evaluation,
        "predecessor": predecessor(before),
        "code_bundle": code_bundle,
        "code_commit": code_commit(ROOT, code_bundle),
        "data_manifest_sha256": data_manifest_sha256,
        "approved_by": approved_by,
        "approved_at": now(),
        "promoted_from": None,
    }


def predecessor(before: Pin | None) -> dict[str, Any] | None:
    """The part of an earlier pin that a later one is compared with; None for none, and for one of an old schema."""
    if before is None or before.get("schema") != SCHEMA:
        return None
    return {
        "model_package_arn": before["model_package_arn"],
        "artifact_sha256": before["artifact"]["sha256"],
        "loss": before["evaluation"]["loss"],
        "proteins": before["evaluation"]["proteins"],
    }


def now() -> str:
    """As a pin writes a time."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(releases: Path, environment: str, pin: Pin) -> Path:
    """Write `releases/<environment>.json`, whole or not at all."""
    text = as_text(pin)
    releases.mkdir(parents=True, exist_ok=True)
    path = releases / f"{environment}.json"
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return path


def as_text(pin: Pin) -> str:
    """The content of a pin's file."""
    return json.dumps(pin, indent=2) + "\n"


def read(releases: Path, environment: str) -> Pin | None:
    """The pin of an environment, or None. Raises OperateError for a file that is no pin."""
    path = releases / f"{environment}.json"
    if not path.exists():
        return None
    try:
        pin = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        pin = None
    if not isinstance(pin, dict) or not isinstance(pin.get("model_package_arn"), str):
        todo = "Restore it from git, or write it anew: `amplify approve`."
        raise OperateError(f"{path} is not a release pin.", todo=todo)
    if lacking := [name for name in SAID if name not in pin]:
        todo = "Restore it from git, or write it anew: `amplify approve`."
        raise OperateError(f"{path} is not a release pin: it lacks {', '.join(lacking)}.", todo=todo)
    return pin


def is_registered(aws: Aws, pin: Pin) -> bool:
    """Whether the package that a pin names is in the registry."""
    try:
        aws.client("sagemaker").describe_model_package(ModelPackageName=pin["model_package_arn"])
    except ClientError as error:
        if error.response["Error"]["Code"] in ("ValidationException", "ResourceNotFound"):
            return False
        raise
    return True


def _checked_pin(aws: Aws, package: dict[str, Any], approved_by: str, before: Pin | None) -> Pin:
    [container] = package["InferenceSpecification"]["Containers"]
    evaluation, image = _evaluation(aws, package), _image(aws, container["Image"])
    artifact, manifest_sha256 = _artifact(aws, container["ModelDataUrl"])
    if evaluation.get("artifact_sha256") != artifact["sha256"]:
        raise OperateError(
            f"{artifact['s3_uri']} has SHA-256 {artifact['sha256']}, but the evaluation is of "
            f"{evaluation.get('artifact_sha256')}: these are not the bytes that passed the gate.",
            todo="Do not release it. Train again, and find out who wrote to the artifact bucket.",
        )
    return pin(
        package=package,
        image_digest=image["image_digest"],
        code_bundle=image["code_bundle"],
        artifact=artifact,
        data_manifest_sha256=manifest_sha256,
        evaluation=evaluation,
        before=before,
        approved_by=approved_by,
    )


def _evaluation(aws: Aws, package: dict[str, Any]) -> dict[str, Any]:
    try:
        s3_uri = package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    except KeyError:
        raise OperateError(
            f"{package['ModelPackageArn']} was registered without an evaluation.",
            todo="Take one that a pipeline registered: `amplify runs`.",
        ) from None
    bucket, key = split_uri(s3_uri)
    try:
        return json.loads(aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    except ClientError as error:
        raise _gone(s3_uri, error) from None


def _artifact(aws: Aws, s3_uri: str) -> tuple[dict[str, str], str | None]:
    """URI, version id and SHA-256 of what lies there now, read as one stream; and the SHA-256 of the data manifest in
    it, None for weights that come without one."""
    bucket, key = split_uri(s3_uri)
    try:
        found = aws.client("s3").get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        raise _gone(s3_uri, error) from None
    stream = HashedStream(found["Body"])
    try:
        manifest = file_in(stream, "manifest.json")
    except BROKEN_ARCHIVE as error:
        raise OperateError(f"{s3_uri} is no model.tar.gz: {error}", todo="Train again.") from None
    artifact = {"s3_uri": s3_uri, "version_id": found["VersionId"], "sha256": stream.rest()}
    return artifact, None if manifest is None else hashlib.sha256(manifest).hexdigest()


class HashedStream:
    """A stream that is read once, and the SHA-256 of all that was in it."""

    def __init__(self, body: Any) -> None:
        self._body, self._digest = body, hashlib.sha256()

    def read(self, size: int) -> bytes:
        block: bytes = self._body.read(size)
        self._digest.update(block)
        return block

    def rest(self) -> str:
        """Read to the end; the digest as hexadecimal."""
        while self.read(BLOCK_BYTES):
            pass
        return self._digest.hexdigest()


def file_in(stream: Any, name: str) -> bytes | None:
    """A file of a tar.gz that is read as a stream, up to the end of that file; None where it has none of the name.

    Raises one of BROKEN_ARCHIVE for what is no tar.gz.
    """
    with tarfile.open(fileobj=stream, mode="r|gz") as tar:
        for member in tar:
            if member.name.removeprefix("./") == name and (file := tar.extractfile(member)) is not None:
                return file.read()
    return None


def _image(aws: Aws, uri: str) -> dict[str, Any]:
    """Digest of the package's image in the registry, the tag that names its code, and the SHA-256 of that code.

    A run that somebody started by hand, without parameter `image`, registers a tag: what that names tomorrow nobody
    approves.
    """
    named = re.fullmatch(r"[^/]+/([^:@]+)@(sha256:[0-9a-f]{64})", uri)
    if named is None:
        raise OperateError(
            f"The package's image is {uri}, without a digest.",
            todo="Start the run by `amplify train`, or give its parameter `image` a digest (`amplify image`).",
        )
    repository, digest = named.groups()
    try:
        [found] = aws.client("ecr").describe_images(repositoryName=repository, imageIds=[{"imageDigest": digest}])[
            "imageDetails"
        ]
    except ClientError as error:
        message = error.response["Error"]["Message"]
        raise OperateError(f"Image {uri} is not in the registry: {message}", todo="Train again.") from None
    tags = [tag for tag in found.get("imageTags", []) if CODE_TAG.fullmatch(tag)]
    code = tags[0].partition("-")[2] if tags else uri
    return {"image_digest": found["imageDigest"], "code_bundle": code, "tag": tags[0] if tags else None}


def split_uri(s3_uri: str) -> tuple[str, str]:
    """`s3://bucket/a/b` → ("bucket", "a/b")."""
    bucket, _, key = s3_uri.removeprefix("s3://").partition("/")
    return bucket, key


def _gone(s3_uri: str, error: ClientError) -> OperateError:
    message = error.response["Error"]["Message"]
    todo = MAY_NOT if is_refusal(error) else "It may have been deleted: train again."
    return OperateError(f"{s3_uri} cannot be read: {message}", todo=todo)
