"""The seam between the pipeline's definition and the container: verbs, folders, hyper-parameters, metric lines."""

import json
import re
from typing import Any

import pytest
from amplify_lm.metrics import metric_line
from amplify_lm.settings import RULE_THRESHOLDS

from stacks.pipeline_definition import METRICS
from tests.stacks.readable import plain
from tests.stacks.synthesis import ROOT, resources, templates


def definition(name: str = "amplify-local") -> dict[str, Any]:
    pipelines = resources(templates()["local/training"], "AWS::SageMaker::Pipeline").values()
    [found] = [each["Properties"] for each in pipelines if each["Properties"]["PipelineName"] == name]
    return plain(found["PipelineDefinition"])["PipelineDefinitionBody"]


def steps(pipeline: str = "amplify-local") -> dict[str, dict[str, Any]]:
    found = {step["Name"]: step for step in definition(pipeline)["Steps"]}
    condition = found["CheckLoss"]["Arguments"]
    return found | {step["Name"]: step for step in condition["IfSteps"] + condition["ElseSteps"]}


def test_the_parameters_are_those_that_people_start_a_run_with() -> None:
    assert [parameter["Name"] for parameter in definition()["Parameters"]] == [
        *("recipe", "data", "heldout", "init", "instance_type", "instance_count", "script", "overrides", "image")
    ]
    assert [parameter["Name"] for parameter in definition("amplify-local-register")["Parameters"]] == [
        *("init", "heldout", "image")
    ]


@pytest.mark.parametrize("pipeline", ["amplify-local", "amplify-local-register"])
def test_a_run_that_names_no_image_does_not_begin_with_one_that_can_never_be_approved(pipeline: str) -> None:
    [image] = [one for one in definition(pipeline)["Parameters"] if one["Name"] == "image"]
    assert image == {"Name": "image", "Type": "String"}


@pytest.mark.parametrize("pipeline", ["amplify-local", "amplify-local-register"])
def test_every_job_and_the_registered_model_are_of_the_one_image_that_the_run_names(pipeline: str) -> None:
    text = json.dumps([step["Arguments"] for name, step in steps(pipeline).items() if name != "CheckLoss"])
    images = re.findall(r'"(?:ImageUri|TrainingImage|Image)": (\{[^}]*\}|"[^"]*")', text)
    assert len(images) >= 3
    assert set(images) == {'{"Get": "Parameters.image"}'}


def test_the_steps_are_those_of_the_flow() -> None:
    assert {name: step["Type"] for name, step in steps().items()} == {
        "Prepare": "Processing",
        "Train": "Training",
        "Evaluate": "Processing",
        "CheckLoss": "Condition",
        "Register": "RegisterModel",
        "Refuse": "Fail",
    }


def test_the_jobs_call_the_container_as_it_wants_to_be_called() -> None:
    def arguments(step: str) -> list[Any]:
        return steps()[step]["Arguments"]["AppSpecification"]["ContainerArguments"]

    assert arguments("Prepare") == [
        *("prepare", "--recipe", {"Get": "Parameters.recipe"}, "--init", {"Get": "Parameters.init"}),
        *("--overrides", {"Get": "Parameters.overrides"}),
    ]
    assert arguments("Evaluate") == ["evaluate"]
    assert set(steps()["Train"]["Arguments"]["HyperParameters"]) == {"recipe", "overrides", "script"}


def test_a_registration_fetches_evaluates_and_registers() -> None:
    found = steps("amplify-local-register")
    assert list(found) == ["Fetch", "Evaluate", "CheckLoss", "Register", "Refuse"]
    arguments = found["Fetch"]["Arguments"]
    assert arguments["AppSpecification"]["ContainerArguments"] == ["fetch", "--init", {"Get": "Parameters.init"}]
    [output] = arguments["ProcessingOutputConfig"]["Outputs"]
    assert output["S3Output"]["LocalPath"] == "/opt/ml/processing/output/model"
    assert set(found["Register"]["Arguments"]["CustomerMetadataProperties"]) == {"init", "pipeline_execution"}


