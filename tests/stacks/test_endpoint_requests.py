"""Every mode with every kind of deployment, as the requests that CloudFormation makes of it: would AWS take them?

Asked of botocore's service models, enumerations and patterns included; an emulator is more lenient than SageMaker.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from stacks.config import (
    AllAtOnce,
    Async,
    Batch,
    Canary,
    Capture,
    Endpoint,
    InferenceComponents,
    Linear,
    RealTime,
    Rolling,
    Serverless,
    Shadow,
    WorkingHours,
)
from stacks.hosting_types import ENDPOINT_SIZES, NOT_FOR_TRANSFORM, TRANSFORM_FAMILIES, check
from stacks.instance_types import FAMILIES
from tests.stacks.mode_examples import EXAMPLES, endpoint_stack
from tests.stacks.request_check import faults, service_model
from tests.stacks.synthesis import Template, resources

GPU, CPU = "ml.g5.xlarge", "ml.m5.xlarge"
KINDS = (AllAtOnce(bake_minutes=10), Canary(), Linear(step_percent=25, timeout_minutes=300), Rolling(batch_percent=25))

VARIATIONS: dict[str, Endpoint] = {
    **{f"example of {mode}": example for mode, example in EXAMPLES.items()},
    "realtime, the least": RealTime(instance_type=CPU),
    "realtime, at night no more": RealTime(instance_type=CPU, working_hours=WorkingHours()),
    "async, the least": Async(instance_type=GPU),
    "async on CPUs": Async(instance_type=CPU, allow_cpu=True, min_instances=1),
    "serverless, the least": Serverless(memory_mb=1024),
    "inference components, the least": InferenceComponents(instance_type=GPU),
    "inference components on CPUs": InferenceComponents(instance_type=CPU, min_copies=1),
    "batch on CPUs": Batch(instance_type=CPU),
    **{
        f"realtime, {type(kind).__name__}": RealTime(
            instance_type=GPU, min_instances=4, max_instances=8, deployment=kind, capture=Capture(percent=100)
        )
        for kind in KINDS
    },
    **{
        f"realtime with a shadow, {type(kind).__name__}": RealTime(
            instance_type=GPU,
            min_instances=4,
            max_instances=4,
            deployment=kind,
            shadow=Shadow(instance_type=GPU, instance_count=4),
        )
        for kind in KINDS
        if not isinstance(kind, Rolling)
    },
    **{
        f"async, {type(kind).__name__}": Async(instance_type=GPU, min_instances=4, max_instances=8, deployment=kind)
        for kind in KINDS
    },
}

OPERATIONS = {
    "AWS::SageMaker::Model": ("sagemaker", "CreateModel", "ModelName"),
    "AWS::SageMaker::EndpointConfig": ("sagemaker", "CreateEndpointConfig", "EndpointConfigName"),
    "AWS::SageMaker::Endpoint": ("sagemaker", "CreateEndpoint", "EndpointName"),
    "AWS::SageMaker::InferenceComponent": ("sagemaker", "CreateInferenceComponent", "InferenceComponentName"),
    "AWS::Scheduler::Schedule": ("scheduler", "CreateSchedule", "Name"),
    "AWS::Scheduler::ScheduleGroup": ("scheduler", "CreateScheduleGroup", "Name"),
}
# What only an update takes, and the members of the creation that it takes too.
UPDATES = {
    "CreateEndpoint": (
        "UpdateEndpoint",
        {"RetainAllVariantProperties", "ExcludeRetainedVariantProperties"},
        {"EndpointName", "EndpointConfigName", "DeploymentConfig"},
    ),
    "CreateInferenceComponent": (
        "UpdateInferenceComponent",
        {"DeploymentConfig"},
        {"InferenceComponentName", "Specification", "RuntimeConfig"},
    ),
}


def resolved(value: Any, template: Template) -> Any:
    """References as AWS would fill them in: names for names, ARNs for ARNs."""
    if isinstance(value, list):
        return [resolved(item, template) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Ref": str(id_)}:
            return _reference(template["Resources"][id_]["Type"], "")
        case {"Fn::GetAtt": [id_, attribute]}:
            return _reference(template["Resources"][id_]["Type"], attribute)
        case {"Fn::ImportValue": name}:
            if "network" in name:
                return "subnet-1" if "Subnet" in name else "sg-1"
            return "arn:aws:kms:us-east-1:111111111111:key/k" if "Key" in name else "a-bucket"
        case {"Fn::Join": [separator, parts]}:
            return separator.join(resolved(part, template) for part in parts)
    return {key: resolved(item, template) for key, item in value.items()}


def _reference(type_: str, attribute: str) -> str:
    match type_.split("::")[-1], attribute:
        case "Role", "Arn":
            return "arn:aws:iam::111111111111:role/a-role"
        case "Topic", _:
            return "arn:aws:sns:us-east-1:111111111111:a-topic"
        case noun, _:
            return f"a-{noun.lower()}"


def requests(template: Template) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(service, operation, request) of every resource of the endpoint, and of the updates that follow."""
    for type_, (service, operation, name) in OPERATIONS.items():
        for id_, resource in resources(template, type_).items():
            request = {name: f"amplify-{id_}"[:63]} | resolved(resource["Properties"], template)
            if operation not in UPDATES:
                yield service, operation, request
                continue
            update, later, both = UPDATES[operation]
            yield service, operation, {key: value for key, value in request.items() if key not in later}
            yield service, update, {key: value for key, value in request.items() if key in later | both}
    yield from _scaling(template)


