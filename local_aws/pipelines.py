"""SageMaker Pipelines: the pipelines themselves, and what a definition has to be before one is made of it."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

from local_aws import store
from local_aws.errors import SageMakerError, conflict, invalid, not_emulated
from local_aws.expressions import CONDITIONS, references, step_of
from local_aws.listings import page
from local_aws.s3_files import S3Error, read_object
from local_aws.steps import EMULATED, Step, flat
from local_aws.store import Record, Scope

Request = dict[str, Any]

KIND, EXECUTION = "pipeline", "pipeline-execution"
STEP_NAME = re.compile(r"[A-Za-z0-9\-_]{1,64}")
PARAMETER_TYPES = ("String", "Integer", "Boolean", "Float")


def create(scope: Scope, request: Request) -> dict[str, Any]:
    name = request["PipelineName"]
    definition = _definition(scope, request)
    arn, now = scope.arn(f"{KIND}/{name}"), time.time()
    with store.current().lock:
        existing = store.current().get(scope, KIND, name)
        if existing is not None:
            if existing.get("ClientRequestToken") == request["ClientRequestToken"]:
                return {"PipelineArn": arn}
            raise conflict(f"Pipeline {arn} already exists.")
        record = {"PipelineDisplayName": name, **request, "PipelineArn": arn, "PipelineDefinition": definition}
        record |= {"PipelineStatus": "Active", "CreationTime": now, "LastModifiedTime": now}
        store.current().put(scope, KIND, name, record)
    return {"PipelineArn": arn}


def describe(scope: Scope, request: Request) -> dict[str, Any]:
    return dict(find(scope, request["PipelineName"]))


def update(scope: Scope, request: Request) -> dict[str, Any]:
    pipeline = find(scope, request["PipelineName"])
    changes = {key: value for key, value in request.items() if key != "PipelineName"}
    if "PipelineDefinition" in changes or "PipelineDefinitionS3Location" in changes:
        changes["PipelineDefinition"] = _definition(scope, changes)
    store.current().change(scope, KIND, pipeline["PipelineName"], LastModifiedTime=time.time(), **changes)
    return {"PipelineArn": pipeline["PipelineArn"]}


def delete(scope: Scope, request: Request) -> dict[str, Any]:
    with store.current().lock:
        pipeline = find(scope, request["PipelineName"])
        for execution in store.current().all(scope, EXECUTION):
            if execution["PipelineArn"] == pipeline["PipelineArn"] and "EndTime" not in execution:
                raise conflict(
                    f"Pipeline {pipeline['PipelineArn']} cannot be deleted while its execution "
                    f"{execution['PipelineExecutionArn']} runs: stop it first."
                )
        store.current().delete(scope, KIND, pipeline["PipelineName"])
    return {"PipelineArn": pipeline["PipelineArn"]}


def list_pipelines(scope: Scope, request: Request) -> dict[str, Any]:
    request = {**request, "NameContains": request.get("PipelineNamePrefix", "")}
    return page(store.current().all(scope, KIND), request, result="PipelineSummaries", name="PipelineName")


def find(scope: Scope, arn_or_name: str) -> Record:
    """The record of a pipeline. Raises SageMakerError where there is none."""
    name = arn_or_name.removeprefix(scope.arn(f"{KIND}/"))
    record = store.current().get(scope, KIND, name)
    if record is None:
        raise SageMakerError("ResourceNotFound", f"Pipeline {scope.arn(f'{KIND}/{name}')} does not exist.")
    return record


# ---- definitions -----------------------------------------------------------------------------------------------------


def _definition(scope: Scope, request: Request) -> str:
    """The definition that a request gives or points to, checked. Raises SageMakerError that names every fault."""
    text = request.pop("PipelineDefinition", None)
    location = request.pop("PipelineDefinitionS3Location", None)
    if (text is None) == (location is None):
        raise invalid("Give either PipelineDefinition or PipelineDefinitionS3Location, not both and not neither.")
    if text is None:
        uri = f"s3://{location['Bucket']}/{location['ObjectKey']}"
        if "VersionId" in location:
            raise not_emulated("A pipeline definition by its version in S3")
        try:
            text = read_object(scope, uri).decode()
        except (S3Error, UnicodeDecodeError) as error:
            raise invalid(f"The pipeline definition cannot be read: {error}") from None
    try:
        definition = json.loads(text)
    except ValueError as error:
        raise invalid(f"Unable to parse pipeline definition. It is not JSON: {error}") from None
    faults = list(faults_of(definition))
    if faults:
        raise invalid(f"Unable to parse pipeline definition. {'; '.join(faults)}")
    return str(text)


def faults_of(definition: Any) -> Iterator[str]:
    """Every fault of a definition that can be known before it runs. Raises SageMakerError for what is not emulated."""
    if not isinstance(definition, dict) or not isinstance(definition.get("Steps"), list):
        yield "It must be an object with the members Version and Steps"
        return
    if definition.get("Version") != "2020-12-01":
        yield f"Version is {definition.get('Version')!r}: give '2020-12-01'"
    parameters = definition.get("Parameters") or []
    for parameter in parameters:
        if parameter.get("Type") not in PARAMETER_TYPES:
            yield f"Parameter {parameter.get('Name')} has the type {parameter.get('Type')!r}: give one of "
            yield ", ".join(PARAMETER_TYPES)
    if not definition["Steps"]:
        yield "Steps is empty"
        return
    malformed = list(_malformed(definition["Steps"]))
    yield from malformed
    if not malformed:
        steps = flat(definition["Steps"])
        yield from _faults_of_references(steps, {parameter.get("Name") for parameter in parameters})


def _malformed(steps: list[Any]) -> Iterator[str]:
    """Faults of form, in branches too."""
    for step in steps:
        if not isinstance(step, dict) or not STEP_NAME.fullmatch(str(step.get("Name", ""))):
            yield f"A step's Name is missing or not of the form {STEP_NAME.pattern}: {str(step)[:100]}"
            continue
        if "Type" not in step or not isinstance(step.get("Arguments"), dict):
            yield f"Step {step['Name']} needs Type and Arguments"
            continue
        if step["Type"] not in EMULATED:
            raise not_emulated(f"Step type {step['Type']!r} (step {step['Name']})")
        if step.get("CacheConfig", {}).get("Enabled"):
            raise not_emulated(f"CacheConfig (step {step['Name']})")
        if step["Type"] == "Condition":
            yield from _malformed_condition(step)
        if step["Type"] == "Fail" and "ErrorMessage" not in step["Arguments"]:
            yield f"Step {step['Name']} needs an ErrorMessage"


def _malformed_condition(step: dict[str, Any]) -> Iterator[str]:
    conditions = step["Arguments"].get("Conditions")
    if not conditions:
        yield f"Step {step['Name']} has no Conditions"
    for condition in conditions or []:
        if condition.get("Type") not in CONDITIONS:
            yield f"Step {step['Name']}: {condition.get('Type')!r} is no condition; there are {', '.join(CONDITIONS)}"
    for branch in ("IfSteps", "ElseSteps"):
        yield from _malformed(step["Arguments"].get(branch) or [])


def _faults_of_references(steps: list[Step], parameters: set[Any]) -> Iterator[str]:
    names = [step.name for step in steps]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"There is more than one step {name}"
    for step in steps:
        for needed in sorted(step.needs - set(names)):
            yield f"Step {step.name} depends on {needed}, and there is no such step"
        for reference in sorted(set(references(step.definition["Arguments"]))):
            group, _, name = reference.partition(".")
            if group == "Parameters" and name not in parameters:
                yield f"Step {step.name} refers to {reference}, and there is no such parameter"
            elif group not in ("Parameters", "Execution") and step_of(reference) is None:
                yield f"Step {step.name}: {reference!r} refers to nothing"
    if cycle := _cycle(steps):
        yield f"The steps {', '.join(cycle)} wait for each other"


def _cycle(steps: list[Step]) -> list[str]:
    """The steps that can never begin."""
    known = {step.name for step in steps}
    left = {step.name: step.needs & known for step in steps}
    while ready := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in ready:
            del left[name]
    return sorted(left)


OPERATIONS = {
    "CreatePipeline": create,
    "DescribePipeline": describe,
    "UpdatePipeline": update,
    "DeletePipeline": delete,
    "ListPipelines": list_pipelines,
}
