"""Bodies of requests taken apart.

| content type | body |
|---|---|
| application/json | `{"task": …, "inputs": [ … ], "parameters": { … }}`, or `{"sequence": "…"}`, the authors' form |
| application/jsonlines | an input in each line |
| text/x-fasta | a protein in each record |
| text/csv | one in each row: `sequence`, or `id,sequence`, or a header row with columns `id`, `sequence`, `variants` |

An input is a string, or an object `{"id", "sequence", "variants"}`. Where the body has no room for the task, the
content type names it (media_types.py); without a name it is `embed`. Two more fields of the JSON, or options of the
content type:

- `partial`: a protein that cannot be answered gets `{"id", "error": {"code", "message", "where"}}` in its place and the
  others their answers; without, one such protein refuses the request. Batch transform has no other way to say which
  of a file's records was at fault.
- `stream`: the answer comes as JSON Lines while it is being computed, a scan by positions (amplify_lm/streams.py).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .. import fasta
from ..request_errors import RequestError, echo, unknown_name
from ..tasks import Logits, Task, read_task
from ..tasks.parameters import VariantList, check_value
from . import strict_json
from .media_types import JSON, JSON_LINES, NPZ, WANTED, AnswerType, boolean, read_content_type
from .strict_json import bad_body, decoded

MAX_INPUTS = 10_000
HEADINGS = {  # what people call columns
    *("accession", "aa", "aa_seq", "aa_sequence", "entry", "id", "ids", "mutant", "mutation", "mutations", "name"),
    *("peptide", "protein", "protein_id", "protein_sequence", "residues", "seq", "seq_id", "seqs", "sequence_id"),
    *("sequences", "variant", "variants"),
}


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
    stream: bool = False
    """The answer is sent line by line as it is computed."""


# ---- in --------------------------------------------------------------------------------------------------------------


def read_request(body: bytes, content_type: str | None) -> Request:
    """Take a body apart. Raises RequestError: 400 for the body, 413 for too many inputs, 415 for its type."""
    about = read_content_type(content_type)
    if not body.strip():
        raise bad_body(f"the body is empty; {WANTED} is wanted")
    if about.format == "json":
        return _read_json_request(decoded(body))
    task = read_task(about.task, about.parameters)
    if about.format == "fasta":
        inputs = _fasta_inputs(body)
    else:
        inputs = _line_inputs(decoded(body)) if about.format == "lines" else _csv_inputs(decoded(body))
    return Request(task, _limited(inputs), partial=about.partial, stream=about.stream)


def read_line(line: bytes, where: str) -> Input:
    """The input of one line of JSON Lines. Raises RequestError."""
    return _input(strict_json.read(decoded(line, where), where), where)


def check_answer_type(request: Request, form: AnswerType) -> None:
    """Raises RequestError (406) where the format has no room for what the request may be answered with."""
    if request.partial and form.media_type == NPZ:
        message = f"Accept {NPZ}: arrays have no room for the errors of a partial answer; {JSON} or {JSON_LINES} has"
        raise RequestError(406, "not_acceptable", message, where="Accept")


def _read_json_request(text: str) -> Request:
    value = strict_json.read(text, "body")
    if not isinstance(value, dict):
        raise bad_body(f"a JSON object is wanted, not {echo(value)}")
    if "sequence" in value:
        _check_keys(value, ("sequence",))
        return Request(Logits(), (_input(value, "sequence"),), authors_form=True)
    _check_keys(value, ("task", "inputs", "parameters", "partial", "stream"))
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
    partial = boolean("partial", value.get("partial", False), "partial")
    stream = boolean("stream", value.get("stream", False), "stream")
    task = read_task(value["task"], parameters)
    read = _limited(_input(one, f"inputs[{i}]") for i, one in enumerate(inputs))
    return Request(task, read, partial=partial, stream=stream)


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
    variants = None
    if "variants" in value:
        check_value(value["variants"], VariantList(), "variants", f"{where}.variants")
        variants = tuple(value["variants"])
    return Input(sequence, where if not name else f"{where} ({name[:40]})", name, variants)


def _line_inputs(text: str) -> Iterator[Input]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _input(strict_json.read(line, f"line {number}"), f"line {number}")


def _fasta_inputs(body: bytes) -> Iterator[Input]:
    if fasta.is_compressed(body):  # unpacked, six megabytes may be six gigabytes
        raise bad_body("compressed FASTA is not taken here; send it as plain text")
    try:
        for record in fasta.read(io.BytesIO(body)):
            yield Input(record.sequence, record.where, record.name or None)
    except fasta.FastaError as error:
        raise bad_body(str(error)) from None


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
                    raise bad_body(message, f"row {rows.line_num}")
                _check_columns(columns, row)
                if columns is names:
                    continue
            yield _csv_input(columns, row, f"row {rows.line_num}")
    except csv.Error as error:
        raise bad_body(f"not CSV: {error}", f"row {rows.line_num}") from None


def _check_columns(columns: list[str], row: list[str]) -> None:
    for name in columns:
        if name not in ("id", "sequence", "variants"):
            raise bad_body(unknown_name("column", name, ("id", "sequence", "variants")), "row 1")
    if len(set(columns)) < len(row):
        wanted = "one column (sequence), two (id, sequence), or a header row that names each column once"
        raise bad_body(f"{len(row)} columns; {wanted}", "row 1")


def is_heading(row: Sequence[str]) -> bool:
    """Whether a first row without a column `sequence` is a header all the same, such as `id,seq`: it has a word of
    people's headers in the sequence's place. `SEQ` alone, in capitals, may be a peptide."""
    cells = [cell.strip() for cell in row]
    words = [cell.lower() in HEADINGS for cell in cells]
    return words[-1] and (cells[-1] != cells[-1].upper() or (len(row) > 1 and words[0]))


def _csv_input(columns: list[str], row: list[str], where: str) -> Input:
    if len(row) != len(columns):
        raise bad_body(f"{len(row)} columns; {len(columns)} are wanted: {', '.join(columns)}", where)
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


def _check_keys(value: dict[str, Any], known: tuple[str, ...], where: str = "") -> None:
    for key in value:
        if key not in known:
            at = f"{where}.{key[:40]}" if where else key[:40]
            raise RequestError(400, "bad_request", unknown_name("field", key, known), where=at)
