"""The two headers of a request: what its body is (Content-Type), and what its caller can read (Accept).

Where a body has no room for the task, the content type names it, with its parameters: `text/x-fasta; task=perplexity;
exact=true`. It is the one header that every way of invoking an endpoint, batch transform included, hands through
unchanged. An Accept of `application/x-npz; dtype=float16` asks for half the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..request_errors import RequestError, echo

JSON, JSON_LINES, NPZ = "application/json", "application/jsonlines", "application/x-npz"
DTYPES = ("float32", "float16")  # of npz

FORMATS = {
    JSON: "json",
    JSON_LINES: "lines",
    "application/x-jsonlines": "lines",
    "application/jsonl": "lines",
    "application/x-ndjson": "lines",
    "text/x-fasta": "fasta",
    "application/x-fasta": "fasta",
    "text/csv": "csv",
}
WANTED = "application/json, application/jsonlines, text/x-fasta or text/csv"
_ANSWERS = {name: JSON_LINES for name, kind in FORMATS.items() if kind == "lines"} | {JSON: JSON, NPZ: NPZ}
_WHOLE = re.compile(r"-?[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ContentType:
    """A body's format, `json`, `lines`, `fasta` or `csv`; and for all but JSON what is asked about it."""

    format: str
    task: object = "embed"
    parameters: dict[str, Any] = field(default_factory=dict)
    partial: bool = False
    stream: bool = False


@dataclass(frozen=True, slots=True)
class AnswerType:
    """An answer's format; `dtype` is that of npz's arrays."""

    media_type: str
    dtype: str = "float32"


def read_content_type(header: str | None) -> ContentType:
    """Read the header; without one a body is JSON. Raises RequestError: 415, or 400 for what partial and stream are."""
    media_type, options = _split(header or JSON)
    kind = FORMATS.get(media_type)
    if kind is None:
        raise _unsupported(f"content type {echo(media_type)} is not one of ours; {WANTED} is wanted")
    charset = str(options.pop("charset", "utf-8")).lower()
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise _unsupported(f"charset {echo(charset)}; utf-8 is wanted")
    if kind == "json":
        return ContentType(kind)
    partial = boolean("partial", options.pop("partial", False), "Content-Type")
    stream = boolean("stream", options.pop("stream", False), "Content-Type")
    return ContentType(kind, options.pop("task", "embed"), options, partial, stream)


def boolean(name: str, value: object, where: str) -> bool:
    """The value, if it is true or false. Raises RequestError."""
    if not isinstance(value, bool):
        message = f"{name} is {echo(value)}; true or false is wanted"
        raise RequestError(400, "bad_request", message, where=where)
    return value


def choose_answer_type(accept: str | None, content_type: str | None, *, stream: bool = False) -> AnswerType:
    """The answer's type for an Accept header. Raises RequestError (406) where none of ours is accepted.

    A caller who takes anything gets JSON Lines for JSON Lines, else JSON; of a stream always JSON Lines: whoever
    takes nothing of the kind is refused.
    """
    body_type = (content_type or JSON).partition(";")[0].strip().lower()
    default = JSON_LINES if stream else _ANSWERS.get(body_type, JSON)
    for media_type, options in _accepted(accept or "*/*"):
        if media_type in ("*/*", "application/*"):
            return AnswerType(default)
        known = _ANSWERS.get(media_type)
        if known is None or (stream and known != JSON_LINES):
            continue
        return AnswerType(known, _dtype(options)) if known == NPZ else AnswerType(known)
    had = f"a stream is {JSON_LINES}" if stream else f"{JSON}, {JSON_LINES} or {NPZ} can be had"
    raise RequestError(406, "not_acceptable", f"Accept {echo(accept)}; {had}", where="Accept")


def _accepted(accept: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in accept.split(","):
        media_type, options = _split(part)
        if media_type and options.get("q") != 0:
            yield media_type, options


def _dtype(options: dict[str, Any]) -> str:
    dtype = options.get("dtype", DTYPES[0])
    if dtype not in DTYPES:
        message = f"dtype {echo(dtype)}; {' or '.join(DTYPES)} can be had"
        raise RequestError(406, "not_acceptable", message, where="Accept")
    return str(dtype)


def _split(header: str) -> tuple[str, dict[str, Any]]:
    """`text/csv; task=embed; layer=2` → ("text/csv", {"task": "embed", "layer": 2})."""
    media_type, *parts = header.split(";")
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in parts)):
        name, _, value = part.partition("=")
        options[name.strip().lower()] = _option(value.strip().strip('"'))
    return media_type.strip().lower(), options


def _option(value: str) -> bool | int | str | list[bool | int | str]:
    """`true`, `3`, a word; or a list of them, parted by commas."""
    if "," in value:
        return [one for part in value.split(",") if not isinstance(one := _option(part.strip()), list)]
    if value in ("true", "false"):
        return value == "true"
    return int(value) if _WHOLE.fullmatch(value) else value


def _unsupported(message: str) -> RequestError:
    return RequestError(415, "unsupported_media_type", message, where="Content-Type")
