"""Whether an account still has what a release pin names: package, artefact, image.

What a pin says was true when it was approved. Others may write between that and a deployment, and while one goes on: so
it is looked at before, and once more after.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from operate.aws import Aws
from operate.errors import OperateError
from operate.releases import HashedStream, Pin, is_registered, split_uri


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was there when it was as the pin says: whoever exchanges something, and exchanges it back, changes this."""

    package_changed: str
    """When somebody last wrote to the package."""

    artifact_version: str
    """The version of the artefact whose bytes were read."""


def check(aws: Aws, pin: Pin) -> Found:
    """All of it, every byte of the artefact included. Raises OperateError for what is not as the pin says."""
    changed = check_package(aws, pin)
    version = _check_bytes(aws, pin)
    _check_image(aws, pin)
    return Found(package_changed=changed, artifact_version=version)


def check_again(aws: Aws, pin: Pin, found: Found) -> None:
    """The same after a deployment, which reads package and artefact at moments of its own. Raises OperateError."""
    if check_package(aws, pin) != found.package_changed:
        raise OperateError(
            f"{pin['model_package_arn']} was changed while it was deployed, and changed back.",
            todo="Find out who wrote there (CloudTrail: UpdateModelPackage): what is in service may be something else.",
        )
    bucket, key = split_uri(pin["artifact"]["s3_uri"])
    if _version(aws, bucket, key) != found.artifact_version:
        _check_bytes(aws, pin)


def check_in_place(aws: Aws, pin: Pin) -> None:
    """Package and version of the artefact, for those who may not read models: a version's bytes never change, and the
    approval was of this one. Raises OperateError."""
    check_package(aws, pin)
    wanted, (bucket, key) = pin["artifact"], split_uri(pin["artifact"]["s3_uri"])
    listed = aws.client("s3").list_object_versions(Bucket=bucket, Prefix=key)
    newest = [one["VersionId"] for one in listed.get("Versions", []) if one["Key"] == key and one["IsLatest"]]
    if newest != [wanted["version_id"]]:
        now = f"version {newest[0]}" if newest else "nothing"
        raise OperateError(
            f"{wanted['s3_uri']} is {now} now, and version {wanted['version_id']} was approved.",
            todo="Find out who wrote there (access logs), and delete what they wrote; or approve a model anew.",
        )


def check_package(aws: Aws, pin: Pin) -> str:
    """When the package was changed last. Raises OperateError where the registry does not have it as the pin does: who
    may approve a package may change what it holds too, and SageMaker serves what it says at that moment."""
    arn, env = pin["model_package_arn"], aws.environment.name
    if not is_registered(aws, pin):
        raise OperateError(
            f"The release pin of {env} names {arn}, which is not in the registry.",
            todo="Approve a model that is (`amplify approve`), or delete its pin to do without endpoint.",
        )
    package = aws.client("sagemaker").describe_model_package(ModelPackageName=arn)
    if package["ModelApprovalStatus"] != "Approved":
        raise OperateError(
            f"{arn} is {package['ModelApprovalStatus']}: somebody took the approval back.",
            todo="Approve it again (`amplify approve`), or pin another.",
        )
    if changed := changed_since(package, pin):
        raise OperateError(
            f"{arn} is not what was approved: {'; '.join(changed)}.",
            todo="Find out who changed it (CloudTrail: UpdateModelPackage), and approve a model anew.",
        )
    return str(package.get("LastModifiedTime", package["CreationTime"]))


def changed_since(package: dict[str, Any], pin: Pin) -> Sequence[str]:
    """What a package holds otherwise than its pin says."""
    containers = package["InferenceSpecification"]["Containers"]
    if len(containers) != 1:
        return [f"it has {len(containers)} containers, and had one"]
    found = (str(containers[0].get("Image")).rpartition("@")[2], containers[0].get("ModelDataUrl"))
    wanted = (pin["image_digest"], pin["artifact"]["s3_uri"])
    names = ("its image", "its model")
    told = zip(names, found, wanted, strict=True)
    return [f"{name} is {now}, and {then} was approved" for name, now, then in told if now != then]


def _version(aws: Aws, bucket: str, key: str) -> str | None:
    try:
        return str(aws.client("s3").head_object(Bucket=bucket, Key=key)["VersionId"])
    except ClientError:
        return None


def _check_bytes(aws: Aws, pin: Pin) -> str:
    wanted, (bucket, key) = pin["artifact"], split_uri(pin["artifact"]["s3_uri"])
    try:
        found = aws.client("s3").get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        message = error.response["Error"]["Message"]
        raise OperateError(
            f"{wanted['s3_uri']} cannot be read: {message}",
            todo="Bring that object back: S3 keeps versions that were deleted.",
        ) from None
    if (now := HashedStream(found["Body"]).rest()) != wanted["sha256"]:
        raise OperateError(
            f"{wanted['s3_uri']} has SHA-256 {now}, and the release names {wanted['sha256']}: tampered with.",
            todo=f"Find out who wrote there (access logs); the approved object is version {wanted['version_id']}.",
        )
    return str(found["VersionId"])


def _check_image(aws: Aws, pin: Pin) -> None:
    ecr = aws.client("ecr")
    image_id = {"imageDigest": pin["image_digest"]}
    try:
        ecr.describe_images(repositoryName=aws.environment.resource_name, imageIds=[image_id])
    except ecr.exceptions.ImageNotFoundException:
        raise OperateError(
            f"The repository has no image {pin['image_digest']}.", todo="Promote again: it copies the image."
        ) from None
