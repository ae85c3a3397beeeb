"""Who may do what: the exact prefixes of each verb, and nothing of another's."""

import re
from typing import Any

import pytest

from tests.stacks.readable import plain
from tests.stacks.synthesis import all_templates, resources


def statements(stack: str, role: str) -> list[dict[str, Any]]:
    [policy] = [
        policy["Properties"]["PolicyDocument"]["Statement"]
        for id_, policy in resources(all_templates()[stack], "AWS::IAM::Policy").items()
        if id_.startswith(f"{role}DefaultPolicy")
    ]
    return policy


def may(stack: str, role: str, action: str) -> set[str]:
    """Where the role may do the action: resources with buckets, key and repository by their names in the stacks."""
    found: set[str] = set()
    for statement in statements(stack, role):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if action in actions:
            given = statement["Resource"]
            found |= {_short(plain(resource)) for resource in (given if isinstance(given, list) else [given])}
    return found


def _short(resource: str) -> str:
    return re.sub(r"\$\{import [\w-]+:ExportsOutputFnGetAtt([A-Z][a-z]+(?:Bucket)?)\w*\}", r"\1", resource)


READS = {
    "PrepareRole": {"DataBucket/proteins/*", "DataBucket/weights/*", "ArtifactBucket/runs/*/model/*"},
    "TrainRole": {f"ArtifactBucket/{part}/*" for part in ("runs/*/dataset", "runs/*/init", "checkpoints")},
    "EvaluateRole": {"DataBucket/heldout/*", "ArtifactBucket/runs/*/model/*"},
    "FetchRole": {"DataBucket/weights/*", "ArtifactBucket/runs/*/model/*"},
    "TrainingPipelineRole": {f"ArtifactBucket/runs/*/{part}/*" for part in ("model", "evaluation")},
    "RegistrationPipelineRole": {f"ArtifactBucket/runs/*/{part}/*" for part in ("model", "evaluation")},
}
WRITES = {
    "PrepareRole": {f"ArtifactBucket/runs/*/{part}/*" for part in ("dataset", "init")},
    "TrainRole": {"ArtifactBucket/checkpoints/*", "ArtifactBucket/runs/*/model/*"},
    "EvaluateRole": {"ArtifactBucket/runs/*/evaluation/*"},
    "FetchRole": {"ArtifactBucket/runs/*/model/*"},
    "TrainingPipelineRole": set(),
    "RegistrationPipelineRole": set(),
}


@pytest.mark.parametrize("role", READS)
def test_a_role_reads_and_writes_exactly_its_prefixes(role: str) -> None:
    assert may("dev/training", role, "s3:GetObject") == READS[role]
    assert may("dev/training", role, "s3:PutObject") == WRITES[role]
    assert may("dev/training", role, "s3:DeleteObject") == set()


@pytest.mark.parametrize("role", READS)
def test_a_role_lists_only_prefixes_whose_objects_it_cannot_name(role: str) -> None:
    listed = {
        f"{_short(plain(statement['Resource']))}/{prefix}"
        for statement in statements("dev/training", role)
        if statement["Action"] == "s3:ListBucket"
        for prefix in statement["Condition"]["StringLike"]["s3:prefix"]
    }
    named = {"ArtifactBucket/runs/*/model/*"} if role in ("PrepareRole", "FetchRole") else set()
    assert listed == (set() if "Pipeline" in role else READS[role] - named)


@pytest.mark.parametrize(
    ("stack", "role", "group"),
    [
        ("dev/training", "PrepareRole", "ProcessingJobs"),
        ("dev/training", "TrainRole", "TrainingJobs"),
        ("prod/endpoint", "Role", "Endpoints/amplify-prod"),
    ],
)
def test_a_policy_names_a_log_group_as_aws_matches_it_with_its_streams(stack: str, role: str, group: str) -> None:
    for action in ("CreateLogGroup", "DescribeLogStreams", "CreateLogStream", "PutLogEvents"):
        [named] = may(stack, role, f"logs:{action}")
        assert named.endswith(f":log-group:/aws/sagemaker/{group}:*")


@pytest.mark.parametrize("role", ["PrepareRole", "TrainRole", "EvaluateRole", "FetchRole"])
def test_a_job_pulls_from_the_one_repository_and_registers_nothing(role: str) -> None:
    assert may("dev/training", role, "ecr:BatchGetImage") == {"Repository"}
    assert not any("sagemaker:" in str(statement["Action"]) for statement in statements("dev/training", role))
    assert may("dev/training", role, "iam:PassRole") == set()


@pytest.mark.parametrize(
    ("pipeline", "roles"),
    [
        ("TrainingPipelineRole", {"${PrepareRole}", "${TrainRole}", "${EvaluateRole}"}),
        ("RegistrationPipelineRole", {"${FetchRole}", "${EvaluateRole}"}),
    ],
)
def test_a_pipeline_passes_exactly_its_jobs_roles_and_registers_into_its_own_group(
    pipeline: str, roles: set[str]
) -> None:
    passed = may("dev/training", pipeline, "iam:PassRole")
    assert {re.sub(r"\w{8}\.Arn", "", role) for role in passed} == roles
    assert may("dev/training", pipeline, "sagemaker:CreateModelPackage") == {
        "arn:aws:sagemaker:us-east-1:111111111111:model-package-group/amplify-dev",
        "arn:aws:sagemaker:us-east-1:111111111111:model-package/amplify-dev/*",
    }


def test_registration_starts_no_training() -> None:
    assert may("dev/training", "TrainingPipelineRole", "sagemaker:CreateTrainingJob")
    assert may("dev/training", "RegistrationPipelineRole", "sagemaker:CreateTrainingJob") == set()


def test_the_endpoint_fetches_exactly_the_released_artefact_and_writes_nothing() -> None:
    artefact = "ArtifactBucket/runs/k3x9q2m7w1ab/model/pipelines-k3x9q2m7w1ab-Train-Yk2pQ0dV1s/output/model.tar.gz"
    assert may("prod/endpoint", "Role", "s3:GetObject") == {artefact}
    assert may("prod/endpoint", "Role", "s3:PutObject") == set()
    assert may("prod/endpoint", "Role", "kms:GenerateDataKey") == set()


def test_only_jobs_on_volumes_with_a_key_may_have_it_granted() -> None:
    assert may("local/training", "TrainRole", "kms:CreateGrant") == {"Key"}
    assert may("dev/training", "TrainRole", "kms:CreateGrant") == set()  # local disks: SageMaker takes no key for them
