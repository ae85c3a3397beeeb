"""Masked-language modelling: which residues the model has to predict, and what it sees in their place.

Every choice is a hash of (seed, epoch, protein, position). So it does not depend on the batch, the process or the
order in which proteins come: a run on one machine, the same run on eight, and the same run after an interruption
mask the same residues. The hash runs over whole batches at once; no generator is made for each protein.

Only residues and chain separators are chosen: `<bos>`, `<eos>` and `<unk>` are not to be predicted (an X says nothing
about what stood there).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .tokenizer import EOS, MASK, RESIDUES, VOCABULARY

U64 = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_BITS = 21  # of the hash for each of the three draws of a position
_WHICH = {
    "residues": np.array([*RESIDUES, VOCABULARY.index("B")], np.uint8),
    "vocabulary": np.arange(len(VOCABULARY), dtype=np.uint8),
}


@dataclass(frozen=True, slots=True)
class MaskingRule:
    """Which share of the residues is chosen, and what becomes of the chosen: `<mask>`, a random token, or nothing."""

    mask_share: float = 0.15
    mask_token_share: float = 0.8
    random_token_share: float = 0.1
    random_tokens: Literal["residues", "vocabulary"] = "residues"


# For measuring: every chosen residue is hidden, so that none of the loss is for letters the model can see.
HIDE_ALL = MaskingRule(mask_token_share=1.0, random_token_share=0.0)


@dataclass(frozen=True, slots=True)
class Masked:
    """T tokens as the model sees them, and the M rows it is asked for."""

    input_ids: NDArray[np.uint8]
    """[T]"""
    rows: NDArray[np.int64]
    """[M], rising"""
    targets: NDArray[np.int64]
    """[M], the true ids at `rows`"""


def protein_keys(seed: int, epochs: NDArray[np.int64], proteins: NDArray[np.int64]) -> U64:
    """One 64-bit key for each (epoch, protein), [n] each; the root of all that is random about that protein."""
    keys = mix(np.full(len(proteins), seed, np.uint64))
    keys = mix(keys ^ mix(epochs.astype(np.uint64)))
    return mix(keys + _GOLDEN * (proteins.astype(np.uint64) + np.uint64(1)))


def window_starts(keys: U64, lengths: NDArray[np.int64], window: int) -> NDArray[np.int64]:
    """Where each protein's window begins, [n]: uniform over the places it can stand, 0 for a protein that fits."""
    places = np.maximum(lengths - window, 0) + 1
    return (mix(keys ^ _GOLDEN) % places.astype(np.uint64)).astype(np.int64)


def mask(tokens: NDArray[np.uint8], keys: U64, positions: NDArray[np.int64], rule: MaskingRule) -> Masked:
    """Mask a packed batch. `keys` and `positions` [T]: each token's protein key and place in the whole protein."""
    bits = mix(keys + _GOLDEN * (positions.astype(np.uint64) + np.uint64(1)))
    chosen = (_draw(bits, 0) < rule.mask_share) & (tokens > EOS)
    rows = np.flatnonzero(chosen)
    targets = tokens[rows]
    fate = _draw(bits[rows], 1)
    letters = _WHICH[rule.random_tokens]
    drawn = letters[(_draw(bits[rows], 2) * len(letters)).astype(np.int64)]
    shown = np.where(fate < rule.mask_token_share, np.uint8(MASK), targets)
    random = (fate >= rule.mask_token_share) & (fate < rule.mask_token_share + rule.random_token_share)
    input_ids = tokens.copy()
    input_ids[rows] = np.where(random, drawn, shown)
    return Masked(input_ids, rows, targets.astype(np.int64))


def _draw(bits: U64, which: int) -> NDArray[np.float64]:
    """One of three independent numbers in [0, 1) that a hash holds."""
    field = (bits >> np.uint64(which * _BITS)) & np.uint64((1 << _BITS) - 1)
    return field.astype(np.float64) / (1 << _BITS)


def mix(x: U64) -> U64:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014): every input bit turns each output bit with chance 1/2."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
