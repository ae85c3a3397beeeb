"""The pipeline's definition: every step is a request that SageMaker takes, every reference leads somewhere."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from environments import DEV, LOCAL
from stacks.config import InstancePreferences, ManagedSpot, OnDemand, Training, TrainingPlan, WarmPool
from stacks.pipeline_definition import registration_definition, training_definition
from stacks.pipeline_steps import Json, Surroundings
from tests.stacks.request_check import faults

AROUND = Surroundings(
    environment="local",
    data_bucket="data-bucket",
    artifact_bucket="artifact-bucket",
    key_arn="arn:aws:kms:us-east-1:123456789012:key/0f2b8d9e-1111-4222-8333-444455556666",
    model_package_group="amplify-local",
    prepare_role_arn="arn:aws:iam::123456789012:role/prepare",
    train_role_arn="arn:aws:iam::123456789012:role/train",
    evaluate_role_arn="arn:aws:iam::123456789012:role/evaluate",
    fetch_role_arn="arn:aws:iam::123456789012:role/fetch",
)
GIVEN = {"image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/amplify-local@sha256:" + "ab" * 32}
EXECUTION_VARIABLES = {"PipelineExecutionId"}
OUTPUTS = {
    "Prepare": {
        "ProcessingOutputConfig.Outputs['dataset'].S3Output.S3Uri",
        "ProcessingOutputConfig.Outputs['init'].S3Output.S3Uri",
    },
    "Train": {"ModelArtifacts.S3ModelArtifacts"},
    "Evaluate": {"PropertyFiles.evaluation"},
}

assert LOCAL.training is not None
assert DEV.training is not None
PLAN = "arn:aws:sagemaker:us-east-1:111111111111:training-plan/april"
GPUS = ("ml.p5.48xlarge", "ml.p4d.24xlarge")
TRAININGS = {
    "local": LOCAL.training,
    "dev": DEV.training,
    "spot": replace(LOCAL.training, capacity=ManagedSpot()),
    "on demand, several machines": replace(
        DEV.training, capacity=OnDemand(), instance_types=GPUS, instance_count=4, max_pending_hours=12
    ),
    "warm pool": replace(DEV.training, capacity=WarmPool(keep_alive_minutes=360), retries=0),
    "training plan": replace(DEV.training, capacity=TrainingPlan(arn=PLAN), instance_types=GPUS[:1]),
    "preferences": replace(DEV.training, capacity=InstancePreferences(), instance_types=(*GPUS, "ml.g5.48xlarge")),
}


@pytest.fixture(params=TRAININGS, name="training")
def training_of_an_environment(request: pytest.FixtureRequest) -> Training:
    return TRAININGS[request.param]


def steps(definition: Json) -> dict[str, Json]:
    """All steps by name, those inside the condition too."""
    found = {step["Name"]: step for step in definition["Steps"]}
    condition = found["CheckLoss"]["Arguments"]
    return found | {step["Name"]: step for step in condition["IfSteps"] + condition["ElseSteps"]}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if set(value) == {"Get"}:
            yield value["Get"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def resolved(value: Any, definition: Json) -> Any:
    """The value as it is when a run starts: what it must be given, other parameters at their defaults, and plausible
    outputs of earlier steps."""
    if isinstance(value, list):
        return [resolved(item, definition) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Get": str(path)} if path.startswith("Parameters."):
            name = path.split(".")[1]
            defaults = {p["Name"]: p["DefaultValue"] for p in definition["Parameters"] if "DefaultValue" in p}
            return (defaults | GIVEN)[name]
        case {"Get": "Execution.PipelineExecutionId"}:
            return "k3x9q2m7w1ab"
        case {"Get": _}:
            return "s3://artifact-bucket/runs/k3x9q2m7w1ab/something/"
        case {"Std:Join": {"On": separator, "Values": values}}:
            return separator.join(resolved(values, definition))
    return {key: resolved(item, definition) for key, item in value.items()}


@pytest.mark.parametrize(
    ("step", "operation", "name"),
    [
        ("Prepare", "CreateProcessingJob", {"ProcessingJobName": "pipelines-k3x9q2m7w1ab-Prepare"}),
        ("Train", "CreateTrainingJob", {"TrainingJobName": "pipelines-k3x9q2m7w1ab-Train"}),
        ("Evaluate", "CreateProcessingJob", {"ProcessingJobName": "pipelines-k3x9q2m7w1ab-Evaluate"}),
        ("Register", "CreateModelPackage", {}),
    ],
)
def test_the_arguments_of_a_step_are_a_request_that_sagemaker_takes(
    training: Training, step: str, operation: str, name: dict[str, str]
) -> None:
    definition = training_definition(training, AROUND)
    request = resolved(steps(definition)[step]["Arguments"], definition) | name
    assert faults(operation, request) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"RoleArn": "arn:aws:iam:amplify/train"}, "does not match"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 0}}, "valid min value"),
        ({"EnableNetworkIsolation": "yes"}, "Invalid type"),
        ({"NetworkIsolation": True}, "Unknown parameter"),
        ({"ResourceConfig": {"InstanceType": "ml.m5.huge", "InstanceCount": 1, "VolumeSizeInGB": 1}}, "not one of its"),
    ],
)
def test_the_request_check_sees_what_sagemaker_would_refuse(change: Json, fault: str) -> None:
    definition = training_definition(TRAININGS["local"], AROUND)
    request = resolved(steps(definition)["Train"]["Arguments"], definition) | {"TrainingJobName": "job"} | change
    assert fault in "".join(faults("CreateTrainingJob", request))


def dangling(definition: Json) -> set[str]:
    """References to a parameter, variable, step or output that does not exist, or not yet when the step runs."""
    parameters = {parameter["Name"] for parameter in definition["Parameters"]}
    allowed = {f"Parameters.{name}" for name in parameters} | {f"Execution.{name}" for name in EXECUTION_VARIABLES}
    found: set[str] = set()
    for step in definition["Steps"]:
        found |= set(references(step)) - allowed
        allowed |= {f"Steps.{step['Name']}.{output}" for output in OUTPUTS.get(step["Name"], ())}
    return found


def test_every_reference_leads_to_a_parameter_or_to_an_earlier_steps_output(training: Training) -> None:
    assert dangling(training_definition(training, AROUND)) == set()


def test_a_reference_to_a_later_step_or_a_missing_parameter_is_seen(training: Training) -> None:
    definition = training_definition(training, AROUND)
    definition["Steps"].reverse()
    definition["Parameters"] = [p for p in definition["Parameters"] if p["Name"] != "recipe"]
    assert {"Parameters.recipe", "Steps.Train.ModelArtifacts.S3ModelArtifacts"} <= dangling(definition)


def test_outputs_that_later_steps_read_are_outputs_that_the_step_writes(training: Training) -> None:
    definition = steps(training_definition(training, AROUND))
    written = {
        name: {output["OutputName"] for output in definition[name]["Arguments"]["ProcessingOutputConfig"]["Outputs"]}
        for name in ("Prepare", "Evaluate")
    }
    assert written == {"Prepare": {"dataset", "init"}, "Evaluate": {"evaluation"}}
    [file] = definition["Evaluate"]["PropertyFiles"]
    assert file["OutputName"] in written["Evaluate"]


def test_training_and_evaluation_are_cut_off_from_the_network_and_training_talks_encrypted(training: Training) -> None:
    definition = steps(training_definition(training, AROUND))
    assert definition["Train"]["Arguments"]["EnableNetworkIsolation"] is True
    assert definition["Train"]["Arguments"]["EnableInterContainerTrafficEncryption"] is True
    assert definition["Evaluate"]["Arguments"]["NetworkConfig"]["EnableNetworkIsolation"] is True
    assert definition["Prepare"]["Arguments"]["NetworkConfig"]["EnableInterContainerTrafficEncryption"] is True


def test_all_outputs_are_under_the_environments_key(training: Training) -> None:
    definition = steps(training_definition(training, AROUND))
    assert definition["Train"]["Arguments"]["OutputDataConfig"]["KmsKeyId"] == AROUND.key_arn
    for name in ("Prepare", "Evaluate"):
        assert definition[name]["Arguments"]["ProcessingOutputConfig"]["KmsKeyId"] == AROUND.key_arn


@pytest.mark.parametrize(("instance_type", "wanted"), [("ml.m5.xlarge", True), ("ml.r5d.4xlarge", False)])
def test_a_volume_has_a_key_unless_the_instance_has_local_disks_for_which_sagemaker_refuses_one(
    instance_type: str, wanted: bool
) -> None:
    training = replace(TRAININGS["local"], instance_types=(instance_type,), evaluate_instance_type=instance_type)
    definition = steps(training_definition(training, AROUND))
    assert ("VolumeKmsKeyId" in definition["Train"]["Arguments"]["ResourceConfig"]) is wanted
    cluster = definition["Evaluate"]["Arguments"]["ProcessingResources"]["ClusterConfig"]
    assert ("VolumeKmsKeyId" in cluster) is wanted


def train_step(training: Training) -> Json:
    return steps(training_definition(training, AROUND))["Train"]["Arguments"]


def test_spot_is_the_default_and_waits_as_long_again_as_it_may_run_unless_told() -> None:
    spot = replace(TRAININGS["local"], max_runtime_hours=2, capacity=ManagedSpot(max_wait_hours=3))
    assert train_step(spot)["EnableManagedSpotTraining"] is True
    assert train_step(spot)["StoppingCondition"] == {"MaxRuntimeInSeconds": 7200, "MaxWaitTimeInSeconds": 10800}

    by_default = Training(
        recipe="demo",
        image_target="cpu",
        instance_types=("ml.m5.xlarge",),
        max_runtime_hours=2,
        evaluate_instance_type="ml.m5.xlarge",
    )
    assert train_step(by_default)["EnableManagedSpotTraining"] is True
    assert train_step(by_default)["StoppingCondition"]["MaxWaitTimeInSeconds"] == 14400
    longest = train_step(replace(by_default, max_runtime_hours=672))["StoppingCondition"]
    assert longest == {"MaxRuntimeInSeconds": 28 * 86400, "MaxWaitTimeInSeconds": 28 * 86400}


@pytest.mark.parametrize(
    ("mode", "members"),
    [
        ("on demand, several machines", {"InstanceType": {"Get": "Parameters.instance_type"}}),
        ("warm pool", {"InstanceType": {"Get": "Parameters.instance_type"}, "KeepAlivePeriodInSeconds": 21_600}),
        ("training plan", {"InstanceType": {"Get": "Parameters.instance_type"}, "TrainingPlanArn": PLAN}),
        (
            "preferences",
            {"InstancePreferences": [{"InstanceType": each} for each in (*GPUS, "ml.g5.48xlarge")]},
        ),
    ],
)
def test_each_way_to_machines_names_its_own_members_and_none_of_the_others(mode: str, members: Json) -> None:
    """SageMaker refuses them together: a warm pool or preferences with spot, preferences with a type."""
    train = train_step(TRAININGS[mode])
    assert "EnableManagedSpotTraining" not in train
    assert "MaxWaitTimeInSeconds" not in train["StoppingCondition"]
    always = {"InstanceCount": {"Get": "Parameters.instance_count"}, "VolumeSizeInGB": TRAININGS[mode].volume_gb}
    assert train["ResourceConfig"] == always | members


def test_the_wait_for_gpus_is_bounded_where_the_environment_says_so() -> None:
    limits = train_step(TRAININGS["on demand, several machines"])["StoppingCondition"]
    assert limits == {"MaxRuntimeInSeconds": 48 * 3600, "MaxPendingTimeInSeconds": 12 * 3600}


def test_a_job_that_sagemaker_failed_is_begun_again_within_its_own_time() -> None:
    assert train_step(TRAININGS["dev"])["RetryStrategy"] == {"MaximumRetryAttempts": 2}
    assert "RetryStrategy" not in train_step(TRAININGS["warm pool"])


def test_every_job_is_tagged_so_that_costs_can_be_told_apart(training: Training) -> None:
    definitions = [training_definition(training, AROUND), registration_definition(training, AROUND)]
    for definition in definitions:
        for name, step in steps(definition).items():
            if step["Type"] not in ("Processing", "Training"):
                assert "Tags" not in step["Arguments"], "a model package in a group takes none"
                continue
            found = {tag["Key"]: resolved(tag["Value"], definition) for tag in step["Arguments"]["Tags"]}
            wanted = {"project": "amplify", "environment": "local", "step": name, "run": "k3x9q2m7w1ab"}
            assert found == wanted | ({"recipe": training.recipe} if name == "Train" else {})


def test_training_can_always_go_on_from_a_checkpoint_of_the_same_run(training: Training) -> None:
    definition = training_definition(training, AROUND)
    checkpoint = steps(definition)["Train"]["Arguments"]["CheckpointConfig"]
    assert resolved(checkpoint["S3Uri"], definition) == "s3://artifact-bucket/checkpoints/k3x9q2m7w1ab/"


def test_a_run_may_choose_only_among_the_environments_instance_types(training: Training) -> None:
    found = [p for p in training_definition(training, AROUND)["Parameters"] if p["Name"] == "instance_type"]
    if training.capacity == InstancePreferences():
        assert found == [], "SageMaker chooses: nothing would read what a run says"
        return
    [parameter] = found
    assert parameter["EnumValues"] == list(training.instance_types)
    assert parameter["DefaultValue"] == training.instance_types[0]


def test_debugger_and_profiler_are_off(training: Training) -> None:
    train = steps(training_definition(training, AROUND))["Train"]["Arguments"]
    assert train["ProfilerConfig"] == {"DisableProfiler": True}
    assert not {"DebugHookConfig", "DebugRuleConfigurations"} & set(train)


def test_only_failures_of_the_service_are_tried_again(training: Training) -> None:
    definition = steps(training_definition(training, AROUND))
    kinds = {
        kind
        for step in definition.values()
        for policy in step.get("RetryPolicies", ())
        for kind in policy["ExceptionType"]
    }
    assert kinds == {
        "Step.SERVICE_FAULT",
        "Step.THROTTLING",
        "SageMaker.CAPACITY_ERROR",
    }


def test_the_definition_fits_inline_and_is_plain_json(training: Training) -> None:
    body = json.dumps(training_definition(training, AROUND))
    assert len(body) < 1_048_576


# ---- a model from elsewhere ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "operation", "name"),
    [
        ("Fetch", "CreateProcessingJob", {"ProcessingJobName": "pipelines-k3x9q2m7w1ab-Fetch"}),
        ("Evaluate", "CreateProcessingJob", {"ProcessingJobName": "pipelines-k3x9q2m7w1ab-Evaluate"}),
        ("Register", "CreateModelPackage", {}),
    ],
)
def test_the_steps_of_a_registration_are_requests_that_sagemaker_takes(
    training: Training, step: str, operation: str, name: dict[str, str]
) -> None:
    definition = registration_definition(training, AROUND)
    definition["Parameters"][0]["DefaultValue"] = "hf:chandar-lab/AMPLIFY_120M@" + "a" * 40
    request = resolved(steps(definition)[step]["Arguments"], definition) | name
    assert faults(operation, request) == []


def test_a_registration_evaluates_what_it_fetched_once_it_is_there(training: Training) -> None:
    definition = registration_definition(training, AROUND)
    assert dangling(definition) == set()
    found = steps(definition)
    [output] = found["Fetch"]["Arguments"]["ProcessingOutputConfig"]["Outputs"]
    [model] = [
        each["S3Input"]["S3Uri"]
        for each in found["Evaluate"]["Arguments"]["ProcessingInputs"]
        if each["InputName"] == "model"
    ]
    assert resolved(model, definition) == resolved(output["S3Output"]["S3Uri"], definition) + "model.tar.gz"
    # Nothing else orders them: the model's address is known before it exists.
    assert found["Evaluate"]["DependsOn"] == ["Fetch"]
    assert found["Register"]["Arguments"]["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] == model


def test_only_the_job_that_fetches_has_a_network(training: Training) -> None:
    found = steps(registration_definition(training, AROUND))
    isolated = {
        name: found[name]["Arguments"]["NetworkConfig"]["EnableNetworkIsolation"] for name in ("Fetch", "Evaluate")
    }
    assert isolated == {"Fetch": False, "Evaluate": True}


def test_a_registration_is_of_a_model_that_a_person_names(training: Training) -> None:
    [init] = [each for each in registration_definition(training, AROUND)["Parameters"] if each["Name"] == "init"]
    assert "DefaultValue" not in init
