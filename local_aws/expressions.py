"""The language of pipeline definitions: values that are known only when a step runs, and conditions on them.

    {"Get": "Parameters.recipe"}   {"Get": "Execution.PipelineExecutionId"}   {"Get": "Steps.Train.ModelArtifacts.…"}
    {"Std:Join": {"On": "/", "Values": […]}}   {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.…"}, "Path": "a.b[0]"}}

Pure functions: what a reference means is looked up in a `Context`, which executions fill.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

KINDS = ({"Get"}, {"Std:Join"}, {"Std:JsonGet"})
STEP = re.compile(r"Steps\.(?P<step>[A-Za-z0-9_-]+)\.(?P<path>.+)")
PART = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\[['\"]([^'\"]+)['\"]\]")
NAMED_BY = ("OutputName", "InputName", "ChannelName", "VariantName", "MetricName", "Name")  # of members of a list
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": lambda left, right: left == right,
    "GreaterThan": lambda left, right: left > right,
    "GreaterThanOrEqualTo": lambda left, right: left >= right,
    "LessThan": lambda left, right: left < right,
    "LessThanOrEqualTo": lambda left, right: left <= right,
}
CONDITIONS = (*COMPARISONS, "In", "Not", "Or", "And")


class ExpressionError(ValueError):
    """An expression that means nothing here; the message says which, and what was looked for."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What references name: `parameters` and `execution` by name, `steps` by name with what Describe… says of their
    job; `property_file(step, name)` is the JSON text that a step wrote."""

    parameters: Mapping[str, Any]
    execution: Mapping[str, Any]
    steps: Mapping[str, Mapping[str, Any]]
    property_file: Callable[[str, str], str]


def is_expression(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) in KINDS


def evaluate(value: Any, context: Context) -> Any:
    """`value` with every expression in it replaced by what it means. Raises ExpressionError."""
    if isinstance(value, list):
        return [evaluate(member, context) for member in value]
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"Get"}:
        return _get(value["Get"], context)
    if set(value) == {"Std:Join"}:
        parts = [_text(evaluate(part, context)) for part in value["Std:Join"]["Values"]]
        return value["Std:Join"].get("On", "").join(parts)
    if set(value) == {"Std:JsonGet"}:
        return _json_get(value["Std:JsonGet"], context)
    return {key: evaluate(member, context) for key, member in value.items()}


def holds(condition: Mapping[str, Any], context: Context) -> bool:
    """Whether a condition is true. Raises ExpressionError where its sides cannot be compared."""
    match condition["Type"]:
        case "Not":
            return not holds(condition["Expression"], context)
        case "Or":
            return any(holds(one, context) for one in condition["Conditions"])
        case "And":
            return all(holds(one, context) for one in condition["Conditions"])
        case "In":
            return evaluate(condition["QueryValue"], context) in evaluate(condition["Values"], context)
        case kind:
            left, right = evaluate(condition["LeftValue"], context), evaluate(condition["RightValue"], context)
            try:
                return COMPARISONS[kind](left, right)
            except TypeError:
                raise ExpressionError(f"{kind}: {left!r} and {right!r} cannot be compared") from None


def references(value: Any) -> Iterator[str]:
    """What every expression in `value` refers to, such as `Steps.Train.ModelArtifacts.S3ModelArtifacts`."""
    if isinstance(value, list):
        for member in value:
            yield from references(member)
    elif isinstance(value, Mapping):
        if set(value) == {"Get"}:
            yield str(value["Get"])
        else:
            for member in value.values():
                yield from references(member)


def step_of(reference: str) -> str | None:
    """The step that a reference names, if it names one."""
    match = STEP.fullmatch(reference)
    return match["step"] if match else None


def _get(reference: str, context: Context) -> Any:
    group, _, name = reference.partition(".")
    if group == "Parameters" and name in context.parameters:
        return context.parameters[name]
    if group == "Execution" and name in context.execution:
        return context.execution[name]
    match = STEP.fullmatch(reference)
    if match is None or match["step"] not in context.steps:
        raise ExpressionError(f"{reference}: there is no such parameter, property of the execution, or finished step")
    return _at(context.steps[match["step"]], match["path"], reference)


def _json_get(arguments: Mapping[str, Any], context: Context) -> Any:
    source = arguments["PropertyFile"]["Get"]
    match = STEP.fullmatch(source)
    if match is None or not match["path"].startswith("PropertyFiles."):
        raise ExpressionError(f"{source}: give Steps.<step>.PropertyFiles.<name>")
    text = context.property_file(match["step"], match["path"].removeprefix("PropertyFiles."))
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ExpressionError(f"{source} is not JSON: {error}") from None
    return _at(content, arguments["Path"], f"{source}: {arguments['Path']}")


def _at(value: Any, path: str, whole: str) -> Any:
    """What `value` holds at a path such as `Outputs['dataset'].S3Output.S3Uri`: members of lists by name or number."""
    position = 0
    while position < len(path):
        part = PART.match(path, position)
        if part is None:
            raise ExpressionError(f"{whole}: cannot be read from {path[position:]!r} on")
        position = part.end()
        key = next(group for group in part.groups() if group is not None)
        value = _member(value, key, whole)
    return value


def _member(value: Any, key: str, whole: str) -> Any:
    if isinstance(value, Mapping) and key in value:
        return value[key]
    if isinstance(value, list):
        if key.isdigit() and int(key) < len(value):
            return value[int(key)]
        for member in value:
            if isinstance(member, Mapping) and key in [member.get(name) for name in NAMED_BY]:
                return member
    known = ", ".join(value) if isinstance(value, Mapping) else type(value).__name__
    raise ExpressionError(f"{whole}: has no {key!r}; there is {known}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
