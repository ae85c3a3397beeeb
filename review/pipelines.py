"""SageMaker Pipelines before and after: the definition is parsed, since to CloudFormation it is one long text.

What is known is said in words, whatever else differs as path: before → after. Nothing that differs goes unsaid.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from review.assembly import Json, Stack
from review.gates import gate, readable, said, unbound
from review.property_checks import Said
from review.remarks import Remark
from review.words import listed, quoted, short, text

_SAFE_WHEN_ON = ("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption")
IS_CODE = re.compile(r"(^|\.)(Image|ImageUri|TrainingImage|ModelDataUrl|ModelPackageName|ModelDataSource\..*S3Uri)$")
"""Members that say what runs: the image, or the model."""
_KEYS = ("KmsKeyId", "VolumeKmsKeyId")


def definitions(stack: Stack) -> dict[str, Json]:
    """Logical id → the parsed definition of each pipeline."""
    found = {}
    for id_, properties in stack.of_type("AWS::SageMaker::Pipeline").items():
        body = text(properties.get("PipelineDefinition", {}).get("PipelineDefinitionBody", "{}"))
        try:
            found[id_] = json.loads(body)
        except json.JSONDecodeError:
            found[id_] = {"Unreadable": body}
    return found


def pipeline_remarks(base: Stack, head: Stack) -> Iterator[Remark]:
    """What differs in pipelines that both sides have."""
    before, after = definitions(base), definitions(head)
    for id_ in sorted(before.keys() & after.keys()):
        for rule, what in _differences(before[id_], after[id_]):
            what = f"{short(id_)}: {what}"
            yield Remark(rule=rule, environment=head.environment, stack=head.short_name, what=what)
    for id_ in sorted(after.keys() - before.keys()):
        for rule, what in _new(after[id_]):
            what = f"{short(id_)}, which is new: {what}"
            yield Remark(rule=rule, environment=head.environment, stack=head.short_name, what=what)


def _new(definition: Json) -> Iterator[Said]:
    """What no pipeline should begin with."""
    yield from _ungated({}, definition)
    for name, step in steps_of(definition).items():
        for condition in listed(step.get("Arguments", {}).get("Conditions")):
            if why := unbound(condition):
                yield "gate.unbound", f"{name}: {why}: {said(condition)}"
        if step.get("Arguments", {}).get("ModelApprovalStatus") == "Approved":
            yield "gate.approval", f"{name}: a model is registered as Approved"


def steps_of(definition: Json) -> dict[str, Json]:
    """Every step by its name, those inside conditions too."""
    found: dict[str, Json] = {}

    def walk(steps: Any) -> None:
        for step in listed(steps):
            found[str(step.get("Name"))] = step
            walk(step.get("Arguments", {}).get("IfSteps"))
            walk(step.get("Arguments", {}).get("ElseSteps"))

    walk(definition.get("Steps"))
    return found


def _differences(before: Json, after: Json) -> Iterator[Said]:
    yield from _parameters(before, after)
    old, new = steps_of(before), steps_of(after)
    for name in old.keys() - new.keys():
        kind = old[name].get("Type")
        yield ("gate.removed" if kind == "Condition" else "pipeline.changed"), f"step {name} ({kind}) is gone"
    for name in new.keys() - old.keys():
        yield "pipeline.changed", f"step {name} ({new[name].get('Type')}) is new"
    for name in sorted(old.keys() & new.keys()):
        for rule, what in _step(old[name], new[name]):
            yield rule, f"{name}: {what}"
    yield from _ungated(before, after)


def _ungated(before: Json, after: Json) -> Iterator[Said]:
    """A model is registered without a condition that stood before it."""

    def free(definition: Json) -> set[str]:
        return {str(one.get("Name")) for one in listed(definition.get("Steps")) if one.get("Type") == "RegisterModel"}

    for name in sorted(free(after) - free(before)):
        yield "gate.removed", f"{name} registers the model whatever its evaluation says"


def _parameters(before: Json, after: Json) -> Iterator[Said]:
    old = {one["Name"]: one for one in listed(before.get("Parameters"))}
    new = {one["Name"]: one for one in listed(after.get("Parameters"))}
    for name in old.keys() - new.keys():
        yield "pipeline.changed", f"parameter {name} is gone"
    for name in new.keys() - old.keys():
        yield "pipeline.changed", f"parameter {name} is new, {quoted(new[name].get('DefaultValue'))} by default"
    for name in sorted(old.keys() & new.keys()):
        was, now = old[name].get("DefaultValue"), new[name].get("DefaultValue")
        if was != now:
            rule = "pipeline.machine" if name in ("instance_type", "instance_count") else "pipeline.changed"
            yield rule, f"{name} of a run that names none: {quoted(was)} → {quoted(now)}"
        allowed = set(listed(old[name].get("EnumValues"))), set(listed(new[name].get("EnumValues")))
        if allowed[0] and not allowed[1]:
            yield "pipeline.limit_lost", f"a run may name any {name}; before only {', '.join(sorted(allowed[0]))}"
        elif more := sorted(allowed[1] - allowed[0]) if allowed[0] else []:
            yield "pipeline.machine", f"a run may ask for {', '.join(more)} too ({name})"
        elif fewer := sorted(allowed[0] - allowed[1]):
            yield "pipeline.changed", f"a run may no longer ask for {', '.join(fewer)} ({name})"


def _step(before: Json, after: Json) -> Iterator[Said]:
    if before.get("Type") == "Condition" and after.get("Type") == "Condition":
        yield from gate(before.get("Arguments", {}), after.get("Arguments", {}))
    if (tags := _tags(before)) != (now_tags := _tags(after)):
        yield "pipeline.changed", f"tags of its jobs: {quoted(tags)} → {quoted(now_tags)}"
    was, now = dict(_leaves(_own(before))), dict(_leaves(_own(after)))
    for path in sorted(was.keys() | now.keys()):
        if was.get(path) != now.get(path):
            yield _leaf(path, was.get(path), now.get(path))


def _own(step: Json) -> Json:
    """A step without the ones inside it, and without its conditions: both have their own words."""
    arguments = {name: value for name, value in step.get("Arguments", {}).items() if name != "Tags"}
    if step.get("Type") == "Condition":
        arguments.pop("Conditions", None)
        for branch in ("IfSteps", "ElseSteps"):
            arguments[branch] = [one.get("Name") for one in listed(arguments.get(branch))]
    return {**step, "Arguments": arguments}


def _tags(step: Json) -> dict[str, str]:
    return {str(one.get("Key")): readable(one.get("Value")) for one in listed(step.get("Arguments", {}).get("Tags"))}


def _leaf(path: str, was: Any, now: Any) -> Said:
    member = path.rsplit(".", 1)[-1]
    shown = path.removeprefix("Arguments.")
    if member in _SAFE_WHEN_ON:
        return (
            "exposure.isolation_off" if was is True else "pipeline.changed"
        ), f"{member} {_on_off(was)} → {_on_off(now)}"
    if member in _KEYS and now is None:
        return "data.key_dropped", f"{shown} is no longer given: AWS's own key encrypts it"
    if "VpcConfig" in path:
        return ("exposure.left_vpc" if now is None else "network.moved"), f"{shown}: {quoted(was)} → {quoted(now)}"
    if member == "ModelApprovalStatus":
        return (
            "gate.approval" if now == "Approved" else "pipeline.changed"
        ), f"a model is registered as {quoted(now)} (before: {quoted(was)})"
    if member == "EnableManagedSpotTraining":
        return (
            "pipeline.spot_off" if was is True else "pipeline.changed"
        ), f"managed spot {_on_off(was)} → {_on_off(now)}"
    if "CheckpointConfig" in path and now is None:
        return "pipeline.checkpoints_lost", f"{shown} is gone: an interrupted run begins anew"
    if member in ("IfSteps", "ElseSteps"):
        return "gate.rewired", f"{member}: {quoted(was)} → {quoted(now)}"
    if member == "RoleArn":
        return "permissions.other_role", f"it runs as {quoted(was)} → {quoted(now)}"
    if member in ("InstanceType", "InstanceCount", "KeepAlivePeriodInSeconds", "TrainingPlanArn"):
        return "pipeline.machine", f"{shown}: {quoted(was)} → {quoted(now)}"
    if member.endswith("InSeconds"):
        longer = (isinstance(was, int) and isinstance(now, int) and now > was) or now is None
        return ("pipeline.longer" if longer else "pipeline.changed"), f"{member}: {_time(was)} → {_time(now)}"
    if IS_CODE.search(path):
        return "promotion.other_code", f"{shown}: {quoted(was)} → {quoted(now)}"
    return "pipeline.unjudged", f"{shown}: {quoted(was)} → {quoted(now)}"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value and not _is_reference(value):
        for key in value:
            yield from _leaves(value[key], f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{_label(item, index)}]")
    else:
        yield path, readable(value) if isinstance(value, Mapping) else value


def _is_reference(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)) in ("Get", "Std:Join", "Std:JsonGet")


def _label(item: Mapping[str, Any], index: int) -> str:
    """Members of a list by their name, so that one more is not a change of all that follow."""
    for name in ("Name", "ChannelName", "InputName", "OutputName", "Key", "InstanceType"):
        if isinstance(item.get(name), str):
            return str(item[name])
    return str(index)


def _on_off(value: Any) -> str:
    return {True: "on", False: "off", None: "off"}.get(value, quoted(value))


def _time(seconds: Any) -> str:
    if not isinstance(seconds, int):
        return quoted(seconds)
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds} s"
