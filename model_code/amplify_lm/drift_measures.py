"""How far what people ask about lies from what the model was trained on, with chance taken off.

Each measure has two numbers: `value`, what the proteins at hand show, and `at_least`, its lower confidence limit: the
least that the difference behind them is, with an error of one in a hundred. Alarms are set on the second, so that few
proteins, which differ from anything by chance, do not ring. A protein counts once, and is drawn as a whole: its
residues are not independent of each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .captured import Seen
from .tokenizer import RESIDUES, VOCABULARY

LEAST_PROTEINS = 30
"""Fewer different proteins are not judged: a bootstrap of less says little about its own error."""

ERROR = 0.01
RESAMPLES = 400
SEED = 0

# The quantiles of lengths in manifest.json (prepare.QUANTILES) that say something about a distribution.
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}

Floats = NDArray[np.float64]


class BaselineError(ValueError):
    """A manifest that holds no baseline."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A difference from the baseline: as observed, and at least."""

    value: float
    at_least: float

    def as_json(self) -> dict[str, float]:
        return {"value": round(self.value, 6), "at_least": round(self.at_least, 6)}


def length_shift(proteins: Sequence[Seen], lengths: Mapping[str, float]) -> Measure:
    """The largest gap between the two distributions of lengths, 0 to 1 (Kolmogorov-Smirnov, at the known quantiles).

    Where lengths repeat, the baseline's share up to a quantile is between that of `<` and `≤`; only what lies outside
    counts. The error is the Dvoretzky-Kiefer-Wolfowitz bound with Massart's constant (1990): it holds for any n.
    """
    given = np.array([protein.length for protein in proteins])
    gaps = [0.0]
    for name, share in QUANTILES.items():
        if name not in lengths:
            raise BaselineError(f"the manifest's lengths have no {name}; the manifest that `prepare` wrote is wanted")
        below, up_to = float((given < lengths[name]).mean()), float((given <= lengths[name]).mean())
        gaps.append(max(below - share, share - up_to, 0.0))
    error = math.sqrt(math.log(2 / ERROR) / (2 * len(given)))
    return Measure(max(gaps), max(0.0, max(gaps) - error))


def residue_divergence(proteins: Sequence[Seen], letter_counts: Mapping[str, int]) -> Measure:
    """The Jensen-Shannon divergence of the frequencies of the 20 amino acids, in bits, 0 to 1 (Lin 1991)."""
    baseline = np.array([float(letter_counts.get(VOCABULARY[id_], 0)) for id_ in RESIDUES])
    if not baseline.sum():
        raise BaselineError("the manifest's letter_counts are empty; the manifest that `prepare` wrote is wanted")
    counts = np.array([np.bincount(p.ids, minlength=len(VOCABULARY))[list(RESIDUES)] for p in proteins], float)
    counts = counts[counts.sum(1) > 0]
    if not len(counts):  # nothing but unknown residues: `unknown_increase` says so
        return Measure(0.0, 0.0)
    return _bootstrapped(counts, lambda sums: jensen_shannon(sums, baseline))


def unknown_increase(proteins: Sequence[Seen], baseline: float) -> Measure:
    """How much larger the share of residues that the model cannot read is than in the training set."""
    counts = np.array([[protein.num_unknown, protein.length] for protein in proteins], float)
    return _bootstrapped(counts, lambda sums: sums[..., 0] / sums[..., 1] - baseline)


def loss_increase(nats: Floats, masked: Floats, baseline: float) -> Measure:
    """How much larger the loss is than at the end of training, in nats a residue. `nats`, `masked`: of each protein."""
    return _bootstrapped(np.stack([nats, masked], axis=1), lambda sums: sums[..., 0] / sums[..., 1] - baseline)


def jensen_shannon(left: Floats, right: Floats) -> Floats:
    """Between distributions given as counts on the last axis, in bits."""
    p, q = left / left.sum(-1, keepdims=True), right / right.sum(-1, keepdims=True)
    m = (p + q) / 2

    def divergence(a: Floats) -> Floats:
        ratio = np.where(a > 0, a, 1.0) / np.where(a > 0, m, 1.0)  # 0 · log 0 is 0
        return np.asarray((a * np.log2(ratio)).sum(-1))

    return np.asarray((divergence(p) + divergence(q)) / 2)


def _bootstrapped(rows: Floats, statistic: Callable[[Floats], Floats]) -> Measure:
    """A statistic of the sum of rows, one row a protein, and its basic bootstrap limit (Davison and Hinkley 1997, 5.2).

    Proteins are drawn with replacement, from a fixed seed: the same requests give the same limits. The basic limit,
    2 · value - quantile, takes off what drawing itself adds to a divergence.
    """
    chance = np.random.default_rng(SEED)
    value = float(statistic(rows.sum(0)))
    drawn = np.array(
        [float(statistic(rows[chance.integers(0, len(rows), len(rows))].sum(0))) for _ in range(RESAMPLES)]
    )
    return Measure(value, max(0.0, 2 * value - float(np.quantile(drawn, 1 - ERROR))))
