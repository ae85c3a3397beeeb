"""What each role of a deployed project is for, done once more, and how it ended."""

import contextlib
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from botocore.exceptions import ClientError
from botocore.session import get_session

from local_aws import calls, server
from local_aws.processes import wait_until
from tests.e2e.strict_project import StrictProject

SERVICE = get_session().get_service_model("sagemaker")
NAME = "amplify-local"
SECONDS = 120
BODY = (
    b'{"task": "perplexity", "inputs": [{"sequence": "MLEGKVKWFNSEKGFGFIEVEGQDDVFVHFSAIQGEGFKTLEEGQAVSFEIVEGNRGPQAA"}]}'
)


def do_work(project: StrictProject, role: str) -> str:
    """Have the role do what it is for, once; returns "" or the reason why it could not."""
    return WORK[role](project, role)


def calls_of(project: StrictProject, role: str, since: int = 0) -> list[calls.Call]:
    """What the role, `<stack>/<role>`, asked for, from the `since`-th call of all on."""
    part = f":assumed-role/{project.roles()[role]}/"
    return [call for call in project.calls()[since:] if part in call["principal"]]


# ---- jobs and pipelines ----------------------------------------------------------------------------------------------


def _run_jobs_again(noun: str, project: StrictProject, role: str) -> str:
    """The last job of each step that the role had, as the administrator: whose right to start it is not in question."""
    sagemaker, physical = project.aws("sagemaker"), project.roles()[role]
    kind = re.sub(r"(?<!^)([A-Z])", r"_\1", noun).lower()
    describe, create = getattr(sagemaker, f"describe_{kind}"), getattr(sagemaker, f"create_{kind}")
    listed = getattr(sagemaker, f"list_{kind}s")(SortOrder="Descending", MaxResults=100, NameContains="pipelines-")
    described = [describe(**{f"{noun}Name": one[f"{noun}Name"]}) for one in listed[f"{noun}Summaries"]]
    own = [one for one in described if one["RoleArn"].endswith(f"/{physical}") and one[f"{noun}Status"] == "Completed"]
    members = SERVICE.operation_model(f"Create{noun}").input_shape.members
    request = {key: value for key, value in own[0].items() if key in members}
    request[f"{noun}Name"] = name = f"again-{uuid.uuid4().hex[:8]}"
    create(**request)
    assert wait_until(lambda: describe(**{f"{noun}Name": name})[f"{noun}Status"] in ("Completed", "Failed"), SECONDS)
    return str(describe(**{f"{noun}Name": name}).get("FailureReason", ""))


def start_again(project: StrictProject, pipeline: str) -> str:
    """A run with the parameters of the last one that succeeded; returns its ARN."""
    sagemaker = project.aws("sagemaker")
    runs = sagemaker.get_paginator("list_pipeline_executions").paginate(PipelineName=pipeline, SortOrder="Descending")
    done = next(runs.search("PipelineExecutionSummaries[?PipelineExecutionStatus=='Succeeded'].PipelineExecutionArn"))
    given = sagemaker.list_pipeline_parameters_for_execution(PipelineExecutionArn=done, MaxResults=50)
    started = sagemaker.start_pipeline_execution(PipelineName=pipeline, PipelineParameters=given["PipelineParameters"])
    return str(started["PipelineExecutionArn"])


@contextlib.contextmanager
def _run_in_training(project: StrictProject) -> Iterator[None]:
    """A run whose training job is there and at work; stopped afterwards."""
    arn = start_again(project, NAME)
    try:
        assert wait_until(
            lambda: any(
                "TrainingJob" in step.get("Metadata", {}) and step["StepStatus"] == "Executing"
                for step in project.aws("sagemaker").list_pipeline_execution_steps(PipelineExecutionArn=arn)[
                    "PipelineExecutionSteps"
                ]
            ),
            SECONDS,
        )
        yield
    finally:
        _stop(project, arn)


def _run_pipeline(pipeline: str, project: StrictProject, _role: str) -> str:
    return ended(project, start_again(project, pipeline))


def ended(project: StrictProject, execution: str) -> str:
    """Why a run failed, once it is over; "" where it did not."""
    assert wait_until(lambda: _status(project, execution) in ("Succeeded", "Failed"), 2 * SECONDS)
    steps = project.aws("sagemaker").list_pipeline_execution_steps(PipelineExecutionArn=execution)
    return " ".join(step.get("FailureReason", "") for step in steps["PipelineExecutionSteps"]).strip()


