"""FASTA as the command sees it: records to send on. The container cleans and judges them; nothing is decided twice."""

import contextlib
import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from operate.errors import OperateError


@dataclass(frozen=True, slots=True)
class Protein:
    """One record as it was written, white space aside."""

    name: str
    """First word of the header; `protein_<number>` where it has none."""

    description: str
    sequence: str


def read(path: Path) -> list[Protein]:
    """All records of a file, plain or gzipped. Raises OperateError where it is not FASTA."""
    check_beginning(path)
    try:
        with _open(path) as file:
            text = file.read().decode().replace("\r\n", "\n").replace("\r", "\n")
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise OperateError(f"{path} is damaged: {error}.", todo="Give a FASTA file, plain or gzipped.") from None
    return [_record(number, part) for number, part in enumerate(text.strip()[1:].split("\n>"), start=1)]


def check_for_upload(path: Path) -> None:
    """As `check_beginning`; what zstd compressed is for `prepare` to read, which has the library for it."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(4) == b"\x28\xb5\x2f\xfd":
            return
    check_beginning(path)


def check_beginning(path: Path) -> None:
    """Raises OperateError for a file that cannot be read, is empty, or does not begin with a FASTA header."""
    try:
        with _open(path) as file:
            beginning = file.read(64 * 1024).lstrip()
    except OSError as error:  # gzip's own BadGzipFile is one
        raise OperateError(f"{path} cannot be read: {error.strerror or error}.", todo="Give a FASTA file.") from None
    except (EOFError, zlib.error) as error:
        raise OperateError(f"{path} is damaged: {error}.", todo="Give a FASTA file, plain or gzipped.") from None
    if not beginning.startswith(b">"):
        found = f"begins with {beginning[:20].decode(errors='replace')!r}" if beginning else "is empty"
        raise OperateError(f"{path} {found}: FASTA begins with '>'.", todo="Give a file of protein records.")


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if zipped else path.open("rb")


def _record(number: int, part: str) -> Protein:
    header, _, body = part.partition("\n")
    name, _, description = header.strip().partition(" ")
    return Protein(name or f"protein_{number}", description.strip(), "".join(body.split()))
