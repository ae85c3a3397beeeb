"""The model as a calculator: token ids in, arrays out, nothing of HTTP.

A `Pass` is one protein's way through the model and what to keep of it. Everything that is asked of the model is a
number of passes: an embedding is one, an exact perplexity is one for each residue, each with another residue masked.
`Predictor.run` takes any passes together as one packed batch; what each gives does not depend on the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .checkpoint import load_model
from .model import Amplify
from .packing import pack
from .tokenizer import TokenIds, encode

Array = NDArray[np.float32]

# The longest protein fills a CPU batch: more tokens at once gain nothing there, and make short requests wait longer.
BATCH_TOKENS = {"cpu": 2048, "cuda": 32768}


class UnusableModelError(ValueError):
    """A checkpoint that loads but cannot predict."""


class AttentionReader(Protocol):
    """What makes something of attention while the model runs, for all maps together are too large to be kept."""

    def read(self, block: int, q: Tensor, k: Tensor) -> None:
        """One protein's q and k [L + 2, heads, head_dim] of one block, counted from 1."""
        ...

    def result(self) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Pass:
    """One protein through the model once."""

    ids: TokenIds
    """[L + 2], `<bos>` and `<eos>` included"""
    keep: Callable[[Tensor], Tensor]
    """From this protein's rows (float32, on the model's device) to what is wanted of them"""
    layers: tuple[int, ...] = ()
    """(): `keep` is given the logits [L + 2, V]; else the outputs of n blocks, [n, L + 2, H], counted from 1"""
    attention: Callable[[], AttentionReader] | None = None
    """Makes what is shown the attention of every block; `keep` is then given its result"""


@dataclass(frozen=True, slots=True)
class Workload:
    """Passes still to be run, made as they are taken, and what they cost, known before."""

    passes: Iterator[Pass]
    num_passes: int
    tokens: int
    """The work: tokens through the model"""
    numbers: int
    """The memory: floats that the passes keep"""

    @classmethod
    def joined(cls, parts: Sequence[Workload]) -> Workload:
        """The parts one after the other."""
        return cls(
            passes=itertools.chain.from_iterable(part.passes for part in parts),
            num_passes=sum(part.num_passes for part in parts),
            tokens=sum(part.tokens for part in parts),
            numbers=sum(part.numbers for part in parts),
        )


class Predictor:
    """A loaded model, its device and how many tokens it takes at once."""

    def __init__(self, model: Amplify, batch_tokens: int = 0) -> None:
        self.model = model.eval().requires_grad_(False)
        self.device = model.decoder.weight.device
        self.batch_tokens = max(batch_tokens or BATCH_TOKENS[self.device.type], model.config.max_length)

    @classmethod
    def load(cls, folder: Path, batch_tokens: int = 0) -> Predictor:
        """Load a checkpoint: bfloat16 where there is a GPU, float32 on a CPU. Raises CheckpointError."""
        cuda = torch.cuda.is_available()
        dtype, device = (torch.bfloat16, "cuda") if cuda else (torch.float32, "cpu")
        return cls(load_model(folder, dtype=dtype, device=device), batch_tokens)

    @property
    def num_layers(self) -> int:
        return self.model.config.num_hidden_layers

    @property
    def hidden_size(self) -> int:
        return self.model.config.hidden_size

    @property
    def num_heads(self) -> int:
        return self.model.config.num_attention_heads

    @property
    def max_residues(self) -> int:
        """Of one protein; the other two tokens of `max_length` are `<bos>` and `<eos>`."""
        return self.model.config.max_length - 2

    def warm_up(self) -> None:
        """Run once, so that no caller pays for what happens first. Raises UnusableModelError where NaN comes out."""
        (logits,) = self.run([Pass(encode("ACDEFGHIKLMNPQRSTVWY"[: self.max_residues]), lambda rows: rows)])
        if not np.isfinite(logits).all():
            raise UnusableModelError("the model gives NaN or infinite logits; its weights are not usable")

    @torch.inference_mode()
    def run(self, passes: Sequence[Pass]) -> list[Array]:
        """What each pass keeps, computed as one packed batch, with one wait for the device."""
        # Equally long neighbours share one attention call on a CPU.
        order = sorted(range(len(passes)), key=lambda i: len(passes[i].ids))
        batch = pack([passes[i].ids for i in order])
        places = dict(zip(order, itertools.pairwise(batch.cu_seqlens.tolist()), strict=True))
        readers = {i: make() for i, one in enumerate(passes) if (make := one.attention) is not None}

        def watch(block: int, q: Tensor, k: Tensor) -> None:
            for i, reader in readers.items():
                reader.read(block, q[slice(*places[i])], k[slice(*places[i])])

        packed = batch.to(self.device)
        encoded = self.model.encode(
            packed.input_ids,
            cu_seqlens=batch.cu_seqlens,
            position_ids=packed.position_ids,
            output_hidden_states=any(set(one.layers) - {self.num_layers} for one in passes),
            max_seqlen=batch.max_length,
            watch=watch if readers else None,
        )
        states = dict(enumerate(encoded.hidden_states or (), start=1)) | {self.num_layers: encoded.rows}
        decodes = any(not one.layers and one.attention is None for one in passes)
        logits = self.model.decode(encoded.rows).float() if decodes else encoded.rows
        kept = []
        for i, one in enumerate(passes):
            rows = slice(*places[i])
            if i in readers:
                kept.append(one.keep(readers.pop(i).result()))
            elif one.layers:
                kept.append(one.keep(torch.stack([states[layer][rows].float() for layer in one.layers])))
            else:
                kept.append(one.keep(logits[rows]))
        return _to_arrays(kept)

    def run_all(self, passes: Iterable[Pass]) -> Iterator[Array]:
        """What each pass keeps, in order, in as many batches as it takes."""
        batch: list[Pass] = []
        tokens = 0
        for one in passes:
            if batch and tokens + len(one.ids) > self.batch_tokens:
                yield from self.run(batch)
                batch, tokens = [], 0
            batch.append(one)
            tokens += len(one.ids)
        if batch:
            yield from self.run(batch)


def _to_arrays(tensors: list[Tensor]) -> list[Array]:
    """Copies in main memory; many small tensors cross from a GPU as one."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).cpu().numpy()
    ends = np.cumsum([tensor.numel() for tensor in tensors])
    parts = np.split(flat, ends[:-1])
    return [part.reshape(tensor.shape).copy() for part, tensor in zip(parts, tensors, strict=True)]