def _stop(project: StrictProject, execution: str) -> None:
    """A run that may be over already."""
    if _status(project, execution) == "Executing":
        token = uuid.uuid4().hex
        with contextlib.suppress(ClientError):  # it ended by itself meanwhile
            project.aws("sagemaker").stop_pipeline_execution(PipelineExecutionArn=execution, ClientRequestToken=token)
    assert wait_until(lambda: _status(project, execution) not in ("Executing", "Stopping"), SECONDS)


def _stop_all(project: StrictProject, pipeline: str) -> None:
    runs = project.aws("sagemaker").list_pipeline_executions(PipelineName=pipeline, SortOrder="Descending")
    for run in runs["PipelineExecutionSummaries"]:
        if run["PipelineExecutionStatus"] in ("Executing", "Stopping"):
            _stop(project, run["PipelineExecutionArn"])


def _status(project: StrictProject, execution: str) -> str:
    described = project.aws("sagemaker").describe_pipeline_execution(PipelineExecutionArn=execution)
    return str(described["PipelineExecutionStatus"])


# ---- endpoints and transform jobs ------------------------------------------------------------------------------------


def _serve(project: StrictProject, role: str) -> str:
    """In its mode: the endpoint once more, from its beginning (its log group bears its name, so that another would not
    do), and a question to it; or a job of the model."""
    outputs = project.outputs("endpoint")
    if "ModelName" in outputs:
        return _transform(project, outputs, outputs["ModelName"])
    config = project.resources("AWS::SageMaker::EndpointConfig")["endpoint/ModelEndpointEndpointConfig"]
    if failed := make_endpoint_again(project, config.rpartition("/")[2]):
        return failed
    since = len(project.calls())
    if "SuccessTopicArn" in outputs:
        return _ask_later(project, role, outputs)
    try:
        project.aws("sagemaker-runtime").invoke_endpoint(EndpointName=NAME, ContentType="application/json", Body=BODY)
    except ClientError as error:  # without instances, the first question starts the first container
        return str(error)
    described = project.aws("sagemaker").describe_endpoint_config(EndpointConfigName=config.rpartition("/")[2])
    if described.get("DataCaptureConfig", {}).get("EnableCapture"):
        assert wait_until(lambda: _was_put(calls_of(project, role, since)), SECONDS)
    return ""


def _was_put(asked: list[calls.Call]) -> bool:
    """Whether a captured question is in S3, or was refused."""
    allowed = {call["action"]: call["allowed"] for call in asked}
    return allowed.get("s3:PutObject") is False or "kms:GenerateDataKey" in allowed


def make_endpoint_again(project: StrictProject, config: str) -> str:
    sagemaker = project.aws("sagemaker")
    if sagemaker.list_endpoints(NameContains=NAME)["Endpoints"]:
        sagemaker.delete_endpoint(EndpointName=NAME)
    assert wait_until(lambda: not sagemaker.list_endpoints(NameContains=NAME)["Endpoints"], SECONDS)
    sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=config)
    return _settled(project)


def _settled(project: StrictProject) -> str:
    def described() -> dict[str, Any]:
        return project.aws("sagemaker").describe_endpoint(EndpointName=NAME)

    assert wait_until(lambda: described()["EndpointStatus"] in ("InService", "Failed"), SECONDS)
    return str(described().get("FailureReason", ""))


def _ask_later(project: StrictProject, role: str, outputs: Mapping[str, str]) -> str:
    """A question in S3; over when its topic has been told, or was not to be told."""
    bucket, s3 = project.output("storage", "ArtifactBucketName"), project.aws("s3")
    key = f"{outputs['InputPrefix']}{uuid.uuid4().hex}.json"
    s3.put_object(Bucket=bucket, Key=key, Body=BODY)
    since = len(project.calls())
    answer = project.aws("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=NAME, ContentType="application/json", InputLocation=f"s3://{bucket}/{key}"
    )
    assert wait_until(lambda: any(call["action"] == "sns:Publish" for call in calls_of(project, role, since)), SECONDS)
    failure = answer["FailureLocation"].removeprefix(f"s3://{bucket}/")
    there = s3.list_objects_v2(Bucket=bucket, Prefix=failure).get("Contents", [])
    return "".join(s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read().decode() for one in there)


