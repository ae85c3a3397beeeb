"""Proteins as people write them: FASTA text, plain, gzip or zstd, to clean residues.

Two steps, because two kinds of trouble exist. `read` takes a file apart into records and stops at a file that is not
FASTA, is binary, or breaks off. `clean` judges one sequence by the rules of this project: white space goes, letters
become upper case, one `*` at the end (a stop codon) is dropped, and anything else that is not a letter refuses the
sequence. `|` between two chains of one complex is kept, as the tokenizer has a token for it. Letters outside the
tokenizer's alphabet (X, U, O, Z, J) are kept too and counted as unknown.

Requests and held-out proteins go through these two functions, corpora through `fasta_blocks.py`, which does the same to
megabytes at once and is held to them by its tests: a protein means the same in training and serving.
"""

from __future__ import annotations

import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np

from .tokenizer import count_unknown

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Reason = Literal["unreadable", "empty", "inner_stop", "not_a_residue", "empty_chain"]

READY = "READY"  # an object of that name begins a run where an environment asks for it: it is no FASTA

LONGEST = 64 << 20  # bytes of one record; the longest protein known has 45,212 residues

_BLOCK_BYTES = 1 << 20
_WHITE_SPACE = b" \t\r\n\v\f"
_UTF8_MARK = b"\xef\xbb\xbf"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_UNREAD_COMPRESSIONS = {b"BZh": "bzip2", b"\xfd7zX": "xz", b"PK\x03\x04": "zip"}
_REFUSED_CHARACTER = re.compile(r"[^A-Za-z|]")
_EMPTY_CHAIN = re.compile(r"^\||\|\||\|$")


class FastaError(ValueError):
    """A file or a sequence that cannot be used; the message says where and what is wanted.

    `reason` is a short key to count by, `where` names file and record, `position` is 1-based and counts residues
    without white space (None where no single residue is at fault).
    """

    def __init__(self, message: str, *, reason: Reason, where: str, position: int | None = None) -> None:
        at = where if position is None else f"{where}, position {position}"
        super().__init__(f"{at}: {message}" if at else message)
        self.reason: Reason = reason
        self.where = where
        self.position = position

    def __reduce__(self) -> tuple[Any, ...]:
        """Its way from one process to another, which an exception with named arguments does not find by itself."""
        return _same_error, (str(self), self.reason, self.where, self.position)


def _same_error(text: str, reason: Reason, where: str, position: int | None) -> FastaError:
    error = FastaError(text, reason=reason, where="")
    error.where, error.position = where, position
    return error


@dataclass(frozen=True, slots=True)
class Record:
    """One FASTA record as it stands in the file: the sequence without white space, not yet judged."""

    name: str
    """The header's first word; empty where the header is."""
    sequence: str
    number: int
    """1-based, within its file."""
    spaced: bool = field(default=False, compare=False)
    """The header begins with white space, which is no part of what it says."""

    @property
    def where(self) -> str:
        """The record as an error message names it."""
        return f"record {self.number} ({self.name})" if self.name else f"record {self.number}"


@dataclass(frozen=True, slots=True)
class CleanSequence:
    """Upper-case residues, ready for the tokenizer, and how many of them it does not know."""

    residues: str
    num_unknown: int


def clean(sequence: str, where: str = "sequence") -> CleanSequence:
    """Judge one sequence; `where` names it in errors ("record 3 (sp|P12345)").

    Raises FastaError for an empty sequence, a character that is not a residue, and an empty chain around `|`.
    """
    residues = "".join(sequence.split()).removesuffix("*")
    if not residues:
        raise FastaError("the sequence is empty; at least one residue is wanted", reason="empty", where=where)
    if refused := _REFUSED_CHARACTER.search(residues):
        character, position = refused.group(), refused.start() + 1
        if character == "*":
            wanted = "'*' (a stop) inside the sequence; only one at the end is allowed"
            raise FastaError(wanted, reason="inner_stop", where=where, position=position)
        wanted = f"{character!r} is not a residue; letters are wanted (X for an unknown one)"
        raise FastaError(wanted, reason="not_a_residue", where=where, position=position)
    if gap := _EMPTY_CHAIN.search(residues):
        wanted = "'|' separates two chains and needs residues on both sides"
        raise FastaError(wanted, reason="empty_chain", where=where, position=gap.start() + 1)
    residues = residues.upper()
    return CleanSequence(residues, count_unknown(residues))


def read(source: Path | BinaryIO | io.RawIOBase, name: str = "") -> Iterator[Record]:
    """Yield the records of a FASTA file or binary stream: plain, gzip or zstd, as its first bytes (not its name) say.

    `name` is what errors call the source; a path names itself. A stream stays open. Raises FastaError where the
    source is not FASTA, holds control characters, or is a damaged or truncated compressed file; OSError where it cannot
    be opened.
    """
    if isinstance(source, Path):
        with source.open("rb") as stream:
            yield from read(stream, name or str(source))
        return
    with whole_records(source, name) as text:
        for piece in text:
            for record in piece[1:].split(b"\n>"):
                text.records += 1
                yield record_of(record, text.records)


