"""Proteins as people write them: FASTA text, plain or gzip, to clean residues.

Two steps, because two kinds of trouble exist. `read` takes a file apart into records and stops at a file that is not
FASTA, is binary, or breaks off. `clean` judges one sequence by the rules of this project: white space goes, letters
become upper case, one `*` at the end (a stop codon) is dropped, and anything else that is not a letter refuses the
sequence. `|` between two chains of one complex is kept, as the tokenizer has a token for it. Letters outside the
tokenizer's alphabet (X, U, O, Z, J) are kept too and counted as unknown.

Requests and corpora go through the same two functions, so that a protein means the same in training and serving.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from .tokenizer import count_unknown

Reason = Literal["unreadable", "empty", "inner_stop", "not_a_residue", "empty_chain"]

READY = "READY"  # an object of that name begins a run where an environment asks for it: it is no FASTA

_BLOCK_BYTES = 1 << 20
_WHITE_SPACE = b" \t\r\n\v\f"
_CONTROL = bytes(set(range(32)) - set(_WHITE_SPACE)) + b"\x7f"
_UTF8_MARK = b"\xef\xbb\xbf"
_UNREAD_COMPRESSIONS = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zX": "xz", b"PK\x03\x04": "zip"}
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
    """Yield the records of a FASTA file or binary stream, plain or gzip (told by its first bytes, not by its name).

    `name` is what errors call the source; a path names itself. A stream stays open. Raises FastaError where the
    source is not FASTA, holds control characters, or is a damaged or truncated gzip file; OSError where it cannot be
    opened.
    """
    if isinstance(source, Path):
        with source.open("rb") as stream:
            yield from read(stream, name or str(source))
        return
    buffered = io.BufferedReader(cast(Any, source))  # any object with readinto() will do
    number = 0
    try:
        for number, text in enumerate(_record_texts(_decompressed(buffered, name), name), start=1):
            yield _record(text, number)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        where = f"{name}, after record {number}" if name else f"after record {number}"
        message = f"damaged or truncated gzip file ({error}); compress or copy it anew"
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
        message = "no files; FASTA files (plain or gzip) are wanted, at any depth"
        raise FastaError(message, reason="unreadable", where=str(folder))
    return [shown[name] for name in sorted(shown, key=Path.as_posix)]


def _decompressed(stream: io.BufferedReader[Any], source: str) -> BinaryIO:
    start = stream.peek(4)[:4]
    for magic, method in _UNREAD_COMPRESSIONS.items():
        if start.startswith(magic):
            message = f"this is a {method} file; give plain or gzip-compressed FASTA"
            raise FastaError(message, reason="unreadable", where=source)
    readable = gzip.GzipFile(fileobj=stream) if start.startswith(b"\x1f\x8b") else stream
    return cast(BinaryIO, readable)


def _record_texts(stream: BinaryIO, source: str) -> Iterator[bytes]:
    """Cut the stream at each `>` that begins a line. Works on blocks, which is far faster than line by line."""
    rest: bytes | None = None
    offset = 0
    while block := stream.read(_BLOCK_BYTES):
        if len(block.translate(None, _CONTROL)) != len(block):
            at = next(i for i, byte in enumerate(block) if byte in _CONTROL)
            message = f"binary data (byte 0x{block[at]:02x} at offset {offset + at}); FASTA is text"
            raise FastaError(message, reason="unreadable", where=source)
        offset += len(block)
        if rest is None:
            if not (block := block.removeprefix(_UTF8_MARK).lstrip(_WHITE_SPACE)):
                continue
            if not block.startswith(b">"):
                found = block[:30].decode("utf-8", "replace")
                message = f"not FASTA: it begins with {found!r}, a header line '>name' is wanted"
                raise FastaError(message, reason="unreadable", where=source)
            rest, block = b"", block[1:]
        *whole, rest = (rest + block).split(b"\n>")
        yield from whole
    if rest is not None:
        yield rest


def _record(text: bytes, number: int) -> Record:
    header, _, body = text.partition(b"\n")
    words = header.decode("utf-8", "replace").split(maxsplit=1)
    # latin-1 maps each byte to one character, so that positions stay right and `clean` can name what it refuses.
    sequence = body.translate(None, _WHITE_SPACE).decode("latin-1")
    return Record(words[0] if words else "", sequence, number, spaced=header[:1] in (b" ", b"\t"))
