"""Shuffles that are computed place by place: one to one, and as good as drawn."""

import numpy as np
import pytest
from amplify_lm.permutation import permuted
from hypothesis import given, settings
from hypothesis import strategies as st


def whole(size: int, key: int) -> list[int]:
    return permuted(np.arange(size), size, np.array([key], np.uint64)).tolist()


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_every_number_stands_at_one_place(size: int, key: int) -> None:
    assert sorted(whole(size, key)) == list(range(size))


@settings(deadline=None)
@given(st.integers(1, 10**12), st.integers(0, 2**64 - 1), st.lists(st.floats(0, 0.999999), min_size=1, max_size=20))
def test_a_place_of_a_huge_shuffle_is_found_without_the_others(size: int, key: int, shares: list[float]) -> None:
    places = np.array(sorted({int(share * size) for share in shares}))
    found = permuted(places, size, np.array([key], np.uint64))
    assert len(set(found.tolist())) == len(places)
    assert found.min() >= 0
    assert found.max() < size
    one_by_one = [int(permuted(np.array([place]), size, np.array([key], np.uint64))[0]) for place in places.tolist()]
    assert found.tolist() == one_by_one


@pytest.mark.parametrize("size", [2, 3, 7, 60])
def test_every_number_is_as_likely_at_every_place(size: int) -> None:
    shuffles = 20_000
    keys = np.random.default_rng(0).integers(0, 2**63, shuffles).astype(np.uint64)
    for place in {0, size // 2, size - 1}:
        found = permuted(np.full(shuffles, place), size, keys)
        expected = shuffles / size
        chi_squared = ((np.bincount(found, minlength=size) - expected) ** 2 / expected).sum()
        # Mean size - 1, standard deviation √(2(size - 1)): five of them are one chance in a million.
        assert chi_squared < size - 1 + 5 * np.sqrt(2 * (size - 1)) + 5


def test_neighbours_do_not_stay_neighbours() -> None:
    found = np.array(whole(100_000, 7))
    assert abs(np.corrcoef(found, np.arange(len(found)))[0, 1]) < 0.02
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 0.02
    assert (np.abs(np.diff(found)) == 1).mean() < 0.001


def test_another_key_is_another_shuffle() -> None:
    assert np.mean(np.array(whole(1000, 1)) == np.array(whole(1000, 2))) < 0.02


def test_a_place_outside_of_the_shuffle_is_an_error() -> None:
    with pytest.raises(ValueError, match="places 0 to 5: 0 to 4 are wanted"):
        permuted(np.arange(6), 5, np.array([0], np.uint64))