def is_compressed(start: bytes) -> bool:
    """Whether the first bytes are those of a compressed file that `read` unpacks."""
    return start.startswith((_GZIP, _ZSTD))


class FastaText:
    """A stream's text in pieces of about a megabyte, each of whole records: it begins with the `>` of one."""

    def __init__(self, stream: io.BufferedReader[Any], source: str) -> None:
        self.source = source
        self.records = 0
        """Records met so far: whoever takes the pieces apart counts them, errors name them."""
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        stream = _decompressed(self._stream, self.source)
        rest = b""
        offset = 0
        while block := stream.read(_BLOCK_BYTES):
            _check_text(block, offset, self.source)
            if not rest:
                block = self._beginning(block, offset)
            offset += len(block)
            # Only what is new, and the byte before it, can hold the beginning of another record.
            searched = max(len(rest) - 1, 0)
            rest += block
            if (end := rest.rfind(b"\n>", searched) + 1) > 0:
                yield rest[:end]
                rest = rest[end:]
            if len(rest) > LONGEST:
                message = f"longer than {LONGEST >> 20} MB; a protein is wanted, not a genome"
                where = f"{self.source}, record {self.records + 1}"
                raise FastaError(message, reason="unreadable", where=where)
        if rest:
            yield rest

    def _beginning(self, block: bytes, offset: int) -> bytes:
        text = (block.removeprefix(_UTF8_MARK) if not offset else block).lstrip(_WHITE_SPACE)
        if text and not text.startswith(b">"):
            found = text[:30].decode("utf-8", "replace")
            message = f"not FASTA: it begins with {found!r}, a header line '>name' is wanted"
            raise FastaError(message, reason="unreadable", where=self.source)
        return text


@contextmanager
def whole_records(source: BinaryIO | io.RawIOBase, name: str = "") -> Iterator[FastaText]:
    """The text of a binary stream, which stays open. Raises FastaError as `read` does, for as long as it is read."""
    buffered = io.BufferedReader(cast(Any, source), _BLOCK_BYTES)  # any object with readinto() will do
    text = FastaText(buffered, name)
    try:
        yield text
    except (EOFError, gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
        where = f"{name}, after record {text.records}" if name else f"after record {text.records}"
        message = f"damaged or truncated compressed file ({error}); compress or copy it anew"
        raise FastaError(message, reason="unreadable", where=where) from None
    finally:
        buffered.detach()


def files_below(folder: Path) -> list[Path]:
    """Every file at any depth of a folder, by path, but hidden ones and the `READY` that says "these are all".

    Raises FastaError where there are none.
    """
    paths = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    shown = {name: path for name, path in paths.items() if not any(part.startswith(".") for part in name.parts)}
    shown.pop(Path(READY), None)
    if not shown:
        message = "no files; FASTA files (plain, gzip or zstd) are wanted, at any depth"
        raise FastaError(message, reason="unreadable", where=str(folder))
    return [shown[name] for name in sorted(shown, key=Path.as_posix)]


def _decompressed(stream: io.BufferedReader[Any], source: str) -> BinaryIO:
    start = stream.peek(4)[:4]
    for magic, method in _UNREAD_COMPRESSIONS.items():
        if start.startswith(magic):
            message = f"this is a {method} file; give FASTA, plain or compressed by gzip or zstd"
            raise FastaError(message, reason="unreadable", where=source)
    if start.startswith(_GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=stream))
    if start.startswith(_ZSTD):
        return cast(BinaryIO, zstd.ZstdFile(stream))
    return cast(BinaryIO, stream)


def _check_text(block: bytes, offset: int, source: str) -> None:
    """Refuse control characters, which no FASTA file has: a quick look at all bytes, a slow one where it finds any."""
    data = np.frombuffer(block, np.uint8)
    control = data - np.uint8(14) < 18  # 14 … 31: smaller values have come around to large ones
    control |= data < 9
    control |= data == 127
    if control.any():
        at = int(control.argmax())
        message = f"binary data (byte 0x{block[at]:02x} at offset {offset + at}); FASTA is text"
        raise FastaError(message, reason="unreadable", where=source)


def record_of(text: bytes, number: int) -> Record:
    """The record of a text that begins after its `>`."""
    header, _, body = text.partition(b"\n")
    words = header.decode("utf-8", "replace").split(maxsplit=1)
    # latin-1 maps each byte to one character, so that positions stay right and `clean` can name what it refuses.
    sequence = body.translate(None, _WHITE_SPACE).decode("latin-1")
    return Record(words[0] if words else "", sequence, number, spaced=header[:1] in (b" ", b"\t"))
