"""Who may do what: the exact prefixes of each verb, and nothing of another's."""

import re
from typing import Any

import pytest

from stacks.config import Batch
from tests.stacks.mode_examples import endpoint_stack
from tests.stacks.readable import plain
from tests.stacks.synthesis import all_templates, only, resources


def statements(stack: str, role: str) -> list[dict[str, Any]]:
    """Of a role's policy and of that of its release, or of the policy InvokePolicy."""
    template = all_templates()[stack]
    found = [
        policy["Properties"]["PolicyDocument"]["Statement"]
        for type_, name in (
            ("AWS::IAM::Policy", f"{role}(DefaultPolicy|Model[0-9a-f]{{8}})"),
            ("AWS::IAM::ManagedPolicy", f"{role}.*"),
        )
        for id_, policy in resources(template, type_).items()
        if re.fullmatch(f"{name}[0-9A-F]{{8}}", id_)
    ]
    assert found, (stack, role)
    return [statement for policy in found for statement in policy]


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


ENDPOINT = "arn:aws:sagemaker:us-east-1:111111111111:endpoint/amplify-dev"
ARTEFACT = "ArtifactBucket/runs/run7/model/t/output/model.tar.gz"
PREFIXES = {  # mode: what the container's role reads beside its artefact, what it writes
    "realtime": (set(), {"ArtifactBucket/captured/amplify-dev/*"}),
    "async": (
        {"ArtifactBucket/async/amplify-dev/input/*"},
        {f"ArtifactBucket/async/amplify-dev/{part}/*" for part in ("output", "failure")},
    ),
    "serverless": (set(), set()),
    "inference_components": (set(), set()),
    "batch": ({"ArtifactBucket/transform/amplify-dev/input/*"}, {"ArtifactBucket/transform/amplify-dev/output/*"}),
}


@pytest.mark.parametrize("mode", PREFIXES)
def test_a_serving_role_reads_its_artefact_and_touches_only_the_prefixes_of_its_mode(mode: str) -> None:
    reads, writes = PREFIXES[mode]
    assert may(f"modes/{mode}", "Role", "s3:GetObject") == {ARTEFACT} | reads
    assert may(f"modes/{mode}", "Role", "s3:PutObject") == writes
    assert may(f"modes/{mode}", "Role", "kms:GenerateDataKey") == ({"Key"} if writes else set())
    assert may(f"modes/{mode}", "Role", "s3:DeleteObject") == set()


def test_a_shadow_fetches_its_own_artefact_and_not_the_others() -> None:
    read = may("modes/realtime", "ShadowRole", "s3:GetObject")
    assert read == {"ArtifactBucket/runs/run8/model/t/output/model.tar.gz"}


def test_the_queues_role_tells_its_two_topics_and_no_other() -> None:
    topics = set(resources(all_templates()["modes/async"], "AWS::SNS::Topic"))
    assert may("modes/async", "Role", "sns:Publish") == {f"${{{topic}}}" for topic in topics}
    assert len(topics) == 2


def test_the_drift_job_lists_what_was_captured_and_its_one_archive_by_name() -> None:
    archive = "runs/k3x9q2m7w1ab/model/pipelines-k3x9q2m7w1ab-Train-Yk2pQ0dV1s/output/model.tar.gz"
    listed = [one for one in statements("watched-prod/monitoring", "DriftRole") if one["Action"] == "s3:ListBucket"]
    assert [one["Condition"] for one in listed] == [
        {"StringLike": {"s3:prefix": ["captured/amplify-prod/model/*"]}},
        {"StringEquals": {"s3:prefix": archive}},
    ]


