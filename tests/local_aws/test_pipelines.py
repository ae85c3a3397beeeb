"""Pipelines and their executions, with jobs that really run: order, branches, failures, stops, retries, crashes."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError

from local_aws import server
from local_aws.processes import wait_until
from tests.local_aws.small_images import ROLE, make_bucket, push_image

BUCKET = "pipeline-tests"

# A processing container that does what it is told: say a line, write a number, fail, or wait until it is told to end.
LAUNCH = """
import pathlib, os, sys, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
said = (base / "processing/input/text").exists() and next((base / "processing/input/text").rglob("*")).read_text()
order, value = sys.argv[1:3]
out = base / "processing/output/result"
if order == "write":
    out.mkdir(parents=True, exist_ok=True)
    (out / "result.json").write_text('{"loss": %s}' % value)
if order == "repeat":
    (out / "repeated.txt").write_text(said)
if order == "fail":
    sys.exit("told to fail: " + value)
if order == "wait":
    time.sleep(float(value))
"""


@pytest.fixture(scope="module")
def image(aws):
    make_bucket(aws, BUCKET)
    aws("s3").put_object(Bucket=BUCKET, Key="in/text.txt", Body=b"hello")
    return push_image(aws, "pipeline-test", LAUNCH)


def get(reference):
    return {"Get": reference}


def output_of(step):
    return get(f"Steps.{step}.ProcessingOutputConfig.Outputs['result'].S3Output.S3Uri")


def processing(name, image, *arguments, source=f"s3://{BUCKET}/in/", **step):
    """A processing step that runs LAUNCH with the arguments; its result lies below the execution's id."""
    target = {"Std:Join": {"On": "/", "Values": [f"s3://{BUCKET}/out", get("Execution.PipelineExecutionId"), name]}}
    return {
        "Name": name,
        "Type": "Processing",
        "Arguments": {
            "AppSpecification": {"ImageUri": image, "ContainerArguments": [*arguments]},
            "RoleArn": ROLE,
            "ProcessingInputs": [
                {
                    "InputName": "text",
                    "S3Input": {
                        "S3Uri": source,
                        "LocalPath": "/opt/ml/processing/input/text",
                        "S3DataType": "S3Prefix",
                        "S3InputMode": "File",
                    },
                }
            ],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "result",
                        "S3Output": {
                            "S3Uri": target,
                            "LocalPath": "/opt/ml/processing/output/result",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ]
            },
            "ProcessingResources": {
                "ClusterConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
            },
        },
        **step,
    }


def evaluated(image, value):
    """A step that writes {"loss": value} and offers it as a property file."""
    file = {"PropertyFileName": "score", "OutputName": "result", "FilePath": "result.json"}
    return processing("Evaluate", image, "write", value, PropertyFiles=[file])


def condition(then, otherwise, *, below=3):
    loss = {"Std:JsonGet": {"PropertyFile": get("Steps.Evaluate.PropertyFiles.score"), "Path": "loss"}}
    check = {"Type": "LessThan", "LeftValue": loss, "RightValue": below}
    return {
        "Name": "Check",
        "Type": "Condition",
        "Arguments": {"Conditions": [check], "IfSteps": then, "ElseSteps": otherwise},
    }


def fail(message="no good"):
    return {"Name": "Refuse", "Type": "Fail", "Arguments": {"ErrorMessage": message}}


def definition(*steps, parameters=()):
    return json.dumps({"Version": "2020-12-01", "Parameters": list(parameters), "Steps": list(steps)})


def create(aws, text):
    name = f"p{uuid.uuid4().hex[:8]}"
    aws("sagemaker").create_pipeline(PipelineName=name, RoleArn=ROLE, PipelineDefinition=text)
    return name


def run(aws, *steps, parameters=(), given=None):
    """Make a pipeline of the steps and start it; returns the execution's ARN."""
    name = create(aws, definition(*steps, parameters=parameters))
    listed = [{"Name": key, "Value": value} for key, value in (given or {}).items()]
    return aws("sagemaker").start_pipeline_execution(PipelineName=name, PipelineParameters=listed)[
        "PipelineExecutionArn"
    ]


