"""The steps of a pipeline: how they hang together, and how one of each type is carried out.

A step's work is one operation of SageMaker, called as a user would call it, and waiting for what it began.
"""

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local_aws import validation
from local_aws.errors import SageMakerError
from local_aws.expressions import Context, evaluate, holds, references, step_of
from local_aws.store import Scope

POLL_SECONDS = 0.2
LONGEST_NAME = 63
JOBS = {"Processing": "ProcessingJob", "Training": "TrainingJob", "Transform": "TransformJob"}
EMULATED = (*JOBS, "Model", "RegisterModel", "Condition", "Fail")

Call = Callable[[Scope, str, dict[str, Any]], dict[str, Any]]


class StepError(Exception):
    """The step failed; the message is its FailureReason. `kind` is what a retry policy calls it, if anything."""

    def __init__(self, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind


class StepStoppedError(Exception):
    """The execution was asked to stop."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step, taken out of the branch that it lies in: `branch` is the condition step and the side it runs on."""

    definition: Mapping[str, Any]
    branch: tuple[str, bool] | None

    @property
    def name(self) -> str:
        return str(self.definition["Name"])

    @property
    def type(self) -> str:
        return str(self.definition["Type"])

    @property
    def needs(self) -> set[str]:
        """The steps that have to be over: named in DependsOn, referred to, or holding this one in a branch."""
        arguments = self.definition["Arguments"]
        own = arguments["Conditions"] if self.type == "Condition" else arguments
        referred = {step for reference in references(own) if (step := step_of(reference))}
        return {*self.definition.get("DependsOn", []), *referred, *([self.branch[0]] if self.branch else [])}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a step leaves: `metadata` as ListPipelineExecutionSteps shows it, `described` for those that refer to it."""

    metadata: Mapping[str, Any]
    described: Mapping[str, Any] = field(default_factory=dict)
    condition: bool | None = None


def flat(steps: list[dict[str, Any]], branch: tuple[str, bool] | None = None) -> list[Step]:
    """All steps, those of branches too."""
    found = []
    for definition in steps:
        found.append(Step(definition=definition, branch=branch))
        if definition["Type"] == "Condition":
            for side, member in ((True, "IfSteps"), (False, "ElseSteps")):
                found += flat(definition["Arguments"].get(member) or [], (definition["Name"], side))
    return found


def carry_out(
    step: Step,
    scope: Scope,
    context: Context,
    call: Call,
    began: Callable[[Mapping[str, Any]], None],
    stop: threading.Event,
) -> Outcome:
    """Do the step's work; `began(metadata)` is called once its job has a name.

    Raises StepError where it fails, StepStoppedError where `stop` is set, ExpressionError.
    """
    arguments = step.definition["Arguments"]
    if step.type == "Condition":
        outcome = all(holds(condition, context) for condition in arguments["Conditions"])
        return Outcome(metadata={"Condition": {"Outcome": str(outcome)}}, condition=outcome)
    evaluated = evaluate(arguments, context)
    if step.type == "Fail":
        raise StepError(str(evaluated["ErrorMessage"]))
    if step.type == "RegisterModel":
        package = _do(call, scope, "CreateModelPackage", evaluated)
        return Outcome(metadata={"RegisterModel": {"Arn": package["ModelPackageArn"]}}, described=package)
    execution = str(context.execution["PipelineExecutionId"])
    if step.type == "Model":
        name = {"ModelName": _generated_name(execution, step.name)}
        arn = _do(call, scope, "CreateModel", {**evaluated, **name})["ModelArn"]
        return Outcome(metadata={"Model": {"Arn": arn}}, described=call(scope, "DescribeModel", name))
    return _run_job(step, scope, evaluated, execution, call, began, stop)


def _run_job(
    step: Step,
    scope: Scope,
    request: dict[str, Any],
    execution: str,
    call: Call,
    began: Callable[[Mapping[str, Any]], None],
    stop: threading.Event,
) -> Outcome:
    """Create the step's job, and wait for its end."""
    job = JOBS[step.type]
    name = {f"{job}Name": _generated_name(execution, step.name)}
    arn = _do(call, scope, f"Create{job}", {**request, **name})[f"{job}Arn"]
    metadata = {job: {"Arn": arn}}
    began(metadata)
    asked_to_stop = False
    while True:
        described = call(scope, f"Describe{job}", name)
        status = described[f"{job}Status"]
        if status in ("Completed", "Failed", "Stopped"):
            break
        if stop.wait(POLL_SECONDS):
            if not asked_to_stop and status == "InProgress":
                asked_to_stop = True
                call(scope, f"Stop{job}", name)
            time.sleep(POLL_SECONDS)
    if status == "Completed":
        return Outcome(metadata=metadata, described=described)
    if stop.is_set():
        raise StepStoppedError
    reason = described.get("FailureReason", f"The job ended with the status {status}.")
    raise StepError(reason, _kind_of_failure(reason))


def _generated_name(execution: str, step: str) -> str:
    random_part = secrets.token_hex(5)
    prefix = f"pipelines-{execution}-{step}"[: LONGEST_NAME - len(random_part) - 1].rstrip("-_")
    return f"{prefix}-{random_part}".replace("_", "-")


def _do(call: Call, scope: Scope, operation: str, request: dict[str, Any]) -> dict[str, Any]:
    shape = validation.operation(operation).input_shape
    try:
        return call(scope, operation, validation.convert(shape, request))
    except SageMakerError as error:
        kind = {"ThrottlingException": "Step.THROTTLING", "ResourceLimitExceeded": "SageMaker.RESOURCE_LIMIT"}.get(
            error.code, "Step.SERVICE_FAULT" if error.status >= 500 and error.code != "NotEmulated" else None
        )
        raise StepError(f"ClientError: Failed to invoke sagemaker:{operation}. Error Details: {error}", kind) from error


def _kind_of_failure(reason: str) -> str | None:
    """What retry policies call a job's failure. One of our own code (AlgorithmError) has no name there."""
    if reason.startswith("InternalServerError"):
        return "SageMaker.JOB_INTERNAL_ERROR"
    return "SageMaker.CAPACITY_ERROR" if reason.startswith("CapacityError") else None
