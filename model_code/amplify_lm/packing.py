"""Many proteins in one row of tokens, with no padding: the same for training and for inference.

A packed batch is the proteins' ids one after the other. `cu_seqlens` says where each begins (the form that varlen
attention kernels read), `position_ids` restart at 0 with each protein, so that attention and rotary embedding see it
alone. `plan` decides which proteins go into one batch, so that batches fill a token budget with little left over.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed batch of n proteins, T tokens in all."""

    input_ids: Tensor
    """[T] int64"""
    cu_seqlens: Tensor
    """[n + 1] int32: protein i is input_ids[cu_seqlens[i]:cu_seqlens[i + 1]]"""
    position_ids: Tensor
    """[T] int64, 0 at the first token of each protein"""
    max_length: int
    """Tokens of the longest protein"""

    def to(self, device: torch.device) -> Packed:
        """The same batch on another device; copies do not wait where the memory is pinned."""
        ids, starts, positions = (
            tensor.to(device, non_blocking=True) for tensor in (self.input_ids, self.cu_seqlens, self.position_ids)
        )
        return Packed(ids, starts, positions, self.max_length)


def pack(proteins: Sequence[NDArray[np.uint8]]) -> Packed:
    """Lay arrays of token ids one after the other. Raises ValueError for an empty list or an empty protein."""
    lengths = np.array([len(ids) for ids in proteins], dtype=np.int64)
    if not lengths.size or not lengths.all():
        raise ValueError(f"proteins with at least one token each are wanted, given lengths {lengths.tolist()[:10]}")
    ends = np.cumsum(lengths)
    positions = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    return Packed(
        input_ids=torch.from_numpy(np.concatenate(proteins).astype(np.int64)),
        cu_seqlens=torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32)),
        position_ids=torch.from_numpy(positions),
        max_length=int(lengths.max()),
    )


def plan(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Share proteins of these lengths (tokens) among as few batches as a quick rule finds, each within the budget.

    Best fit, longest first: each protein goes where it leaves the least room. Returns the proteins' indices, one list
    for each batch; a batch's proteins stand by falling length, so neighbours are alike. Deterministic.
    Raises ValueError where one protein is longer than the budget.
    """
    batches: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, batch), sorted
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        if length > token_budget:
            raise ValueError(f"protein {index + 1} has {length} tokens, more than the budget of {token_budget} a batch")
        slot = bisect.bisect_left(room, (length, -1))
        left, batch = room.pop(slot) if slot < len(room) else (token_budget, len(batches))
        if batch == len(batches):
            batches.append([])
        batches[batch].append(index)
        bisect.insort(room, (left - length, batch))
    return batches
