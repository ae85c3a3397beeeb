"""The masked-language-model loss of a packed batch, in training and in measuring.

The decoder runs on the masked rows only: they are a seventh of all, and no other row has a loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import masking
from .dataset import Split, Windows, cut, share_out
from .distributed import Processes
from .masking import HIDE_ALL, MaskingRule
from .model import Amplify
from .packing import Packed, pack
from .settings import Recipe
from .tokenizer import VOCABULARY

# Measuring masks the same residues whatever the run's own seed is, so that figures of two runs can be compared.
MEASURING_SEED = 0


@dataclass(frozen=True, slots=True)
class LossBatch:
    """A packed batch and what is asked of it: the true ids `targets` [M] at `rows` [M]."""

    packed: Packed
    rows: Tensor
    targets: Tensor

    @property
    def num_masked(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> LossBatch:
        if device.type == "cpu":
            return self
        rows, targets = (tensor.to(device, non_blocking=True) for tensor in (self.rows, self.targets))
        return LossBatch(self.packed.to(device), rows, targets)


def loss_batch(split: Split, windows: Windows, seed: int, rule: MaskingRule) -> LossBatch:
    """Read windows of a split, mask them and pack them."""
    lengths = windows.lengths
    which = zip(windows.proteins.tolist(), windows.starts.tolist(), lengths.tolist(), strict=True)
    tokens = np.concatenate([split.tokens(protein, start, length) for protein, start, length in which])
    first = np.cumsum(lengths) - lengths
    positions = np.arange(len(tokens)) - np.repeat(first - windows.starts, lengths)  # in the whole protein
    keys = np.repeat(masking.protein_keys(seed, windows.epochs, windows.proteins), lengths)
    masked = masking.mask(tokens, keys, positions, rule)
    packed = pack(np.split(masked.input_ids, first[1:]))
    return LossBatch(packed, torch.from_numpy(masked.rows), torch.from_numpy(masked.targets))


class MaskedLoss(nn.Module):
    """Wraps the model, so that what a process group replicates is the whole way from tokens to loss."""

    def __init__(self, model: Amplify) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: LossBatch) -> tuple[Tensor, Tensor]:
        """The sum of the loss over the masked residues, in nats, and how many of them were predicted right."""
        packed = batch.packed
        with autocast(packed.input_ids.device):
            encoded = self.model.encode(
                packed.input_ids,
                cu_seqlens=packed.cu_seqlens,
                position_ids=packed.position_ids,
                max_seqlen=packed.max_length,
            )
            logits = self.model.decode(encoded.rows[batch.rows]).float()
        nats = F.cross_entropy(logits, batch.targets, reduction="sum")
        return nats, (logits.detach().argmax(-1) == batch.targets).sum()


@contextmanager
def autocast(device: torch.device) -> Iterator[None]:
    """BF16 arithmetic on CUDA; on a CPU the weights' own float32, which is faster there and exact to repeat."""
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        yield


@dataclass(frozen=True, slots=True)
class Measured:
    """Sums over the masked residues of the proteins measured."""

    nats: float
    correct: int
    letters: list[int]
    """How often each token id was asked for"""

    @property
    def masked(self) -> int:
        return sum(self.letters)

    @property
    def loss(self) -> float:
        return self.nats / max(self.masked, 1)

    @property
    def accuracy(self) -> float:
        return self.correct / max(self.masked, 1)


def measure(
    model: Amplify,
    split: Split,
    windows: Windows,
    tokens_per_pass: int,
    processes: Processes,
    rule: MaskingRule = HIDE_ALL,
) -> Measured:
    """The loss on these windows, every chosen residue hidden unless the rule says otherwise; the same for every model.

    Each process takes its part of the windows, all get the sum.
    """
    was_training = model.training
    model.eval()
    loss_of = MaskedLoss(model)
    sums = torch.zeros(2 + len(VOCABULARY), dtype=torch.float64, device=processes.device)
    shares = share_out(windows, max(processes.count, -(-int(windows.lengths.sum()) // tokens_per_pass)))
    with torch.inference_mode():
        for share in shares[processes.rank :: processes.count]:
            if len(share):
                batch = loss_batch(split, share, MEASURING_SEED, rule).to(processes.device)
                nats, correct = loss_of(batch)
                letters = torch.bincount(batch.targets, minlength=len(VOCABULARY))
                sums += torch.cat([torch.stack([nats.double(), correct.double()]), letters.double()])
    model.train(was_training)
    nats_sum, correct_sum, *letter_sums = processes.sum(sums).tolist()
    return Measured(nats_sum, int(correct_sum), [int(letters) for letters in letter_sums])


SAMPLE_TOKENS = 1024


def sample(split: Split, recipe: Recipe) -> LossBatch:
    """The first few windows of a split, for what is too dear to measure on many; one at least."""
    windows = cut(split.lengths(np.arange(min(len(split), SAMPLE_TOKENS))), recipe.window)
    count = max(1, int(np.searchsorted(np.cumsum(windows.lengths), SAMPLE_TOKENS, side="right")))
    return loss_batch(split, windows.take(list(range(count))), MEASURING_SEED, HIDE_ALL)


def validate(model: Amplify, split: Split, recipe: Recipe, processes: Processes) -> tuple[float, float]:
    """Loss and accuracy on the first `validation_tokens` of the validation split."""
    lengths = split.lengths(np.arange(len(split)))
    count = max(1, int(np.searchsorted(np.cumsum(lengths), recipe.validation_tokens, side="right")))
    measured = measure(model, split, cut(lengths[:count], recipe.window), recipe.tokens_per_pass, processes)
    return measured.loss, measured.accuracy
