"""Records for a transform job, of files or of an S3 prefix: FASTA, JSON Lines or CSV, plain or gzipped.

The form is checked here, since a job that only fails for it costs its instances; what the sequences are is judged in
the container, record by record, as everywhere.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from operate.errors import OperateError

FORMS = "FASTA (.fasta, .fa, .faa), JSON Lines (.jsonl) or CSV (.csv), plain or gzipped"
ENDINGS = {
    **dict.fromkeys((".fasta", ".fa", ".faa", ".fas"), "fasta"),
    **dict.fromkeys((".jsonl", ".ndjson", ".jsonlines"), "lines"),
    ".csv": "csv",
}
MOST_FAULTS_TOLD = 5
COLUMNS = ("id", "sequence", "variants")
HEADINGS = {  # what people call columns
    *("accession", "aa", "aa_seq", "aa_sequence", "entry", "id", "ids", "mutant", "mutation", "mutations", "name"),
    *("peptide", "protein", "protein_id", "protein_sequence", "residues", "seq", "seq_id", "seqs", "sequence_id"),
    *("sequences", "variant", "variants"),
}


@dataclass(frozen=True, slots=True)
class Record:
    """One protein to ask about."""

    name: str
    """Its id; `protein_<number>` where it has none."""
    sequence: str
    variants: tuple[str, ...] | None
    where: str
    """`my.csv, row 3`: how messages name it."""

    def as_input(self) -> dict[str, Any]:
        """The input of a request."""
        own = {} if self.variants is None else {"variants": list(self.variants)}
        return {"id": self.name, "sequence": self.sequence, **own}


def read(source: str, s3: Callable[[], Any]) -> list[Record]:
    """The records of a file, or of all objects below an S3 prefix, in the order of their keys.

    `s3()` is asked for a client where the source is in S3. Raises OperateError, with every fault of form.
    """
    records: list[Record] = []
    faults: list[str] = []
    for name, content in _of_prefix(s3(), source) if source.startswith("s3://") else [(source, _of_file(source))]:
        found, wrong = parse(name, content, first=len(records) + 1)
        records += found
        faults += wrong
    faults += _shared_names(records)
    if faults:
        more = f" … and {len(faults) - MOST_FAULTS_TOLD} more" if len(faults) > MOST_FAULTS_TOLD else ""
        raise OperateError("; ".join(faults[:MOST_FAULTS_TOLD]) + more + ".", todo="Mend these, and start again.")
    if not records:
        raise OperateError(f"{source} holds no records.", todo=f"Give {FORMS}.")
    return records


def _shared_names(records: Sequence[Record]) -> Iterator[str]:
    """Ids that two records have: an answer names its record by nothing else. The same protein may come again with other
    variants."""
    seen: dict[str, Record] = {}
    asked: dict[tuple[str, tuple[str, ...] | None], Record] = {}
    for one in records:
        first = seen.setdefault(one.name, one)
        if first.sequence != one.sequence:
            yield f"{one.where}: id {one.name!r} is that of another protein, {first.where}; each wants its own"
        elif (same := asked.setdefault((one.name, one.variants), one)) is not one:
            yield f"{one.where}: id {one.name!r} is there already with the same content, {same.where}"


def parse(name: str, content: bytes, *, first: int = 1) -> tuple[list[Record], list[str]]:
    """The records of one file's content, and what is wrong with its form. `first` is the number of the first record."""
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            return [], [f"{name} is damaged: {error}"]
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        return [], [f"{name} is not text: byte 0x{content[error.start]:02x} at offset {error.start} is not UTF-8"]
    if not text.strip():
        return [], [f"{name} is empty"]
    form = _form(name, text)
    if form is None:
        return [], [f"{name} begins with {text.lstrip()[:20]!r}: it is none of {FORMS}"]
    reading = {"fasta": _fasta, "lines": _lines, "csv": _csv}[form]
    records, faults = [], []
    for number, (where, found) in enumerate(reading(text), start=first):
        if isinstance(found, str):
            faults.append(f"{name}, {where}: {found}")
        else:
            called, sequence, variants = found
            records.append(Record(called or f"protein_{number}", sequence, variants, f"{name}, {where}"))
    return records, faults


Found = tuple[str, str, tuple[str, ...] | None]
"""Id, sequence, variants."""


