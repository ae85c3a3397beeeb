"""Proteins on disk as tokens, and windows of them.

A split is a folder of shards. `shard-00000.tokens` holds the proteins' token ids (uint8, `<bos>` and `<eos>` included)
one after the other, `shard-00000.offsets.npy` the n + 1 bounds between them. Both are memory-mapped: opening a corpus
reads nothing but headers, and a protein is read when its turn comes.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

SHARD_TOKENS = 256 << 20
FORMAT = 2
"""Of a dataset. Format 1 had its proteins in the order of the files and one source; it is read as it was."""
SOURCES = "sources.json"
"""Beside the shards of a mix: its sources in the order of the shards, `[{"name", "weight", "proteins"}]`."""


class DatasetError(ValueError):
    """A dataset folder that is missing, incomplete or damaged."""


def manifest_digest(data: Path) -> str:
    return hashlib.sha256((data / "manifest.json").read_bytes()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a dataset, each shard it names being there with its length. Raises DatasetError."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        version = manifest["format"]
        shards = {folder / shard["file"]: shard["tokens"] for shard in manifest["shards"]}
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing; a dataset made by `prepare` is wanted") from None
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not the manifest of a dataset: {error!r}") from None
    if version not in range(1, FORMAT + 1):
        wanted = f"up to {FORMAT} can be read here; prepare the dataset anew, or use the code that it was made by"
        raise DatasetError(f"{path}: its format is {version!r}, {wanted}")
    for shard, tokens in shards.items():
        if not shard.is_file() or shard.stat().st_size != tokens:
            raise DatasetError(f"{shard} is missing or has not the {tokens} bytes that the manifest says")
    return manifest


class ShardWriter:
    """Writes one split; starts a new shard where one is full."""

    def __init__(self, folder: Path, shard_tokens: int = SHARD_TOKENS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.shard_tokens = shard_tokens
        self.shards: list[Path] = []
        self._lengths: list[NDArray[np.int64]] = []
        self._tokens = 0  # of the shard at hand
        self._file: BinaryIO | None = None

    def write(self, tokens: NDArray[np.uint8]) -> None:
        """One protein."""
        self.write_many(tokens, np.array([len(tokens)], np.int64))

    def write_many(self, tokens: NDArray[np.uint8] | bytes, lengths: NDArray[np.int64]) -> None:
        """Proteins of these lengths, one after the other in `tokens`; they come into one shard."""
        if self._file is None or self._tokens + len(tokens) > self.shard_tokens:
            self.close()
            self.shards.append(self.folder / f"shard-{len(self.shards):05d}.tokens")
            self._file = self.shards[-1].open("wb")
        self._file.write(tokens if isinstance(tokens, bytes) else tokens.tobytes())
        self._lengths.append(lengths)
        self._tokens += len(tokens)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish the shard at hand; a split of no proteins has no shards."""
        if self._file is not None:
            self._file.close()
            offsets = np.concatenate([[0], np.cumsum(np.concatenate(self._lengths))])
            np.save(offsets_file(self.shards[-1]), offsets.astype(np.int64))
            self._file, self._lengths, self._tokens = None, [], 0


def offsets_file(shard: Path) -> Path:
    return shard.with_suffix(".offsets.npy")


