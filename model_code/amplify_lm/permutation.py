"""A shuffle of a hundred million numbers that takes no memory: what stands at a place is computed when it is asked for.

A Feistel network turns numbers of b bits into numbers of b bits, one to one, whatever its round function is; four
rounds of a good one pass for drawn (Luby & Rackoff 1988). Numbers that fall outside of the wanted range are put through
again until they fall inside, which keeps it one to one ("cycle walking": Black & Rogaway 2002).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .masking import mix

ROUNDS = 8  # few bits in a half make a weak round: twice the four that theory asks for

U64 = NDArray[np.uint64]


def permuted(places: NDArray[np.int64], size: int, keys: U64) -> NDArray[np.int64]:
    """What stands at each place of a permutation of 0 … size - 1, [n]; `keys` [n] or [1] say which permutation.

    Raises ValueError for a place outside of it.
    """
    if len(places) and not 0 <= int(places.min()) <= int(places.max()) < size:
        raise ValueError(f"places {places.min()} to {places.max()}: 0 to {size - 1} are wanted")
    bits = max(2, (size - 1).bit_length())
    numbers = places.astype(np.uint64)
    keys = np.broadcast_to(keys, numbers.shape)
    outside = np.arange(len(numbers))
    while len(outside):
        numbers[outside] = _network(numbers[outside], bits, keys[outside])
        outside = outside[numbers[outside] >= size]
    return numbers.astype(np.int64)


def _network(numbers: U64, bits: int, keys: U64) -> U64:
    """One to one on numbers of `bits` bits. The halves of an odd number of bits differ by one, and change places."""
    low_bits, high_bits = bits // 2, bits - bits // 2
    low, high = numbers & _ones(low_bits), numbers >> np.uint64(low_bits)
    for number in range(ROUNDS):
        low, high = high, low ^ (mix(mix(keys + np.uint64(number)) ^ high) & _ones(low_bits))
        low_bits, high_bits = high_bits, low_bits
    return low | (high << np.uint64(low_bits))


def _ones(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)
