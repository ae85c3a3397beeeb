"""`amplify drift` on a real local AWS: what somebody changed by hand is named, and what nobody could look at too."""

import json
from typing import Any

import pytest

from local_aws.processes import wait_until
from operate import drift
from operate.aws import Aws
from operate.errors import OperateError

POLICY = {"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::none/*"}]}
RESOURCES: dict[str, Any] = {
    "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"VersioningConfiguration": {"Status": "Enabled"}}},
    "Policy": {"Type": "AWS::S3::BucketPolicy", "Properties": {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": POLICY}},
}
STACK = "amplify-local-storage"


def deploy(aws: Aws) -> str:
    """One stack of the environment's name; returns its bucket."""
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(StackName=STACK, TemplateBody=json.dumps({"Resources": RESOURCES}))

    def described() -> Any:
        return cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]

    assert wait_until(lambda: described() == "CREATE_COMPLETE", 30)
    detail = cloudformation.describe_stack_resource(StackName=STACK, LogicalResourceId="Bucket")
    return str(detail["StackResourceDetail"]["PhysicalResourceId"])


def nothing(_stack: str) -> None:
    """Nobody watches."""


def test_what_nobody_changed_is_in_sync(aws: Aws) -> None:
    deploy(aws)
    found = drift.detect(aws, nothing)
    assert found.findings == ()
    assert found.stacks == (STACK,)
    assert found.summary == "stacks 1 in sync 2 drifted 0 not looked at 0"


def test_what_somebody_changed_by_hand_is_named_with_its_property(aws: Aws) -> None:
    bucket = deploy(aws)
    aws.client("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    aws.client("s3").delete_bucket_policy(Bucket=bucket)
    found = {one.resource: one for one in drift.detect(aws, nothing).findings}
    assert {name: one.status for name, one in found.items()} == {"Bucket": "MODIFIED", "Policy": "DELETED"}
    assert all(one.is_drift and one.stack == STACK for one in found.values())
    assert any("Versioning" in line and "Enabled → Suspended" in line for line in found["Bucket"].details)


def test_an_environment_without_stacks_is_told_what_to_do(aws: Aws) -> None:
    with pytest.raises(OperateError, match="Nothing of local is deployed"):
        drift.detect(aws, nothing)
