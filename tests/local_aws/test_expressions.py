"""Expressions of pipeline definitions mean what AWS's documentation says, or say what is wrong with them."""

import pytest

from local_aws.expressions import Context, ExpressionError, evaluate, holds, references, step_of

STEP = {
    "ProcessingOutputConfig": {"Outputs": [{"OutputName": "dataset", "S3Output": {"S3Uri": "s3://b/dataset/"}}]},
    "ModelArtifacts": {"S3ModelArtifacts": "s3://b/model.tar.gz"},
}
CONTEXT = Context(
    parameters={"recipe": "tiny", "count": 2},
    execution={"PipelineExecutionId": "abc"},
    steps={"Train-1": STEP},
    property_file=lambda step, name: '{"loss": 2.5, "of": [1, {"x": 3}]}',
)


def get(reference):
    return {"Get": reference}


def json_get(path):
    return {"Std:JsonGet": {"PropertyFile": get("Steps.Train-1.PropertyFiles.evaluation"), "Path": path}}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("plain", "plain"),
        (get("Parameters.recipe"), "tiny"),
        (get("Execution.PipelineExecutionId"), "abc"),
        (get("Steps.Train-1.ModelArtifacts.S3ModelArtifacts"), "s3://b/model.tar.gz"),
        (get("Steps.Train-1.ProcessingOutputConfig.Outputs['dataset'].S3Output.S3Uri"), "s3://b/dataset/"),
        (get("Steps.Train-1.ProcessingOutputConfig.Outputs[0].S3Output.S3Uri"), "s3://b/dataset/"),
        ({"Std:Join": {"On": "/", "Values": ["a", get("Parameters.recipe"), get("Parameters.count")]}}, "a/tiny/2"),
        ({"deep": [{"er": get("Parameters.count")}]}, {"deep": [{"er": 2}]}),
        (json_get("loss"), 2.5),
        (json_get("of[1].x"), 3),
    ],
)
def test_an_expression_means_its_value(expression, value):
    assert evaluate(expression, CONTEXT) == value


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        (get("Parameters.recipes"), "Parameters.recipes"),
        (get("Steps.Prepare.ModelArtifacts"), "finished step"),
        (get("Steps.Train-1.ModelArtifacts.S3Uri"), "there is S3ModelArtifacts"),
        (get("Steps.Train-1.ProcessingOutputConfig.Outputs['model'].S3Output"), "'model'"),
        (json_get("lost"), "there is loss, of"),
        (json_get("of[7]"), "'7'"),
    ],
)
def test_an_expression_that_means_nothing_says_what_there_is(expression, words):
    with pytest.raises(ExpressionError) as error:
        evaluate(expression, CONTEXT)
    assert words in str(error.value)


def compare(kind, left, right):
    return {"Type": kind, "LeftValue": left, "RightValue": right}


@pytest.mark.parametrize(
    ("condition", "outcome"),
    [
        (compare("Equals", get("Parameters.count"), 2), True),
        (compare("LessThan", json_get("loss"), 2.5), False),
        (compare("LessThanOrEqualTo", json_get("loss"), 2.5), True),
        (compare("GreaterThan", json_get("loss"), json_get("of[0]")), True),
        (compare("GreaterThanOrEqualTo", 1, 2), False),
        ({"Type": "In", "QueryValue": get("Parameters.recipe"), "Values": ["demo", "tiny"]}, True),
        ({"Type": "Not", "Expression": compare("Equals", 1, 1)}, False),
        ({"Type": "Or", "Conditions": [compare("Equals", 1, 2), compare("Equals", 1, 1)]}, True),
        ({"Type": "And", "Conditions": [compare("Equals", 1, 2), compare("Equals", 1, 1)]}, False),
    ],
)
def test_a_condition_compares(condition, outcome):
    assert holds(condition, CONTEXT) is outcome


def test_what_cannot_be_compared_is_said():
    with pytest.raises(ExpressionError, match="'tiny' and 1 cannot be compared"):
        holds(compare("LessThan", get("Parameters.recipe"), 1), CONTEXT)


def test_references_are_found_wherever_they_are():
    found = list(references({"a": [json_get("loss"), {"b": get("Steps.Other.X")}], "c": get("Parameters.recipe")}))
    assert found == ["Steps.Train-1.PropertyFiles.evaluation", "Steps.Other.X", "Parameters.recipe"]
    assert [step_of(reference) for reference in found] == ["Train-1", "Other", None]
