"""A release is held to its pin: who may approve a package may change what it holds as well, and who can write into a
bucket can write another model under the name of an approved one."""

import hashlib
import io
import time
import zipfile
from dataclasses import dataclass, replace
from typing import Any

import pytest

from environments import DEV
from operate import pin_check
from operate.aws import Aws
from operate.errors import OperateError
from operate.pin_check import changed_since
from tests.operate.release_pins import pin
from tests.operate.small_images import push

PIN = pin()
REPOSITORY = "111111111111.dkr.ecr.us-east-1.amazonaws.com/amplify-dev"
IMAGE = f"{REPOSITORY}@{PIN['image_digest']}"
MODEL = PIN["artifact"]["s3_uri"]


def package(*containers: dict[str, str]) -> dict[str, Any]:
    return {"InferenceSpecification": {"Containers": list(containers)}}


def test_a_package_that_is_what_was_approved_is_taken() -> None:
    assert changed_since(package({"Image": IMAGE, "ModelDataUrl": MODEL}), PIN) == []


@pytest.mark.parametrize(
    ("containers", "told"),
    [
        ([{"Image": f"{REPOSITORY}@sha256:{'0' * 64}", "ModelDataUrl": MODEL}], f"its image is sha256:{'0' * 64}"),
        (
            [{"Image": f"{REPOSITORY}:cpu-1", "ModelDataUrl": MODEL}],
            f"its image is {REPOSITORY}:cpu-1, and",
        ),
        ([{"Image": IMAGE, "ModelDataUrl": "s3://elsewhere/model.tar.gz"}], "its model is s3://elsewhere/model.tar.gz"),
        ([{"Image": IMAGE}], "its model is None, and s3://"),
        ([{"Image": IMAGE, "ModelDataUrl": MODEL}] * 2, "it has 2 containers, and had one"),
        ([], "it has 0 containers, and had one"),
    ],
)
def test_what_was_changed_is_named(containers: list[dict[str, str]], told: str) -> None:
    [change] = changed_since(package(*containers), PIN)
    assert change.startswith(told)


# ---- in an account ---------------------------------------------------------------------------------------------------

CONTENT = b"a model"


@dataclass(frozen=True, kw_only=True)
class Released:
    """An approved package with its artefact and image, and its pin."""

    aws: Aws
    pin: dict[str, Any]
    package: dict[str, Any]

    @property
    def where(self) -> dict[str, str]:
        bucket, _, key = self.pin["artifact"]["s3_uri"].removeprefix("s3://").partition("/")
        return {"Bucket": bucket, "Key": key}

    def put(self, content: bytes) -> str:
        version: str = self.aws.client("s3").put_object(**self.where, Body=content)["VersionId"]
        return version

    def update(self, **changes: Any) -> None:
        """Of the package's one container."""
        [container] = self.package["InferenceSpecification"]["Containers"]
        specification = self.package["InferenceSpecification"] | {"Containers": [container | changes]}
        self.aws.client("sagemaker").update_model_package(
            ModelPackageArn=self.pin["model_package_arn"], InferenceSpecification=specification
        )


def bundle() -> bytes:
    """Code, as the one layer of a local image has it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as files:
        files.writestr("launch.py", "")
    return buffer.getvalue()


@pytest.fixture
def released(aws: Aws) -> Released:
    s3, ecr, sagemaker = aws.client("s3"), aws.client("ecr"), aws.client("sagemaker")
    account = aws.client("sts").get_caller_identity()["Account"]
    here = replace(aws, environment=replace(DEV, account=account))
    name, bucket = here.environment.resource_name, f"models-{time.monotonic_ns()}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    key = "runs/r/model/j/output/model.tar.gz"
    version = s3.put_object(Bucket=bucket, Key=key, Body=CONTENT)["VersionId"]
    ecr.create_repository(repositoryName=name)
    digest = push(ecr, name, b"configuration", bundle())
    sagemaker.create_model_package_group(ModelPackageGroupName=name)
    uri, image = f"s3://{bucket}/{key}", f"{account}.dkr.ecr.us-east-1.amazonaws.com/{name}@{digest}"
    arn = sagemaker.create_model_package(
        ModelPackageGroupName=name,
        InferenceSpecification={
            "Containers": [{"Image": image, "ModelDataUrl": uri}],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
        ModelApprovalStatus="Approved",
    )["ModelPackageArn"]
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    artifact = {"s3_uri": uri, "version_id": version, "sha256": sha256}
    made = pin(here.environment, sha256=sha256) | {"image_digest": digest, "artifact": artifact}
    package = sagemaker.describe_model_package(ModelPackageName=arn)
    return Released(aws=here, pin=made | {"model_package_arn": arn}, package=package)


def test_what_is_as_it_was_approved_is_deployed(released: Released) -> None:
    found = pin_check.check(released.aws, released.pin)
    assert found.artifact_version == released.pin["artifact"]["version_id"]
    pin_check.check_again(released.aws, released.pin, found)
    pin_check.check_in_place(released.aws, released.pin)


def test_a_model_that_was_exchanged_is_found_by_its_bytes_and_by_its_version(released: Released) -> None:
    found = pin_check.check(released.aws, released.pin)
    version = released.put(b"somebody else's")
    for attempt in (
        lambda: pin_check.check(released.aws, released.pin),
        lambda: pin_check.check_again(released.aws, released.pin, found),
    ):
        with pytest.raises(OperateError, match="tampered with"):
            attempt()
    with pytest.raises(OperateError, match=f"is version {version} now"):
        pin_check.check_in_place(released.aws, released.pin)


def test_the_same_bytes_written_once_more_are_the_same_model(released: Released) -> None:
    found = pin_check.check(released.aws, released.pin)
    released.put(CONTENT)
    pin_check.check_again(released.aws, released.pin, found)


def test_a_model_that_was_deleted_is_told(released: Released) -> None:
    released.aws.client("s3").delete_object(**released.where)
    with pytest.raises(OperateError, match="is nothing now, and version"):
        pin_check.check_in_place(released.aws, released.pin)
    with pytest.raises(OperateError, match="cannot be read"):
        pin_check.check(released.aws, released.pin)


def test_a_package_that_was_changed_while_it_was_deployed_and_changed_back_is_found(released: Released) -> None:
    [container] = released.package["InferenceSpecification"]["Containers"]
    found = pin_check.check(released.aws, released.pin)
    released.update(ModelDataUrl="s3://elsewhere/model.tar.gz")
    with pytest.raises(OperateError, match="its model is s3://elsewhere"):
        pin_check.check_again(released.aws, released.pin, found)
    released.update(ModelDataUrl=container["ModelDataUrl"])
    with pytest.raises(OperateError, match="was changed while it was deployed, and changed back"):
        pin_check.check_again(released.aws, released.pin, found)


def test_an_approval_that_was_taken_back_is_told(released: Released) -> None:
    arn = released.pin["model_package_arn"]
    released.aws.client("sagemaker").update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Rejected")
    for attempt in (pin_check.check, pin_check.check_in_place):
        with pytest.raises(OperateError, match="is Rejected: somebody took the approval back"):
            attempt(released.aws, released.pin)


def test_an_image_that_is_gone_is_told(released: Released) -> None:
    digest = released.pin["image_digest"]
    repository = released.aws.environment.resource_name
    released.aws.client("ecr").batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])
    with pytest.raises(OperateError, match=f"has no image {digest}"):
        pin_check.check(released.aws, released.pin)