def ended(aws, execution, seconds=60):
    """The execution, once it is over."""

    def described():
        return aws("sagemaker").describe_pipeline_execution(PipelineExecutionArn=execution)

    assert wait_until(lambda: described()["PipelineExecutionStatus"] not in ("Executing", "Stopping"), seconds)
    return described()


def steps_of(aws, execution):
    listed = aws("sagemaker").list_pipeline_execution_steps(PipelineExecutionArn=execution, SortOrder="Ascending")
    return {step["StepName"]: step for step in listed["PipelineExecutionSteps"]}


def running(aws, execution, name):
    step = steps_of(aws, execution).get(name, {})
    return bool(step.get("Metadata")) and step["StepStatus"] == "Executing"


def test_a_step_gets_what_another_one_made_and_branches_follow_the_condition(aws, image):
    second = processing("Second", image, "repeat", "-", source=output_of("Evaluate"))
    execution = run(
        aws, second, evaluated(image, "2.5"), condition([processing("Then", image, "write", "1")], [fail()])
    )
    assert ended(aws, execution)["PipelineExecutionStatus"] == "Succeeded"
    steps = steps_of(aws, execution)
    assert {name: step["StepStatus"] for name, step in steps.items()} == dict.fromkeys(
        ("Evaluate", "Second", "Check", "Then"), "Succeeded"
    )
    assert steps["Check"]["Metadata"]["Condition"]["Outcome"] == "True"
    assert steps["Second"]["StartTime"] >= steps["Evaluate"]["EndTime"]
    id_ = execution.rpartition("/")[2]
    made = aws("s3").get_object(Bucket=BUCKET, Key=f"out/{id_}/Second/repeated.txt")["Body"].read()
    assert json.loads(made) == {"loss": 2.5}
    job = steps["Second"]["Metadata"]["ProcessingJob"]["Arn"].rpartition("/")[2]
    assert job.startswith(f"pipelines-{id_}-Second-")
    assert aws("sagemaker").describe_processing_job(ProcessingJobName=job)["ProcessingJobStatus"] == "Completed"


def test_a_fail_step_ends_the_execution_with_its_own_words(aws, image):
    message = {"Std:Join": {"On": "", "Values": ["loss too high in ", get("Execution.PipelineExecutionId")]}}
    execution = run(aws, evaluated(image, "3.5"), condition([], [fail(message)]))
    described = ended(aws, execution)
    assert described["PipelineExecutionStatus"] == "Failed"
    assert "Refuse" in described["FailureReason"]
    assert steps_of(aws, execution)["Refuse"]["FailureReason"] == f"loss too high in {execution.rpartition('/')[2]}"


def test_a_failing_job_ends_the_execution_and_what_needs_it_never_begins(aws, image):
    after = processing("After", image, "write", "1", DependsOn=["Bad"])
    execution = run(aws, processing("Bad", image, "fail", "because"), after)
    assert ended(aws, execution)["PipelineExecutionStatus"] == "Failed"
    steps = steps_of(aws, execution)
    assert set(steps) == {"Bad"}
    assert "told to fail: because" in steps["Bad"]["FailureReason"]


def test_a_job_that_cannot_be_created_fails_its_step_with_what_the_service_said(aws):
    execution = run(aws, processing("Bad", "not an image", "write", "1"))
    ended(aws, execution)
    reason = steps_of(aws, execution)["Bad"]["FailureReason"]
    assert "not an image" in reason


def test_independent_steps_run_side_by_side_and_no_more_than_allowed(aws, image):
    pair = [processing("One", image, "wait", "1.5"), processing("Two", image, "wait", "1.5")]
    name = create(aws, definition(*pair))
    start = aws("sagemaker").start_pipeline_execution

    def overlap(**parallelism):
        execution = start(PipelineName=name, **parallelism)["PipelineExecutionArn"]
        ended(aws, execution)
        one, two = (steps_of(aws, execution)[step] for step in ("One", "Two"))
        return one["StartTime"] < two["EndTime"] and two["StartTime"] < one["EndTime"]

    assert overlap()
    assert not overlap(ParallelismConfiguration={"MaxParallelExecutionSteps": 1})


