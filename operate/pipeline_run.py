"""One run of the SageMaker Pipeline: start it, follow it live, and say why it failed.

What is shown while it runs is what SageMaker itself knows: the states of its steps, and the `[metric]` lines that the
training job writes to CloudWatch Logs.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from operate.aws import Aws
from operate.errors import OperateError, is_refusal

LOG_TAIL_LINES = 15
ENDED = {"Succeeded", "Failed", "Stopped"}

TODO = {
    "Fetch": "See that the source is right: amplify register <folder>, s3://… or hf:<owner>/<name>@<revision>.",
    "Prepare": "Look at the proteins (`amplify data list`; `add` brings some, `remove` takes a broken file away; "
    "`make demo` brings its own), the recipe's name and --set; then start again.",
    "Train": "Mend what the reason names, then start again: a new run begins anew.",
    "Evaluate": "Look at the held-out proteins (`amplify data list`; `add --held-out` brings some, "
    "`remove --held-out` takes a broken file away); then start again.",
    "Refuse": "Train longer, on more proteins, or with another recipe: `amplify train --set steps=…`.",
}


@dataclass(frozen=True, slots=True)
class StepChange:
    """A step has begun, ended, or changed its state."""

    step: str
    status: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """One `[metric]` line of the training log, by key: step, steps, train_loss, …"""

    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class LogLine:
    """Any other line that a job wrote."""

    step: str
    text: str


Event = StepChange | Metrics | LogLine


@dataclass(frozen=True, slots=True)
class _Job:
    """The job behind a step."""

    kind: str
    name: str

    @property
    def log_group(self) -> str:
        return f"/aws/sagemaker/{self.kind}s"


def start(aws: Aws, pipeline: str, parameters: Mapping[str, str], *, title: str = "") -> str:
    """StartPipelineExecution; returns the execution's ARN. Raises OperateError where AWS refuses."""
    listed = [{"Name": name, "Value": value} for name, value in parameters.items()]
    request: dict[str, Any] = {"PipelineName": pipeline, "PipelineParameters": listed}
    if title:
        request["PipelineExecutionDescription"] = title
    try:
        return aws.client("sagemaker").start_pipeline_execution(**request)["PipelineExecutionArn"]
    except ClientError as error:
        raise OperateError(
            f"The run was not started: {error.response['Error']['Message']}",
            todo="`amplify train --help` shows what a run takes; `amplify deploy` makes the pipeline.",
        ) from None


