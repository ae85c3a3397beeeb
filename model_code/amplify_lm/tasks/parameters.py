"""What the parameters of tasks may be: each kind checks a caller's value, and says itself as JSON schema.

A task declares its parameters as dataclass fields with `metadata=about(Whole(1, 20), "…")`, and calls `check` once they
are set. The document that describes the API (amplify_lm/openapi.py) is made of the same declarations, so that
what is promised and what is checked cannot part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..request_errors import RequestError, echo
from .schemas import Schema

MOST_BLOCKS = 1000  # numbers beyond are refused here; whether the model has such a block is for the task to say
MOST_LISTED = 200  # blocks in one list
ALL = "all"

BlockNumbers = int | str | Sequence[int]
"""One block's number, a list of them, or "all"."""


class Kind(Protocol):
    """A kind of value: `wanted` says it in words."""

    @property
    def wanted(self) -> str: ...
    def fits(self, value: object) -> bool: ...
    def schema(self) -> Schema: ...


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def wanted(self) -> str:
        return " or ".join(self.words)

    def fits(self, value: object) -> bool:
        return isinstance(value, str) and value in self.words

    def schema(self) -> Schema:
        return {"type": "string", "enum": list(self.words)}


@dataclass(frozen=True)
class Switch:
    """true or false; nothing that merely looks like it."""

    wanted = "true or false"

    def fits(self, value: object) -> bool:
        return isinstance(value, bool)

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Whole:
    """A whole number within bounds, both included. JSON's 5.0 is none."""

    least: int
    most: int

    @property
    def wanted(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def fits(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= self.most

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Blocks:
    """Blocks of the model: 1 is the first, -1 the last; one, a list, or "all"."""

    wanted = f'a whole number (1 is the first block, -1 the last), a list of at most {MOST_LISTED}, or "all"'

    def fits(self, value: object) -> bool:
        one = Whole(-MOST_BLOCKS, MOST_BLOCKS)
        if isinstance(value, list | tuple):
            return 1 <= len(value) <= MOST_LISTED and all(one.fits(block) for block in value)
        return value == ALL if isinstance(value, str) else one.fits(value)

    def schema(self) -> Schema:
        one = Whole(-MOST_BLOCKS, MOST_BLOCKS).schema()
        several = {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_LISTED}
        return {"anyOf": [one, several, {"const": ALL}]}


@dataclass(frozen=True)
class VariantList:
    """Variants as people write them; whether they fit a protein is for the task to say."""

    wanted = 'a list of variants like ["A42G", "A42G:L50P"]'

    def fits(self, value: object) -> bool:
        return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)

    def schema(self) -> Schema:
        return {"type": "array", "items": {"type": "string"}}


def about(kind: Kind, words: str) -> dict[str, Any]:
    """The metadata of a task's field: what it may be, and a line about it. A default of None means "not given"."""
    return {"kind": kind, "about": words}


def kinds(task: Any) -> dict[str, Kind]:
    """The parameters of a task (its class or one of it) by name."""
    return {field.name: field.metadata["kind"] for field in dataclasses.fields(task)}


def check(task: Any) -> None:
    """Raises RequestError for the first parameter that does not fit its kind."""
    for field in dataclasses.fields(task):
        value = getattr(task, field.name)
        if value is None and field.default is None:
            continue
        check_value(value, field.metadata["kind"], field.name, f"parameters.{field.name}")


def check_value(value: object, kind: Kind, name: str, where: str) -> None:
    """Raises RequestError where the value is not of that kind."""
    if not kind.fits(value):
        raise RequestError(400, "bad_parameter", f"{name} is {echo(value)}; {kind.wanted} is wanted", where=where)


def chosen_blocks(given: BlockNumbers, num_layers: int) -> tuple[int, ...]:
    """The blocks that a parameter names, counted from 1. Raises RequestError for one that the model does not have."""
    if given == ALL:
        return tuple(range(1, num_layers + 1))
    numbers = (given,) if isinstance(given, int) else given
    chosen = []
    for number in numbers:
        assert isinstance(number, int)
        block = number if number > 0 else num_layers + 1 + number
        if number == 0 or not 1 <= block <= num_layers:
            wanted = f"1 to {num_layers}, or -{num_layers} to -1 counted from the last"
            message = f"layer is {echo(number)}; {wanted} is wanted"
            raise RequestError(400, "bad_parameter", message, where="parameters.layer")
        chosen.append(block)
    return tuple(chosen)