def test_stopping_ends_the_running_job(aws, image):
    execution = run(aws, processing("Long", image, "wait", "600"))
    assert wait_until(lambda: running(aws, execution, "Long"), 30)
    aws("sagemaker").stop_pipeline_execution(PipelineExecutionArn=execution)
    assert ended(aws, execution)["PipelineExecutionStatus"] == "Stopped"
    step = steps_of(aws, execution)["Long"]
    assert step["StepStatus"] == "Stopped"
    job = step["Metadata"]["ProcessingJob"]["Arn"].rpartition("/")[2]
    assert aws("sagemaker").describe_processing_job(ProcessingJobName=job)["ProcessingJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="is Stopped"):
        aws("sagemaker").stop_pipeline_execution(PipelineExecutionArn=execution)


def test_a_run_may_be_stopped_as_soon_as_it_is_started(aws, image):
    for _ in range(10):
        execution = run(aws, processing("Long", image, "wait", "600"))
        aws("sagemaker").stop_pipeline_execution(PipelineExecutionArn=execution)
        assert ended(aws, execution)["PipelineExecutionStatus"] == "Stopped"


def test_a_retry_goes_on_from_the_failed_step_and_repeats_nothing(aws, image):
    needs = processing("Needs", image, "repeat", "-", source=f"s3://{BUCKET}/late/", DependsOn=["Evaluate"])
    execution = run(aws, evaluated(image, "1"), needs)
    assert ended(aws, execution)["PipelineExecutionStatus"] == "Failed"
    first = steps_of(aws, execution)
    assert "No S3 objects found" in first["Needs"]["FailureReason"]
    aws("s3").put_object(Bucket=BUCKET, Key="late/text.txt", Body=b"now")
    aws("sagemaker").retry_pipeline_execution(PipelineExecutionArn=execution)
    assert ended(aws, execution)["PipelineExecutionStatus"] == "Succeeded"
    assert steps_of(aws, execution)["Evaluate"]["Metadata"] == first["Evaluate"]["Metadata"]


@pytest.mark.parametrize("own_fault", [True, False])
def test_a_retry_policy_tries_again_only_for_the_failures_that_it_names(aws, image, own_fault):
    policy = [{"ExceptionType": ["Step.SERVICE_FAULT"], "IntervalSeconds": 1, "MaxAttempts": 2}]
    order = ("fail", "it") if own_fault else ("write", "1")
    step = processing("Step", image, *order, RetryPolicies=policy)
    if not own_fault:  # a role's ARN that is none: the service refuses, which is no fault of the service either
        step["Arguments"]["RoleArn"] = "nobody"
    execution = run(aws, step)
    ended(aws, execution)
    assert steps_of(aws, execution)["Step"]["AttemptCount"] == 1


PARAMETERS = (
    {"Name": "value", "Type": "String", "DefaultValue": "1"},
    {"Name": "count", "Type": "Integer", "DefaultValue": 1},
    {"Name": "type", "Type": "String", "DefaultValue": "a", "EnumValues": ["a", "b"]},
    {"Name": "needed", "Type": "String"},
)


def test_parameters_reach_the_steps_by_default_or_as_given(aws, image):
    step = processing("Evaluate", image, "write", get("Parameters.value"))
    execution = run(aws, step, parameters=PARAMETERS, given={"needed": "x", "value": "7", "count": "3"})
    assert ended(aws, execution)["PipelineExecutionStatus"] == "Succeeded"
    id_ = execution.rpartition("/")[2]
    body = aws("s3").get_object(Bucket=BUCKET, Key=f"out/{id_}/Evaluate/result.json")["Body"].read()
    assert json.loads(body) == {"loss": 7}
    listed = aws("sagemaker").list_pipeline_parameters_for_execution(PipelineExecutionArn=execution)
    assert {"Name": "count", "Value": "3"} in listed["PipelineParameters"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"needed": "x", "colour": "blue"}, "unknown parameters colour"),
        ({}, "parameter needed has no default value"),
        ({"needed": "x", "count": "two"}, "give a value of the type Integer"),
        ({"needed": "x", "type": "c"}, "give one of a, b"),
    ],
)
def test_parameters_that_do_not_fit_start_nothing(aws, image, given, words):
    with pytest.raises(ClientError) as error:
        run(aws, processing("Step", image, "write", "1"), parameters=PARAMETERS, given=given)
    assert error.value.response["Error"]["Code"] == "ValidationException"
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        (json.dumps({"Version": "1", "Steps": [fail()]}), "Version is '1'"),
        (definition(), "Steps is empty"),
        (definition(fail(), fail()), "more than one step Refuse"),
        (definition({**fail(), "Name": "no spaces"}), "Name"),
        (definition({"Name": "Refuse", "Type": "Fail"}), "needs Type and Arguments"),
        (definition(fail(get("Parameters.nothing"))), "Parameters.nothing"),
        (definition(fail(get("Steps.Nobody.X"))), "depends on Nobody"),
        (definition({**fail(), "DependsOn": ["Nobody"]}), "depends on Nobody"),
        (definition({**fail(), "DependsOn": ["B"]}, {**fail(), "Name": "B", "DependsOn": ["Refuse"]}), "wait for each"),
        (definition({"Name": "L", "Type": "Lambda", "Arguments": {}}), "Step type 'Lambda' (step L) is not emulated"),
        (definition(condition([], [], below=1) | {"Arguments": {"Conditions": [{"Type": "Like"}]}}), "'Like' is no"),
    ],
)
def test_a_definition_that_cannot_run_is_refused_in_words(aws, text, words):
    with pytest.raises(ClientError) as error:
        create(aws, text)
    assert words in str(error.value)


