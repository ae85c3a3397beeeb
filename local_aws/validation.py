"""Requests and answers, held to AWS's own description of SageMaker: the service model that botocore ships.

boto3 checks types and required members before it sends; it leaves lengths' upper ends, patterns and enums to the
service. Here all of them are checked, with the words of AWS's answer. Answers carry what the model lists, nothing else.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from typing import Any

from botocore.model import OperationModel
from botocore.session import get_session

from local_aws.errors import SageMakerError, invalid

SERVICE = get_session().get_service_model("sagemaker")
OPERATIONS: frozenset[str] = frozenset(SERVICE.operation_names)

KINDS_OF_VALUE: dict[str, tuple[type, ...]] = {
    "structure": (Mapping,),
    "map": (Mapping,),
    "list": (list,),
    "string": (str,),
    "character": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float, str),
    "blob": (str,),
}
# Java's names of Unicode classes, which Python's `re` lacks, by what may stand for them inside brackets.
JAVA_CLASSES = {"L": r"\w", "N": r"\d", "Z": r"\s", "M": "\u0300-\u036f", "Alnum": "A-Za-z0-9"}
JAVA_CLASSES |= {"Print": r"\x20-\x7e", "ASCII": r"\x00-\x7f"}
JAVA_CLASSES |= {"P": r"!-/:-@\[-`{-~\u00a1-\u00bf\u2010-\u205e", "S": r"$+<=>^`|~\u00a2-\u00b4\u2190-\u2bff"}

NotChecked = Callable[[object], bool]
Shape = Any  # botocore's: which members one has depends on its type_name


def operation(name: str) -> OperationModel:
    """The model of an operation. Raises SageMakerError (UnknownOperationException)."""
    if name not in OPERATIONS:
        raise SageMakerError("UnknownOperationException", f"The requested operation {name!r} is not recognized.")
    return SERVICE.operation_model(name)


def check(name: str, request: object) -> None:
    """Hold a request to its operation. Raises SageMakerError that names every fault."""
    shape = operation(name).input_shape
    faults = [] if shape is None else list(find_faults(shape, request))
    if faults:
        raise fault_error(faults)


def fault_error(faults: list[str]) -> SageMakerError:
    count = f"{len(faults)} validation error{'s' if len(faults) > 1 else ''} detected: "
    return invalid(count + "; ".join(faults))


def find_faults(
    shape: Shape,
    value: object,
    path: str = "",
    *,
    not_checked: NotChecked = lambda _: False,
    optional: Collection[str] = (),
) -> Iterator[str]:
    """Every fault of `value`, as AWS words it.

    `not_checked` tells values that become known later (a pipeline's expressions); `optional` names members that may be
    absent at the top although the model requires them.
    """
    if not_checked(value):
        return
    if not _is_a(shape.type_name, value):
        article = "an" if shape.type_name[0] in "aeiou" else "a"
        yield f"Value {_shown(value)} at '{path or 'request'}' is not {article} {shape.type_name}"
        return
    if shape.type_name == "structure":
        assert isinstance(value, Mapping)
        yield from _structure_faults(shape, value, path, not_checked, optional)
    elif shape.type_name == "list":
        assert isinstance(value, list)
        yield from _length_faults(shape, value, path)
        for number, member in enumerate(value, 1):
            yield from find_faults(shape.member, member, f"{path}.{number}.member", not_checked=not_checked)
    elif shape.type_name == "map":
        assert isinstance(value, Mapping)
        yield from _length_faults(shape, value, path)
        for key, member in value.items():
            yield from find_faults(shape.key, key, f"{path}.key", not_checked=not_checked)
            yield from find_faults(shape.value, member, f"{path}.{key}.member", not_checked=not_checked)
    elif isinstance(value, str) and shape.type_name == "string":
        yield from _string_faults(shape, value, path)
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and shape.type_name != "timestamp":
        yield from _number_faults(shape, value, path)


def answer(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Of `record`, what the operation's answer has."""
    shape = operation(name).output_shape
    return {} if shape is None else pick(shape, record)


def pick(shape: Shape, value: Any) -> Any:
    """`value` without what `shape` lacks, and without what is None."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        members = shape.members
        return {key: pick(members[key], item) for key, item in value.items() if key in members and item is not None}
    if shape.type_name == "list" and isinstance(value, list):
        return [pick(shape.member, item) for item in value]
    if shape.type_name == "map" and isinstance(value, Mapping):
        return {key: pick(shape.value, item) for key, item in value.items()}
    return value


def convert(shape: Shape, value: Any) -> Any:
    """`value` with the types of `shape`: templates and pipelines may give numbers and truth values as text, and text
    as numbers. What cannot be converted is left as it is, for `check` to name."""
    match shape.type_name:
        case "structure" if isinstance(value, Mapping):
            known = shape.members
            return {key: convert(known[key], item) if key in known else item for key, item in value.items()}
        case "list" if isinstance(value, list):
            return [convert(shape.member, item) for item in value]
        case "map" if isinstance(value, Mapping):
            return {key: convert(shape.value, item) for key, item in value.items()}
        case "integer" | "long" if isinstance(value, str) and value.lstrip("-").isdigit():
            return int(value)
        case "float" | "double" if isinstance(value, str):
            return _as_number(value)
        case "boolean" if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        case "string" if isinstance(value, (bool, int, float)):
            return json.dumps(value)
        case _:
            return value


def _as_number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


@cache
def pattern(expression: str) -> re.Pattern[str]:
    """A pattern of the model, which is Java's, in Python's syntax."""
    # Slips of the model: `*)${1,256}`, where the length is checked by itself; surrogates for what they stand for.
    text = re.sub(r"\*\)\$\{\d+,\d+\}", "*)", expression)
    text = re.sub(r"\\p\{(\w+)\}", _in_brackets, text)
    text = text.replace(r"\z", r"\Z")
    text = text.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
    return re.compile(text)


def _in_brackets(match: re.Match[str]) -> str:
    """A Java class inside the brackets where it stands, or in brackets of its own."""
    before = re.sub(r"\\.", "", match.string[: match.start()])
    inside = before.rfind("[") > before.rfind("]")
    return JAVA_CLASSES[match[1]] if inside else f"[{JAVA_CLASSES[match[1]]}]"


def _structure_faults(
    shape: Shape, value: Mapping[str, Any], path: str, not_checked: NotChecked, optional: Collection[str]
) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None and name not in optional:
            yield f"Value null at '{_join(path, name)}' failed to satisfy constraint: Member must not be null"
    if shape.is_tagged_union and len(value) != 1:
        yield f"Value at '{path}' failed to satisfy constraint: exactly one of {', '.join(shape.members)} must be set"
    for name, member in value.items():
        if name not in shape.members:
            yield f"Unknown member '{_join(path, name)}'; known are {', '.join(shape.members)}"
        elif member is not None:
            yield from find_faults(shape.members[name], member, _join(path, name), not_checked=not_checked)


def _string_faults(shape: Shape, value: str, path: str) -> Iterator[str]:
    yield from _length_faults(shape, value, path)
    constraint = f"Value '{value}' at '{path}' failed to satisfy constraint: Member must satisfy"
    if shape.enum and value not in shape.enum:
        yield f"{constraint} enum value set: [{', '.join(shape.enum)}]"
    expression = shape.metadata.get("pattern")
    if expression and not pattern(expression).fullmatch(value):
        yield f"{constraint} regular expression pattern: {expression}"


def _length_faults(shape: Shape, value: Any, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    constraint = f"Value {_shown(value)} at '{path}' failed to satisfy constraint: Member must have length"
    if low is not None and len(value) < low:
        yield f"{constraint} greater than or equal to {low}"
    if high is not None and len(value) > high:
        yield f"{constraint} less than or equal to {high}"


def _number_faults(shape: Shape, value: float, path: str) -> Iterator[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    constraint = f"Value '{value}' at '{path}' failed to satisfy constraint: Member must have value"
    if low is not None and value < low:
        yield f"{constraint} greater than or equal to {low}"
    if high is not None and value > high:
        yield f"{constraint} less than or equal to {high}"


def _is_a(type_name: str, value: object) -> bool:
    if isinstance(value, bool) and type_name != "boolean":
        return False
    return isinstance(value, KINDS_OF_VALUE[type_name])


def _join(path: str, name: str) -> str:
    """AWS's paths begin each member with a small letter."""
    member = name[:1].lower() + name[1:]
    return f"{path}.{member}" if path else member


def _shown(value: object) -> str:
    text = str(value)
    return f"'{text[:200]}…'" if len(text) > 200 else f"'{text}'"
