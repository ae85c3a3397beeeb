"""Masks: the shares are those of the recipe, and nothing but (seed, epoch, protein, position) decides them."""

import numpy as np
import pytest
from amplify_lm import masking, tokenizer
from amplify_lm.masking import HIDE_ALL, MaskingRule


def masked(tokens: np.ndarray, protein: int = 0, epoch: int = 0, seed: int = 0, rule: MaskingRule | None = None):
    keys = masking.protein_keys(seed, np.array([epoch]), np.array([protein]))
    return masking.mask(tokens, np.repeat(keys, len(tokens)), np.arange(len(tokens)), rule or MaskingRule())


RANDOM = np.random.default_rng(0)
PROTEIN = tokenizer.encode("".join(RANDOM.choice(list("LAGVSERTIDPKQNFYMHWC"), 200_000)))


def test_the_shares_are_those_of_the_rule() -> None:
    result = masked(PROTEIN)
    shown = result.input_ids[result.rows]
    assert len(result.rows) / len(PROTEIN) == pytest.approx(0.15, abs=0.003)
    assert (shown == tokenizer.MASK).mean() == pytest.approx(0.8, abs=0.01)
    # Kept residues, and the random ones that happen to be right.
    assert (shown == result.targets).mean() == pytest.approx(0.1 + 0.1 / 21, abs=0.006)


def test_only_the_rows_asked_for_are_changed_and_targets_are_the_truth() -> None:
    result = masked(PROTEIN)
    untouched = np.delete(np.arange(len(PROTEIN)), result.rows)
    assert (result.input_ids[untouched] == PROTEIN[untouched]).all()
    assert (result.targets == PROTEIN[result.rows]).all()


def test_begin_end_and_unknown_are_never_asked_for() -> None:
    tokens = np.tile(np.array([tokenizer.BOS, tokenizer.UNK, tokenizer.EOS, tokenizer.PAD], np.uint8), 1000)
    assert len(masked(tokens).rows) == 0


def test_a_random_token_is_a_residue_unless_the_rule_says_vocabulary() -> None:
    always = {"mask_token_share": 0.0, "random_token_share": 1.0}
    residues = masked(PROTEIN, rule=MaskingRule(**always))
    assert set(residues.input_ids[residues.rows].tolist()) == {*tokenizer.RESIDUES, 26}
    anything = masked(PROTEIN, rule=MaskingRule(**always, random_tokens="vocabulary"))
    assert set(anything.input_ids[anything.rows].tolist()) == set(range(27))


def test_measuring_hides_every_residue_it_asks_for() -> None:
    result = masked(PROTEIN, rule=HIDE_ALL)
    assert (result.input_ids[result.rows] == tokenizer.MASK).all()


@pytest.mark.parametrize("change", [{"protein": 1}, {"epoch": 1}, {"seed": 1}])
def test_another_protein_epoch_or_seed_is_masked_otherwise(change: dict[str, int]) -> None:
    rows, others = set(masked(PROTEIN).rows.tolist()), set(masked(PROTEIN, **change).rows.tolist())
    # Independent choices of 15 % share 2.25 % of all positions.
    assert len(rows & others) / len(PROTEIN) == pytest.approx(0.0225, abs=0.002)


def test_neighbouring_positions_are_chosen_independently() -> None:
    chosen = np.zeros(len(PROTEIN))
    chosen[masked(PROTEIN).rows] = 1
    assert abs(np.corrcoef(chosen[1:], chosen[:-1])[0, 1]) < 0.01


def test_the_mask_of_a_window_is_the_mask_of_the_whole_protein_there() -> None:
    keys = masking.protein_keys(0, np.array([0]), np.array([0]))
    part = masking.mask(PROTEIN[100:300], np.repeat(keys, 200), np.arange(100, 300), MaskingRule())
    assert (part.input_ids == masked(PROTEIN).input_ids[100:300]).all()


def test_windows_begin_anywhere_they_fit_and_only_there() -> None:
    keys = masking.protein_keys(0, np.zeros(5000, np.int64), np.arange(5000))
    starts = masking.window_starts(keys, np.full(5000, 20), 16)
    assert set(starts.tolist()) == {0, 1, 2, 3, 4}
    assert set(masking.window_starts(keys, np.full(5000, 16), 16).tolist()) == {0}
