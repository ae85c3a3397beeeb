"""Contacts, held against the formulas worked out entry by entry on the model's own attention maps."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from amplify_lm.contacts import ContactReader
from amplify_lm.predict import Predictor
from amplify_lm.request_errors import RequestError
from amplify_lm.tokenizer import encode

from tests.model.server_process import MODEL_CODE
from tests.model.serving_model import PROTEIN, ask, tiny_model


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(tiny_model())


def contacts_by_hand(predictor: Predictor, sequence: str) -> np.ndarray:
    """[blocks, heads, L, L] from the model's own attention maps of one protein, entry by entry as the formulas say."""
    ids = torch.from_numpy(encode(sequence))[None]
    with torch.no_grad():
        attentions = predictor.model(ids, output_attentions=True).attentions
    assert attentions is not None
    kept = [i for i, letter in enumerate(sequence) if letter != "|"]
    maps = []
    for block in attentions:
        for head in block[0].double().numpy():
            inside = head[1:-1, 1:-1][np.ix_(kept, kept)]
            symmetric = inside + inside.T
            row, column, total = symmetric.sum(1), symmetric.sum(0), symmetric.sum()
            corrected = np.full((len(sequence), len(sequence)), np.nan)
            for a, i in enumerate(kept):
                for b, j in enumerate(kept):
                    corrected[i, j] = symmetric[a, b] - row[a] * column[b] / total
            maps.append(corrected)
    return np.array(maps).reshape(len(attentions), -1, len(sequence), len(sequence))


@pytest.mark.parametrize("sequence", [PROTEIN, "MKTAY|IAKQR|QI", "MX"])
@pytest.mark.parametrize(("layer", "blocks"), [("all", [0, 1, 2]), (-1, [2]), ([3, 1], [2, 0])])
def test_contacts_are_attention_maps_symmetrised_and_corrected(
    predictor: Predictor, sequence: str, layer: Any, blocks: list[int]
) -> None:
    by_hand = contacts_by_hand(predictor, sequence)[blocks]
    each = ask(predictor, "contacts", sequence, layer=layer, maps="each")["contacts"]
    np.testing.assert_allclose(each, by_hand, atol=1e-5)
    mean = ask(predictor, "contacts", sequence, layer=layer)["contacts"]
    np.testing.assert_allclose(mean, by_hand.mean((0, 1)), atol=1e-5)
    np.testing.assert_allclose(mean, mean.T, atol=1e-6)


def test_a_head_that_looks_four_residues_ahead_gives_the_contacts_of_a_helix() -> None:
    reader = ContactReader(np.ones(12, dtype=bool), (1,), each=False)
    keys = torch.eye(14) * 14**0.25 * 60**0.5
    queries = torch.cat((keys[4:], keys[-1:].expand(4, -1)))  # the last ones look at <eos>
    reader.read(1, queries[:, None], keys[:, None])
    contacts = reader.result().numpy()
    found = {(int(i), int(j)) for i, j in zip(*np.where(contacts > 0.5), strict=True)}
    assert found == {pair for i in range(8) for pair in ((i, i + 4), (i + 4, i))}


def test_a_protein_without_a_pair_of_residues_has_no_contacts(predictor: Predictor) -> None:
    with pytest.raises(RequestError, match="no contacts") as refusal:
        ask(predictor, "contacts", "M")
    assert refusal.value.code == "nothing_to_score"


def test_contacts_of_a_long_protein_never_hold_all_maps_at_once() -> None:
    """64 maps of 16 MB each would be a gigabyte."""
    program = """
import resource, torch
from amplify_lm.config import ModelConfig
from amplify_lm.model import Amplify
from amplify_lm.predict import Predictor
from amplify_lm.tasks import read_protein, read_task
config = ModelConfig(hidden_size=64, num_hidden_layers=8, num_attention_heads=8, intermediate_size=64)
predictor = Predictor(Amplify(config))
predictor.warm_up()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
protein = read_protein("MK" * 1023, "here", masks=False, max_residues=2046)
[contacts] = predictor.run(list(read_task("contacts", {}).plan(protein, predictor).work.passes))
assert contacts.shape == (2046, 2046)
print(peak() - before)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=MODEL_CODE, check=True, capture_output=True, text=True, timeout=120
    )
    assert float(ended.stdout) < 300
