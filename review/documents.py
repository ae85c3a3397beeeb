"""Policy documents wherever they stand in a resource: known by their shape, not by the resource's type.

A document may hang on conditions of the template (`Fn::If`). It is then read once for each way in which they can fall:
what any of these allows is allowed, and only what all of them deny is denied.
"""

import json
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

from review.assembly import Json
from review.words import listed, plain, text

MOST_CONDITIONS = 6
_SAYS = {"Effect", "Action", "NotAction"}
_NAMED_AS_POLICY = re.compile(r"(Policy|PolicyDocument|PolicyText)$")
_NO_VALUE = {"Ref": "AWS::NoValue"}
_NOT_THERE: Json = {"Statement": []}


def documents(properties: Json) -> Iterator[tuple[str, list[Json]]]:
    """The path of each policy document, and what it says for each way in which the conditions fall."""
    readings = [dict(_documents(reading)) for reading in _readings(properties)]
    for path in dict.fromkeys(path for reading in readings for path in reading):
        yield path, [reading.get(path, _NOT_THERE) for reading in readings]


def unreadable(properties: Json, parameters: set[str]) -> Iterator[str]:
    """Places that decide who may do what, and of which this page cannot tell what they will say."""
    if len(_conditions(properties)) > MOST_CONDITIONS:
        yield f"more than {MOST_CONDITIONS} conditions"
    for reading in _readings(properties):
        for path, value in _walk(reading):
            if path.endswith(".Fn::Transform") or path == "Fn::Transform":
                yield f"{path}, which a macro writes when it is deployed"
            elif _NAMED_AS_POLICY.search(path) and _is_open(value):
                yield f"{path} is {text(value)}"
        for path, document in _documents(reading):
            for statement in listed(document["Statement"]):
                yield from (f"a statement of {path or 'it'} {fault}" for fault in _faults(statement, parameters))


def _faults(statement: Any, parameters: set[str]) -> Iterator[str]:
    if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
        yield f"that neither allows nor denies: {text(statement)}"
        return
    for path, value in _walk(statement):
        named = set(re.findall(r"\$\{([\w:]+)\}", value)) if isinstance(value, str) else set()
        if re.search(r"(^|\.)Fn::\w+", path) or named & parameters:
            yield f"is made up when it is deployed: {path} is {text(value)}"
        elif path in ("Action", "NotAction") and isinstance(value, str) and not re.fullmatch(r"[\w:*?-]+", str(value)):
            yield f"has no plain action: {text(value)}"


def _is_open(value: Any) -> bool:
    """Whether it will be something only when it is deployed: a reference, and no text or object that can be read."""
    if isinstance(value, dict):
        return any(key == "Ref" or key.startswith("Fn::") for key in value)
    return isinstance(value, str) and _parsed(value) is None and ("${" in value or value.lstrip().startswith("{"))


def _documents(value: Any, path: str = "") -> Iterator[tuple[str, Json]]:
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, dict):
        if any(isinstance(one, dict) and _SAYS & one.keys() for one in listed(value.get("Statement"))):
            yield path, value
            return
        for key, item in value.items():
            yield from _documents(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _documents(item, f"{path}.{index}")


def _parsed(written: str) -> Any:
    """The object that a text holds as JSON, or None."""
    if not written.lstrip().startswith("{"):
        return None
    try:
        return json.loads(written)
    except json.JSONDecodeError:
        return None


def _walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its path, those that hold others too."""
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, path)


def _readings(properties: Json) -> Iterator[Json]:
    """The properties, with all that yields text written out, for each way in which the conditions can fall."""
    names = sorted(_conditions(properties))[:MOST_CONDITIONS]
    for fallen in product((True, False), repeat=len(names)):
        yield plain(_chosen(properties, dict(zip(names, fallen, strict=True))))


def _conditions(value: Any) -> set[str]:
    if isinstance(value, list):
        return {name for item in value for name in _conditions(item)}
    if not isinstance(value, dict):
        return set()
    mine = {str(value["Fn::If"][0])} if isinstance(value.get("Fn::If"), list) else set()
    return mine | {name for item in value.values() for name in _conditions(item)}


def _chosen(value: Any, fallen: dict[str, bool]) -> Any:
    if isinstance(value, list):
        items = [_chosen(item, fallen) for item in value]
        return [item for item in items if item != _NO_VALUE]
    if not isinstance(value, dict):
        return value
    match value:
        case {"Fn::If": [str(name), yes, no]} if name in fallen:
            return _chosen(yes if fallen[name] else no, fallen)
    members = {key: _chosen(item, fallen) for key, item in value.items()}
    return {key: item for key, item in members.items() if item != _NO_VALUE}