def test_a_pipeline_is_described_changed_listed_and_deleted(aws):
    sagemaker = aws("sagemaker")
    name = create(aws, definition(fail("one")))
    sagemaker.update_pipeline(PipelineName=name, PipelineDefinition=definition(fail("two")))
    assert "two" in sagemaker.describe_pipeline(PipelineName=name)["PipelineDefinition"]
    assert [
        each["PipelineName"] for each in sagemaker.list_pipelines(PipelineNamePrefix=name)["PipelineSummaries"]
    ] == [name]
    with pytest.raises(ClientError, match="already exists"):
        sagemaker.create_pipeline(PipelineName=name, RoleArn=ROLE, PipelineDefinition=definition(fail()))
    sagemaker.delete_pipeline(PipelineName=name)
    for call in (sagemaker.describe_pipeline, sagemaker.start_pipeline_execution):
        with pytest.raises(ClientError) as error:
            call(PipelineName=name)
        assert error.value.response["Error"]["Code"] == "ResourceNotFound"


def test_the_same_request_twice_starts_one_execution(aws):
    name = create(aws, definition(fail()))
    token = uuid.uuid4().hex
    start = aws("sagemaker").start_pipeline_execution
    arns = {start(PipelineName=name, ClientRequestToken=token)["PipelineExecutionArn"] for _ in range(2)}
    assert len(arns) == 1
    listed = aws("sagemaker").list_pipeline_executions(PipelineName=name)["PipelineExecutionSummaries"]
    assert len(listed) == 1


def test_a_killed_server_tells_which_step_it_took_with_it_and_a_retry_goes_on(own_folder, clients_of, kill_9, on_disk):
    own = clients_of(server.start(own_folder))
    make_bucket(own, BUCKET)
    own("s3").put_object(Bucket=BUCKET, Key="in/text.txt", Body=b"hello")
    image = push_image(own, "pipeline-test", LAUNCH)
    execution = run(own, evaluated(image, "1"), processing("Long", image, "wait", "3", DependsOn=["Evaluate"]))
    assert wait_until(lambda: running(own, execution, "Long"), 60)
    before = steps_of(own, execution)["Evaluate"]
    on_disk(own)
    kill_9(server.status(own_folder))
    own = clients_of(server.start(own_folder))
    described = ended(own, execution)
    assert described["PipelineExecutionStatus"] == "Failed"
    assert "RetryPipelineExecution" in described["FailureReason"]
    own("sagemaker").retry_pipeline_execution(PipelineExecutionArn=execution)
    assert ended(own, execution)["PipelineExecutionStatus"] == "Succeeded"
    assert steps_of(own, execution)["Evaluate"]["Metadata"] == before["Metadata"]
