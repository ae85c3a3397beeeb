"""Bodies of requests and answers: JSON, JSON Lines, FASTA and CSV in; JSON, JSON Lines and npz out.

| content type | body |
|---|---|
| application/json | `{"task": …, "inputs": [ … ], "parameters": { … }}`, or `{"sequence": "…"}`, the authors' form |
| application/jsonlines | an input in each line |
| text/x-fasta | a protein in each record |
| text/csv | one in each row: `sequence`, or `id,sequence`, or a header row with columns `id`, `sequence`, `variants` |

An input is a string, or an object `{"id", "sequence", "variants"}`. Where the body has no room for the task, the
content type names it: `text/x-fasta; task=perplexity; exact=true` (the one header that every way of invoking an
endpoint, batch transform included, hands through unchanged). Without a name it is `embed`.

With `partial`, a field of the JSON or an option of the content type, a protein that cannot be answered gets
`{"id", "error": {"code", "message", "where"}}` in its place and the others their answers; without, one such protein
refuses the request. Batch transform has no other way to say which of a file's records was at fault.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from . import fasta
from .request_errors import RequestError, echo, unknown_name
from .tasks import Logits, Output, Task, check_variants, read_task

JSON, JSON_LINES, NPZ = "application/json", "application/jsonlines", "application/x-npz"
MAX_INPUTS = 10_000
MOST_DIGITS = 4000  # of a whole number: Python refuses 4,300 with advice for programmers
DECIMALS = 6  # of JSON's numbers; npz has all
HEADINGS = {  # what people call columns
    *("accession", "aa", "aa_seq", "aa_sequence", "entry", "id", "ids", "mutant", "mutation", "mutations", "name"),
    *("peptide", "protein", "protein_id", "protein_sequence", "residues", "seq", "seq_id", "seqs", "sequence_id"),
    *("sequences", "variant", "variants"),
}

_FORMATS = {
    JSON: "json",
    JSON_LINES: "lines",
    "application/x-jsonlines": "lines",
    "application/jsonl": "lines",
    "application/x-ndjson": "lines",
    "text/x-fasta": "fasta",
    "application/x-fasta": "fasta",
    "text/csv": "csv",
}
_WANTED_TYPES = "application/json, application/jsonlines, text/x-fasta or text/csv"
_ANSWERS = {name: JSON_LINES for name, kind in _FORMATS.items() if kind == "lines"} | {JSON: JSON, NPZ: NPZ}


@dataclass(frozen=True, slots=True)
class Input:
    """One protein of a request as it was written."""

    text: str
    where: str
    name: str | None = None
    variants: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose form is right; whether its sequences are is for the task to say."""

    task: Task
    inputs: tuple[Input, ...]
    authors_form: bool = False
    """`{"sequence"}` → `{"output"}`, as the authors' own SageMaker handler"""
    partial: bool = False
    """A protein that is at fault gets its error in place of an answer, and refuses no other's."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One output for each input of the request, in its order; of a partial request it may be an `error`."""

    request: Request
    outputs: tuple[Output, ...]


# ---- in --------------------------------------------------------------------------------------------------------------


def read_request(body: bytes, content_type: str | None) -> Request:
    """Take a body apart. Raises RequestError: 400 for the body, 413 for too many inputs, 415 for its type."""
    media_type, options = _media_type(content_type or JSON)
    kind = _FORMATS.get(media_type)
    if kind is None:
        message = f"content type {echo(media_type)} is not one of ours; {_WANTED_TYPES} is wanted"
        raise RequestError(415, "unsupported_media_type", message, where="Content-Type")
    charset = str(options.pop("charset", "utf-8")).lower()
    if charset not in ("utf-8", "utf8", "us-ascii"):
        message = f"charset {echo(charset)}; utf-8 is wanted"
        raise RequestError(415, "unsupported_media_type", message, where="Content-Type")
    if not body.strip():
        raise _bad_body(f"the body is empty; {_WANTED_TYPES} is wanted")
    if kind == "json":
        return _read_json_request(_text(body))
    partial = _boolean(options.pop("partial", False), "Content-Type")
    task = read_task(options.pop("task", "embed"), options)
    if kind == "fasta":
        return Request(task, _limited(_fasta_inputs(body)), partial=partial)
    inputs = _line_inputs(_text(body)) if kind == "lines" else _csv_inputs(_text(body))
    return Request(task, _limited(inputs), partial=partial)


