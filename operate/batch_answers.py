"""The one file that a person wants of a transform job: answers by record, as JSON Lines, a table or arrays."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from operate.batch import Outcome
from operate.batch_tasks import Question
from operate.errors import OperateError

Row = tuple[object, ...]


def check(path: Path, question: Question) -> None:
    """Raises OperateError for a file whose form has no room for the answers, and where it cannot be written."""
    forms = {
        ".jsonl": True,
        ".csv": _table(question) is not None,
        ".npz": question.task in ("embed", "logits", "contacts"),
    }
    if not forms.get(path.suffix):
        fitting = " or ".join(suffix for suffix, fits in forms.items() if fits)
        raise OperateError(
            f"--out is {path}: answers of {question.task} go into a file that ends in {fitting}.",
            todo=f"Give --out {path.stem or 'answers'}{fitting.split(' ')[0]}, or leave it out.",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperateError(f"{path.parent} cannot be made: {error.strerror}.", todo="Give another --out.") from None


def default(source: str, question: Question) -> Path:
    """`my.faa.gz` asked for perplexity → `my.perplexity.csv`, in the folder that one is in."""
    name = Path(source.rstrip("/").rpartition("/")[2]).name.removesuffix(".gz")
    arrays = question.task == "contacts" or (question.task == "embed" and not _by_residue(question))
    suffix = ".csv" if _table(question) else ".npz" if arrays else ".jsonl"
    asked = "scan" if question.parameters.get("scan") else question.task
    return Path(f"{name.rpartition('.')[0] or name or 'answers'}.{asked}{suffix}")


def failures_file(path: Path) -> Path:
    """Where the records without an answer are listed."""
    return path.with_suffix(".failures.csv")


def write(path: Path, question: Question, outcomes: Iterable[Outcome]) -> tuple[int, int]:
    """Write the answers, and list the records without one beside it; returns how many of each there are.

    Each file appears whole. A list of failures from before is taken away where there are none now.
    """
    failed: list[Outcome] = []
    answered = 0

    def good() -> Iterator[Outcome]:
        nonlocal answered
        for one in outcomes:
            if one.answer is None:
                failed.append(one)
                if path.suffix == ".jsonl":
                    yield one  # a line of every record: nobody has to look in two places
            else:
                answered += 1
                yield one

    if path.suffix == ".npz":
        _write_arrays(path, question, good())
    else:
        with _whole(path) as file:
            if path.suffix == ".jsonl":
                for one in good():
                    said = {"error": one.error} if one.answer is None else one.answer
                    file.write(json.dumps({"id": one.record.name, **said}, allow_nan=False) + "\n")
            else:
                _write_table(file, question, good())
    list_ = failures_file(path)
    if failed:
        with _whole(list_) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("id", "record", "code", "message"))
            for one in failed:
                error = one.error or {}
                writer.writerow((one.record.name, one.record.where, error.get("code", ""), error.get("message", "")))
    else:
        list_.unlink(missing_ok=True)
    return answered, len(failed)


# ---- tables ----------------------------------------------------------------------------------------------------------


def _table(question: Question) -> tuple[Row, Callable[[str, dict[str, Any]], Iterable[Row]]] | None:
    """The head of a table of these answers, and the rows of one; None where they are arrays."""
    if question.task == "perplexity":
        fields = ("perplexity", "loss", "scored_residues")
        return ("id", *fields), lambda _, answer: [tuple(answer[field] for field in fields)]
    if question.task == "fill_mask":
        return ("id", "position", "residue", "probability"), lambda _, answer: _filled(answer)
    if question.task != "score_variants":
        return None
    if question.parameters.get("scan"):
        return ("id", "mutation", "score"), _scanned
    return ("id", "variant", "score"), lambda _, answer: zip(answer["variants"], answer["scores"], strict=True)


def _write_table(file: TextIO, question: Question, outcomes: Iterable[Outcome]) -> None:
    table = _table(question)
    assert table is not None, "the form of the file was checked"
    head, rows = table
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    for one in outcomes:
        assert one.answer is not None
        writer.writerows((one.record.name, *row) for row in rows(one.record.sequence, one.answer))


def _filled(answer: dict[str, Any]) -> Iterator[Row]:
    for position, residues, chances in zip(
        answer["positions"], answer["residues"], answer["probabilities"], strict=True
    ):
        yield from ((position, residue, chance) for residue, chance in zip(residues, chances, strict=True))


def _scanned(written: str, answer: dict[str, Any]) -> Iterator[Row]:
    """M1A, M1C, … without the wild type itself and without what the model cannot score."""
    sequence = "".join(written.split()).upper().removesuffix("*")  # as the server reads it, a row for each residue
    for position, (residue, row) in enumerate(zip(sequence, answer["scores"], strict=True), start=1):
        for letter, score in zip(answer["letters"], row, strict=True):
            if letter != residue and score is not None:
                yield f"{residue}{position}{letter}", score


# ---- arrays ----------------------------------------------------------------------------------------------------------


def _by_residue(question: Question) -> bool:
    return question.parameters.get("pooling") == "per_residue"


def _write_arrays(path: Path, question: Question, outcomes: Iterable[Outcome]) -> None:
    """`ids` and `embeddings`, as `amplify embed` writes them; of a row for each residue, an array for each protein."""
    field = "embedding" if question.task == "embed" else question.task
    names, rows = [], []
    for one in outcomes:
        assert one.answer is not None
        names.append(one.record.name)
        rows.append(np.array(one.answer[field], dtype=np.float32))
    ids = np.array(names, dtype=str)
    arrays: dict[str, Any] = {"ids": ids}
    if question.task == "embed" and not _by_residue(question):
        arrays["embeddings"] = np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)
    else:
        arrays |= {f"{field}_{number}": row for number, row in enumerate(rows)}
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    partial.replace(path)


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """A text file that is there whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        yield file
    partial.replace(path)