class Split:
    """The proteins of one split, by number: 0, 1, … over all its shards."""

    def __init__(self, folder: Path) -> None:
        shards = sorted(folder.glob("shard-*.tokens"))
        if not shards:
            raise DatasetError(f"{folder}: no shards; a dataset made by `prepare` is wanted")
        self._tokens: list[NDArray[np.uint8]] = []
        self._offsets: list[NDArray[np.int64]] = []
        for shard in shards:
            offsets = np.load(offsets_file(shard), mmap_mode="r")
            if shard.stat().st_size != offsets[-1]:
                found = f"{shard.stat().st_size} bytes, its index says {offsets[-1]}"
                raise DatasetError(f"{shard}: {found}; copy or prepare the dataset anew")
            # As plain arrays: a slice of a memmap is one too, and costs ten times as much to make.
            self._tokens.append(np.asarray(np.memmap(shard, np.uint8, mode="r")))
            self._offsets.append(np.asarray(offsets))
        self._first = np.concatenate([[0], np.cumsum([len(offsets) - 1 for offsets in self._offsets])])
        self.sources = _read_sources(folder / SOURCES, len(self))

    def __len__(self) -> int:
        return int(self._first[-1])

    def lengths(self, proteins: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens of each of these proteins, [n]."""
        shard_of = np.searchsorted(self._first, proteins, side="right") - 1
        lengths = np.empty(len(proteins), np.int64)
        for shard in np.unique(shard_of):
            here = np.flatnonzero(shard_of == shard)
            local = proteins[here] - self._first[shard]
            lengths[here] = self._offsets[shard][local + 1] - self._offsets[shard][local]
        return lengths

    def tokens(self, protein: int, start: int, count: int) -> NDArray[np.uint8]:
        """`count` tokens of a protein from `start` on, or as many as it has; a view of the mapped file."""
        shard = int(np.searchsorted(self._first, protein, side="right")) - 1
        local = protein - self._first[shard]
        first, end = self._offsets[shard][local], self._offsets[shard][local + 1]
        return self._tokens[shard][first + start : min(first + start + count, end)]


@dataclass(frozen=True, slots=True)
class Source:
    """Proteins first … first + proteins - 1 of a split, and how often an epoch meets each."""

    first: int
    proteins: int
    weight: float

    @property
    def per_epoch(self) -> int:
        """Proteins of it in an epoch."""
        return max(1, round(self.weight * self.proteins))


def _read_sources(path: Path, proteins: int) -> tuple[Source, ...]:
    """The sources of a split; without the file it is one."""
    if not path.exists():
        return (Source(0, proteins, 1.0),)
    try:
        counts = [(int(one["proteins"]), float(one["weight"])) for one in json.loads(path.read_text())]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} does not say how sources are mixed: {error!r}; prepare the dataset anew") from None
    if sum(count for count, _ in counts) != proteins or not all(count > 0 and weight > 0 for count, weight in counts):
        found = ", ".join(f"{count:,} × {weight:g}" for count, weight in counts)
        raise DatasetError(f"{path}: {found} do not make the {proteins:,} proteins beside it; prepare the dataset anew")
    first = np.cumsum([0, *(count for count, _ in counts)]).tolist()
    return tuple(Source(start, count, weight) for start, (count, weight) in zip(first, counts, strict=False))


@dataclass(frozen=True, slots=True)
class Windows:
    """n stretches of proteins, all fields [n] int64."""

    epochs: NDArray[np.int64]
    """How often the protein's whole source came before: the epoch's number, where the source's weight is 1"""
    proteins: NDArray[np.int64]
    starts: NDArray[np.int64]
    """The first token of each, counted from the protein's `<bos>`"""
    lengths: NDArray[np.int64]
    """Tokens"""
    residues: NDArray[np.int64]
    """Tokens that are neither `<bos>` nor `<eos>`"""

    @classmethod
    def of(
        cls,
        epochs: NDArray[np.int64],
        proteins: NDArray[np.int64],
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        whole: NDArray[np.int64],
    ) -> Windows:
        """`whole`: tokens of each whole protein, which say whether a window holds its ends."""
        ends = (starts == 0).astype(np.int64) + (starts + lengths == whole)
        return cls(epochs, proteins, starts, lengths, lengths - ends)

    def __len__(self) -> int:
        return len(self.proteins)

    def take(self, which: list[int]) -> Windows:
        return Windows(*(getattr(self, name)[which] for name in Windows.__slots__))

    @classmethod
    def joined(cls, parts: list[Windows]) -> Windows:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))


def share_out(windows: Windows, shares: int) -> list[Windows]:
    """Deal windows into `shares` parts of nearly equal tokens, each by falling length (equal lengths lie together,
    which attention on a CPU is quickest at). Deterministic. Parts are empty only where windows are fewer than shares.
    """
    heap = [(0, share) for share in range(shares)]
    dealt: list[list[int]] = [[] for _ in range(shares)]
    for index in np.argsort(-windows.lengths, kind="stable").tolist():
        tokens, share = heapq.heappop(heap)
        dealt[share].append(index)
        heapq.heappush(heap, (tokens + int(windows.lengths[index]), share))
    return [windows.take(part) for part in dealt]


def cut(lengths: NDArray[np.int64], window: int) -> Windows:
    """Proteins 0, 1, … whole: those longer than the window in consecutive pieces of nearly equal length."""
    pieces = -(-lengths // window)
    proteins = np.repeat(np.arange(len(lengths)), pieces)
    piece = np.arange(len(proteins)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = piece * lengths[proteins] // pieces[proteins]
    ends = (piece + 1) * lengths[proteins] // pieces[proteins]
    return Windows.of(np.zeros_like(proteins), proteins, starts, ends - starts, lengths[proteins])