def stop(aws: Aws, execution: str) -> None:
    """StopPipelineExecution; a run that has ended stays as it is."""
    try:
        aws.client("sagemaker").stop_pipeline_execution(
            PipelineExecutionArn=execution, ClientRequestToken=f"stop-{execution.rsplit('/', 1)[-1]:->32}"
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("ValidationException", "ConflictException"):
            raise


def executions(aws: Aws, pipelines: Sequence[str]) -> list[dict[str, Any]]:
    """Summaries of the pipelines' runs, newest first."""
    paginator = aws.client("sagemaker").get_paginator("list_pipeline_executions")
    found = [
        one
        for pipeline in pipelines
        for page in paginator.paginate(PipelineName=pipeline)
        for one in page["PipelineExecutionSummaries"]
    ]
    return sorted(found, key=lambda one: one["StartTime"], reverse=True)


def listed(aws: Aws, pipelines: Sequence[str], limit: int = 20) -> list[dict[str, Any]]:
    """The latest runs: run, began, status, reason, and of the model registered its version, approval and artifact."""
    sagemaker = aws.client("sagemaker")
    found = []
    for summary in executions(aws, pipelines)[:limit]:
        arn = summary["PipelineExecutionArn"]
        model = {"version": None, "approval": "", "artifact": ""}
        for step in _steps(sagemaker, arn):
            if package := step.get("Metadata", {}).get("RegisterModel", {}).get("Arn"):
                described = sagemaker.describe_model_package(ModelPackageName=package)
                [container] = described["InferenceSpecification"]["Containers"]
                model = {
                    "version": described["ModelPackageVersion"],
                    "approval": described["ModelApprovalStatus"],
                    "artifact": container["ModelDataUrl"],
                }
        status = summary["PipelineExecutionStatus"]
        reason = failure(aws, arn).message if status == "Failed" else ""
        run = arn.rsplit("/", 1)[-1]
        found.append({"run": run, "began": summary["StartTime"], "status": status, "reason": reason, **model})
    return found


def follow(aws: Aws, execution: str, *, poll_s: float = 1.0) -> Iterator[Event]:
    """Everything that happens, until the run has succeeded. Raises OperateError where it fails or is stopped."""
    sagemaker, logs = aws.client("sagemaker"), aws.client("logs")
    seen: dict[str, str] = {}
    tails: dict[str, _Tail] = {}
    while True:
        state = sagemaker.describe_pipeline_execution(
            PipelineExecutionArn=execution
        )  # before the steps: theirs is newer
        for step in _steps(sagemaker, execution):
            name, status = step["StepName"], step["StepStatus"]
            if (job := job_of(step)) and name not in tails:
                tails[name] = _Tail(name, job)
            if name in tails and seen.get(name) not in ENDED:
                yield from tails[name].read(logs)
            if seen.get(name) != status:
                seen[name] = status
                yield StepChange(name, status, _seconds(step))
        if state["PipelineExecutionStatus"] == "Succeeded":
            return
        if state["PipelineExecutionStatus"] in ENDED:
            raise failure(aws, execution)
        time.sleep(poll_s)


def failure(aws: Aws, execution: str) -> OperateError:
    """Why a run did not succeed: the failed step's reason, its job's own words, the end of its log, what to do."""
    sagemaker = aws.client("sagemaker")
    state = sagemaker.describe_pipeline_execution(PipelineExecutionArn=execution)
    if state["PipelineExecutionStatus"] == "Stopped":
        return OperateError("The run was stopped.", todo="Start another one with `amplify train`.")
    failed = [step for step in _steps(sagemaker, execution) if step["StepStatus"] == "Failed"]
    if not failed:
        reason = state.get("FailureReason", "AWS gives no reason")
        return OperateError(f"The run failed: {reason}", todo="See the step in `amplify runs`.")
    step = failed[-1]
    job = job_of(step)
    reason = (job and _job_reason(sagemaker, job)) or step.get("FailureReason", "AWS gives no reason")
    tail = _Tail(step["StepName"], job).last_lines(aws.client("logs")) if job else ""
    return OperateError(
        f"Step {step['StepName']} failed: {reason}",
        todo=TODO.get(step["StepName"], "See the step in `amplify runs`."),
        log_tail="" if tail == reason else tail,
    )


def log_tail(aws: Aws, kind: str, name: str) -> str:
    """The end of a job's log, such as a TransformJob's; nothing where the caller may not read it."""
    try:
        return _Tail(kind, _Job(kind, name)).last_lines(aws.client("logs"))
    except ClientError as error:
        if is_refusal(error):
            return ""
        raise


def job_of(step: Mapping[str, Any]) -> _Job | None:
    """The processing or training job of a step, once it has one."""
    for kind in ("ProcessingJob", "TrainingJob"):
        if arn := step.get("Metadata", {}).get(kind, {}).get("Arn"):
            return _Job(kind, arn.rsplit("/", 1)[-1])
    return None


def parse_metrics(line: str) -> dict[str, float] | None:
    """The numbers of a `[metric] key=value …` line; None for every other line."""
    if not line.startswith("[metric] "):
        return None
    return {key: float(value) for key, value in re.findall(r"(\w+)=([-+.\w]+)", line)}


@dataclass
class _Tail:
    """What of a job's log has not been read yet, over all its streams."""

    step: str
    job: _Job
    tokens: dict[str, str] = field(default_factory=dict)

    def read(self, logs: Any) -> Iterator[Event]:
        for stream in _streams(logs, self.job):
            while True:
                request = {"logGroupName": self.job.log_group, "logStreamName": stream, "startFromHead": True}
                if stream in self.tokens:
                    request["nextToken"] = self.tokens[stream]
                page = logs.get_log_events(**request)
                for event in page["events"]:
                    metrics = parse_metrics(event["message"])
                    yield Metrics(metrics) if metrics else LogLine(self.step, event["message"])
                if self.tokens.get(stream) == page["nextForwardToken"]:
                    break
                self.tokens[stream] = page["nextForwardToken"]

    def last_lines(self, logs: Any) -> str:
        lines = [event.text for event in self.read(logs) if isinstance(event, LogLine)]
        return "\n".join(lines[-LOG_TAIL_LINES:])


def _streams(logs: Any, job: _Job) -> list[str]:
    try:
        found = logs.describe_log_streams(logGroupName=job.log_group, logStreamNamePrefix=f"{job.name}/")
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return []  # the job has not written a line yet
        raise
    return [stream["logStreamName"] for stream in found["logStreams"]]


def _job_reason(sagemaker: Any, job: _Job) -> str:
    if job.kind == "TrainingJob":
        return sagemaker.describe_training_job(TrainingJobName=job.name).get("FailureReason", "")
    described = sagemaker.describe_processing_job(ProcessingJobName=job.name)
    return described.get("ExitMessage") or described.get("FailureReason", "")


def _steps(sagemaker: Any, execution: str) -> list[dict[str, Any]]:
    """In the order in which they began."""
    pages = sagemaker.get_paginator("list_pipeline_execution_steps").paginate(
        PipelineExecutionArn=execution, SortOrder="Ascending"
    )
    return [step for page in pages for step in page["PipelineExecutionSteps"]]


def _seconds(step: Mapping[str, Any]) -> float:
    if "StartTime" not in step or "EndTime" not in step:
        return 0.0
    return (step["EndTime"] - step["StartTime"]).total_seconds()
