"""The lines that a training run writes for people and machines, and the record it leaves in the artefact.

`[metric] step=120 steps=800 train_loss=2.7512 …`: one line, `key=value`. SageMaker's metric definitions read the
numbers by regular expression (`train_loss=([0-9.eE+-]+)`), and so does whoever watches the run.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

Number = int | float
MOST_NATS = math.log(sys.float_info.max)


def metric_line(values: Mapping[str, Number]) -> str:
    """The line of these values, numbers rounded to six significant digits."""
    return "[metric] " + " ".join(f"{name}={_rounded(value)!r}" for name, value in values.items())


def parse_metric_line(line: str) -> dict[str, float] | None:
    """The values of a metric line; None for any other line."""
    marker, _, rest = line.strip().partition(" ")
    if marker != "[metric]":
        return None
    pairs = (word.partition("=") for word in rest.split())
    return {name: float(value) for name, _, value in pairs}


def perplexity(loss: float) -> float:
    """Of a loss in nats. Infinite where a run that goes astray has a loss too large for a float's exponent."""
    return math.exp(loss) if loss < MOST_NATS else math.inf


def _rounded(value: Number) -> Number:
    return value if isinstance(value, int) else float(f"{value:.6g}")


class Pace(NamedTuple):
    """Of one process, since it was last read."""

    residues_per_second: float
    """Of what is trained on, over all processes: no padding, no `<bos>`, no `<eos>`."""
    seconds: float
    input_wait: float
    """Share of the time that went into reading, masking and packing."""
    flops_per_second: float
    """Of this process (flops.py); 0 where nobody counted them."""


class Stopwatch:
    """Measures the pace of training."""

    def __init__(self) -> None:
        self._residues, self._flops, self._reading = 0, 0.0, 0.0
        self._since = time.perf_counter()

    def count(self, residues: int) -> None:
        self._residues += residues

    def count_flops(self, flops: float) -> None:
        self._flops += flops

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around what has to be done before the model has something to compute."""
        began = time.perf_counter()
        yield
        self._reading += time.perf_counter() - began

    def skip(self, since: float) -> None:
        """Leave out the time from `since` (perf_counter) until now, spent on something else than training."""
        self._since += time.perf_counter() - since

    def read(self) -> Pace:
        """The pace since this was last read; begins anew."""
        now = time.perf_counter()
        seconds = max(now - self._since, 1e-9)
        pace = Pace(self._residues / seconds, seconds, min(self._reading / seconds, 1.0), self._flops / seconds)
        self._residues, self._flops, self._reading, self._since = 0, 0.0, 0.0, now
        return pace