def _form(name: str, text: str) -> str | None:
    """By what the content cannot hide, else by the name's ending."""
    beginning = text.lstrip()[:1]
    if beginning == ">":
        return "fasta"
    if beginning == "{":
        return "lines"
    form = ENDINGS.get(Path(name.removesuffix(".gz")).suffix.lower())
    return None if form == "fasta" else form


def _fasta(text: str) -> Iterator[tuple[str, Found | str]]:
    for number, part in enumerate(text.strip()[1:].split("\n>"), start=1):
        header, _, body = part.partition("\n")
        yield f"record {number}", (header.strip().partition(" ")[0], "".join(body.split()), None)


def _lines(text: str) -> Iterator[tuple[str, Found | str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {number}", _of_line(line)


def _of_line(line: str) -> Found | str:
    wanted = 'a sequence, or {"id": …, "sequence": …, "variants": […]} is wanted'
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        return f"not JSON: {error}"
    if isinstance(value, str):
        return "", value, None
    if not isinstance(value, dict) or not isinstance(value.get("sequence"), str):
        return wanted
    if unknown := sorted(set(value) - set(COLUMNS)):
        return f"unknown field {unknown[0]!r}; {wanted}"
    name, variants = value.get("id", ""), value.get("variants")
    if not isinstance(name, str):
        return f"id is {name!r}; a string is wanted"
    if variants is not None and not (isinstance(variants, list) and all(isinstance(one, str) for one in variants)):
        return 'variants is no list of strings, like ["A42G", "A42G:L50P"]'
    return name, value["sequence"], None if variants is None else tuple(variants)


def _csv(text: str) -> Iterator[tuple[str, Found | str]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text) + 1))  # the module has one limit for everybody
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    columns: list[str] | None = None
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield f"row {rows.line_num}", f"not CSV: {error}"
            return
        if row is None:
            return
        if not any(cell.strip() for cell in row):
            continue
        if columns is None:
            names = [cell.strip().lower() for cell in row]
            columns = names if "sequence" in names else ["id", "sequence"][-len(row) :]
            if columns is not names and is_heading(row):
                yield (
                    f"row {rows.line_num}",
                    f"a header without a column sequence: {', '.join(names)}; give it that name",
                )
                return
            if set(columns) - set(COLUMNS) or len(set(columns)) < len(row):
                yield f"row {rows.line_num}", f"its columns are {', '.join(names)}; id, sequence and variants are known"
                return
            if columns is names:
                continue
        if len(row) != len(columns):
            wanted = f"{len(columns)} are wanted: {', '.join(columns)}"
            yield f"row {rows.line_num}", f"{len(row)} columns; {wanted}"
            continue
        cells = dict(zip(columns, row, strict=True))
        variants = tuple(filter(None, re.split(r"[,;\s]+", cells["variants"]))) if "variants" in cells else None
        yield f"row {rows.line_num}", (cells.get("id", "").strip(), cells["sequence"].strip(), variants)


def is_heading(row: Sequence[str]) -> bool:
    """Whether a first row without a column `sequence` is a header all the same, such as `id,seq`: it has a word of
    people's headers in the sequence's place. `SEQ` alone, in capitals, may be a peptide."""
    cells = [cell.strip() for cell in row]
    words = [cell.lower() in HEADINGS for cell in cells]
    return words[-1] and (cells[-1] != cells[-1].upper() or (len(row) > 1 and words[0]))


# ---- where it lies ---------------------------------------------------------------------------------------------------


def _of_file(source: str) -> bytes:
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise OperateError(f"{source} cannot be read: {error.strerror or error}.", todo=f"Give {FORMS}.") from None


def _of_prefix(s3: Any, uri: str) -> Iterator[tuple[str, bytes]]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    found = False
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for one in page.get("Contents", []):
                if one["Size"] and not one["Key"].endswith("/"):  # folders and marks such as READY are empty
                    found = True
                    content = s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
                    yield f"s3://{bucket}/{one['Key']}", content
    except ClientError as error:
        message = error.response["Error"]["Message"]
        raise OperateError(
            f"{uri} cannot be read: {message}", todo="Give a prefix that you may list and read."
        ) from None
    if not found:
        raise OperateError(f"Nothing lies below {uri}.", todo=f"Give the prefix of {FORMS}.")
