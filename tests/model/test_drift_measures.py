"""What is measured of drift: known differences come out as known, and chance rings no alarm."""

import math

import numpy as np
import pytest
from amplify_lm.captured import Seen
from amplify_lm.drift_measures import (
    BaselineError,
    jensen_shannon,
    length_shift,
    loss_increase,
    residue_divergence,
    unknown_increase,
)
from amplify_lm.tokenizer import count_unknown, encode

from stacks.config import Drift
from tests.model.capture_files import LETTERS, SHARES, baseline, proteins

TRAINING = baseline(proteins(3_000, seed=1))
LIMITS = Drift()


def seen(sequences: list[str]) -> list[Seen]:
    return [Seen(encode(sequence), count_unknown(sequence)) for sequence in sequences]


def test_the_divergence_of_a_distribution_from_itself_is_0_and_from_another_alphabet_1() -> None:
    left, right = np.array([1.0, 3.0, 0.0, 0.0]), np.array([0.0, 0.0, 2.0, 2.0])
    assert jensen_shannon(left, left * 7) == pytest.approx(0)
    assert jensen_shannon(left, right) == pytest.approx(1)


def test_the_divergence_is_that_of_the_definition() -> None:
    p, q = np.array([0.25, 0.75]), np.array([0.5, 0.5])
    m = (p + q) / 2
    wanted = sum((a * np.log2(a / m)).sum() for a in (p, q)) / 2
    assert jensen_shannon(p, q) == pytest.approx(wanted)


@pytest.mark.parametrize("count", [30, 300, 3_000])
@pytest.mark.parametrize("seed", range(5))
def test_proteins_like_those_of_training_are_within_every_limit_however_few(count: int, seed: int) -> None:
    given = seen(proteins(count, seed=100 + seed))
    assert length_shift(given, TRAINING["lengths"]).at_least == 0
    assert residue_divergence(given, TRAINING["letter_counts"]).at_least < 0.001
    assert unknown_increase(given, 0.0).at_least == 0


def test_chance_alone_is_seen_in_the_value_and_taken_off_in_the_limit() -> None:
    few = residue_divergence(seen(proteins(30, seed=5, low=10, high=20)), TRAINING["letter_counts"])
    assert few.value > 0.005
    assert few.at_least < few.value / 3


def test_longer_proteins_are_a_shift_of_lengths() -> None:
    longer = length_shift(seen(proteins(200, seed=2, low=380, high=900)), TRAINING["lengths"])
    assert longer.value > 0.8
    assert longer.at_least > LIMITS.max_length_shift


def test_one_length_for_all_is_no_shift_where_training_had_the_same() -> None:
    same = baseline(["MKT" * 10] * 50)
    assert length_shift(seen(["MKT" * 10] * 50), same["lengths"]).value == 0


def test_other_letters_are_a_divergence_and_lengths_alone_are_none() -> None:
    shares = SHARES | {"W": 30.0, "C": 30.0}
    other = residue_divergence(seen(proteins(100, seed=3, shares=shares)), TRAINING["letter_counts"])
    assert other.at_least > LIMITS.max_residue_divergence
    longer = residue_divergence(seen(proteins(100, seed=3, low=500, high=900)), TRAINING["letter_counts"])
    assert longer.at_least < 0.001


def test_unknown_residues_are_told_and_a_protein_of_nothing_else_does_not_break_the_rest() -> None:
    half = [f"{one}{'X' * len(one)}" for one in proteins(60, seed=4)]
    assert unknown_increase(seen(half), 0.01).at_least == pytest.approx(0.49, abs=0.001)
    assert residue_divergence(seen([*half, "XXXX"]), TRAINING["letter_counts"]).at_least < 0.001
    assert residue_divergence(seen(["XXXX"] * 40), TRAINING["letter_counts"]).value == 0


def test_a_loss_is_held_against_the_baseline_by_residue_not_by_protein() -> None:
    nats, masked = np.array([10.0, 300.0] * 50), np.array([10.0, 100.0] * 50)
    found = loss_increase(nats, masked, 2.5)
    assert found.value == pytest.approx(310 / 110 - 2.5)
    assert 0 < found.at_least < found.value


def test_the_same_requests_give_the_same_limits() -> None:
    given = seen(proteins(80, seed=6))
    first, second = (residue_divergence(given, TRAINING["letter_counts"]) for _ in range(2))
    assert first == second


def test_a_manifest_without_a_baseline_is_refused_by_what_is_missing() -> None:
    given = seen(proteins(40, seed=7))
    with pytest.raises(BaselineError, match="no q05"):
        length_shift(given, {"median": 3})
    with pytest.raises(BaselineError, match="letter_counts are empty"):
        residue_divergence(given, {})


def test_all_twenty_letters_count() -> None:
    for letter in LETTERS:
        alone = residue_divergence(seen([letter * 50] * 40), TRAINING["letter_counts"])
        assert alone.at_least > 0.5
        assert math.isfinite(alone.value)