def _scaling(template: Template) -> Iterator[tuple[str, str, dict[str, Any]]]:
    service = "application-autoscaling"
    for id_, target in resources(template, "AWS::ApplicationAutoScaling::ScalableTarget").items():
        request = dict(target["Properties"])
        actions = request.pop("ScheduledActions", [])
        request["Tags"] = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
        yield service, "RegisterScalableTarget", request
        of_it = {key: request[key] for key in ("ServiceNamespace", "ResourceId", "ScalableDimension")}
        for action in actions:
            yield service, "PutScheduledAction", of_it | action
        for policy in resources(template, "AWS::ApplicationAutoScaling::ScalingPolicy").values():
            given = dict(policy["Properties"])
            assert given.pop("ScalingTargetId") == {"Ref": id_}
            yield service, "PutScalingPolicy", of_it | given


@pytest.mark.parametrize("name", VARIATIONS)
def test_aws_would_take_every_request(name: str) -> None:
    made = list(requests(endpoint_stack(VARIATIONS[name])))
    assert made
    assert {(op, str(found)) for service, op, request in made if (found := faults(op, request, service))} == set()


def test_a_request_that_aws_refuses_is_found() -> None:
    template = endpoint_stack(EXAMPLES["async"])
    [request] = [request for _, operation, request in requests(template) if operation == "CreateEndpointConfig"]
    request["ProductionVariants"][0]["InferenceAmiVersion"] = "latest"
    assert faults("CreateEndpointConfig", request) != []


def test_the_requests_of_the_schedules_are_sagemakers_own_and_taken_by_it() -> None:
    template = endpoint_stack(VARIATIONS["realtime, at night no more"])
    found = {}
    for schedule in resources(template, "AWS::Scheduler::Schedule").values():
        target = schedule["Properties"]["Target"]
        service, operation = re.fullmatch(r"arn:aws:scheduler:::aws-sdk:(\w+):(\w+)", target["Arn"]).groups()  # type: ignore[union-attr]
        assert service == "sagemaker"
        found[operation[0].upper() + operation[1:]] = resolved(target["Input"], template)
    for operation, text in found.items():
        assert faults(operation, json.loads(text)) == []
    assert set(found) == {"DeleteEndpoint", "CreateEndpoint"}


def test_the_table_of_hosting_types_is_sagemakers() -> None:
    def offered(shape: str) -> set[str]:
        return {name for name in service_model("sagemaker").shape_for(shape).enum if name.split(".")[1] in FAMILIES}

    endpoint = {f"ml.{family}.{size}" for family, sizes in ENDPOINT_SIZES.items() for size in sizes}
    assert endpoint == offered("ProductionVariantInstanceType")
    transform = {name for name in endpoint if name.split(".")[1] in TRANSFORM_FAMILIES} - NOT_FOR_TRANSFORM
    assert transform == offered("TransformInstanceType")
    for name in transform:
        if not name.startswith("ml.p3."):  # which SageMaker has and our image does not run on
            check(name, "transform")


def test_a_change_of_release_changes_the_model_and_not_the_name_of_anything_that_is_asked() -> None:
    first = endpoint_stack(RealTime(instance_type=GPU))
    second = endpoint_stack(replace(RealTime(instance_type=GPU), min_instances=2, max_instances=3))
    assert [e["Properties"]["EndpointName"] for e in resources(first, "AWS::SageMaker::Endpoint").values()] == [
        e["Properties"]["EndpointName"] for e in resources(second, "AWS::SageMaker::Endpoint").values()
    ]
    assert set(resources(first, "AWS::SageMaker::Endpoint")) == set(resources(second, "AWS::SageMaker::Endpoint"))
