"""The two passes of `prepare`: FASTA files to sorted runs, sorted runs to shards of tokens.

Each pass is cut into parts that processes work on by themselves: the files, then ranges of hashes, one for each shard.
Which process does what changes nothing in what is written. What stays in memory is a run and its like, whatever the
size of the corpus.
"""

from __future__ import annotations

import gc
import hashlib
import io
import itertools
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import tokenizer
from .clusters import SplitMembers
from .dataset import SHARD_TOKENS, ShardWriter, offsets_file
from .fasta_blocks import Refusal, read_blocks
from .sorted_runs import BUCKETS, RUN_BYTES, Proteins, Runs, RunWriter

T = TypeVar("T")
U = TypeVar("U")

SPLITS = ("train", "validation")
EXAMPLES = 20
SECONDS_BETWEEN_LINES = 5.0
LEAST_BYTES_A_PROCESS = 64 << 20  # a process takes a third of a second to start

_BEGIN, _END = b"\x01", b"\x00"  # become <bos> and <eos>; no residue is one of them
_PAIRS = 32 * 256  # of two token ids, seen as one 16-bit number
_COUNTED_AT_ONCE = 1 << 17
_WRITTEN_AT_ONCE = 1 << 20


def _token_table() -> bytes:
    table = bytearray(tokenizer.encode(bytes(range(256)), add_special=False).tobytes())
    table[_BEGIN[0]], table[_END[0]] = tokenizer.BOS, tokenizer.EOS
    return bytes(table)


_TOKENS = _token_table()


# ---- the first pass --------------------------------------------------------------------------------------------------


@dataclass
class FileCensus:
    """What was met in one file."""

    file: str
    bytes: int = 0
    sha256: str = ""
    records: int = 0
    spaced_headers: int = 0
    residues: int = 0
    """Of the usable records, copies included"""
    rejected: Counter[str] = field(default_factory=Counter)
    rejected_examples: list[dict[str, Any]] = field(default_factory=list)
    """The first ones"""


@dataclass(frozen=True, slots=True)
class FilesOfOne:
    """What one process reads: files with the number of their source, and where it writes."""

    files: list[tuple[Path, str, int]]
    runs: Path
    name: str
    run_bytes: int = RUN_BYTES


def read_files(task: FilesOfOne) -> tuple[list[FileCensus], int]:
    """Write the runs of these files; returns what was met in each, and how many duplicates were left out already.

    Raises FastaError where a file is not FASTA, OSError such as on a full disk.
    """
    met: list[FileCensus] = []
    with _no_search_for_cycles(), RunWriter(task.runs, task.name, task.run_bytes) as writer:
        for path, name, source in task.files:
            met.append(_read_file(path, FileCensus(name), source, writer))
            print(f"[prepare] {name}: {met[-1].records:,} records", flush=True)
    return met, writer.duplicates


def _read_file(path: Path, census: FileCensus, source: int, writer: RunWriter) -> FileCensus:
    told = time.monotonic()
    with path.open("rb", buffering=0) as raw:
        hashing = HashingReader(raw)
        for block in read_blocks(hashing, census.file):
            census.records += block.records
            census.spaced_headers += block.spaced
            census.residues += int((block.ends - block.starts).sum())
            census.rejected.update(refusal.error.reason for refusal in block.refusals)
            room = EXAMPLES - len(census.rejected_examples)
            census.rejected_examples += [_example(refusal, census.file) for refusal in block.refusals[:room]]
            writer.add(block.letters, block.starts, block.ends, source)
            if time.monotonic() - told > SECONDS_BETWEEN_LINES:
                told = time.monotonic()
                print(f"[prepare] {census.file}: {census.records:,} records so far", flush=True)
        census.bytes, census.sha256 = hashing.num_bytes, hashing.sha256
    return census


def _example(refusal: Refusal, file: str) -> dict[str, Any]:
    record, error = refusal.record, refusal.error
    names = {"file": file, "record": record.number, "name": record.name, "reason": error.reason}
    return {**names, "message": str(error)}


