"""The lines that a training run writes for people and machines, and the record it leaves in the artefact.

`[metric] step=120 steps=800 train_loss=2.7512 …`: one line, `key=value`. SageMaker's metric definitions read the
numbers by regular expression (`train_loss=([0-9.eE+-]+)`), and so does whoever watches the run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

Number = int | float


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


def _rounded(value: Number) -> Number:
    return value if isinstance(value, int) else float(f"{value:.6g}")


class Stopwatch:
    """Residues a second since it was last read. Counts what is trained on: no padding, no `<bos>`, no `<eos>`."""

    def __init__(self) -> None:
        self._residues = 0
        self._since = time.perf_counter()

    def count(self, residues: int) -> None:
        self._residues += residues

    def skip(self, since: float) -> None:
        """Leave out the time from `since` (perf_counter) until now, spent on something else than training."""
        self._since += time.perf_counter() - since

    def read(self) -> tuple[float, float]:
        """Residues a second and seconds passed; begins anew."""
        now = time.perf_counter()
        seconds = max(now - self._since, 1e-9)
        rate = self._residues / seconds
        self._residues, self._since = 0, now
        return rate, seconds
