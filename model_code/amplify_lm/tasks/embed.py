"""`embed`: a protein as numbers, for whatever is learned from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..predict import Pass, Predictor
from ..tokenizer import CHAIN_BREAK, TokenIds
from .parameters import BlockNumbers, Blocks, Choice, Switch, about, check, chosen_blocks
from .plan import Plan, Protein, Task, single_pass
from .schemas import numbers

POOLINGS = ("mean", "per_residue", "bos")


@dataclass(frozen=True, kw_only=True)
class Embed(Task):
    """The output of one block or several, averaged over residues, at each residue, or at `<bos>`.

    Of one block `embedding` is [H], or [L, H] per residue; of a list, or of all, [n, H] or [n, L, H] in the list's
    order. The last block's output is taken before the model's last norm, as the authors do. `|` between chains has no
    part in the mean.
    """

    name: ClassVar[str] = "embed"
    answers: ClassVar = ({"embedding": numbers(1, 2, 3)},)

    pooling: str = field(
        default="mean",
        metadata=about(Choice(POOLINGS), "over residues, each, or at <bos>"),
    )
    layer: BlockNumbers = field(default=-1, metadata=about(Blocks(), "whose output: 1 is the first, -1 the last"))
    normalize: bool = field(default=False, metadata=about(Switch(), "to Euclidean length 1"))

    def __post_init__(self) -> None:
        check(self)

    @property
    def stacked(self) -> tuple[str, ...]:
        return () if self.pooling == "per_residue" else ("embedding",)

    def plan(self, protein: Protein, predictor: Predictor) -> Plan:
        blocks = chosen_blocks(self.layer, predictor.num_layers)
        rows = len(protein.sequence) if self.pooling == "per_residue" else 1
        keep = partial(_pool, protein.ids, self.pooling, self.normalize, isinstance(self.layer, int))
        numbers = len(blocks) * rows * predictor.hidden_size
        return single_pass(Pass(protein.ids, keep, blocks), numbers, lambda embedding: {"embedding": embedding})


def _pool(ids: TokenIds, pooling: str, normalize: bool, one: bool, rows: Tensor) -> Tensor:
    """From [n, L + 2, H] to what is asked for; of `one` block without the axis of blocks."""
    if pooling == "bos":
        pooled = rows[:, 0]
    elif pooling == "per_residue":
        pooled = rows[:, 1:-1]
    else:
        inside = torch.from_numpy(ids[1:-1] != CHAIN_BREAK).to(rows.device)
        pooled = rows[:, 1:-1][:, inside].mean(1)
    if normalize:
        pooled = torch.nn.functional.normalize(pooled, dim=-1)
    return pooled[0] if one else pooled
