"""FASTA by the megabyte: what `fasta.read` and `fasta.clean` do to one record, done to thousands at once.

A corpus has a hundred million records, and Python takes microseconds for each thing that it does to one. So a block of
text is taken apart by whole-array operations: headers are cut out, one table turns all that is left into upper-case
letters without white space, and what no protein may hold is looked for in all records together. Only a record that is
refused goes through `fasta.clean`, which knows the reason and the place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import RawIOBase
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from . import fasta

_WHITE_SPACE = b" \t\r\n\v\f"
_NEW_LINE, _GREATER, _STOP, _CHAIN_BREAK = b"\n>*|"
# Between two bodies; no text holds it, since control characters are refused. It becomes a line end.
_BORDER = b"\x01"
_REFUSED = 0


def _letters() -> bytes:
    table = bytearray([_REFUSED] * 256)
    for letter in range(ord("A"), ord("Z") + 1):
        table[letter] = table[letter + 32] = letter
    table[_STOP], table[_CHAIN_BREAK], table[_BORDER[0]] = _STOP, _CHAIN_BREAK, _NEW_LINE
    return bytes(table)


_LETTERS = _letters()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that cannot be used."""

    record: fasta.Record
    error: fasta.FastaError


@dataclass(frozen=True, slots=True)
class Block:
    """Some records of a file, the usable ones clean."""

    records: int
    """All that were met"""
    spaced: int
    """Those of them whose header begins with white space"""
    letters: bytes
    """The residues of protein i are letters[starts[i]:ends[i]], upper case, chains apart by `|`."""
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    refusals: list[Refusal]


def read_blocks(source: BinaryIO | RawIOBase, name: str = "") -> Iterator[Block]:
    """The records of a FASTA stream, about a megabyte at a time. Raises what `fasta.read` does."""
    with fasta.whole_records(source, name) as text:
        for piece in text:
            block = _block(piece, text.records, name)
            text.records += block.records
            yield block


def _block(text: bytes, before: int, source: str) -> Block:
    """`text` begins with the `>` of record `before` + 1."""
    data = np.frombuffer(text, np.uint8)
    new_lines = np.append(np.flatnonzero(data == _NEW_LINE), len(text))
    after = new_lines[:-1] + 1
    begins = np.append(0, after[data[np.minimum(after, len(text) - 1)] == _GREATER])
    header_ends = new_lines[np.searchsorted(new_lines, begins)]
    record_ends = np.append(begins[1:], len(text))

    view = memoryview(text)
    bodies = zip(np.minimum(header_ends + 1, record_ends).tolist(), record_ends.tolist(), strict=True)
    letters = _BORDER.join([view[start:end] for start, end in bodies]).translate(_LETTERS, _WHITE_SPACE)
    starts, ends, refused = _judge(letters)

    refusals = [_refusal(text[begins[i] + 1 : record_ends[i]], before + i + 1, source) for i in refused.tolist()]
    kept = np.ones(len(begins), bool)
    kept[refused] = False
    first = data[np.minimum(begins + 1, len(text) - 1)]
    spaced = int(np.count_nonzero((first == ord(" ")) | (first == ord("\t"))))
    return Block(len(begins), spaced, letters, starts[kept], ends[kept], refusals)


def _judge(letters: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of the records in letters, one a line: where each begins and ends, a last `*` aside, and which to refuse."""
    data = np.frombuffer(letters, np.uint8)
    others = np.flatnonzero(data < ord("A"))  # line ends, stops, and what is refused
    kinds = data[others]
    lines = np.append(others[kinds == _NEW_LINE], len(letters))
    starts, ends = np.concatenate([[0], lines[:-1] + 1]), lines
    if len(others) >= len(lines):
        filled = ends > starts
        ends = ends - (filled & (data[np.maximum(ends - 1, 0)] == _STOP))
    refused = [np.flatnonzero(starts == ends)]

    suspects = others[kinds != _NEW_LINE]
    where = np.searchsorted(lines, suspects)
    refused.append(where[suspects < ends[where]])
    breaks = np.flatnonzero(data == _CHAIN_BREAK)
    if len(breaks):
        where = np.searchsorted(lines, breaks)
        empty = (breaks == starts[where]) | (breaks == ends[where] - 1)
        empty[:-1] |= breaks[1:] == breaks[:-1] + 1
        refused.append(where[empty])
    return starts, ends, np.unique(np.concatenate(refused))


def _refusal(text: bytes, number: int, source: str) -> Refusal:
    record = fasta.record_of(text, number)
    try:
        fasta.clean(record.sequence, f"{source}, {record.where}" if source else record.where)
    except fasta.FastaError as error:
        # The traceback knows all callers, and with them the whole block, which would stay as long as the refusal does.
        return Refusal(record, error.with_traceback(None))
    raise AssertionError(f"{source}, {record.where}: refused by whole arrays, and by `clean` not")
