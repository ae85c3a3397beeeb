"""Our own cdk-nag pack: silent on every stack of ours, but for what is explained, and loud on each thing it is for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest

from stacks.nag_pack import RULES, SageMakerChecks
from tests.stacks.mode_examples import EXAMPLES, add_stage
from tests.stacks.synthesis import VARIANTS, add_variant, new_app


def findings(app: cdk.App, folder: Path) -> set[tuple[str, str]]:
    """(construct path, rule with its finding) of our pack. Findings make the synthesis raise."""
    cdk.Validations.of(app).add_plugins(SageMakerChecks(app))
    try:
        app.synth()
    except RuntimeError as error:
        assert "ValidationFailed" in str(error)  # noqa: PT017 - anything else is a fault of the app, not a finding
    file = folder / "validation-report.json"  # plug-ins that find nothing are not in it, nor is it there for nothing
    reports = json.loads(file.read_text())["pluginReports"] if file.exists() else []
    violations = [one for plugin in reports if plugin["pluginName"] == "SageMaker" for one in plugin["violations"]]
    assert not [one for one in violations if "threw an error" in one["description"]], "a rule of ours is broken"
    return {
        (construct["constructPath"], violation["ruleName"])
        for violation in violations
        for construct in violation["violatingConstructs"]
    }


def resource(folder: Path, type_: str, properties: dict[str, Any]) -> set[str]:
    """The rules that one resource of a stack of its own breaks, without their findings."""
    app: Any = new_app(folder)
    cdk.CfnResource(cdk.Stack(app, "stack"), "One", type=f"AWS::SageMaker::{type_}", properties=properties)
    return {rule.partition("[")[0] for _, rule in findings(app, folder)}


def job(**changed: Any) -> dict[str, Any]:
    """A training job that breaks no rule, but for what is changed; None takes a member away."""
    return _changed(
        {
            "RoleArn": "train",
            "EnableNetworkIsolation": True,
            "EnableInterContainerTrafficEncryption": True,
            "EnableManagedSpotTraining": True,
            "OutputDataConfig": {"S3OutputPath": "s3://b/o", "KmsKeyId": "key"},
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeKmsKeyId": "key"},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
            "CheckpointConfig": {"S3Uri": "s3://b/c"},
        },
        changed,
    )


def processing(**changed: Any) -> dict[str, Any]:
    machines = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeKmsKeyId": "key"}
    return _changed(
        {
            "RoleArn": "process",
            "ProcessingResources": {"ClusterConfig": machines},
            "ProcessingOutputConfig": {"Outputs": [], "KmsKeyId": "key"},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        },
        changed,
    )


def _changed(given: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in (given | changed).items() if value is not None}


def pipeline(*jobs: dict[str, Any], inside: bool = False) -> dict[str, Any]:
    """A pipeline of these jobs; `inside`, all of them in a condition."""
    steps: list[dict[str, Any]] = [
        {"Name": f"S{number}", "Type": "Training" if "ResourceConfig" in one else "Processing", "Arguments": one}
        for number, one in enumerate(jobs)
    ]
    if inside:
        steps = [
            {"Name": "If", "Type": "Condition", "Arguments": {"Conditions": [], "IfSteps": steps, "ElseSteps": []}}
        ]
    body = json.dumps({"Version": "2020-12-01", "Steps": steps})
    return {"RoleArn": "pipeline", "PipelineName": "p", "PipelineDefinition": {"PipelineDefinitionBody": body}}


def notebook(**changed: Any) -> dict[str, Any]:
    return _changed(
        {
            "RoleArn": "r",
            "InstanceType": "ml.t3.medium",
            "DirectInternetAccess": "Disabled",
            "RootAccess": "Disabled",
            "SubnetId": "subnet-1",
            "SecurityGroupIds": ["sg-1"],
            "KmsKeyId": "key",
            "LifecycleConfigName": "stop",
            "InstanceMetadataServiceConfiguration": {"MinimumInstanceMetadataServiceVersion": "2"},
        },
        changed,
    )


def model(**changed: Any) -> dict[str, Any]:
    pinned = {"Image": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/a@sha256:{'0' * 64}"}
    return _changed({"ExecutionRoleArn": "r", "EnableNetworkIsolation": True, "PrimaryContainer": pinned}, changed)


def fleet(**changed: Any) -> dict[str, Any]:
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
    return _changed({"KmsKeyId": "key", "ProductionVariants": [variant]}, changed)


CAPTURE = {"DestinationS3Uri": "s3://b/c", "InitialSamplingPercentage": 5, "CaptureOptions": [{"CaptureMode": "Input"}]}
TAG = {"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/a:gpu"}
LOCAL_DISK = {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1}
SEVERAL = {"ClusterConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeKmsKeyId": "key"}}
UNKEYED = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1}

CASES: list[tuple[str, str, dict[str, Any]]] = [  # rule ("" for none), type, properties
    ("", "Pipeline", pipeline(job(), processing())),
    ("", "Pipeline", pipeline(job(ResourceConfig=LOCAL_DISK))),
    ("", "Model", model()),
    ("", "EndpointConfig", fleet(DataCaptureConfig=CAPTURE | {"KmsKeyId": "key"})),
    ("", "NotebookInstance", notebook()),
    ("Isolation", "Model", model(EnableNetworkIsolation=None)),
    ("Isolation", "Pipeline", pipeline(job(EnableNetworkIsolation=False))),
    ("Isolation", "Pipeline", pipeline(job(EnableNetworkIsolation=False), inside=True)),
    ("InterNodeEncryption", "Pipeline", pipeline(job(EnableInterContainerTrafficEncryption=None))),
    ("InterNodeEncryption", "Pipeline", pipeline(processing(ProcessingResources=SEVERAL))),
    ("VolumeKey", "Pipeline", pipeline(job(ResourceConfig=UNKEYED))),
    ("VolumeKey", "Pipeline", pipeline(processing(ProcessingResources={"ClusterConfig": UNKEYED}))),
    ("VolumeKey", "EndpointConfig", fleet(KmsKeyId=None)),
    ("VolumeKey", "NotebookInstance", notebook(KmsKeyId=None)),
    ("OutputKey", "Pipeline", pipeline(job(OutputDataConfig={"S3OutputPath": "s3://b/o"}))),
    ("OutputKey", "Pipeline", pipeline(processing(ProcessingOutputConfig={"Outputs": []}))),
    ("OutputKey", "EndpointConfig", fleet(AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": "s3://b/o"}})),
    ("CaptureKey", "EndpointConfig", fleet(DataCaptureConfig=CAPTURE)),
    ("ImageDigest", "Model", model(PrimaryContainer=TAG)),
    ("ImageDigest", "Model", model(PrimaryContainer=None, Containers=[TAG])),
    ("ImageDigest", "ModelPackage", {"InferenceSpecification": {"Containers": [TAG]}}),
    ("MaxRuntime", "Pipeline", pipeline(job(StoppingCondition={"MaxWaitTimeInSeconds": 90}))),
    ("MaxRuntime", "Pipeline", pipeline(processing(StoppingCondition=None))),
    ("SpotCheckpoint", "Pipeline", pipeline(job(CheckpointConfig=None))),
    ("SpotCheckpoint", "Pipeline", pipeline(job(StoppingCondition={"MaxRuntimeInSeconds": 60}))),
    ("OwnRole", "Pipeline", pipeline(job(), processing(RoleArn="train"))),
    ("OwnRole", "Pipeline", pipeline(job(RoleArn="pipeline"))),
    ("OwnRole", "Pipeline", pipeline(job(RoleArn=None))),
    ("PrivateNotebook", "NotebookInstance", notebook(DirectInternetAccess="Enabled")),
    ("PrivateNotebook", "NotebookInstance", notebook(DirectInternetAccess=None)),
    ("PrivateNotebook", "NotebookInstance", notebook(SubnetId=None)),
    ("PrivateNotebook", "NotebookInstance", notebook(SecurityGroupIds=[])),
    ("PrivateNotebook", "NotebookInstance", notebook(RootAccess="Enabled")),
    ("PrivateNotebook", "NotebookInstance", notebook(InstanceMetadataServiceConfiguration=None)),
    ("PrivateNotebook", "NotebookInstance", notebook(LifecycleConfigName=None)),
]


@pytest.mark.parametrize(("rule", "type_", "properties"), CASES, ids=[f"{rule}-{type_}" for rule, type_, _ in CASES])
def test_a_rule_finds_what_it_is_for_and_nothing_else(
    tmp_path: Path, rule: str, type_: str, properties: dict[str, Any]
) -> None:
    assert resource(tmp_path, type_, properties) == ({f"SageMaker-{rule}"} if rule else set())


def test_every_rule_has_its_failing_case() -> None:
    assert {rule.id for rule in RULES} == {rule for rule, _, _ in CASES if rule}


def add_everything(app: Any, _: object) -> None:
    from app import add_environments

    add_environments(app)


STAGES: dict[str, tuple[Callable[[Any, Any], None], Any]] = {
    "environments": (add_everything, None),
    **{name: (add_variant, environment) for name, environment in VARIANTS.items()},
    **{mode: (add_stage, example) for mode, example in EXAMPLES.items()},
}


@pytest.fixture(scope="module", name="found")
def findings_of_the_app(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[str, str]]]:
    found = {}
    for name, (add, what) in STAGES.items():
        folder = tmp_path_factory.mktemp(name)
        app = new_app(folder)
        add(app, what)
        found[name] = findings(app, folder)
    return found


def test_our_own_stacks_break_no_rule_but_for_a_reason(found: dict[str, set[tuple[str, str]]]) -> None:
    assert {
        (name, path, rule)
        for name, those in found.items()
        for path, rule in those
        if name != "serverless" or not rule.startswith("SageMaker-Isolation[")
    } == set()


def test_serverless_models_which_sagemaker_cannot_isolate_are_found(found: dict[str, set[tuple[str, str]]]) -> None:
    assert [rule for _, rule in found["serverless"]] == ["SageMaker-Isolation[the model]"]
