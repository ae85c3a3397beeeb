"""Statements of the roles of a deployed project: taken out one at a time, and what then goes wrong."""

import contextlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError
from botocore.session import get_session

from local_aws import calls, server
from local_aws.processes import wait_until
from tests.e2e.strict_project import StrictProject

SERVICE = get_session().get_service_model("sagemaker")
FUNCTIONS = {  # role → its function, and an event for it
    "training/ImageBuildStarterRole": ("training/ImageBuildStarterFunction", {"RequestType": "Create"}),
    "training/TriggersStarterRole": ("training/TriggersStarterFunction", {"source": "schedule"}),
    "training/RunWatchWatcherRole": ("training/RunWatchWatcherFunction", {}),  # needs a run to watch
}
WATCHER = "training/RunWatchWatcherRole"
NOT_HELD = ("training/RunWatchScheduleRole",)  # the scheduler reaches its targets without asking
JOBS = {"training/TrainRole": "TrainingJob"} | dict.fromkeys(
    ("training/PrepareRole", "training/EvaluateRole", "training/FetchRole"), "ProcessingJob"
)
SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement of a role's policy."""

    role: str
    """`<stack>/<role>`"""
    physical: str
    policy: str
    document: Mapping[str, Any]
    number: int

    @property
    def actions(self) -> list[str]:
        given = self.document["Statement"][self.number]["Action"]
        return given if isinstance(given, list) else [given]

    def __str__(self) -> str:
        return f"{self.role}: {', '.join(self.actions)}"

    @contextlib.contextmanager
    def taken_out(self, project: StrictProject) -> Iterator[None]:
        """The role without this statement."""
        left = [one for number, one in enumerate(self.document["Statement"]) if number != self.number]
        put = project.aws("iam").put_role_policy
        put(
            RoleName=self.physical,
            PolicyName=self.policy,
            PolicyDocument=json.dumps({**self.document, "Statement": left}),
        )
        try:
            yield
        finally:
            put(RoleName=self.physical, PolicyName=self.policy, PolicyDocument=json.dumps(self.document))


def statements(project: StrictProject) -> list[Statement]:
    """Every statement of every role of our stacks."""
    iam, found = project.aws("iam"), []
    for role, physical in sorted(project.roles().items()):
        for policy in iam.list_role_policies(RoleName=physical)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=physical, PolicyName=policy)["PolicyDocument"]
            found += [
                Statement(role=role, physical=physical, policy=policy, document=document, number=number)
                for number in range(len(document["Statement"]))
            ]
    return found


def refusals_without(project: StrictProject, statement: Statement) -> tuple[list[calls.Call], str]:
    """What the role was refused while it did its work without the statement, and how that ended."""
    before = len(project.calls())
    with statement.taken_out(project):
        ended = do_work(project, statement.role)
        after = len(project.calls())
    if statement.role == "endpoint/Role":
        do_work(project, statement.role)  # in service again
    own = [
        call for call in project.calls()[before:after] if f":assumed-role/{statement.physical}/" in call["principal"]
    ]
    return [call for call in own if not call["allowed"]], ended


def is_in_aws_words(refusal: calls.Call) -> bool:
    """Whether a refusal reads as AWS writes it."""
    action = refusal["action"]
    return refusal["message"] == (
        f"User: {refusal['principal']} is not authorized to perform: {action} on resource: {refusal['resource']} "
        f"because no identity-based policy allows the {action} action"
    )


# ---- the work of each role -------------------------------------------------------------------------------------------


def do_work(project: StrictProject, role: str) -> str:
    """Have the role do what it is for, once; returns "" or the reason why it could not."""
    if role in NOT_HELD:
        return ""
    if role in JOBS:
        return _run_jobs_again(project, role, JOBS[role])
    if role == WATCHER:
        with _run_in_training(project):
            return _invoke(project, *FUNCTIONS[role])
    if role in FUNCTIONS:
        return _invoke(project, *FUNCTIONS[role])
    if role == "training/ImageBuildRole":
        return _build(project)
    if role.endswith("PipelineRole"):
        return _run_pipeline(project, "amplify-local" if "Training" in role else "amplify-local-register")
    return _serve(project)


