"""The whole way under the two boundaries of an account that workflows deploy to, and what a boundary that lacks
something does to a run. docs/real-account.md has the steps."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from local_aws.processes import wait_until
from stacks.config.delivery import BOUNDARY, DEPLOYMENT_BOUNDARY
from tests.e2e.conftest import Trap
from tests.e2e.held_roles import HELD
from tests.e2e.role_work import do_work
from tests.e2e.strict_project import (
    ACCOUNT,
    REGION,
    StrictProject,
    all_pipelines_run,
    drift_looked_at,
    set_boundary,
    walked,
)

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

EXECUTION = f"cdk-hnb659fds-cfn-exec-role-{ACCOUNT}-{REGION}"
LACKING = {  # role → an action without which its work is refused, and whether that ends the work
    "training/PrepareRole": ("s3:GetObject", True),
    "training/TrainRole": ("s3:PutObject", True),
    "training/EvaluateRole": ("kms:Decrypt", True),
    "training/TrainingPipelineRole": ("iam:PassRole", True),
    "endpoint/Role": ("ecr:BatchGetImage", True),
    "monitoring/DriftRole": ("s3:ListBucket", True),
    "endpoint/HoursRole": ("sagemaker:DeleteEndpoint", False),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> Iterator[StrictProject]:
    with walked(tmp_path_factory.mktemp("bounded"), trap, "bounded") as made:
        yield made


def bound_of(project: StrictProject, role: str) -> str:
    about = project.aws("iam").get_role(RoleName=role)["Role"].get("PermissionsBoundary", {})
    return str(about.get("PermissionsBoundaryArn", "")).rpartition("/")[2]


def test_the_way_was_gone_by_roles_that_are_all_bounded_and_nobody_was_refused(project: StrictProject) -> None:
    assert {bound_of(project, physical) for physical in project.roles().values()} == {BOUNDARY}
    assert set(project.roles()) == set(HELD["realtime"])
    assert bound_of(project, EXECUTION) == DEPLOYMENT_BOUNDARY
    drift_looked_at(project)
    all_pipelines_run(project)
    for role in HELD["realtime"]:
        assert do_work(project, role) == "", role
    assert [call for call in project.calls() if not call["allowed"]] == []


def without(document: dict[str, Any], action: str) -> dict[str, Any]:
    left = copy.deepcopy(document)
    for statement in left["Statement"]:
        given = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        statement["Action"] = [one for one in given if one != action]
    left["Statement"] = [statement for statement in left["Statement"] if statement["Action"]]
    assert left != document, f"{action} is not in the boundary"
    return left


@pytest.mark.parametrize("role", LACKING)
def test_without_an_action_in_the_boundary_the_work_is_refused_for_that_reason(
    project: StrictProject, role: str
) -> None:
    action, ends_it = LACKING[role]
    iam, arn = project.aws("iam"), f"arn:aws:iam::{ACCOUNT}:policy/{BOUNDARY}"
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    whole = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    before = len(project.calls())
    set_boundary(project, without(whole, action))
    try:
        ended = do_work(project, role)
    finally:
        set_boundary(project, whole)
    refused = [call for call in project.calls()[before:] if not call["allowed"] and call["action"] == action]
    assert any(f":assumed-role/{project.roles()[role]}/" in call["principal"] for call in refused)
    reason = f"because no permissions boundary allows the {action} action"
    assert all(call["message"].endswith(reason) for call in refused)
    to_a_head = "(403)" in ended and "Forbidden" in ended  # to a HEAD, S3 says no more
    assert (reason in ended or to_a_head) is ends_it, ended
    assert do_work(project, role) == "", "with it, all is well again"


def test_the_deployment_hands_on_no_role_of_somebody_elses(project: StrictProject) -> None:
    """CloudFormation's role, an administrator but for its boundary, makes a pipeline of it."""
    role = f"arn:aws:iam::{ACCOUNT}:role/{EXECUTION}"
    model = {
        "Type": "AWS::SageMaker::Pipeline",
        "Properties": {
            "PipelineName": "amplify-local-mine",
            "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/somebody-elses",
            "PipelineDefinition": {"PipelineDefinitionBody": json.dumps({"Version": "2020-12-01", "Steps": []})},
        },
    }
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    project.aws("iam").create_role(
        RoleName="somebody-elses",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )
    cloudformation = project.aws("cloudformation")
    cloudformation.create_stack(
        StackName="amplify-local-mine", TemplateBody=json.dumps({"Resources": {"Pipeline": model}}), RoleARN=role
    )

    def status() -> str:
        [stack] = cloudformation.describe_stacks(StackName="amplify-local-mine")["Stacks"]
        return str(stack["StackStatus"])

    assert wait_until(lambda: not status().endswith("_IN_PROGRESS"), 60)
    assert status() == "ROLLBACK_COMPLETE"
    told = [
        event.get("ResourceStatusReason", "")
        for event in cloudformation.describe_stack_events(StackName="amplify-local-mine")["StackEvents"]
    ]
    assert any("no permissions boundary allows the iam:PassRole action" in text for text in told), told
