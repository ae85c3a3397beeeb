"""Executions of pipelines: started, followed, stopped, retried; each in a thread that runs what is ready to run.

The record in the store is the execution, its steps in it. What a finished step leaves for others lies there too
(`_Described`), so that a retry, also in the next server, goes on from the failed step and repeats nothing.
"""

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from local_aws import identity, pipeline_metrics, store
from local_aws.errors import SageMakerError, invalid, not_emulated
from local_aws.expressions import Context, ExpressionError
from local_aws.listings import page
from local_aws.pipelines import EXECUTION, find
from local_aws.s3_files import S3Error, read_object
from local_aws.steps import Call, Outcome, Step, StepError, StepStoppedError, carry_out, flat
from local_aws.store import Record, Scope

logger = logging.getLogger("local_aws")

Request = dict[str, Any]

MOST_AT_ONCE = 50  # AWS's default of MaxParallelExecutionSteps
ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
RUNNING = ("Executing", "Stopping")
SERVER_STOPPED = (
    "local AWS stopped while the execution ran. Nothing is wrong with it: RetryPipelineExecution goes on from the step "
    "that was interrupted."
)
PARSERS: dict[str, Callable[[str], Any]] = {
    "Integer": int,
    "Float": float,
    "Boolean": lambda text: {"true": True, "false": False}[text.lower()],
}

_call: Call | None = None
_stops: dict[tuple[Scope, str], threading.Event] = {}
_closing = threading.Event()  # the server ends: nothing new begins


def use(call: Call) -> None:
    """How steps call SageMaker's operations: given by `api`, which in turn offers the operations below."""
    global _call
    _call = call


# ---- operations ------------------------------------------------------------------------------------------------------


def start(scope: Scope, request: Request) -> dict[str, Any]:
    pipeline = find(scope, request["PipelineName"])
    for member in ("SelectiveExecutionConfig", "MlflowExperimentName", "PipelineVersionId"):
        if member in request:
            raise not_emulated(member)
    with store.current().lock:
        for earlier in store.current().all(scope, EXECUTION):
            if earlier.get("ClientRequestToken") == request["ClientRequestToken"]:
                return {"PipelineExecutionArn": earlier["PipelineExecutionArn"]}
        definition = json.loads(pipeline["PipelineDefinition"])
        parameters = _parameters(definition.get("Parameters") or [], request.get("PipelineParameters", []))
        name = pipeline["PipelineName"]
        id_ = "".join(secrets.choice(ID_LETTERS) for _ in range(12))
        arn, now = f"{pipeline['PipelineArn']}/execution/{id_}", time.time()
        record = {
            "PipelineArn": pipeline["PipelineArn"],
            "PipelineExecutionArn": arn,
            "PipelineExecutionDisplayName": request.get("PipelineExecutionDisplayName", f"execution-{int(now * 1000)}"),
            "PipelineExecutionDescription": request.get("PipelineExecutionDescription"),
            "PipelineExecutionStatus": "Executing",
            "ParallelismConfiguration": request.get(
                "ParallelismConfiguration", pipeline.get("ParallelismConfiguration")
            ),
            "ClientRequestToken": request["ClientRequestToken"],
            "_RoleArn": pipeline["RoleArn"],
            "CreationTime": now,
            "StartTime": now,
            "LastModifiedTime": now,
            "_Definition": pipeline["PipelineDefinition"],
            "_Parameters": parameters,
            "_Steps": [],
            "_Described": {},
        }
        kept = {key: value for key, value in record.items() if value is not None}
        store.current().put(scope, EXECUTION, f"{name}/execution/{id_}", kept)
    _run(scope, f"{name}/execution/{id_}")
    pipeline_metrics.began(scope, name)
    return {"PipelineExecutionArn": arn}


def describe(scope: Scope, request: Request) -> dict[str, Any]:
    return dict(_find(scope, request["PipelineExecutionArn"])[1])


def list_executions(scope: Scope, request: Request) -> dict[str, Any]:
    arn = find(scope, request["PipelineName"])["PipelineArn"]
    return page(
        store.current().all(scope, EXECUTION),
        request,
        result="PipelineExecutionSummaries",
        name="PipelineExecutionArn",
        status="PipelineExecutionStatus",
        keep=lambda execution: execution["PipelineArn"] == arn,
    )


