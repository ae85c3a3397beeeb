"""The functions of lambda_code, run by Lambda of a real local AWS, and what calls them: stacks, events, schedules."""

import io
import json
import time
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local_aws import server
from local_aws.processes import descendants, wait_until
from tests.local_aws.small_images import ROLE, make_project, push_image, upload_bundle

LAMBDA_CODE = Path(server.__file__).parents[1] / "lambda_code"
REPOSITORY = "function-test"

# A job that waits until it is stopped; one that ends at once.
LAUNCH = "import sys, time; time.sleep(float(sys.argv[1]))"


def code():
    """lambda_code as the stacks ship it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for file in LAMBDA_CODE.glob("*.py"):
            bundle.writestr(file.name, file.read_bytes())
    return buffer.getvalue()


@pytest.fixture
def function(aws):
    """function(file, **environment) makes a function; returns its name. It goes after the test."""
    made = []

    def make(file, **environment):
        name = f"f{uuid.uuid4().hex[:8]}"
        aws("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=ROLE,
            Handler=f"{file}.handler",
            Code={"ZipFile": code()},
            Timeout=30,
            Environment={"Variables": environment},
        )
        made.append(name)
        return name

    yield make
    for name in made:
        aws("lambda").delete_function(FunctionName=name)


@pytest.fixture(scope="module")
def image(aws):
    return push_image(aws, REPOSITORY, LAUNCH)


@pytest.fixture
def pipeline(aws, image):
    """pipeline(seconds) makes one whose runs take so long; returns its name. Its runs are stopped after the test."""
    made = []

    def make(seconds):
        name = f"p{uuid.uuid4().hex[:8]}"
        cluster = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
        arguments = {
            "AppSpecification": {"ImageUri": {"Get": "Parameters.image"}, "ContainerArguments": [str(seconds)]},
            "RoleArn": ROLE,
            "ProcessingResources": {"ClusterConfig": cluster},
        }
        definition = {
            "Version": "2020-12-01",
            "Parameters": [{"Name": "image", "Type": "String", "DefaultValue": image}],
            "Steps": [{"Name": "Wait", "Type": "Processing", "Arguments": arguments}],
        }
        aws("sagemaker").create_pipeline(
            PipelineName=name,
            PipelineDefinition=json.dumps(definition),
            RoleArn=ROLE,
            ClientRequestToken=uuid.uuid4().hex * 2,
        )
        made.append(name)
        return name

    yield make
    for name in made:
        for run in runs(aws, name):
            if run["PipelineExecutionStatus"] == "Executing":
                stop(aws, run["PipelineExecutionArn"])


def stop(aws, run):
    aws("sagemaker").stop_pipeline_execution(PipelineExecutionArn=run, ClientRequestToken=uuid.uuid4().hex * 2)
    assert wait_until(lambda: status(aws, run) == "Stopped", 30)


def status(aws, run):
    return aws("sagemaker").describe_pipeline_execution(PipelineExecutionArn=run)["PipelineExecutionStatus"]


def runs(aws, pipeline):
    return aws("sagemaker").list_pipeline_executions(PipelineName=pipeline)["PipelineExecutionSummaries"]


def invoke(aws, name, event):
    """(what it returned, or its error; whether it failed)"""
    answer = aws("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    return json.loads(answer["Payload"].read()), "FunctionError" in answer


def ready(key="proteins/READY"):
    detail = {"bucket": {"name": "the-data-bucket"}, "object": {"key": key}}
    return {"id": str(uuid.uuid4()), "source": "aws.s3", "detail-type": "Object Created", "detail": detail}


SCHEDULE = {"source": "schedule"}


# ---- start_training --------------------------------------------------------------------------------------------------


def test_ready_proteins_start_a_run_on_the_image_by_its_digest(aws, function, pipeline, image):
    name, event = pipeline(60), ready()
    answer, failed = invoke(aws, function("start_training", PIPELINE_NAME=name, IMAGE_URI=image), event)
    assert not failed, answer
    [run] = runs(aws, name)
    assert answer["started"] == run["PipelineExecutionArn"]
    assert run["PipelineExecutionDescription"] == f"s3://the-data-bucket/proteins/READY arrived (event {event['id']})"
    [given] = aws("sagemaker").list_pipeline_parameters_for_execution(PipelineExecutionArn=answer["started"])[
        "PipelineParameters"
    ]
    repository, digest = given["Value"].split("@")
    assert repository == image.rpartition(":")[0]
    assert digest.startswith("sha256:")


def test_while_a_run_is_active_ready_proteins_start_none_and_the_failure_says_so(aws, function, pipeline, image):
    name = pipeline(60)
    starter = function("start_training", PIPELINE_NAME=name, IMAGE_URI=image)
    first, _ = invoke(aws, starter, ready())
    error, failed = invoke(aws, starter, ready())
    assert failed
    assert f"{first['started']} is active" in error["errorMessage"]
    assert "put the object again" in error["errorMessage"]
    assert len(runs(aws, name)) == 1


def test_while_a_run_is_active_a_schedule_lets_its_time_go_by(aws, function, pipeline, image):
    name = pipeline(60)
    starter = function("start_training", PIPELINE_NAME=name, IMAGE_URI=image)
    first, _ = invoke(aws, starter, SCHEDULE)
    second, failed = invoke(aws, starter, SCHEDULE)
    assert not failed
    assert (second["started"], first["started"] in second["reason"]) == (None, True)
    assert len(runs(aws, name)) == 1


def test_after_a_run_has_ended_the_next_one_is_started(aws, function, pipeline, image):
    name = pipeline(60)
    starter = function("start_training", PIPELINE_NAME=name, IMAGE_URI=image)
    first, _ = invoke(aws, starter, SCHEDULE)
    stop(aws, first["started"])
    second, _ = invoke(aws, starter, SCHEDULE)
    stop(aws, second["started"])
    third, _ = invoke(aws, starter, ready())
    assert len({first["started"], second["started"], third["started"]}) == 3


def test_an_event_that_comes_twice_starts_one_run_also_long_after_it(aws, function, pipeline, image):
    name, event = pipeline(60), ready()
    starter = function("start_training", PIPELINE_NAME=name, IMAGE_URI=image)
    first, _ = invoke(aws, starter, event)
    stop(aws, first["started"])
    second, failed = invoke(aws, starter, event)
    assert not failed
    assert (second["started"], first["started"] in second["reason"]) == (None, True)


def test_events_that_come_together_start_one_run(aws, function, pipeline, image):
    name = pipeline(60)
    starter = function("start_training", PIPELINE_NAME=name, IMAGE_URI=image)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda event: invoke(aws, starter, event), [ready() for _ in range(6)]))
    assert len(runs(aws, name)) == 1
    assert any(not failed for _, failed in answers)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"source": "aws.ec2", "detail": {}}, "an event of the schedule or of S3's 'Object Created' is wanted"),
        ({}, "an event of the schedule or of S3's 'Object Created' is wanted"),
    ],
)
def test_an_event_of_another_kind_starts_nothing(aws, function, pipeline, image, event, words):
    name = pipeline(0)
    error, failed = invoke(aws, function("start_training", PIPELINE_NAME=name, IMAGE_URI=image), event)
    assert failed
    assert words in error["errorMessage"]
    assert runs(aws, name) == []


def test_without_an_image_no_run_is_started(aws, function, pipeline, image):
    name, unbuilt = pipeline(0), upload_bundle(aws, REPOSITORY, {"launch.py": "# unbuilt"})
    error, failed = invoke(aws, function("start_training", PIPELINE_NAME=name, IMAGE_URI=unbuilt), ready())
    assert failed
    assert "is not built" in error["errorMessage"]
    assert runs(aws, name) == []


def test_a_pipeline_that_is_gone_is_a_failure(aws, function, image):
    error, failed = invoke(aws, function("start_training", PIPELINE_NAME="gone", IMAGE_URI=image), ready())
    assert failed
    assert "gone" in error["errorMessage"]


def test_a_schedule_of_eventbridge_reaches_the_pipeline(aws, function, pipeline, image, deploy):
    name = pipeline(60)
    starter = function("start_training", PIPELINE_NAME=name, IMAGE_URI=image)
    arn = aws("lambda").get_function(FunctionName=starter)["Configuration"]["FunctionArn"]
    now = datetime.fromtimestamp(time.time(), UTC)
    properties = {
        "ScheduleExpression": f"at({now:%Y-%m-%dT%H:%M:%S})",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": arn, "RoleArn": ROLE, "Input": json.dumps(SCHEDULE)},
    }
    deploy(
        aws("cloudformation"),
        f"s{uuid.uuid4().hex[:8]}",
        {"Schedule": {"Type": "AWS::Scheduler::Schedule", "Properties": properties}},
    )
    assert wait_until(lambda: len(runs(aws, name)) == 1, 30)
    assert runs(aws, name)[0]["PipelineExecutionDescription"] == "the schedule of this environment"


# ---- start_image_build -----------------------------------------------------------------------------------------------


@pytest.fixture
def stack(aws, deploy):
    """stack(function, project, image) deploys the custom resource; returns (status, outcome)."""
    name = f"s{uuid.uuid4().hex[:8]}"

    def deployed(function, project, image):
        arn = aws("lambda").get_function(FunctionName=function)["Configuration"]["FunctionArn"]
        properties = {"ServiceToken": arn, "ServiceTimeout": "30", "ProjectName": project, "ImageUri": image}
        found = deploy(
            aws("cloudformation"),
            name,
            {"Start": {"Type": "Custom::ImageBuild", "Properties": properties}},
            Outputs={"Outcome": {"Value": {"Fn::GetAtt": ["Start", "Outcome"]}}},
        )
        return found["StackStatus"], found.get("Outputs", [{}])[0].get("OutputValue", "")

    yield deployed
    aws("cloudformation").delete_stack(StackName=name)
    aws("cloudformation").get_waiter("stack_delete_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )


def bundle(aws, text, **files):
    return upload_bundle(aws, REPOSITORY, {"launch.py": f"# {text} {uuid.uuid4()}"} | files)


def builds(aws, project):
    return aws("codebuild").list_builds_for_project(projectName=project)["ids"]


def is_built(aws, uri):
    found = aws("ecr").batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": uri.rpartition(":")[2]}])
    return bool(found["images"])


def test_a_deployment_starts_the_build_of_a_missing_image_and_does_not_wait_for_it(aws, function, stack):
    uri = bundle(aws, "missing", **{"inventory.py": "import time; time.sleep(2)"})
    project = make_project(aws, uri)
    found, outcome = stack(function("start_image_build"), project, uri)
    assert found == "CREATE_COMPLETE"
    [build] = builds(aws, project)
    assert outcome == f"{build} was started"
    assert aws("codebuild").batch_get_builds(ids=[build])["builds"][0]["buildStatus"] == "IN_PROGRESS"
    assert wait_until(lambda: is_built(aws, uri), 30)


def test_a_deployment_of_the_same_code_builds_nothing_and_of_other_code_builds_that(aws, function, stack):
    first, starter = bundle(aws, "first"), function("start_image_build")
    project = make_project(aws, first)
    stack(starter, project, first)
    assert wait_until(lambda: is_built(aws, first), 30)
    second = bundle(aws, "second")
    other = make_project(aws, second)
    assert stack(starter, other, second)[0] == "UPDATE_COMPLETE"
    assert wait_until(lambda: is_built(aws, second), 30)
    assert stack(starter, project, first) == ("UPDATE_COMPLETE", "the image is there")
    assert (len(builds(aws, project)), len(builds(aws, other))) == (1, 1)


def test_a_build_that_runs_already_is_joined(aws, function, stack):
    uri = bundle(aws, "running", **{"inventory.py": "import time; time.sleep(20)"})
    project = make_project(aws, uri)
    running = aws("codebuild").start_build(projectName=project)["build"]["id"]
    assert wait_until(lambda: is_built(aws, uri), 30)  # as the last phase goes on, so does the build
    aws("ecr").batch_delete_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": uri.rpartition(":")[2]}])
    assert stack(function("start_image_build"), project, uri)[1] == f"{running} is building it"
    assert builds(aws, project) == [running]


def test_a_build_that_cannot_be_started_is_told_and_rolls_nothing_back(aws, function, stack):
    found, outcome = stack(function("start_image_build"), "no-such-project", bundle(aws, "nowhere"))
    assert found == "CREATE_COMPLETE"
    assert outcome.startswith("not started: ")
    assert "no-such-project" in outcome


def test_when_the_resource_goes_the_image_stays(aws, function, deploy):
    uri, starter = bundle(aws, "stays"), function("start_image_build")
    project = make_project(aws, uri)
    arn = aws("lambda").get_function(FunctionName=starter)["Configuration"]["FunctionArn"]
    properties = {"ServiceToken": arn, "ServiceTimeout": "30", "ProjectName": project, "ImageUri": uri}
    name = f"s{uuid.uuid4().hex[:8]}"
    deploy(aws("cloudformation"), name, {"Start": {"Type": "Custom::ImageBuild", "Properties": properties}})
    assert wait_until(lambda: is_built(aws, uri), 30)
    aws("cloudformation").delete_stack(StackName=name)
    aws("cloudformation").get_waiter("stack_delete_complete").wait(
        StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
    assert is_built(aws, uri)
    assert len(builds(aws, project)) == 1


# ---- functions of any kind -------------------------------------------------------------------------------------------

ENVIRONMENT = """
import os, boto3
def handler(event, context):
    seen = {name: value for name, value in os.environ.items() if name.startswith("AWS_") or "proxy" in name.lower()}
    return {"seen": seen, "account": boto3.client("sts").get_caller_identity()["Account"]}