AT_ONCE = ("InvokeEndpoint", "InvokeEndpointWithResponseStream")
JOBS = ("AddTags", "CreateTransformJob", "DescribeTransformJob", "StopTransformJob")
OF_PACKAGES = {"CreateModel", "DeleteModel", "DescribeModel", "DescribeModelPackage", "ListModelPackages"}
INVOKING: dict[str, tuple[tuple[str, ...], set[str]]] = {  # mode: actions, on which resources
    "realtime": (AT_ONCE, {ENDPOINT}),
    "serverless": (AT_ONCE, {ENDPOINT}),
    "async": (("InvokeEndpointAsync",), {ENDPOINT}),
    "inference_components": (AT_ONCE, {ENDPOINT, ENDPOINT.replace("endpoint/", "inference-component/")}),
    "batch": (JOBS, {ENDPOINT.replace("endpoint/amplify-dev", "transform-job/amplify-dev-*")}),
}


@pytest.mark.parametrize("mode", INVOKING)
def test_the_named_roles_and_nobody_else_may_ask_exactly_this_endpoint(mode: str) -> None:
    actions = {
        action.removeprefix("sagemaker:")
        for statement in statements(f"modes/{mode}", "InvokePolicy")
        for action in (statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]])
        if action.startswith("sagemaker:")
    }
    if mode == "batch":  # of which the next tests tell
        assert actions >= OF_PACKAGES
        actions -= OF_PACKAGES
    found = {action: may(f"modes/{mode}", "InvokePolicy", f"sagemaker:{action}") for action in actions}
    allowed, where = INVOKING[mode]
    assert found == dict.fromkeys(allowed, where)
    policy = only(all_templates()[f"modes/{mode}"], "AWS::IAM::ManagedPolicy")
    assert policy["Roles"] == ["analysis-notebooks", "screening"]
    assert not {"Users", "Groups"} & set(policy)


def test_without_named_invokers_nobody_may_ask_but_who_watches_releases() -> None:
    policy = only(all_templates()["local/endpoint"], "AWS::IAM::ManagedPolicy")
    assert not {"Roles", "Users", "Groups"} & set(policy)
    policy = only(all_templates()["prod/endpoint"], "AWS::IAM::ManagedPolicy")
    assert policy["Roles"] == ["amplify-prod-release"]
    assert not {"Users", "Groups"} & set(policy)


def test_who_asks_a_queue_puts_requests_and_gets_answers_and_cannot_read_what_others_asked() -> None:
    put = may("modes/async", "InvokePolicy", "s3:PutObject")
    got = may("modes/async", "InvokePolicy", "s3:GetObject")
    assert put == {"ArtifactBucket/async/amplify-dev/input/*"}
    assert got == {f"ArtifactBucket/async/amplify-dev/{part}/*" for part in ("output", "failure")}


def test_transform_jobs_may_be_started_of_this_model_only() -> None:
    found = [s for s in statements("modes/batch", "InvokePolicy") if s["Action"] == "sagemaker:CreateTransformJob"]
    [model] = resources(all_templates()["modes/batch"], "AWS::SageMaker::Model")
    [made] = may("modes/batch", "InvokePolicy", "sagemaker:CreateModel")
    assert [one["Condition"] for one in found] == [
        {"ArnEquals": {"sagemaker:ModelArn": {"Ref": model}}},
        {"ArnLike": {"sagemaker:ModelArn": found[1]["Condition"]["ArnLike"]["sagemaker:ModelArn"]}},
    ]
    assert made.endswith(":model/amplify-dev-batch-*")


def test_models_of_packages_are_isolated_in_the_network_and_under_one_role() -> None:
    found = statements("modes/batch", "InvokePolicy")
    [create] = [one for one in found if one["Action"] == "sagemaker:CreateModel"]
    assert create["Condition"]["Bool"] == {"sagemaker:NetworkIsolation": "true"}
    inside = create["Condition"]["ForAllValues:StringEquals"]
    assert set(inside) == {"sagemaker:VpcSubnets", "sagemaker:VpcSecurityGroupIds"}
    assert create["Condition"]["Null"] == dict.fromkeys(inside, "false")
    [role] = [id_ for id_ in resources(all_templates()["modes/batch"], "AWS::IAM::Role") if id_.startswith("Packages")]
    [passes] = [one for one in found if one["Action"] == "iam:PassRole"]
    assert passes["Resource"] == {"Fn::GetAtt": [role, "Arn"]}
    assert may("modes/batch", "PackagesRole", "s3:GetObject") == {
        "ArtifactBucket/runs/*/model/*",
        "ArtifactBucket/transform/amplify-dev/input/*",
    }