def list_steps(scope: Scope, request: Request) -> dict[str, Any]:
    execution = _find(scope, request["PipelineExecutionArn"])[1]
    # The number breaks ties between steps that began in the same instant.
    steps = [
        {**step, "CreationTime": step["StartTime"], "_Number": f"{number:04}"}
        for number, step in enumerate(execution["_Steps"])
    ]
    return page(steps, request, result="PipelineExecutionSteps", name="_Number", status="StepStatus")


def list_parameters(scope: Scope, request: Request) -> dict[str, Any]:
    execution = _find(scope, request["PipelineExecutionArn"])[1]
    listed = [
        {"Name": name, "Value": value if isinstance(value, str) else json.dumps(value)}
        for name, value in execution["_Parameters"].items()
    ]
    return page(listed, request, result="PipelineParameters", name="Name", order="Ascending", page_size=50)


def describe_definition(scope: Scope, request: Request) -> dict[str, Any]:
    execution = _find(scope, request["PipelineExecutionArn"])[1]
    return {"PipelineDefinition": execution["_Definition"], "CreationTime": execution["CreationTime"]}


def update(scope: Scope, request: Request) -> dict[str, Any]:
    name, execution = _find(scope, request["PipelineExecutionArn"])
    changes = {key: value for key, value in request.items() if key != "PipelineExecutionArn"}
    store.current().change(scope, EXECUTION, name, **changes)
    return {"PipelineExecutionArn": execution["PipelineExecutionArn"]}


def stop(scope: Scope, request: Request) -> dict[str, Any]:
    with store.current().lock:
        name, execution = _find(scope, request["PipelineExecutionArn"])
        status = execution["PipelineExecutionStatus"]
        if status not in RUNNING:
            raise invalid(f"Pipeline execution {execution['PipelineExecutionArn']} is {status}: it cannot be stopped.")
        store.current().change(scope, EXECUTION, name, PipelineExecutionStatus="Stopping")
        _stops.setdefault((scope, name), threading.Event()).set()  # it may not have begun yet
    return {"PipelineExecutionArn": execution["PipelineExecutionArn"]}


def retry(scope: Scope, request: Request) -> dict[str, Any]:
    """Go on with an execution that failed or was stopped, from the steps that did not succeed."""
    with store.current().lock:
        name, execution = _find(scope, request["PipelineExecutionArn"])
        status = execution["PipelineExecutionStatus"]
        if status not in ("Failed", "Stopped"):
            raise invalid(f"Pipeline execution {execution['PipelineExecutionArn']} is {status}: it cannot be retried.")
        kept = [step for step in execution["_Steps"] if step["StepStatus"] == "Succeeded"]
        _stops.pop((scope, name), None)
        _change(scope, name, PipelineExecutionStatus="Executing", FailureReason=None, EndTime=None, _Steps=kept)
    _run(scope, name)
    return {"PipelineExecutionArn": execution["PipelineExecutionArn"]}


def _find(scope: Scope, arn: str) -> tuple[str, Record]:
    """(name, record) of an execution. Raises SageMakerError where there is none."""
    name = arn.removeprefix(scope.arn("pipeline/"))
    record = store.current().get(scope, EXECUTION, name)
    if record is None:
        raise SageMakerError("ResourceNotFound", f"Pipeline execution {arn} does not exist.")
    return name, record


def _parameters(declared: list[dict[str, Any]], given: list[dict[str, str]]) -> dict[str, Any]:
    """Name → value of every parameter, by type. Raises SageMakerError that names every fault."""
    values = {parameter["Name"]: parameter["Value"] for parameter in given}
    faults = []
    known = [parameter["Name"] for parameter in declared]
    if unknown := sorted(values.keys() - set(known)):
        faults.append(f"unknown parameters {', '.join(unknown)}; the pipeline has {', '.join(known)}")
    found: dict[str, Any] = {}
    for parameter in declared:
        name, kind = parameter["Name"], parameter["Type"]
        if name not in values and "DefaultValue" not in parameter:
            faults.append(f"parameter {name} has no default value: give one")
            continue
        value = values.get(name, parameter.get("DefaultValue"))
        try:
            found[name] = PARSERS[kind](value) if kind in PARSERS and isinstance(value, str) else value
        except (ValueError, KeyError):
            faults.append(f"parameter {name} is {value!r}: give a value of the type {kind}")
            continue
        if found[name] not in parameter.get("EnumValues", [found[name]]):
            faults.append(f"parameter {name} is {value!r}: give one of {', '.join(map(str, parameter['EnumValues']))}")
    if faults:
        raise invalid(f"The execution cannot be started: {'; '.join(faults)}")
    return found


