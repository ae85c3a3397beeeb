"""JSON as its standard has it: no NaN, no number that is infinite or endless, no key twice, not too deep."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from ..request_errors import RequestError

MOST_DIGITS = 4000  # of a whole number: Python refuses 4,300 with advice for programmers


def read(text: str, where: str) -> object:
    """The value that the text stands for. Raises RequestError."""
    try:
        return json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer,
            object_pairs_hook=_object_without_doubles,
        )
    except RecursionError:
        raise bad_body("the JSON is nested too deeply", where) from None
    except json.JSONDecodeError as error:
        raise bad_body(f"not JSON: {error}", where) from None
    except ValueError as error:
        raise bad_body(str(error)[:100], where) from None


def decoded(body: bytes, where: str = "body") -> str:
    """The body's text, without a byte-order mark. Raises RequestError."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad_body(f"not UTF-8: byte 0x{body[error.start]:02x} at offset {error.start}", where) from None


def bad_body(message: str, where: str = "body") -> RequestError:
    """The refusal of a body that cannot be read."""
    return RequestError(400, "bad_body", message, where=where)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; a finite number is wanted")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {text[:20]} is too large")
    return value


def _integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise ValueError(f"the number {text[:20]}… has {len(text)} digits")
    return int(text)


def _object_without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        raise ValueError("an object of the JSON names a key twice")
    return keys