def _transform(project: StrictProject, outputs: Mapping[str, str], model: str) -> str:
    bucket, sagemaker = project.output("storage", "ArtifactBucketName"), project.aws("sagemaker")
    name = f"{NAME}-{uuid.uuid4().hex[:8]}"
    source, target = f"{outputs['InputPrefix']}{name}/", f"{outputs['OutputPrefix']}{name}/"
    project.aws("s3").put_object(Bucket=bucket, Key=f"{source}one.jsonl", Body=BODY + b"\n")
    sagemaker.create_transform_job(
        TransformJobName=name,
        ModelName=model,
        BatchStrategy="SingleRecord",
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{source}"}},
            "ContentType": "application/json",
            "SplitType": "Line",
        },
        TransformOutput={"S3OutputPath": f"s3://{bucket}/{target}", "AssembleWith": "Line"},
        TransformResources={"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
    )

    def described() -> dict[str, Any]:
        return sagemaker.describe_transform_job(TransformJobName=name)

    assert wait_until(lambda: described()["TransformJobStatus"] != "InProgress", SECONDS)
    return str(described().get("FailureReason", ""))


def _transform_a_package(project: StrictProject, role: str) -> str:
    """A job of a model that is made for it of a registered package, as `amplify batch --package` makes it."""
    outputs, sagemaker = project.outputs("endpoint"), project.aws("sagemaker")
    name = f"{NAME}-batch-{uuid.uuid4().hex[:8]}"
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=outputs["PackagesRoleArn"],
        PrimaryContainer={"ModelPackageName": outputs["ModelPackageArn"]},
        EnableNetworkIsolation=True,
    )
    assert outputs["PackagesRoleArn"].endswith(f"/{project.roles()[role]}")
    try:
        return _transform(project, outputs, name)
    finally:
        sagemaker.delete_model(ModelName=name)


# ---- functions, builds, schedules ------------------------------------------------------------------------------------


def _invoke(event: Mapping[str, Any], project: StrictProject, role: str) -> str:
    """A function, as its trigger calls it; a run that it starts is stopped."""
    repository = project.output("registry", "RepositoryUri")
    about = {  # of a custom resource: an image that nobody has, and nobody who waits for the answer
        "ResourceProperties": {
            "ProjectName": project.resources("AWS::CodeBuild::Project")["training/ImageBuildProject"],
            "ImageUri": f"{repository}:cpu-{uuid.uuid4().hex * 2}",
        },
        "ResponseURL": f"{_endpoint(project)}/_ministack/cfn-response/nobody",
        **dict.fromkeys(("StackId", "RequestId", "LogicalResourceId"), uuid.uuid4().hex),
    }
    given = {**event, **about} if "RequestType" in event else event
    name = project.resources("AWS::Lambda::Function")[f"{role.removesuffix('Role')}Function"]
    answered = project.aws("lambda").invoke(FunctionName=name, Payload=json.dumps(given))
    said = json.loads(answered["Payload"].read() or b"null")
    if isinstance(said, dict) and (started := said.get("started")):
        _stop(project, started)
    failed = isinstance(said, dict) and "errorMessage" in said and "RequestType" not in event
    return str(said["errorMessage"]) if failed else ""


def _watch(project: StrictProject, role: str) -> str:
    with _run_in_training(project):
        return _invoke({}, project, role)


def _endpoint(project: StrictProject) -> str:
    running = server.status(project.state)
    assert running is not None
    return running.endpoint_url


def _build(project: StrictProject, _role: str) -> str:
    """The image once more, its bundle fetched again."""
    for kept in (project.state / "images").glob("*.zip"):
        kept.unlink()
    codebuild = project.aws("codebuild")
    id_ = codebuild.start_build(projectName=project.resources("AWS::CodeBuild::Project")["training/ImageBuildProject"])[
        "build"
    ]["id"]

    def build() -> dict[str, Any]:
        return codebuild.batch_get_builds(ids=[id_])["builds"][0]

    assert wait_until(lambda: build()["buildStatus"] != "IN_PROGRESS", SECONDS)
    failed = [phase for phase in build()["phases"] if phase.get("phaseStatus") == "FAILED"]
    return " ".join(context.get("message", "") for phase in failed for context in phase.get("contexts", []))