# ---- running ---------------------------------------------------------------------------------------------------------


def end_interrupted() -> None:
    """Tell of the executions that a killed server took with it."""
    _closing.clear()
    for scope, name, execution in store.current().everywhere(EXECUTION):
        if execution["PipelineExecutionStatus"] in RUNNING:
            now = time.time()
            ended = {"StepStatus": "Failed", "EndTime": now, "FailureReason": SERVER_STOPPED}
            steps = [step if "EndTime" in step else step | ended for step in execution["_Steps"]]
            _finish(scope, name, "Failed", SERVER_STOPPED, steps)


def shut_down() -> None:
    """Begin nothing any more: the jobs that run are ended by `jobs`, and the next server tells of it."""
    _closing.set()


def _run(scope: Scope, name: str) -> None:
    runner = _Runner(scope, name, _stops.setdefault((scope, name), threading.Event()))
    threading.Thread(target=runner.run, name=f"execution {name}", daemon=True).start()


class _Runner:
    """One execution, from where its record stands to its end."""

    def __init__(self, scope: Scope, name: str, stop: threading.Event) -> None:
        record = store.current().get(scope, EXECUTION, name)
        assert record is not None, "it was put there a moment ago"
        self._scope, self._name, self._stop = scope, name, stop
        self._steps = {step.name: step for step in flat(json.loads(record["_Definition"])["Steps"])}
        self._at_once = record.get("ParallelismConfiguration", {}).get("MaxParallelExecutionSteps", MOST_AT_ONCE)
        self._record = record
        self._shown: list[dict[str, Any]] = list(record["_Steps"])
        self._described: dict[str, Mapping[str, Any]] = dict(record["_Described"])
        self._lock = threading.Lock()

    def run(self) -> None:
        try:
            self._run()
        except Exception as error:
            logger.exception("execution %s", self._name)
            _finish(self._scope, self._name, "Failed", f"InternalServerError: a bug of local AWS: {error!r}")
        finally:
            if _stops.get((self._scope, self._name)) is self._stop:
                del _stops[self._scope, self._name]

    def _run(self) -> None:
        working: dict[Future[bool], Step] = {}
        failed: list[str] = []
        with ThreadPoolExecutor(self._at_once, thread_name_prefix=f"step of {self._name}") as pool:
            while True:
                if not failed and not self._stop.is_set() and not _closing.is_set():
                    for step in self._ready(working.values(), self._at_once - len(working)):
                        self._show(step, StepStatus="Executing", StartTime=time.time())
                        working[pool.submit(self._carry_out, step)] = step
                if not working:
                    break
                done, _ = wait(working, return_when=FIRST_COMPLETED)
                for future in done:
                    step = working.pop(future)
                    if not future.result():
                        failed.append(step.name)
        if _closing.is_set():
            return  # the next server tells
        if self._stop.is_set():
            _finish(self._scope, self._name, "Stopped")
        elif failed:
            reason = f"Step failure: One or multiple steps failed: {', '.join(failed)}"
            _finish(self._scope, self._name, "Failed", reason)
        else:
            _finish(self._scope, self._name, "Succeeded")

    def _ready(self, working: Any, most: int) -> Iterator[Step]:
        """Steps that can begin now: not begun, everything they need done, on the side that their condition took."""
        states = {shown["StepName"]: shown["StepStatus"] for shown in self._shown}
        sides = {name: described.get("_Outcome") for name, described in self._described.items()}
        begun = {step.name for step in working} | states.keys()
        ready = [
            step
            for step in self._steps.values()
            if step.name not in begun
            and all(states.get(needed) == "Succeeded" for needed in step.needs)
            and (step.branch is None or sides.get(step.branch[0]) == step.branch[1])
        ]
        yield from ready[: max(0, most)]

    def _carry_out(self, step: Step) -> bool:
        """The step with its retries; whether it succeeded."""
        attempts: dict[int, int] = {}
        while True:
            try:
                with identity.acting_as(self._record.get("_RoleArn")):
                    outcome = self._attempt(step)
            except StepStoppedError:
                self._show(step, StepStatus="Stopped", EndTime=time.time())
                return False
            except (StepError, ExpressionError, SageMakerError) as error:  # the last: the role cannot be assumed
                if self._waits_to_retry(step, error, attempts):
                    continue
                self._show(step, StepStatus="Failed", EndTime=time.time(), FailureReason=str(error))
                return False
            except Exception as error:
                logger.exception("step %s of %s", step.name, self._name)
                reason = f"InternalServerError: a bug of local AWS: {error!r}"
                self._show(step, StepStatus="Failed", EndTime=time.time(), FailureReason=reason)
                return False
            described = {**outcome.described, "_Outcome": outcome.condition}
            self._show(step, described, StepStatus="Succeeded", EndTime=time.time(), Metadata=outcome.metadata)
            return True

    def _attempt(self, step: Step) -> Outcome:
        context = Context(
            parameters=self._record["_Parameters"],
            execution={
                "PipelineName": self._record["PipelineArn"].rpartition("/")[2],
                "PipelineArn": self._record["PipelineArn"],
                "PipelineExecutionArn": self._record["PipelineExecutionArn"],
                "PipelineExecutionId": self._record["PipelineExecutionArn"].rpartition("/")[2],
                "StartDateTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._record["StartTime"])),
            },
            steps=self._described,
            property_file=self._property_file,
        )
        assert _call is not None, "api.restore gives it"
        return carry_out(
            step, self._scope, context, _call, lambda metadata: self._show(step, Metadata=metadata), self._stop
        )

    def _waits_to_retry(self, step: Step, error: Exception, attempts: dict[int, int]) -> bool:
        """Whether a retry policy wants another attempt, after its pause."""
        kind = error.kind if isinstance(error, StepError) else None
        for number, policy in enumerate(step.definition.get("RetryPolicies") or []):
            if kind in policy["ExceptionType"]:
                tried = attempts.get(number, 0)
                if tried >= policy.get("MaxAttempts", 5) or _closing.is_set():
                    return False
                attempts[number] = tried + 1
                self._show(step, AttemptCount=1 + sum(attempts.values()))
                pause = policy.get("IntervalSeconds", 1) * policy.get("BackoffRate", 2.0) ** tried
                return not self._stop.wait(pause)
        return False

    def _property_file(self, step: str, name: str) -> str:
        """The text of a property file, where the step put it in S3. Raises ExpressionError."""
        declared = self._steps[step].definition.get("PropertyFiles", []) if step in self._steps else []
        for file in declared:
            if file["PropertyFileName"] == name:
                outputs = self._described[step]["ProcessingOutputConfig"]["Outputs"]
                [output] = [each for each in outputs if each["OutputName"] == file["OutputName"]]
                uri = f"{output['S3Output']['S3Uri'].rstrip('/')}/{file['FilePath']}"
                try:
                    return read_object(self._scope, uri).decode()
                except (S3Error, UnicodeDecodeError) as error:
                    raise ExpressionError(f"Property file {name} of step {step} cannot be read: {error}") from None
        raise ExpressionError(f"Step {step} has no property file {name}")

    def _show(self, step: Step, described: Mapping[str, Any] | None = None, **changes: Any) -> None:
        """Write what became of a step into the record."""
        with self._lock:
            shown = next((one for one in self._shown if one["StepName"] == step.name), None)
            if shown is None:
                about = {"StepName": step.name, "AttemptCount": 1}
                about |= {
                    f"Step{member}": step.definition[member]
                    for member in ("DisplayName", "Description")
                    if member in step.definition
                }
                self._shown.append(about | changes)
            else:
                self._shown[self._shown.index(shown)] = shown | changes
            if described is not None:
                self._described[step.name] = described
            _change(self._scope, self._name, _Steps=list(self._shown), _Described=dict(self._described))


def _finish(
    scope: Scope, name: str, status: str, reason: str | None = None, steps: list[dict[str, Any]] | None = None
) -> None:
    changes = {} if steps is None else {"_Steps": steps}
    now = time.time()
    _change(scope, name, PipelineExecutionStatus=status, FailureReason=reason, EndTime=now, **changes)
    record = store.current().get(scope, EXECUTION, name)
    if record is not None:
        pipeline_metrics.ended(scope, name.partition("/")[0], status, now - record["StartTime"])


def _change(scope: Scope, name: str, **changes: Any) -> None:
    store.current().change(scope, EXECUTION, name, LastModifiedTime=time.time(), **changes)


OPERATIONS = {
    "StartPipelineExecution": start,
    "DescribePipelineExecution": describe,
    "UpdatePipelineExecution": update,
    "ListPipelineExecutions": list_executions,
    "ListPipelineExecutionSteps": list_steps,
    "ListPipelineParametersForExecution": list_parameters,
    "DescribePipelineDefinitionForExecution": describe_definition,
    "StopPipelineExecution": stop,
    "RetryPipelineExecution": retry,
}
