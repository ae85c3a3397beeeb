"""Contacts between residues, read off attention maps block by block.

The residues that a model looks at from a residue are often its neighbours in the folded protein (Rao et al. 2020,
"Transformer protein language models are unsupervised structure learners"). Their recipe, up to the regression that
weights the heads (the published AMPLIFY checkpoints have none): of each head's map A, without the special tokens,

    S = A + Aᵀ                                          contacts have no direction
    C_ij = S_ij - (Σ_k S_ik) (Σ_k S_kj) / Σ_kl S_kl     average product correction (Dunn et al. 2008), which takes away
                                                        what a residue has with all others alike

All maps of a long protein would take gigabytes (24 blocks of 10 heads of 2048² floats: 4 GB), so each is made, added
and forgotten while the model runs. For the mean over heads the correction is one product of matrices at the end:
Σ_h r_h r_hᵀ, r_h being S_h's row sums over the root of their total.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class ContactReader:
    """Is shown q and k of the blocks as they come, [L + 2, heads, head_dim]; keeps what the contacts are made of."""

    def __init__(self, kept: NDArray[np.bool_], blocks: tuple[int, ...], each: bool) -> None:
        """`kept` [L]: residues, not the breaks between chains; `each`: every head's map instead of their mean."""
        self._kept = torch.from_numpy(kept)
        self._whole = bool(kept.all())
        self._blocks = blocks
        self._each = each
        self._sum: Tensor | None = None
        self._roots: list[Tensor] = []
        self._maps: dict[int, Tensor] = {}

    def read(self, block: int, q: Tensor, k: Tensor) -> None:
        """Take in one block, counted from 1. q and k are after rotary."""
        times = self._blocks.count(block)
        if not times:
            return
        heads = zip(q.unbind(1), k.unbind(1), strict=True)
        if self._each:
            self._maps[block] = torch.stack([self._contacts(*head) for head in heads])
            return
        for head in heads:
            attention, root = self._attention(*head)
            self._sum = attention * times if self._sum is None else self._sum.add_(attention, alpha=times)
            self._roots.extend([root] * times)

    def result(self) -> Tensor:
        """[L, L], or [blocks, heads, L, L] of each; NaN in the rows and columns that are not kept."""
        if self._each:
            return torch.stack([self._maps[block] for block in self._blocks])
        assert self._sum is not None, "no block was read"
        roots = torch.stack(self._roots)
        return self._placed((self._sum + self._sum.T - roots.T @ roots) / len(roots))

    def _contacts(self, q: Tensor, k: Tensor) -> Tensor:
        """One head's own map, [L, L]."""
        attention, root = self._attention(q, k)
        return self._placed(attention + attention.T - torch.outer(root, root))

    def _attention(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """One head's A between the residues that are kept, [L, L]; and r, the row sums of S over √ of their total."""
        scores = q.float() @ k.float().T / q.shape[-1] ** 0.5
        attention = scores.softmax(-1)[1:-1, 1:-1]
        if not self._whole:
            inside = self._kept.to(q.device)
            attention = attention[inside][:, inside]
        sums = attention.sum(0) + attention.sum(1)
        return attention, sums / sums.sum().clamp_min(torch.finfo(torch.float32).tiny).sqrt()

    def _placed(self, contacts: Tensor) -> Tensor:
        """Of the residues that are kept → of all, NaN elsewhere."""
        if self._whole:
            return contacts
        length = len(self._kept)
        at = self._kept.nonzero().squeeze(1).to(contacts.device)
        placed = contacts.new_full((length, length), float("nan"))
        placed[at[:, None], at] = contacts
        return placed