def _come_due(project: StrictProject, schedule: str, role: str) -> bool:
    """Another schedule with the same target, due now; returns whether its role may call the target."""
    scheduler, since = project.aws("scheduler"), len(project.calls())
    name = project.resources("AWS::Scheduler::Schedule")[schedule].rpartition("/")[2]
    pages = scheduler.get_paginator("list_schedules").paginate()
    [group] = [one["GroupName"] for page in pages for one in page["Schedules"] if one["Name"] == name]
    as_it_is = scheduler.get_schedule(Name=name, GroupName=group)
    scheduler.create_schedule(
        Name=f"again-{uuid.uuid4().hex[:8]}",
        GroupName=group,
        ScheduleExpression=f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})",
        ActionAfterCompletion="DELETE",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=as_it_is["Target"],
    )
    assert wait_until(lambda: calls_of(project, role, since) != [], SECONDS)
    return calls_of(project, role, since)[-1]["allowed"]


def _call_function(function: str, project: StrictProject, role: str) -> str:
    """What the schedule calls, called by it; a run that comes of it is stopped."""
    since = len(project.calls())
    if _come_due(project, role.replace("ScheduleRole", "Schedule"), role):
        assert wait_until(lambda: calls_of(project, function, since) != [], SECONDS)
        if function == "training/TriggersStarterRole":
            wait_until(lambda: _has_started(calls_of(project, function, since)), SECONDS)
            _stop_all(project, NAME)
    return ""


def _has_started(asked: list[calls.Call]) -> bool:
    return any(call["action"] == "sagemaker:StartPipelineExecution" for call in asked)


def _start_drift(project: StrictProject, role: str) -> str:
    if _come_due(project, "monitoring/DriftSchedule", role):
        _stop_all(project, f"{NAME}-drift")
    return ""


def _keep_hours(project: StrictProject, role: str) -> str:
    """The endpoint goes in the evening and comes in the morning; what the role may not is done by the administrator."""
    sagemaker = project.aws("sagemaker")
    if not _come_due(project, "endpoint/HoursClosing", role):
        sagemaker.delete_endpoint(EndpointName=NAME)
    assert wait_until(lambda: not sagemaker.list_endpoints(NameContains=NAME)["Endpoints"], SECONDS)
    _come_due(project, "endpoint/HoursOpening", role)
    if wait_until(lambda: bool(sagemaker.list_endpoints(NameContains=NAME)["Endpoints"]), 5):
        return _settled(project)
    config = project.resources("AWS::SageMaker::EndpointConfig")["endpoint/ModelEndpointEndpointConfig"]
    return make_endpoint_again(project, config.rpartition("/")[2])


WORK: Mapping[str, Callable[[StrictProject, str], str]] = {
    **dict.fromkeys(
        ("training/PrepareRole", "training/EvaluateRole", "training/FetchRole", "monitoring/DriftRole"),
        partial(_run_jobs_again, "ProcessingJob"),
    ),
    "training/TrainRole": partial(_run_jobs_again, "TrainingJob"),
    "training/TrainingPipelineRole": partial(_run_pipeline, NAME),
    "training/RegistrationPipelineRole": partial(_run_pipeline, f"{NAME}-register"),
    "monitoring/DriftPipelineRole": partial(_run_pipeline, f"{NAME}-drift"),
    "training/ImageBuildRole": _build,
    "training/ImageBuildStarterRole": partial(_invoke, {"RequestType": "Create"}),
    "training/TriggersStarterRole": partial(_invoke, {"source": "schedule"}),
    "training/RunWatchWatcherRole": _watch,
    "training/RunWatchScheduleRole": partial(_call_function, "training/RunWatchWatcherRole"),
    "training/TriggersScheduleRole": partial(_call_function, "training/TriggersStarterRole"),
    "monitoring/DriftScheduleRole": _start_drift,
    "endpoint/Role": _serve,
    "endpoint/HoursRole": _keep_hours,
    "endpoint/PackagesRole": _transform_a_package,
}
"""`<stack>/<role>` → its work."""
