"""Requests are refused with AWS's words, and no more is refused than AWS does."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from local_aws.errors import SageMakerError
from local_aws.validation import OPERATIONS, SERVICE, answer, check, pattern

TRAINING_JOB: dict[str, Any] = {
    "TrainingJobName": "first",
    "AlgorithmSpecification": {"TrainingImage": "image:1", "TrainingInputMode": "File"},
    "RoleArn": "arn:aws:iam::123456789012:role/train",
    "OutputDataConfig": {"S3OutputPath": "s3://bucket/model/"},
    "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
    "StoppingCondition": {"MaxRuntimeInSeconds": 60},
}


def refusal(operation: str, request: object) -> SageMakerError:
    with pytest.raises(SageMakerError) as caught:
        check(operation, request)
    return caught.value


def test_a_sound_request_passes() -> None:
    check("CreateTrainingJob", TRAINING_JOB)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"TrainingJobName": "not a name"}, "Value 'not a name' at 'trainingJobName' failed to satisfy constraint"),
        ({"TrainingJobName": "a" * 64}, "Member must have length less than or equal to 63"),
        ({"TrainingJobName": None}, "Value null at 'trainingJobName' failed to satisfy constraint: Member must not be"),
        ({"TrainingJobName": 7}, "Value '7' at 'trainingJobName' is not a string"),
        ({"RoleArn": "admin"}, "Member must satisfy regular expression pattern: "),
        ({"Colour": "blue"}, "Unknown member 'colour'"),
        ({"InputDataConfig": []}, "Member must have length greater than or equal to 1"),
        ({"Tags": [{"Key": "team"}]}, "Value null at 'tags.1.member.value'"),
        ({"HyperParameters": {"lr": 0.1}}, "Value '0.1' at 'hyperParameters.lr.member' is not a string"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 0}}, "Member must have value greater than or equal to 1"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": True}}, "is not an integer"),
        (
            {"ResourceConfig": {"InstanceType": "ml.huge", "VolumeSizeInGB": 1}},
            "at 'resourceConfig.instanceType' failed to satisfy constraint: Member must satisfy enum value set: [",
        ),
    ],
)
def test_a_bad_request_is_told_what_where_and_what_is_wanted(change: dict[str, Any], words: str) -> None:
    error = refusal("CreateTrainingJob", TRAINING_JOB | change)
    assert error.code == "ValidationException"
    assert "validation error" in str(error)
    assert words in str(error)


def test_all_faults_are_told_at_once() -> None:
    error = refusal("CreateTrainingJob", TRAINING_JOB | {"TrainingJobName": "-", "RoleArn": "-"})
    assert re.match(r"[23] validation errors detected: ", str(error))
    assert "trainingJobName" in str(error)
    assert "roleArn" in str(error)


@pytest.mark.parametrize("request_", [[], "text", None, 3])
def test_a_request_that_is_no_object_is_refused(request_: object) -> None:
    assert "is not a structure" in str(refusal("CreateModel", request_))


def test_an_unknown_operation_is_aws_s_error() -> None:
    assert refusal("CreateMiracle", {}).code == "UnknownOperationException"


def test_an_answer_holds_what_the_model_lists_and_nothing_else() -> None:
    record = {"EndpointName": "e", "EndpointStatus": "InService", "_port": 8080, "Tags": [], "FailureReason": None}
    assert answer("DescribeEndpoint", record) == {"EndpointName": "e", "EndpointStatus": "InService"}


def shapes(shape: Any, seen: set[str]) -> Iterator[Any]:
    if shape.name in seen:
        return
    seen.add(shape.name)
    yield shape
    parts = list(getattr(shape, "members", {}).values())
    parts += [getattr(shape, name) for name in ("member", "key", "value") if hasattr(shape, name)]
    for part in parts:
        yield from shapes(part, seen)


def test_every_pattern_of_the_model_can_be_checked() -> None:
    seen: set[str] = set()
    inputs = (SERVICE.operation_model(name).input_shape for name in OPERATIONS)
    found = [shape for start in inputs if start is not None for shape in shapes(start, seen)]
    patterns = {shape.metadata["pattern"] for shape in found if "pattern" in shape.metadata}
    assert len(patterns) > 100
    for expression in patterns:
        pattern(expression)


@pytest.mark.parametrize("text", ["team", "Größe:1", "a/b=c+d-e@f", "with space"])
def test_tags_may_hold_letters_of_any_language(text: str) -> None:
    check("AddTags", {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:model/m", "Tags": [tag(text)]})


def tag(text: str) -> dict[str, str]:
    return {"Key": text, "Value": text}
