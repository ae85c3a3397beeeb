"""Kinds of checks that compare one property of a resource before and after. Each yields a rule and a sentence."""

from collections.abc import Callable, Iterator
from typing import Any

from review.assembly import Json
from review.words import quoted, text

Said = tuple[str, str]
Check = Callable[[Json, Json], Iterator[Said]]
MISSING = object()


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and not any(key == "Ref" or key.startswith("Fn::") for key in value):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, path)
    else:
        yield path, text(value)


def get(properties: Json, path: str, default: Any = None) -> Any:
    """`A.B` of nested properties."""
    value: Any = properties
    for name in path.split("."):
        value = value.get(name, MISSING) if isinstance(value, dict) else MISSING
        if value is MISSING:
            return default
    return value


def turned(path: str, safe: Any, rule: str, otherwise: Any = None, says: str = "") -> Check:
    """A switch that was in its safe position and is no longer."""

    def check(before: Json, after: Json) -> Iterator[Said]:
        was, now = get(before, path, otherwise), get(after, path, otherwise)
        if was == safe and now != safe:
            yield rule, f"{says or path}: {quoted(was)} → {quoted(now)}"

    return check


def appeared(path: str, rule: str, says: str) -> Check:
    """Something is given that was not."""

    def check(before: Json, after: Json) -> Iterator[Said]:
        was, now = get(before, path), get(after, path)
        if now is not None and now != was:
            yield rule, f"{says}: {quoted(now)}"

    return check


def lost(path: str, rule: str, says: str) -> Check:
    """Something was given and is no longer."""

    def check(before: Json, after: Json) -> Iterator[Said]:
        if get(before, path) is not None and get(after, path) is None:
            yield rule, says

    return check


def number(
    path: str, rule: str, *, worse: str, says: str = "", unit: str = "", otherwise: float | None = None
) -> Check:
    """A number that went the wrong way: `worse` is lower or higher. No number is `otherwise`, or the lowest of all."""

    def check(before: Json, after: Json) -> Iterator[Said]:
        was, now = get(before, path, otherwise), get(after, path, otherwise)
        if not isinstance(was, int | float) or was == now:
            return
        down = not isinstance(now, int | float) or now < was
        if down == (worse == "lower"):
            yield (
                rule,
                f"{says or path}: {was:g}{unit} → {'none' if now is None else f'{now}{unit}'}",
            )

    return check