def test_files_lie_where_the_container_looks_for_them() -> None:
    def folders(step: str) -> set[str]:
        arguments = steps()[step]["Arguments"]
        inputs = {entry["S3Input"]["LocalPath"] for entry in arguments["ProcessingInputs"]}
        return inputs | {entry["S3Output"]["LocalPath"] for entry in arguments["ProcessingOutputConfig"]["Outputs"]}

    base = "/opt/ml/processing"
    assert folders("Prepare") == {f"{base}/input/proteins", f"{base}/output/dataset", f"{base}/output/init"}
    assert folders("Evaluate") == {f"{base}/input/model", f"{base}/input/heldout", f"{base}/output/evaluation"}
    train = steps()["Train"]["Arguments"]
    assert {channel["ChannelName"] for channel in train["InputDataConfig"]} == {"train", "init"}
    assert train["CheckpointConfig"]["LocalPath"] == "/opt/ml/checkpoints"


@pytest.mark.parametrize(("name", "key"), METRICS.items())
@pytest.mark.parametrize("value", [2.7512, 0.004, 15893.0, 4e-05, 1])
def test_sagemaker_reads_the_number_that_training_wrote(name: str, key: str, value: float) -> None:
    others = {"step": 120, "steps": 800, "train_loss": 9.9, "learning_rate": 9.9, "residues_per_second": 9}
    line = metric_line(others | {"validation_loss": 9.9, "validation_accuracy": 9.9} | {key: value})
    [metric] = [
        metric
        for metric in steps()["Train"]["Arguments"]["AlgorithmSpecification"]["MetricDefinitions"]
        if metric["Name"] == name
    ]
    found = re.findall(metric["Regex"], f"2026-11-24T08:00:00 {line}\n")
    assert [float(text) for text in found] == [value]


def test_the_function_that_watches_runs_reads_the_metric_that_the_pipeline_defines() -> None:
    source = (ROOT / "lambda_code" / "watch_runs.py").read_text(encoding="utf-8")
    [name] = re.findall(r'^BROKEN_RULES = "(.+)"$', source, re.MULTILINE)
    assert METRICS[name] == "rules_broken"


def test_the_runbook_names_every_rule_that_a_run_may_break() -> None:
    page = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
    entry = page.partition("## Training breaks a rule")[2].partition("\n## ")[0]
    assert [rule for rule in RULE_THRESHOLDS if f"`{rule}`" not in entry] == []


def test_other_log_lines_hold_no_metric() -> None:
    for metric in steps()["Train"]["Arguments"]["AlgorithmSpecification"]["MetricDefinitions"]:
        assert (
            re.findall(metric["Regex"], "loss is now train_loss=2.7 validation_loss=2.7 validation_accuracy=0.1") == []
        )


def test_the_condition_is_the_held_out_loss_against_the_letter_frequencies() -> None:
    [condition] = steps()["CheckLoss"]["Arguments"]["Conditions"]
    assert condition["Type"] == "LessThan"
    sides = {side: condition[side]["Std:JsonGet"] for side in ("LeftValue", "RightValue")}
    assert sides["LeftValue"]["Path"] == "loss"
    assert sides["RightValue"]["Path"] == "baselines.letter_frequencies"
    assert {side["PropertyFile"]["Get"] for side in sides.values()} == {"Steps.Evaluate.PropertyFiles.evaluation"}


def test_a_registered_model_waits_for_a_person_and_says_where_it_comes_from() -> None:
    register = steps()["Register"]["Arguments"]
    assert register["ModelPackageGroupName"] == "amplify-local"
    assert register["ModelApprovalStatus"] == "PendingManualApproval"
    assert set(register["CustomerMetadataProperties"]) == {"recipe", "data", "init", "pipeline_execution"}


def test_all_that_a_run_makes_lies_below_its_own_prefixes() -> None:
    text = json.dumps(definition()["Steps"])
    bucket, run = r"s3://\$\{[^}]*ArtifactBucket[^}]*\}", r'", \{"Get": "Execution.PipelineExecutionId"\}, "/'
    parts = re.findall(rf"{bucket}/runs/{run}(\w+)", text)
    assert set(parts) == {"dataset", "init", "model", "evaluation"}
    checkpoints = re.findall(rf'{bucket}/checkpoints/{run}"', text)
    assert len(checkpoints) == 1
    assert text.count("s3://") == len(parts) + len(checkpoints)


def test_every_recipe_says_its_own_name() -> None:
    names = {path.stem for path in (ROOT / "model_code" / "recipes").glob("*.json")}
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_]*", name) for name in names), names