"""


def test_a_function_sees_local_aws_and_nothing_of_the_persons(own_folder, clients_of, monkeypatch):
    trap = "http://127.0.0.1:9"
    with monkeypatch.context() as persons:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS", "https_proxy", "http_proxy"):
            persons.setenv(name, trap)
        running = server.start(own_folder)
    ours = clients_of(running)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("own.py", ENVIRONMENT)
    ours("lambda").create_function(
        FunctionName="own", Runtime="python3.13", Role=ROLE, Handler="own.handler", Code={"ZipFile": buffer.getvalue()}
    )
    answer, failed = invoke(ours, "own", {})
    assert not failed, answer
    assert answer["account"] == running.account
    assert trap not in answer["seen"].values()
    assert answer["seen"]["AWS_ENDPOINT_URL"] == running.endpoint_url
    assert {name for name in answer["seen"] if "proxy" in name.lower()} == {"NO_PROXY", "no_proxy"}


def test_the_processes_of_functions_end_with_the_server(own_folder, clients_of):
    running = server.start(own_folder)
    ours = clients_of(running)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("own.py", "def handler(event, context): return 1")
    ours("lambda").create_function(
        FunctionName="own", Runtime="python3.13", Role=ROLE, Handler="own.handler", Code={"ZipFile": buffer.getvalue()}
    )
    assert invoke(ours, "own", {}) == (1, False)
    processes = descendants(running.pid)
    assert processes
    server.stop(own_folder)
    assert not any(process.runs() for process in processes)
