"""Copies of artefacts and images on a real local AWS: broken off, tampered with, raced for."""

import hashlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from environments import DEV
from operate.aws import Aws
from operate.errors import OperateError
from operate.promotion_copy import PART_BYTES, Place, copy_artifact, copy_image
from operate.promotion_gates import Source
from tests.operate.release_pins import pin
from tests.operate.small_images import push

CONTENT = os.urandom(2 * PART_BYTES + 12_345)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEY = f"releases/{SHA256}/model.tar.gz"


class Two:
    """A release in one bucket and repository, and a place for its copy."""

    def __init__(self, aws: Aws, content: bytes = CONTENT) -> None:
        account = aws.client("sts").get_caller_identity()["Account"]
        self.s3, self.ecr = aws.client("s3"), aws.client("ecr")
        self.kms = aws.client("kms").create_key()["KeyMetadata"]["Arn"]
        there, here = (f"{name}-{time.monotonic_ns()}" for name in ("source", "target"))
        for bucket in (there, here):
            self.s3.create_bucket(Bucket=bucket)
            self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        version = self.s3.put_object(Bucket=there, Key="runs/r/model/j/output/model.tar.gz", Body=content)["VersionId"]
        artifact = {"s3_uri": f"s3://{there}/runs/r/model/j/output/model.tar.gz", "version_id": version}
        released = pin(DEV, sha256=SHA256) | {"artifact": artifact | {"sha256": SHA256}}
        self.source = Source(aws=aws, environment=replace(DEV, account=account), pin=released)
        self.place = Place(s3=self.s3, ecr=self.ecr, bucket=here, key_arn=self.kms, repository="amplify-target")
        self.said: list[str] = []

    def copy(self) -> dict[str, str]:
        return copy_artifact(self.source, self.place, self.said.append)

    def uploads(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.s3.list_multipart_uploads(Bucket=self.place.bucket).get("Uploads", [])
        return found

    def versions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.s3.list_object_versions(Bucket=self.place.bucket).get("Versions", [])
        return found

    def begin(self, *parts: bytes) -> str:
        """An upload as a promotion leaves it that was killed after so many parts."""
        where = {"Bucket": self.place.bucket, "Key": KEY}
        upload: str = self.s3.create_multipart_upload(
            **where, ServerSideEncryption="aws:kms", SSEKMSKeyId=self.kms, ChecksumAlgorithm="SHA256"
        )["UploadId"]
        for number, part in enumerate(parts, start=1):
            self.s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=part, ChecksumAlgorithm="SHA256")
        return upload


def test_a_copy_has_the_same_bytes_under_the_targets_key(aws: Aws) -> None:
    two = Two(aws)
    made = two.copy()
    assert made["sha256"] == SHA256
    assert made["s3_uri"] == f"s3://{two.place.bucket}/{KEY}"
    found = two.s3.get_object(Bucket=two.place.bucket, Key=KEY, VersionId=made["version_id"])
    assert found["Body"].read() == CONTENT
    assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", two.kms)


def test_copied_again_nothing_is_written(aws: Aws) -> None:
    two = Two(aws)
    assert two.copy() == two.copy()
    assert len(two.versions()) == 1
    assert "there already" in two.said[-1]


def test_a_copy_that_broke_off_goes_on_where_it_stopped(aws: Aws) -> None:
    two = Two(aws)
    upload = two.begin(CONTENT[:PART_BYTES])
    before = two.s3.list_parts(Bucket=two.place.bucket, Key=KEY, UploadId=upload)["Parts"][0]["LastModified"]
    two.copy()
    assert two.said[0] == "going on with an upload that broke off after 1 parts"
    assert two.uploads() == []
    assert two.s3.get_object(Bucket=two.place.bucket, Key=KEY)["Body"].read() == CONTENT
    assert before is not None


def test_a_part_that_is_not_of_these_bytes_is_sent_again(aws: Aws) -> None:
    two = Two(aws)
    two.begin(os.urandom(PART_BYTES), CONTENT[PART_BYTES : 2 * PART_BYTES])
    two.copy()
    assert two.s3.get_object(Bucket=two.place.bucket, Key=KEY)["Body"].read() == CONTENT


def test_an_artefact_that_was_tampered_with_is_not_copied_and_leaves_nothing(aws: Aws) -> None:
    two = Two(aws, content=CONTENT[:-1] + b"!")
    with pytest.raises(OperateError, match="nothing was copied") as error:
        two.copy()
    assert SHA256 in error.value.message
    assert (two.uploads(), two.versions()) == ([], [])


def test_what_lies_under_the_name_and_is_something_else_is_not_taken_for_a_copy(aws: Aws) -> None:
    two = Two(aws)
    two.s3.put_object(Bucket=two.place.bucket, Key=KEY, Body=b"planted")
    with pytest.raises(OperateError, match="its bytes are others than its name says"):
        two.copy()


def test_of_two_copies_at_once_one_makes_the_object_and_both_name_it(aws: Aws) -> None:
    two = Two(aws)
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: two.copy(), range(2)))
    assert made[0] == made[1]
    assert len(two.versions()) == 1


# ---- images ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def image(aws: Aws) -> Callable[..., Two]:
    """image(index=True): a release whose image is one, or an index of two."""

    def make(*, index: bool) -> Two:
        two = Two(aws)
        two.ecr.create_repository(repositoryName="amplify-dev")
        two.ecr.create_repository(repositoryName="amplify-target")
        one = push(two.ecr, "amplify-dev", b"config", os.urandom(25_000_000), b"code", tag="" if index else "cpu-1")
        if index:
            other = push(two.ecr, "amplify-dev", b"other config", b"other code")
            one = push(two.ecr, "amplify-dev", index_of=(one, other), tag="all-1")
        two.source = replace(two.source, pin=two.source.pin | {"image_digest": one})
        return two

    return make


@pytest.mark.parametrize("index", [False, True], ids=["image", "index"])
def test_an_image_is_copied_with_its_layers_and_tags_under_the_same_digest(
    image: Callable[..., Two], index: bool
) -> None:
    two = image(index=index)
    copy_image(two.source, two.place, two.said.append)
    digest = two.source.pin["image_digest"]
    there, here = (
        two.ecr.batch_get_image(repositoryName=name, imageIds=[{"imageDigest": digest}])["images"][0]["imageManifest"]
        for name in ("amplify-dev", "amplify-target")
    )
    assert there == here
    [told] = two.ecr.describe_images(repositoryName="amplify-target", imageIds=[{"imageDigest": digest}])[
        "imageDetails"
    ]
    assert told["imageTags"] == ["all-1" if index else "cpu-1"]
    copy_image(two.source, two.place, two.said.append)
    assert "there already" in two.said[-1]