class HashingReader(io.RawIOBase):
    """A binary stream that remembers the length and the SHA-256 of what was read through it."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()
        self.num_bytes = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._raw.readinto(buffer) or 0
        self._hash.update(memoryview(buffer)[:count])
        self.num_bytes += count
        return count


# ---- the second pass -------------------------------------------------------------------------------------------------


@dataclass
class SourceCensus:
    """What of one source is in the dataset."""

    proteins: Counter[str] = field(default_factory=Counter)
    """By split"""
    residues: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    """Letters outside the alphabet"""
    lengths: Counter[int] = field(default_factory=Counter)
    """Residues of a training protein → how many have that length"""
    tokens: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(tokenizer.VOCABULARY), np.int64))
    """How often each token id stands in the training split"""

    def add(self, other: SourceCensus) -> None:
        self.proteins += other.proteins
        self.residues += other.residues
        self.unknown += other.unknown
        self.lengths += other.lengths
        self.tokens += other.tokens


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One range of hashes: the shards that one process writes, one for each split and source at most."""

    runs: Path
    names: tuple[str, ...]
    first: int
    """The first bucket"""
    end: int
    sources: int
    splits: SplitMembers
    folder: Path
    """Its own"""


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished shard, where the process that wrote it left it."""

    path: Path
    split: str
    source: int
    sha256: str
    index_sha256: str
    proteins: int
    tokens: int


def shard_ranges(residues: int, shard_tokens: int = SHARD_TOKENS) -> list[tuple[int, int]]:
    """Buckets of each shard of a corpus of so many residues: equal ranges of hashes, so nearly equal shards."""
    count = min(max(1, -(-residues // shard_tokens)), BUCKETS)
    edges = [BUCKETS * i // count for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def write_shards(task: ShardTask) -> tuple[list[Shard], list[SourceCensus], int]:
    """Write the shards of one range; returns them, the census of each source, and how many duplicates were left out.

    Raises OSError such as on a full disk.
    """
    census = [SourceCensus() for _ in range(task.sources)]
    writers: dict[tuple[int, str], _HashedShard] = {}
    duplicates = 0
    with _no_search_for_cycles(), Runs(task.runs, task.names) as runs:
        for first, end in runs.ranges(task.first, task.end):
            proteins = runs.between(first, end)
            duplicates += proteins.duplicates
            in_validation = task.splits.in_validation(proteins, first, end)
            for source in range(task.sources):
                of_source = proteins.sources == source if task.sources > 1 else np.ones(len(proteins), bool)
                for split, chosen in zip(SPLITS, (of_source & ~in_validation, of_source & in_validation), strict=True):
                    if not chosen.any():
                        continue
                    writer = writers.get((source, split)) or _HashedShard(task.folder / f"{source:05d}-{split}")
                    writers[source, split] = writer
                    for which in _in_parts(np.flatnonzero(chosen), proteins.lengths):
                        _write(proteins, which, split, writer, census[source])
    shards = [writer.finish(split, source) for (source, split), writer in sorted(writers.items())]
    return shards, census, duplicates


def _in_parts(which: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Proteins in parts small enough for the processor's cache, in which one step after the other finds them."""
    part = np.cumsum(lengths[which]) // _WRITTEN_AT_ONCE
    return np.split(which, np.flatnonzero(np.diff(part)) + 1)


def _write(
    proteins: Proteins, which: NDArray[np.int64], split: str, writer: _HashedShard, census: SourceCensus
) -> None:
    residues = proteins.residues(which)
    lengths = proteins.lengths[which]
    letters = b"".join([_BEGIN, (_END + _BEGIN).join(residues), _END])
    tokens = letters.translate(_TOKENS)
    writer.write(tokens, lengths + 2)
    total = int(lengths.sum())
    census.proteins[split] += len(which)
    census.residues[split] += total
    unknown = np.flatnonzero(np.frombuffer(tokens, np.uint8) == tokenizer.UNK)
    census.unknown.update(bytes(np.frombuffer(letters, np.uint8)[unknown]).decode())
    if split == "train":
        values, counts = np.unique(lengths, return_counts=True)
        census.lengths.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        census.tokens += count_tokens(tokens)


def count_tokens(tokens: bytes) -> NDArray[np.int64]:
    """How often each id of the vocabulary occurs. Two bytes at a time are half as many numbers to count, and a part
    that stays in the cache is counted three times as fast."""
    pairs = np.zeros(_PAIRS, np.int64)
    even = len(tokens) // 2
    for start in range(0, even, _COUNTED_AT_ONCE):
        part = np.frombuffer(tokens, "<u2", min(even - start, _COUNTED_AT_ONCE), offset=2 * start)
        pairs += np.bincount(part, minlength=_PAIRS)
    counts = pairs.reshape(-1, 256).sum(axis=0)
    counts[: _PAIRS // 256] += pairs.reshape(-1, 256).sum(axis=1)
    for odd in tokens[2 * even :]:
        counts[odd] += 1
    return counts[: len(tokenizer.VOCABULARY)]


class _HashedShard:
    """One shard, and its SHA-256 while its bytes pass by."""

    def __init__(self, folder: Path) -> None:
        self._writer = ShardWriter(folder, shard_tokens=1 << 62)
        self._hash = hashlib.sha256()
        self._proteins = self._tokens = 0

    def write(self, tokens: bytes, lengths: NDArray[np.int64]) -> None:
        self._hash.update(tokens)
        self._proteins += len(lengths)
        self._tokens += len(tokens)
        self._writer.write_many(tokens, lengths)

    def finish(self, split: str, source: int) -> Shard:
        self._writer.close()
        (path,) = self._writer.shards
        index = hashlib.sha256(offsets_file(path).read_bytes()).hexdigest()
        return Shard(path, split, source, self._hash.hexdigest(), index, self._proteins, self._tokens)


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Python looks through all views of memory each time some thousands more exist, an eighth of the time of a pass.
    Nothing here refers to itself, so there is nothing to find."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


# ---- processes -------------------------------------------------------------------------------------------------------


def in_processes(work: Callable[[T], U], tasks: Sequence[T], processes: int) -> Iterator[U]:
    """The results, in the order of the tasks; what a task raises is raised here. One process works by itself."""
    if processes == 1 or len(tasks) < 2:
        yield from map(work, tasks)
        return
    # "spawn": what a forked process inherits of threads and locks is nobody's guess.
    with ProcessPoolExecutor(min(processes, len(tasks)), multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(work, task) for task in tasks]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def share_files(files: Sequence[tuple[Path, str, int]], shares: int) -> list[list[tuple[Path, str, int]]]:
    """Files in parts of nearly equal bytes, each in the given order: the largest first, to the emptiest."""
    sizes = [path.stat().st_size for path, _, _ in files]
    filled = [0] * shares
    parts: list[list[int]] = [[] for _ in range(shares)]
    for index in sorted(range(len(files)), key=lambda i: (-sizes[i], i)):
        emptiest = filled.index(min(filled))
        filled[emptiest] += sizes[index] + 1
        parts[emptiest].append(index)
    return [[files[i] for i in sorted(part)] for part in parts if part]