def _read_json_request(text: str) -> Request:
    value = _json(text, "body")
    if not isinstance(value, dict):
        raise _bad_body(f"a JSON object is wanted, not {echo(value)}")
    if "sequence" in value:
        _check_keys(value, ("sequence",))
        return Request(Logits(), (_input(value, "sequence"),), authors_form=True)
    _check_keys(value, ("task", "inputs", "parameters", "partial"))
    for field in ("task", "inputs"):
        if field not in value:
            raise RequestError(400, "bad_request", f"field {field!r} is missing", where=field)
    parameters = value.get("parameters", {})
    if not isinstance(parameters, dict):
        raise RequestError(400, "bad_request", f"an object is wanted, not {echo(parameters)}", where="parameters")
    inputs = value["inputs"]
    if not isinstance(inputs, list):
        message = f'a list like ["MKTAYI", …] is wanted, not {echo(inputs)}'
        raise RequestError(400, "bad_request", message, where="inputs")
    partial = _boolean(value.get("partial", False), "partial")
    task = read_task(value["task"], parameters)
    return Request(task, _limited(_input(one, f"inputs[{i}]") for i, one in enumerate(inputs)), partial=partial)


def _input(value: object, where: str) -> Input:
    if isinstance(value, str):
        return Input(value, where)
    if not isinstance(value, dict):
        message = f'a sequence, or an object {{"id", "sequence", "variants"}} is wanted, not {echo(value)}'
        raise RequestError(400, "bad_request", message, where=where)
    _check_keys(value, ("id", "sequence", "variants"), where)
    name, sequence = value.get("id"), value.get("sequence")
    if name is not None and not isinstance(name, str):
        raise RequestError(400, "bad_request", f"a string is wanted, not {echo(name)}", where=f"{where}.id")
    if not isinstance(sequence, str):
        at = where if where == "sequence" else f"{where}.sequence"
        raise RequestError(400, "bad_request", f"a string of residues is wanted, not {echo(sequence)}", where=at)
    variants = check_variants(value["variants"], f"{where}.variants") if "variants" in value else None
    return Input(sequence, where if not name else f"{where} ({name[:40]})", name, variants)


def _line_inputs(text: str) -> Iterator[Input]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _input(_json(line, f"line {number}"), f"line {number}")


def _fasta_inputs(body: bytes) -> Iterator[Input]:
    if fasta.is_compressed(body):  # unpacked, six megabytes may be six gigabytes
        raise _bad_body("compressed FASTA is not taken here; send it as plain text")
    try:
        for record in fasta.read(io.BytesIO(body)):
            yield Input(record.sequence, record.where, record.name or None)
    except fasta.FastaError as error:
        raise _bad_body(str(error)) from None


def _csv_inputs(text: str) -> Iterator[Input]:
    csv.field_size_limit(len(text) + 1)  # the body is bounded already
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    columns: list[str] | None = None
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if columns is None:
                names = [cell.strip().lower() for cell in row]
                columns = names if "sequence" in names else ["id", "sequence"][-len(row) :]
                if columns is not names and is_heading(row):
                    message = f"a header without a column sequence: {echo(', '.join(names))}; give it that name"
                    raise _bad_body(message, f"row {rows.line_num}")
                _check_columns(columns, row)
                if columns is names:
                    continue
            yield _csv_input(columns, row, f"row {rows.line_num}")
    except csv.Error as error:
        raise _bad_body(f"not CSV: {error}", f"row {rows.line_num}") from None


def _check_columns(columns: list[str], row: list[str]) -> None:
    for name in columns:
        if name not in ("id", "sequence", "variants"):
            raise _bad_body(unknown_name("column", name, ("id", "sequence", "variants")), "row 1")
    if len(set(columns)) < len(row):
        wanted = "one column (sequence), two (id, sequence), or a header row that names each column once"
        raise _bad_body(f"{len(row)} columns; {wanted}", "row 1")


def is_heading(row: Sequence[str]) -> bool:
    """Whether a first row without a column `sequence` is a header all the same, such as `id,seq`: it has a word of
    people's headers in the sequence's place. `SEQ` alone, in capitals, may be a peptide."""
    cells = [cell.strip() for cell in row]
    words = [cell.lower() in HEADINGS for cell in cells]
    return words[-1] and (cells[-1] != cells[-1].upper() or (len(row) > 1 and words[0]))


def _csv_input(columns: list[str], row: list[str], where: str) -> Input:
    if len(row) != len(columns):
        raise _bad_body(f"{len(row)} columns; {len(columns)} are wanted: {', '.join(columns)}", where)
    cells = dict(zip(columns, row, strict=True))
    variants = tuple(filter(None, re.split(r"[,;\s]+", cells["variants"]))) if "variants" in cells else None
    return Input(cells["sequence"], where, cells.get("id") or None, variants)


def _limited(inputs: Iterable[Input]) -> tuple[Input, ...]:
    kept: list[Input] = []
    for one in inputs:
        if len(kept) == MAX_INPUTS:
            message = f"more than {MAX_INPUTS} inputs: split the request"
            raise RequestError(413, "too_much_work", message, where="inputs")
        kept.append(one)
    if not kept:
        raise RequestError(422, "nothing_to_score", "there are no inputs", where="inputs")
    return tuple(kept)


