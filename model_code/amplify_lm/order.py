"""The order in which training meets its proteins.

An epoch is a permutation of all proteins, a function of (seed, epoch) that is computed place by place (permutation.py):
nothing of the size of the corpus is drawn, kept or read. A step takes the next proteins of it up to a budget of tokens.
The place in the data is three numbers, and says nothing about how many processes there are: they share out each step's
proteins among them.

In a mix each source is shuffled by itself again and again, and an epoch takes so much of each as its weight says. So no
protein comes a second time before all others of its source came, and none is left out, whatever the weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import masking
from .dataset import DatasetError, Split, Windows
from .permutation import permuted

_AHEAD = 63
_WORKED_OUT = 4096
_SHUFFLE = np.uint64(0x5348_5546_464C_4531)  # sets the keys of orders apart from those of masks


@dataclass(frozen=True, slots=True)
class Place:
    """Where training stands in its data."""

    epoch: int = 0
    index: int = 0
    """The next protein of the epoch's order"""
    ahead: int = 0
    """Bit i: the protein at index + i came already, since it filled a step that the one at `index` was too long for"""


class TrainingOrder:
    """Hands out the windows of one step after another. `place` is all there is to save and restore."""

    def __init__(self, split: Split, window: int, tokens_per_step: int, seed: int, place: Place | None = None) -> None:
        """`tokens_per_step` has to be `window` at least. Raises DatasetError for a place that the data has not."""
        self.split = split
        self.window = window
        self.tokens_per_step = tokens_per_step
        self.seed = seed
        self.place = place or Place()
        self._worked_out: tuple[int, int, tuple[NDArray[np.int64], ...]] = (-1, 0, ())  # epoch, first place, arrays
        self._ends = np.cumsum([source.per_epoch for source in split.sources])  # of each source among an epoch's slots
        if not 0 <= self.place.index < self.epoch_length:
            raise DatasetError(
                f"place {self.place.index:,} of an epoch that has {self.epoch_length:,} proteins: it is of other data"
            )

    @property
    def epoch_length(self) -> int:
        """Proteins of an epoch."""
        return int(self._ends[-1])

    def next_step(self) -> Windows:
        """As many coming proteins as fit the budget, in their order; one that is too long for what is left waits, and
        shorter ones from the next few fill it. A step may cross into the next epoch."""
        parts: list[Windows] = []
        room = self.tokens_per_step
        while True:
            places, filled = self._next_places(room)
            parts.append(self._windows(*places))
            room -= int(parts[-1].lengths.sum())
            if filled:
                return Windows.joined(parts)

    def order(self, epoch: int, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What stands at these places of an epoch's order, [n] each: how often its source came before, the protein."""
        slots = permuted(places, self.epoch_length, self._keys(np.array([epoch]), -1))
        passes, proteins = np.empty_like(slots), np.empty_like(slots)
        which = np.searchsorted(self._ends, slots, side="right")
        for number, source in enumerate(self.split.sources):
            here = np.flatnonzero(which == number)
            # The source's own endless row of shuffles, of which each epoch takes the next `per_epoch`.
            drawn = slots[here] - (self._ends[number] - source.per_epoch) + epoch * source.per_epoch
            passes[here] = drawn // source.proteins
            within = permuted(drawn % source.proteins, source.proteins, self._keys(passes[here], number))
            proteins[here] = source.first + within
        return passes, proteins

    def _coming(self, epoch: int, index: int, count: int) -> tuple[NDArray[np.int64], ...]:
        """(passes, proteins, whole lengths) of these places. Small steps share what is worked out for thousands."""
        at = index - self._worked_out[1]
        if self._worked_out[0] != epoch or at < 0 or at + count > len(self._worked_out[2][0]):
            end = min(index + max(count, _WORKED_OUT), self.epoch_length)
            passes, proteins = self.order(epoch, np.arange(index, end))
            self._worked_out = (epoch, index, (passes, proteins, self.split.lengths(proteins)))
            at = 0
        return tuple(array[at : at + count] for array in self._worked_out[2])

    def _keys(self, passes: NDArray[np.int64], source: int) -> NDArray[np.uint64]:
        return masking.mix(masking.protein_keys(self.seed, passes, np.full(len(passes), source + 1)) ^ _SHUFFLE)

    def _next_places(self, room: int) -> tuple[tuple[NDArray[np.int64], ...], bool]:
        """(passes, proteins, whole lengths) of what fits of the epoch at hand, the place being moved on; and whether
        the next protein was too much (else the epoch ended)."""
        epoch, index, ahead = self.place.epoch, self.place.index, self.place.ahead
        taken: list[tuple[NDArray[np.int64], ...]] = []
        while index < self.epoch_length:
            # About as many as fit, and those that may fill what is left; whoever is not needed is looked at again.
            count = min(room // min(self.window, 256) + _AHEAD + 1, self.epoch_length - index)
            passes, proteins, wholes = self._coming(epoch, index, count)
            came = np.array([bool(ahead >> i & 1) for i in range(min(count, _AHEAD + 1))])
            tokens = np.minimum(wholes, self.window)
            tokens[: len(came)][came] = 0
            fits = int(np.searchsorted(np.cumsum(tokens), room, side="right"))
            chosen = np.flatnonzero(tokens[:fits])
            room -= int(tokens[:fits].sum())
            filled = fits < count
            index, ahead = index + fits, ahead >> fits
            if filled:
                filling, ahead = _filling(tokens[fits : fits + _AHEAD + 1].tolist(), room, ahead)
                chosen = np.concatenate([chosen, fits + np.array(filling, np.int64)])
            taken.append((passes[chosen], proteins[chosen], wholes[chosen]))
            if filled:
                self.place = Place(epoch, index, ahead)
                return _joined(taken), True
        self.place = Place(epoch + 1, 0)
        return _joined(taken), False

    def _windows(self, passes: NDArray[np.int64], proteins: NDArray[np.int64], wholes: NDArray[np.int64]) -> Windows:
        starts = masking.window_starts(masking.protein_keys(self.seed, passes, proteins), wholes, self.window)
        return Windows.of(passes, proteins, starts, np.minimum(wholes, self.window), wholes)


def _filling(tokens: list[int], room: int, ahead: int) -> tuple[list[int], int]:
    """Which of the next proteins fill the room, the largest that fits first, and who came already with them."""
    chosen: list[int] = []
    while fitting := [(count, -i) for i, count in enumerate(tokens) if 0 < count <= room]:
        count, negative = max(fitting)
        chosen.append(-negative)
        room -= count
        tokens[-negative] = 0
        ahead |= 1 << -negative
    return sorted(chosen), ahead


def _joined(taken: list[tuple[NDArray[np.int64], ...]]) -> tuple[NDArray[np.int64], ...]:
    return tuple(np.concatenate(arrays) for arrays in zip(*taken, strict=True))