def test_without_the_setting_nobody_makes_a_model() -> None:
    template = endpoint_stack(Batch(instance_type="ml.g5.xlarge", invokers=("analysis-notebooks",)))
    assert "sagemaker:CreateModel" not in str(template)
    assert "iam:PassRole" not in str(template)


def test_the_schedule_makes_and_deletes_its_endpoint_from_its_configuration_and_nothing_else() -> None:
    [config] = resources(all_templates()["dev/endpoint"], "AWS::SageMaker::EndpointConfig")
    allowed = {
        action: may("dev/endpoint", "HoursRole", f"sagemaker:{action}")
        for action in ("CreateEndpoint", "DeleteEndpoint")
    }
    assert allowed == {"CreateEndpoint": {ENDPOINT, f"${{{config}}}"}, "DeleteEndpoint": {ENDPOINT}}
    assert len(statements("dev/endpoint", "HoursRole")) == 2


def everything(stack: str, role: str) -> dict[str, set[str]]:
    """Action → where, of all that a role may do."""
    actions = {
        action
        for statement in statements(stack, role)
        for action in (statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]])
    }
    return {action: may(stack, role, action) for action in actions}


def each_at(where: str, actions: tuple[str, ...]) -> dict[str, set[str]]:
    return {action: {where} for action in actions}


PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
PUSH = ("ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage")
KEY = ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey")
LOG = ("logs:CreateLogStream", "logs:PutLogEvents")


def test_the_build_reads_its_bundle_and_awss_base_and_pushes_to_the_one_repository() -> None:
    found = everything("dev/training", "ImageBuildRole")
    bases = "arn:aws:ecr:us-east-1:763104351884:repository/pytorch"
    [bundle] = found.pop("s3:GetObject")
    assert re.fullmatch(r"arn:aws:s3:::cdk-hnb659fds-assets-111111111111-us-east-1/[0-9a-f]{64}\.zip", bundle)
    [records] = found.pop("s3:PutObject")
    assert re.fullmatch(r"ArtifactBucket/images/gpu-[0-9a-f]{64}/\*", records)
    assert found.pop("s3:AbortMultipartUpload") == {records}
    assert {action: found.pop(action) == {"Repository", bases} for action in PULL} == dict.fromkeys(PULL, True)
    assert {action: found.pop(action) for action in PUSH} == each_at("Repository", PUSH)
    assert found.pop("ecr:DescribeImageScanFindings") == {"Repository"}
    assert found.pop("ecr:GetAuthorizationToken") == {"*"}
    assert {action: found.pop(action) for action in KEY} == each_at("Key", KEY)
    assert {re.sub(r"\w{8}\.Arn", "", where) for action in LOG for where in found.pop(action)} == {"${ImageBuildLog}"}
    assert found == {}


def test_a_cpu_image_needs_no_image_of_aws() -> None:
    assert may("local/training", "ImageBuildRole", "ecr:BatchGetImage") == {"Repository"}


def test_what_starts_training_may_start_the_one_pipeline_and_keep_what_it_could_not() -> None:
    found = everything("local/training", "TriggersStarterRole")
    pipeline = "arn:aws:sagemaker:us-east-1:123456789012:pipeline/amplify-local"
    assert found.pop("sagemaker:StartPipelineExecution") == {pipeline}
    assert found.pop("sagemaker:ListPipelineExecutions") == {pipeline}
    assert found.pop("ecr:DescribeImages") == {"Repository"}
    assert {action: found.pop(action) for action in KEY} == each_at("Key", KEY)
    assert set(found) == {"sqs:SendMessage", *LOG}
