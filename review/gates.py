"""Conditions of pipelines before and after: what holds a model back, and whether it still does."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from review.assembly import Json
from review.property_checks import Said
from review.words import listed, quoted

_AT_MOST = ("LessThan", "LessThanOrEqualTo")
_AT_LEAST = ("GreaterThan", "GreaterThanOrEqualTo")


def gate(before: Json, after: Json) -> Iterator[Said]:
    """What a condition step asks that it did not, and what it no longer does."""
    was, now = listed(before.get("Conditions")), listed(after.get("Conditions"))
    left = [*now]
    unmatched = []
    for condition in was:
        if condition in left:
            left.remove(condition)
        else:
            unmatched.append(condition)
    for condition in unmatched:
        same = next((one for one in left if _measured(one) == _measured(condition)), None)
        if same is None:
            yield "gate.removed", f"no longer asked: {said(condition)}"
            continue
        left.remove(same)
        if (why := unbound(same) or _fixed(condition, same)) and not unbound(condition):
            yield "gate.unbound", f"gate `{_measured(condition)}`: {why}: {_bound(condition)} → {_bound(same)}"
            continue
        loosened = _is_looser(condition, same)
        rule = "gate.loosened" if loosened else "gate.changed" if loosened is None else "gate.tightened"
        word = "loosened" if loosened else "changed" if loosened is None else "tightened"
        yield rule, f"gate `{_measured(condition)}` {word}: {_bound(condition)} → {_bound(same)}"
    for condition in left:
        yield "gate.tightened", f"asked as well: {said(condition)}"


def unbound(condition: Json) -> str | None:
    """Why a condition holds a model to nothing, if so."""
    written = json.dumps(condition)
    if '{"Get": "Parameters.' in written:
        return "whoever starts a run chooses what is compared"
    if "Std:JsonGet" not in written and '{"Get": "Steps.' not in written:
        return "nothing that was measured is compared"
    return None


def _fixed(before: Json, after: Json) -> str | None:
    """Whether what was measured, of this model or another, is a number in the code now."""
    was, now = before.get("RightValue"), after.get("RightValue")
    return "compared with a constant" if isinstance(was, Mapping) and not isinstance(now, Mapping) else None


def _is_looser(before: Json, after: Json) -> bool | None:
    """None where it cannot be told."""
    was, now = before.get("RightValue"), after.get("RightValue")
    for family, sign in ((_AT_MOST, 1), (_AT_LEAST, -1)):
        if before.get("Type") in family and after.get("Type") in family:
            if was == now:
                return family.index(after["Type"]) > family.index(before["Type"])
            if isinstance(was, int | float) and isinstance(now, int | float):
                return (now - was) * sign > 0
    return None


def _measured(condition: Json) -> str:
    return readable(condition.get("LeftValue", condition.get("QueryValue", condition.get("Expression", condition))))


def _bound(condition: Json) -> str:
    right = condition.get("RightValue", condition.get("Values"))
    signs = {"LessThan": "<", "LessThanOrEqualTo": "≤", "GreaterThan": ">", "GreaterThanOrEqualTo": "≥", "Equals": "="}
    return f"{signs.get(str(condition.get('Type')), condition.get('Type'))} {readable(right)}"


def said(condition: Json) -> str:
    return f"`{_measured(condition)}` {_bound(condition)}"


def readable(value: Any) -> str:
    match value:
        case {"Std:JsonGet": {"PropertyFile": file, "Path": path}}:
            name = file.get("Get", "") if isinstance(file, dict) else str(file)
            return f"{str(name).rsplit('.', 1)[-1]}.{path}"
        case {"Get": path}:
            return str(path)
        case {"Std:Join": {"On": separator, "Values": list(parts)}}:
            return str(separator).join(f"<{part['Get']}>" if isinstance(part, dict) else str(part) for part in parts)
        case float() | int():
            return f"{value:g}"
    return quoted(value)
