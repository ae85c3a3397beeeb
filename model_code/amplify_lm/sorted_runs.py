"""All proteins of a corpus in the order of a hash of their residues, each once, in memory that no corpus fills.

An external sort. Writing, proteins are gathered up to `RUN_BYTES`, sorted by hash and put on the disk: a run. Reading,
a range of hashes is taken from all runs at once and merged; ranges are as narrow as it takes for one to be no larger
than a run. Equal proteins have equal hashes and so meet in one range, whichever files they came in: that is where exact
duplicates go.

The order is that of the hashes and of nothing else. It does not depend on the order of files, on how many processes
wrote runs, or on where a run ends. And since a hash is as good as drawn, it is a shuffle.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import xxhash
from numpy.typing import NDArray

RUN_BYTES = 16 << 20
BUCKETS = 1 << 14
"""Finest ranges of hashes that can be read. A range holds 1/16,384 of a corpus at least: for one of 250 GB, a run."""
_BUCKET_SHIFT = np.uint64(64 - 14)

DIGEST_BYTES = 16
_ENTRY = np.dtype([("high", "<u8"), ("low", "<u8"), ("length", "<u4"), ("source", "<u4")])
_PARTS = ("text", "entries", "bounds")
_A_PROTEIN = 200  # bytes that Python needs to hold one, besides its residues

U64 = NDArray[np.uint64]


def digest(residues: bytes | memoryview) -> bytes:
    """The hash of a protein, by which it is known and which decides its place and its split: XXH3, 128 bits.

    Two of a billion proteins share one by chance in one of 10²⁰ corpora. Nobody who makes them on purpose is kept out.
    """
    return xxhash.xxh3_128_digest(residues)


class RunWriter:
    """Writes the runs of one process to the files `<name>.*` of a folder."""

    def __init__(self, folder: Path, name: str, run_bytes: int = RUN_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.duplicates = 0
        """Proteins left out because the run at hand has them already."""
        self._files = {part: (folder / f"{name}.{part}").open("wb") for part in _PARTS}
        self._run_bytes = run_bytes
        self._written = np.zeros(2, np.int64)  # proteins, bytes of text
        self._forget()

    def add(self, letters: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], source: int) -> None:
        """Proteins letters[starts[i]:ends[i]] of the source with that number. Raises OSError such as on a full disk."""
        view = memoryview(letters)
        residues = [view[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        self._residues += residues
        self._digests += map(xxhash.xxh3_128_digest, residues)  # `digest`, without a call of Python's for each protein
        self._lengths.append(ends - starts)
        self._sources.append(np.full(len(starts), source, np.uint32))
        self._bytes += len(letters) + _A_PROTEIN * len(starts)
        if self._bytes >= self._run_bytes:
            self._spill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, *_error: object) -> None:
        if kind is None:
            self._spill()
        for file in self._files.values():
            file.close()

    def _forget(self) -> None:
        self._residues: list[memoryview] = []
        self._digests: list[bytes] = []
        self._lengths: list[NDArray[np.int64]] = []
        self._sources: list[NDArray[np.uint32]] = []
        self._bytes = 0

    def _spill(self) -> None:
        if not self._residues:
            return
        entries = np.empty(len(self._residues), _ENTRY)
        halves = np.frombuffer(b"".join(self._digests), ">u8").reshape(-1, 2)
        entries["high"], entries["low"] = halves[:, 0], halves[:, 1]
        entries["length"], entries["source"] = np.concatenate(self._lengths), np.concatenate(self._sources)
        order = _distinct_in_order(entries)
        self.duplicates += len(entries) - len(order)
        entries = entries[order]

        ends = np.concatenate([[0], np.cumsum(entries["length"], dtype=np.int64)])
        edges = np.arange(BUCKETS, dtype=np.uint64) << _BUCKET_SHIFT
        first = np.append(np.searchsorted(entries["high"], edges), len(entries))
        self._files["bounds"].write((np.stack([first, ends[first]], axis=1) + self._written).tobytes())
        self._files["entries"].write(entries.tobytes())
        self._files["text"].write(b"".join([self._residues[i] for i in order.tolist()]))
        self._written += [len(entries), ends[-1]]
        self._forget()


@dataclass(frozen=True, slots=True)
class Proteins:
    """n different proteins in the order of their hashes; arrays [n]."""

    letters: bytearray
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    sources: NDArray[np.uint32]
    high: U64
    """The hash's first 8 bytes as a number"""
    low: U64
    """The other 8"""
    duplicates: int
    """Copies left out here"""

    def __len__(self) -> int:
        return len(self.lengths)

    def residues(self, which: NDArray[np.int64]) -> list[memoryview]:
        view = memoryview(self.letters)
        starts, ends = self.starts[which], self.starts[which] + self.lengths[which]
        return [view[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def digests(self) -> list[bytes]:
        together = np.stack([self.high, self.low], axis=1).astype(">u8").tobytes()
        return [together[i : i + DIGEST_BYTES] for i in range(0, len(together), DIGEST_BYTES)]


class Runs:
    """Reads the runs that several writers left in a folder."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._files = [[os.open(folder / f"{name}.{part}", os.O_RDONLY) for part in _PARTS] for name in names]
        self.text_bytes = sum(os.fstat(text).st_size for text, _, _ in self._files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for file in self._files:
            for descriptor in file:
                os.close(descriptor)

    def ranges(self, first: int, end: int, range_bytes: int = RUN_BYTES) -> list[tuple[int, int]]:
        """Buckets first … end in ranges that are expected to hold so much each."""
        width = max(1, BUCKETS * range_bytes // max(self.text_bytes, 1))
        return [(start, min(start + width, end)) for start in range(first, end, width)]

    def between(self, first: int, end: int) -> Proteins:
        """The proteins of buckets first … end - 1, merged from all runs."""
        parts: list[NDArray[Any]] = []
        texts: list[tuple[int, int, int]] = []  # file, offset, bytes
        for text, entries, bounds in self._files:
            a_run = (BUCKETS + 1) * 16
            for start in range(0, os.fstat(bounds).st_size, a_run):
                (record, offset), (record_end, offset_end) = (
                    np.frombuffer(os.pread(bounds, 16, start + bucket * 16), np.int64).tolist()
                    for bucket in (first, end)
                )
                if record_end > record:
                    size = _ENTRY.itemsize
                    parts.append(np.frombuffer(os.pread(entries, (record_end - record) * size, record * size), _ENTRY))
                    texts.append((text, offset, offset_end - offset))
        letters = bytearray(sum(count for _, _, count in texts))
        filled = 0
        for text, offset, count in texts:
            os.preadv(text, [memoryview(letters)[filled : filled + count]], offset)
            filled += count
        found = np.concatenate(parts) if parts else np.empty(0, _ENTRY)
        starts = np.cumsum(found["length"], dtype=np.int64) - found["length"]
        order = _distinct_in_order(found)
        kept = found[order]
        return Proteins(
            letters=letters,
            starts=starts[order],
            lengths=kept["length"].astype(np.int64),
            sources=kept["source"].copy(),
            high=kept["high"].copy(),
            low=kept["low"].copy(),
            duplicates=len(found) - len(order),
        )


def _distinct_in_order(entries: NDArray[Any]) -> NDArray[np.int64]:
    """Indices in the order of the hashes, each hash once: of the source with the lowest number that has it."""
    high, low = np.ascontiguousarray(entries["high"]), entries["low"]
    order = np.argsort(high, kind="stable")
    if (high[order][1:] == high[order][:-1]).any():
        order = np.lexsort((entries["source"], low, high))
        high, low = high[order], low[order]
        new = np.ones(len(order), bool)
        new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        order = order[new]
    return order
