"""Every task's numbers, held against what the model's logits and hidden states say they must be."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from amplify_lm.predict import Pass, Predictor, UnusableModelError
from amplify_lm.request_errors import RequestError
from amplify_lm.scoring import LETTERS, VariantError, read_variant
from amplify_lm.tasks import TASKS, Protein, read_protein, read_task
from amplify_lm.tokenizer import MASK, VOCABULARY, encode
from torch import Tensor

from tests.model.serving_model import PROTEIN, ask, tiny_model

TOKEN = {token: i for i, token in enumerate(VOCABULARY)}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(tiny_model())


def protein_of(sequence: str) -> Protein:
    return read_protein(sequence, "here", masks=False, max_residues=2046)


def log_probabilities(predictor: Predictor, sequence: str, masked: tuple[int, ...] = ()) -> Tensor:
    """[L + 2, V] by the plainest way there is: one protein, padded layout; `masked` are 1-based positions."""
    ids = torch.from_numpy(encode(sequence))[None]
    ids[0, list(masked)] = MASK
    with torch.no_grad():
        return predictor.model(ids).logits[0].log_softmax(-1)


# ---- embed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "block"), [(1, 0), (2, 1), (3, 2), (-1, 2), (-3, 0)])
def test_an_embedding_is_the_output_of_the_block_that_was_named(predictor: Predictor, layer: int, block: int) -> None:
    ids = torch.from_numpy(encode(PROTEIN))[None]
    with torch.no_grad():
        states = predictor.model(ids, output_hidden_states=True).hidden_states
    assert states is not None
    rows = states[block][0].numpy()
    expected = {"mean": rows[1:-1].mean(0), "per_residue": rows[1:-1], "bos": rows[0]}
    for pooling, array in expected.items():
        given = ask(predictor, "embed", PROTEIN, pooling=pooling, layer=layer)["embedding"]
        np.testing.assert_allclose(given, array, atol=1e-5)


def test_the_mean_leaves_the_break_between_chains_out_and_per_residue_keeps_its_place(predictor: Predictor) -> None:
    rows = ask(predictor, "embed", "MKT|AYI", pooling="per_residue")["embedding"]
    assert len(rows) == 7
    mean = ask(predictor, "embed", "MKT|AYI")["embedding"]
    np.testing.assert_allclose(mean, np.delete(rows, 3, axis=0).mean(0), atol=1e-5)


def test_normalized_embeddings_have_length_one(predictor: Predictor) -> None:
    rows = ask(predictor, "embed", PROTEIN, pooling="per_residue", normalize=True)["embedding"]
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("layer", "blocks"), [([3, 1], [2, 0]), ([-1], [2]), ("all", [0, 1, 2]), ([2, 2], [1, 1])])
def test_embeddings_of_several_blocks_come_in_the_order_in_which_they_were_named(
    predictor: Predictor, layer: Any, blocks: list[int]
) -> None:
    ids = torch.from_numpy(encode(PROTEIN))[None]
    with torch.no_grad():
        states = predictor.model(ids, output_hidden_states=True).hidden_states
    assert states is not None
    rows = np.stack([states[block][0].numpy() for block in blocks])
    expected = {"mean": rows[:, 1:-1].mean(1), "per_residue": rows[:, 1:-1], "bos": rows[:, 0]}
    for pooling, array in expected.items():
        given = ask(predictor, "embed", PROTEIN, pooling=pooling, layer=layer)["embedding"]
        np.testing.assert_allclose(given, array, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 4, -4, 999, [1, 4]])
def test_a_block_that_does_not_exist_is_refused_with_those_that_do(predictor: Predictor, layer: int) -> None:
    with pytest.raises(RequestError, match="1 to 3, or -3 to -1") as refusal:
        ask(predictor, "embed", PROTEIN, layer=layer)
    assert (refusal.value.status, refusal.value.where) == (400, "parameters.layer")


# ---- fill_mask, perplexity -------------------------------------------------------------------------------------------


def test_fill_mask_ranks_the_amino_acids_at_each_masked_position(predictor: Predictor) -> None:
    answer = ask(predictor, "fill_mask", "MK<mask>AY_AK", top_k=20)
    assert answer["positions"] == [3, 6]
    table = log_probabilities(predictor, "MKXAYXAK", masked=(3, 6)).exp()
    for position, residues, probabilities in zip(
        answer["positions"], answer["residues"], answer["probabilities"], strict=True
    ):
        assert sorted(residues) == sorted(LETTERS)
        assert list(probabilities) == sorted(probabilities, reverse=True)
        for residue, probability in zip(residues, probabilities, strict=True):
            assert probability == pytest.approx(float(table[position, TOKEN[residue]]), abs=1e-5)


def test_perplexity_of_one_pass_scores_each_known_residue_in_its_place(predictor: Predictor) -> None:
    table = log_probabilities(predictor, "MKXT|AY")
    own = [float(table[i, TOKEN[c]]) for i, c in enumerate("MKXT|AY", start=1) if c not in "X|"]
    answer = ask(predictor, "perplexity", "mkxt|ay")
    assert answer["scored_residues"] == 5
    assert answer["loss"] == pytest.approx(-np.mean(own), abs=1e-5)
    assert answer["perplexity"] == pytest.approx(math.exp(answer["loss"]))


def test_exact_perplexity_masks_each_residue_in_a_pass_of_its_own(predictor: Predictor) -> None:
    sequence = "MKXT|AY"
    own = [
        float(log_probabilities(predictor, sequence, masked=(i,))[i, TOKEN[c]])
        for i, c in enumerate(sequence, start=1)
        if c not in "X|"
    ]
    assert ask(predictor, "perplexity", sequence, exact=True)["loss"] == pytest.approx(-np.mean(own), abs=1e-5)


@pytest.mark.parametrize(
    ("task", "sequence", "parameters"),
    [
        ("perplexity", "XXX", {}),
        ("fill_mask", "MKT", {}),
        ("score_variants", "MKT", {}),
        ("score_variants", "MKT", {"variants": []}),
        ("score_variants", "XUX", {"scan": True}),
    ],
)
def test_nothing_to_score_is_said_as_such(
    predictor: Predictor, task: str, sequence: str, parameters: dict[str, Any]
) -> None:
    with pytest.raises(RequestError) as refusal:
        ask(predictor, task, sequence, **parameters)
    assert (refusal.value.status, refusal.value.code) == (422, "nothing_to_score")


# ---- score_variants --------------------------------------------------------------------------------------------------


def by_hand(predictor: Predictor, sequence: str, variant: list[tuple[int, str]], method: str) -> float:
    """The score of substitutions (position, letter) as the definition says."""
    mutant = list(sequence)
    for position, letter in variant:
        mutant[position - 1] = letter
    positions = tuple(position for position, _ in variant)
    table = {
        "wt_marginal": lambda: log_probabilities(predictor, sequence),
        "masked_marginal": lambda: log_probabilities(predictor, sequence, positions),
        "mutant_marginal": lambda: log_probabilities(predictor, "".join(mutant)),
    }[method]()
    return sum(float(table[p, TOKEN[letter]] - table[p, TOKEN[sequence[p - 1]]]) for p, letter in variant)


@pytest.mark.parametrize("method", ["wt_marginal", "masked_marginal", "mutant_marginal"])
def test_variants_of_a_list_score_as_defined(predictor: Predictor, method: str) -> None:
    variants = {
        "M1A": [(1, "A")],
        "k2v:y5l": [(2, "V"), (5, "L")],
        "Y5L:K2V": [(5, "L"), (2, "V")],
        "K2W:Y5F": [(2, "W"), (5, "F")],
        "T3T": [(3, "T")],
    }
    answer = ask(predictor, "score_variants", "MKTAYIA", variants=list(variants), method=method)
    assert answer["variants"] == list(variants)
    expected = [by_hand(predictor, "MKTAYIA", one, method) for one in variants.values()]
    np.testing.assert_allclose(answer["scores"], expected, atol=1e-5)
    assert answer["scores"][-1] == 0


@pytest.mark.parametrize("method", ["wt_marginal", "masked_marginal", "mutant_marginal"])
def test_a_scan_scores_every_single_substitution(predictor: Predictor, method: str) -> None:
    sequence = "MX|KB"
    answer = ask(predictor, "score_variants", sequence, scan=True, method=method)
    assert answer["letters"] == LETTERS
    assert answer["scores"].shape == (5, 20)
    for i, row in enumerate(answer["scores"]):
        if sequence[i] in "X|":
            assert np.isnan(row).all()
            continue
        for letter, score in zip(LETTERS, row, strict=True):
            assert score == pytest.approx(by_hand(predictor, sequence, [(i + 1, letter)], method), abs=1e-5)


def test_variants_that_share_a_context_share_a_pass(predictor: Predictor) -> None:
    protein = read_protein("MKTAYIA", "here", masks=False, max_residues=2046)

    def passes(method: str) -> int:
        variants = ["M1A", "M1C", "M1A:K2A", "K2C:M1F"]
        return (
            read_task("score_variants", {"variants": variants, "method": method})
            .plan(protein, predictor)
            .work.num_passes
        )

    assert (passes("wt_marginal"), passes("masked_marginal"), passes("mutant_marginal")) == (1, 2, 4)


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("A1G", "the wild type at position 1 is 'M', not 'A'"),
        ("M9G", "position 9 is outside the protein, which has 6 residues"),
        ("M0G", "like A42G"),
        ("M1", "like A42G"),
        ("", "like A42G"),
        ("M1A:", "like A42G"),
        ("M1A M1C", "like A42G"),
        ("M99999999999999999999A", "like A42G"),
        ("M١A", "like A42G"),
        ("M1Z", "does not know 'Z'"),
        ("X3A", "does not know 'X'"),
        ("M1A:M1C", "position 1 is changed twice"),
        ("A4C", "the wild type at position 4 is '|', not 'A'"),
    ],
)
def test_a_variant_that_does_not_fit_is_refused_with_what_stands_there(variant: str, said: str) -> None:
    with pytest.raises(VariantError) as refusal:
        read_variant(variant, "MKX|AY")
    assert said in str(refusal.value)


# ---- passes and batches ----------------------------------------------------------------------------------------------


def test_a_pass_alone_gives_what_it_gives_in_any_batch(predictor: Predictor) -> None:
    rng = np.random.default_rng(5)
    sequences = ["".join(rng.choice(list(LETTERS), size=n)) for n in (3, 40, 1, 200, 40, 17)]
    passes = [Pass(encode(one), lambda rows: rows, layer) for one in sequences for layer in ((), (1,), (3, 1))]
    together = predictor.run(passes)
    assert np.abs(together[0]).max() > 0.1
    for one, expected in zip(passes, together, strict=True):
        np.testing.assert_allclose(predictor.run([one])[0], expected, rtol=0, atol=1e-5)
    for given, expected in zip(Predictor(tiny_model(), 2048).run_all(iter(passes)), together, strict=True):
        np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("task", "parameters"),
    [
        ("embed", {"layer": "all", "pooling": "per_residue"}),
        ("logits", {}),
        ("fill_mask", {"top_k": 20}),
        ("perplexity", {"exact": True}),
        ("score_variants", {"scan": True, "method": "mutant_marginal"}),
        ("contacts", {"maps": "each"}),
    ],
)
def test_every_task_answers_alone_what_it_answers_in_a_crowd(
    predictor: Predictor, task: str, parameters: dict[str, Any]
) -> None:
    """All passes of every other task in the same batches."""
    question = read_task(task, parameters)
    sequences = ("MKTAY|IAK", PROTEIN) if task != "fill_mask" else ("MK_AY|I_K", "_" + PROTEIN)
    crowd = [
        Pass(encode("ACDEFGHIKLMNPQRSTVWY" * 3), lambda rows: rows),
        *read_task("contacts", {}).plan(protein_of(PROTEIN * 2), predictor).work.passes,
        *read_task("embed", {"layer": 1}).plan(protein_of("MK"), predictor).work.passes,
    ]
    for sequence in sequences:
        protein = read_protein(sequence, "here", masks=question.masks, max_residues=2046)
        plan = question.plan(protein, predictor)
        together = [predictor.run([*crowd, one, *crowd])[len(crowd)] for one in plan.work.passes]
        alone = ask(predictor, task, sequence, **parameters)
        for key, value in plan.finish(together).items():
            if isinstance(value, np.ndarray | float):
                np.testing.assert_allclose(value, alone[key], rtol=0, atol=1e-5)
            else:
                assert value == alone[key]


def test_the_longest_protein_fits_a_batch_of_any_budget() -> None:
    predictor = Predictor(tiny_model(), batch_tokens=1)
    assert predictor.batch_tokens == 2048
    assert ask(predictor, "perplexity", "M" * 2046)["scored_residues"] == 2046


def test_one_residue_too_many_is_refused_with_the_limit(predictor: Predictor) -> None:
    with pytest.raises(RequestError, match="2047 residues; the model takes at most 2046") as refusal:
        ask(predictor, "embed", "M" * 2047)
    assert refusal.value.status == 413


def test_a_model_that_gives_nan_is_not_served() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.decoder.bias[3] = float("inf")
    with pytest.raises(UnusableModelError, match="NaN or infinite"):
        Predictor(model).warm_up()


def test_every_task_has_a_name_and_refuses_what_it_does_not_know() -> None:
    assert list(TASKS) == ["embed", "logits", "fill_mask", "perplexity", "score_variants", "contacts"]
    with pytest.raises(RequestError, match="did you mean 'perplexity'"):
        read_task("perplexty", {})
    with pytest.raises(RequestError, match="did you mean 'normalize'") as refusal:
        read_task("embed", {"normalise": True})
    assert refusal.value.where == "parameters.normalise"