def _media_type(header: str) -> tuple[str, dict[str, Any]]:
    """`text/csv; task=embed; layer=2` → ("text/csv", {"task": "embed", "layer": 2})."""
    media_type, *parts = header.split(";")
    options: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in parts)):
        name, _, value = part.partition("=")
        options[name.strip().lower()] = _option(value.strip().strip('"'))
    return media_type.strip().lower(), options


def _option(value: str) -> bool | int | str:
    if value in ("true", "false"):
        return value == "true"
    return int(value) if re.fullmatch(r"-?[0-9]{1,9}", value, re.ASCII) else value


def _boolean(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        message = f"partial is {echo(value)}; true or false is wanted"
        raise RequestError(400, "bad_request", message, where=where)
    return value


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _bad_body(f"not UTF-8: byte 0x{body[error.start]:02x} at offset {error.start}") from None


def _json(text: str, where: str) -> object:
    try:
        return json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer,
            object_pairs_hook=_object_without_doubles,
        )
    except RecursionError:
        raise _bad_body("the JSON is nested too deeply", where) from None
    except json.JSONDecodeError as error:
        raise _bad_body(f"not JSON: {error}", where) from None
    except ValueError as error:
        raise _bad_body(str(error)[:100], where) from None


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


def _check_keys(value: dict[str, Any], known: tuple[str, ...], where: str = "") -> None:
    for key in value:
        if key not in known:
            at = f"{where}.{key[:40]}" if where else key[:40]
            raise RequestError(400, "bad_request", unknown_name("field", key, known), where=at)


def _bad_body(message: str, where: str = "body") -> RequestError:
    return RequestError(400, "bad_body", message, where=where)


# ---- out -------------------------------------------------------------------------------------------------------------


def choose_answer_type(accept: str | None, content_type: str | None) -> str:
    """The answer's media type for an Accept header. Raises RequestError (406) where none of ours is accepted.

    A caller who takes anything gets JSON Lines for JSON Lines, else JSON.
    """
    body_type = (content_type or JSON).partition(";")[0].strip().lower()
    default = _ANSWERS.get(body_type, JSON)
    wanted = [part.partition(";")[0].strip().lower() for part in (accept or "*/*").split(",")]
    for media_type in filter(None, wanted):
        if media_type in ("*/*", "application/*"):
            return default
        if media_type in _ANSWERS:
            return _ANSWERS[media_type]
    message = f"Accept {echo(accept)}; {JSON}, {JSON_LINES} or {NPZ} can be had"
    raise RequestError(406, "not_acceptable", message, where="Accept")


def check_answer_type(request: Request, media_type: str) -> None:
    """Raises RequestError (406) where the format has no room for what the request may be answered with."""
    if request.partial and media_type == NPZ:
        message = f"Accept {NPZ}: arrays have no room for the errors of a partial answer; {JSON} or {JSON_LINES} has"
        raise RequestError(406, "not_acceptable", message, where="Accept")


def write_answer(answer: Answer, media_type: str) -> bytes:
    """The answer's body in one of the three formats."""
    if media_type == NPZ:
        return _npz(answer)
    if answer.request.authors_form:
        text = f'{{"output":{_as_json(answer.outputs[0]["logits"][None])}}}'
    elif media_type == JSON_LINES:
        text = "".join(f"{_as_json(output)}\n" for output in answer.outputs)
    else:
        text = f'{{"task":"{answer.request.task.name}","outputs":{_as_json(answer.outputs)}}}'
    return text.encode()


def _as_json(value: Any) -> str:
    """JSON row by row: json.dumps of a large array would keep every other thread from running for seconds."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_as_json(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        return "[" + ",".join(map(_as_json, value)) + "]"
    if not isinstance(value, np.ndarray):
        return json.dumps(value, allow_nan=False)
    if value.ndim > 1:
        return "[" + ",".join(map(_as_json, value)) + "]"
    numbers = np.round(value.astype(np.float64), DECIMALS).tolist()
    return json.dumps([None if math.isnan(number) else number for number in numbers], allow_nan=False)


def _npz(answer: Answer) -> bytes:
    """Fields of one shape as one array with a row for each input; the others as `<field>_<input's number from 0>`."""
    arrays: dict[str, NDArray[Any]] = {}
    first = answer.outputs[0]
    for field, value in first.items():
        column = [output[field] for output in answer.outputs]
        if field == "id":
            arrays[field] = np.array([name or "" for name in column])
        elif field in answer.request.task.stacked or isinstance(value, int | float | str):
            arrays[field] = np.array(column)
        else:
            arrays |= {f"{field}_{i}": np.array(one) for i, one in enumerate(column)}
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()
