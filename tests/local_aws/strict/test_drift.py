"""`amplify drift` by the people whom the stacks make for it, and not by others."""

import json
import os
import subprocess
import sys

import pytest

from local_aws.processes import wait_until
from tests.local_aws.strict.conftest import document
from tests.stacks.synthesis import ROOT
from tests.stacks.test_attacks import everybody

STACK = "amplify-local-storage"
RESOURCES = {
    "Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"VersioningConfiguration": {"Status": "Enabled"}}},
    "Group": {
        "Type": "AWS::SageMaker::ModelPackageGroup",
        "Properties": {"ModelPackageGroupName": "amplify-local", "ModelPackageGroupDescription": "models"},
    },
}


@pytest.fixture(scope="module")
def bucket(strict):
    """The name of the bucket of a deployed stack, which somebody changed by hand."""
    cloudformation = strict.admin("cloudformation")
    cloudformation.create_stack(StackName=STACK, TemplateBody=json.dumps({"Resources": RESOURCES}))

    def status():
        return cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]

    assert wait_until(lambda: status() == "CREATE_COMPLETE", 30)
    made = cloudformation.describe_stack_resource(StackName=STACK, LogicalResourceId="Bucket")
    name = made["StackResourceDetail"]["PhysicalResourceId"]
    strict.admin("s3").put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    return name


def drift_by(strict, policy):
    """`amplify drift` as a user with one of the policies of the people's stack: exit code and what it printed."""
    user = f"{policy.lower()}-user"
    strict.admin("iam").create_user(UserName=user)
    _, _, statements = everybody()[f"local/people/{policy}"]
    strict.admin("iam").put_user_policy(UserName=user, PolicyName="all", PolicyDocument=document(*statements))
    done = subprocess.run(
        [sys.executable, "-m", "operate.cli", "drift"],
        cwd=ROOT,
        env=os.environ | {"AMPLIFY_LOCAL_DIR": str(strict.running.folder), "AMPLIFY_LOCAL_USER": user},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_an_auditor_sees_what_somebody_changed_by_hand(strict, bucket):
    code, printed = drift_by(strict, "DriftPolicy")
    assert (code, "Enabled → Suspended" in printed) == (1, True), printed
    assert "stacks 1 in sync 1 drifted 1 not looked at 0" in printed


@pytest.mark.parametrize("policy", ["TrainerPolicy", "ApproverPolicy", "DeployerPolicy", "AuditorPolicy"])
def test_nobody_else_looks_for_drift(strict, bucket, policy):
    code, printed = drift_by(strict, policy)
    assert (code, "cloudformation:DetectStackDrift" in printed) == (1, True), printed
    assert "Traceback" not in printed
