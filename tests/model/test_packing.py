"""Packed batches hold every protein once, in a form attention can cut apart again."""

import itertools

import numpy as np
import pytest
from amplify_lm import packing
from hypothesis import given
from hypothesis import strategies as st


def test_a_packed_batch_can_be_cut_apart_again() -> None:
    proteins = [np.array([3, 8, 9, 4], np.uint8), np.array([3, 4], np.uint8), np.array([3, 7, 4], np.uint8)]
    packed = packing.pack(proteins)
    starts = packed.cu_seqlens.tolist()
    assert [packed.input_ids[a:b].tolist() for a, b in itertools.pairwise(starts)] == [p.tolist() for p in proteins]
    assert packed.position_ids.tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 2]
    assert packed.max_length == 4


@pytest.mark.parametrize("proteins", [[], [np.array([], np.uint8)]], ids=["no protein", "an empty protein"])
def test_nothing_to_pack_is_an_error(proteins: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match="at least one token each"):
        packing.pack(proteins)


@given(st.lists(st.integers(1, 100), max_size=200), st.integers(100, 400))
def test_a_plan_holds_each_protein_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = packing.plan(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(0 < sum(lengths[i] for i in batch) <= budget for batch in batches)


def test_a_plan_of_natural_lengths_leaves_under_two_percent_empty() -> None:
    lengths = np.random.default_rng(0).lognormal(5.7, 0.6, 2000).astype(int).clip(20, 2048).tolist()
    batches = packing.plan(lengths, 8192)
    assert sum(lengths) / (8192 * len(batches)) > 0.98


def test_a_protein_over_the_budget_is_named() -> None:
    with pytest.raises(ValueError, match="protein 2 has 300 tokens, more than the budget of 256"):
        packing.plan([10, 300], 256)
