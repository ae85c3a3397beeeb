"""What people ask about, and how it is cut into requests."""

from collections.abc import Mapping, Sequence

from operate.batch_records import Record
from operate.batch_tasks import Question
from operate.portions import Room

Protein = str | Mapping[str, str]
"""A sequence, or `{"id": …, "sequence": …}`: errors then name it."""


def check_list(proteins: Sequence[Protein]) -> None:
    """Raises TypeError for one protein where a list is wanted: it would be sent letter by letter."""
    if isinstance(proteins, str | Mapping):
        raise TypeError("one protein was given; give a list of them")


def written(protein: Protein) -> str:
    """Its sequence as the caller has it."""
    return protein if isinstance(protein, str) else protein.get("sequence", "")


def as_read(protein: Protein) -> str:
    """Its sequence as the server reads it, a letter for each row of a scan."""
    return "".join(written(protein).split()).upper().removesuffix("*")


def size(question: Question, protein: Protein) -> Room:
    """What a protein takes up in a request, about."""
    record = Record("", written(protein), None, "")
    return Room(question.tokens(record), question.numbers(record), 1, len(record.sequence) + 40)