def _run_jobs_again(project: StrictProject, role: str, noun: str) -> str:
    """The last job of each step that the role had, as the administrator: whose right to start it is not in question."""
    sagemaker, physical = project.aws("sagemaker"), project.roles()[role]
    kind = re.sub(r"(?<!^)([A-Z])", r"_\1", noun).lower()
    describe, create = getattr(sagemaker, f"describe_{kind}"), getattr(sagemaker, f"create_{kind}")
    summaries = getattr(sagemaker, f"list_{kind}s")(SortOrder="Descending", MaxResults=100)[f"{noun}Summaries"]
    names = [one[f"{noun}Name"] for one in summaries if one[f"{noun}Name"].startswith("pipelines-")]
    described = [describe(**{f"{noun}Name": name}) for name in names]
    own = [one for one in described if one["RoleArn"].endswith(f"/{physical}") and one[f"{noun}Status"] == "Completed"]
    members = SERVICE.operation_model(f"Create{noun}").input_shape.members
    request = {key: value for key, value in own[0].items() if key in members}
    request[f"{noun}Name"] = name = f"again-{uuid.uuid4().hex[:8]}"
    create(**request)
    assert wait_until(lambda: describe(**{f"{noun}Name": name})[f"{noun}Status"] in ("Completed", "Failed"), SECONDS)
    return str(describe(**{f"{noun}Name": name}).get("FailureReason", ""))


def _start_again(project: StrictProject, pipeline: str) -> str:
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
    arn = _start_again(project, "amplify-local")
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


def _run_pipeline(project: StrictProject, pipeline: str) -> str:
    sagemaker, arn = project.aws("sagemaker"), _start_again(project, pipeline)

    def described() -> dict[str, Any]:
        return sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)

    assert wait_until(lambda: described()["PipelineExecutionStatus"] in ("Succeeded", "Failed"), 2 * SECONDS)
    steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
    return " ".join(step.get("FailureReason", "") for step in steps).strip()


def _serve(project: StrictProject) -> str:
    """The endpoint once more, from its beginning: its log group bears its name, so that another would not do."""
    sagemaker, name = project.aws("sagemaker"), "amplify-local"
    config = sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    sagemaker.delete_endpoint(EndpointName=name)
    assert wait_until(lambda: not sagemaker.list_endpoints(NameContains=name)["Endpoints"], SECONDS)
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)

    def described() -> dict[str, Any]:
        return sagemaker.describe_endpoint(EndpointName=name)

    assert wait_until(lambda: described()["EndpointStatus"] in ("InService", "Failed"), SECONDS)
    return str(described().get("FailureReason", ""))


def _invoke(project: StrictProject, function: str, event: Mapping[str, Any]) -> str:
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
    name = project.resources("AWS::Lambda::Function")[function]
    answered = project.aws("lambda").invoke(FunctionName=name, Payload=json.dumps(given))
    said = json.loads(answered["Payload"].read() or b"null")
    if isinstance(said, dict) and (started := said.get("started")):
        _stop(project, started)
    failed = isinstance(said, dict) and "errorMessage" in said and "RequestType" not in event
    return str(said["errorMessage"]) if failed else ""


def _stop(project: StrictProject, execution: str) -> None:
    """A run that may be over already."""
    if _status(project, execution) == "Executing":
        token = uuid.uuid4().hex
        with contextlib.suppress(ClientError):  # it ended by itself meanwhile
            project.aws("sagemaker").stop_pipeline_execution(PipelineExecutionArn=execution, ClientRequestToken=token)
    assert wait_until(lambda: _status(project, execution) not in ("Executing", "Stopping"), SECONDS)


def _status(project: StrictProject, execution: str) -> str:
    described = project.aws("sagemaker").describe_pipeline_execution(PipelineExecutionArn=execution)
    return str(described["PipelineExecutionStatus"])


def _endpoint(project: StrictProject) -> str:
    running = server.status(project.state)
    assert running is not None
    return running.endpoint_url


def _build(project: StrictProject) -> str:
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
