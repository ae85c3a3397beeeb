"""Proteins on disk as tokens, and the order in which training meets them.

A split is a folder of shards. `shard-00000.tokens` holds the proteins' token ids (uint8, `<bos>` and `<eos>` included)
one after the other, `shard-00000.offsets.npy` the n + 1 bounds between them. Both are memory-mapped: opening a corpus
reads nothing but headers, and a protein is read when its turn comes.

An epoch is a permutation of all proteins, a function of (seed, epoch). A step takes the next proteins of it up to a
budget of tokens, so the place in the data is two numbers, and says nothing about how many processes there are:
they share out each step's proteins among them.
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

from . import masking

SHARD_TOKENS = 256 << 20


class DatasetError(ValueError):
    """A dataset folder that is missing, incomplete or damaged."""


def manifest_digest(data: Path) -> str:
    return hashlib.sha256((data / "manifest.json").read_bytes()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a dataset, each shard it names being there with its length. Raises DatasetError."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        shards = {folder / shard["file"]: shard["tokens"] for shard in manifest["shards"]}
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing; a dataset made by `prepare` is wanted") from None
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not the manifest of a dataset: {error!r}") from None
    for shard, tokens in shards.items():
        if not shard.is_file() or shard.stat().st_size != tokens:
            raise DatasetError(f"{shard} is missing or has not the {tokens} bytes that the manifest says")
    return manifest


class ShardWriter:
    """Writes one split, a protein at a time; starts a new shard where one is full."""

    def __init__(self, folder: Path, shard_tokens: int = SHARD_TOKENS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.shard_tokens = shard_tokens
        self.shards: list[Path] = []
        self._offsets = [0]
        self._file: BinaryIO | None = None

    def write(self, tokens: NDArray[np.uint8]) -> None:
        if self._file is None or self._offsets[-1] + len(tokens) > self.shard_tokens:
            self.close()
            self.shards.append(self.folder / f"shard-{len(self.shards):05d}.tokens")
            self._file = self.shards[-1].open("wb")
            self._offsets = [0]
        self._file.write(tokens.tobytes())
        self._offsets.append(self._offsets[-1] + len(tokens))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Finish the shard at hand; a split of no proteins has no shards."""
        if self._file is not None:
            self._file.close()
            np.save(offsets_file(self.shards[-1]), np.array(self._offsets, np.int64))
            self._file = None


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
            self._tokens.append(np.memmap(shard, np.uint8, mode="r"))
            self._offsets.append(offsets)
        self._first = np.concatenate([[0], np.cumsum([len(offsets) - 1 for offsets in self._offsets])])

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
class Windows:
    """n stretches of proteins, all fields [n] int64."""

    epochs: NDArray[np.int64]
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


@dataclass(frozen=True, slots=True)
class Place:
    """Where training stands in its data: the next protein of an epoch's order."""

    epoch: int = 0
    index: int = 0


class TrainingOrder:
    """Hands out the windows of one step after another. `place` is all there is to save and restore."""

    def __init__(self, split: Split, window: int, tokens_per_step: int, seed: int, place: Place | None = None) -> None:
        self.split = split
        self.window = window
        self.tokens_per_step = tokens_per_step
        self.seed = seed
        self.place = place or Place()
        self._permutation_epoch = -1
        self._permutation = np.empty(0, np.int64)

    def next_step(self) -> Windows:
        """The longest run of coming proteins whose windows fit the budget; it may cross into the next epoch."""
        parts: list[Windows] = []
        room = self.tokens_per_step
        while True:
            windows, filled = self._next_of_epoch(room)
            parts.append(windows)
            room -= int(windows.lengths.sum())
            if filled:
                return Windows(*(np.concatenate([getattr(part, name) for part in parts]) for name in Windows.__slots__))

    def _next_of_epoch(self, room: int) -> tuple[Windows, bool]:
        """What fits of the epoch at hand, and whether the next protein was too much (else the epoch ended)."""
        epoch, index = self.place.epoch, self.place.index
        # A protein has three tokens at least, so more candidates than this cannot fit.
        proteins = self._order(epoch)[index : index + room // 3 + 1]
        lengths = self.split.lengths(proteins)
        fits = int(np.searchsorted(np.cumsum(np.minimum(lengths, self.window)), room, side="right"))
        proteins, lengths = proteins[:fits], lengths[:fits]
        filled = index + fits < len(self.split)
        self.place = Place(epoch, index + fits) if filled else Place(epoch + 1, 0)
        epochs = np.full(fits, epoch, np.int64)
        starts = masking.window_starts(masking.protein_keys(self.seed, epochs, proteins), lengths, self.window)
        return Windows.of(epochs, proteins, starts, np.minimum(lengths, self.window), lengths), filled

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._permutation_epoch != epoch:
            self._permutation = np.random.default_rng([self.seed, epoch]).permutation(len(self.split))
            self._permutation_epoch = epoch
        return self._permutation


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
