"""Our numbers against the authors' own, computed once by make_reference.py: within 1e-5 in float32."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from amplify_lm.checkpoint import to_published
from amplify_lm.model import Amplify
from torch import Tensor
from torch.nn import functional as F

from tests.model import reference_cases as cases

DATA = Path(__file__).parent / "data"
TOLERANCE = 1e-5


def stored(name: str) -> dict[str, Tensor]:
    with np.load(DATA / f"reference_{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def assert_equal(ours: Tensor, theirs: Tensor) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max().item() <= TOLERANCE * max(1.0, theirs.abs().max().item())


def pack(input_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    cu_seqlens = torch.cat([torch.zeros(1, dtype=torch.long), mask.sum(1).cumsum(0)])
    return input_ids[mask.bool()], cu_seqlens


@pytest.fixture(params=list(cases.CASES))
def case(request: pytest.FixtureRequest) -> tuple[Amplify, dict[str, Tensor]]:
    config = cases.CASES[request.param]
    reference = stored(request.param)
    assert np.allclose(cases.digest(cases.weights(config)), reference["digest"]), "this numpy draws other weights"
    return cases.model(config), reference


def test_padded_input_gives_the_authors_logits_hidden_states_and_maps(case: tuple[Amplify, dict[str, Tensor]]) -> None:
    model, reference = case
    input_ids, mask, _ = cases.batch()
    with torch.no_grad():
        output = model(input_ids, mask, output_hidden_states=True, output_attentions=True)
    assert output.hidden_states is not None
    assert output.attentions is not None
    assert_equal(output.logits, reference["logits"])
    assert_equal(torch.stack(output.hidden_states), reference["hidden_states"])
    assert_equal(torch.stack([m for m in output.attentions if isinstance(m, Tensor)]), reference["attentions"])


def test_packed_input_gives_the_authors_logits_hidden_states_and_maps(case: tuple[Amplify, dict[str, Tensor]]) -> None:
    model, reference = case
    input_ids, mask, _ = cases.batch()
    tokens, cu_seqlens = pack(input_ids, mask)
    with torch.no_grad():
        output = model(tokens, cu_seqlens=cu_seqlens, output_hidden_states=True, output_attentions=True)
    assert output.hidden_states is not None
    assert output.attentions is not None
    assert_equal(output.logits, reference["logits"][mask.bool()])
    assert_equal(torch.stack(output.hidden_states), reference["hidden_states"][:, mask.bool()])
    for layer, maps in enumerate(output.attentions):
        for protein, length in enumerate(mask.sum(1).tolist()):
            assert_equal(maps[protein], reference["attentions"][layer, protein, :, :length, :length])


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
def test_loss_and_every_gradient_are_the_authors(case: tuple[Amplify, dict[str, Tensor]], packed: bool) -> None:
    model, reference = case
    input_ids, mask, labels = cases.batch()
    keywords: dict[str, Any] = {"attention_mask": mask}
    if packed:
        labels = labels[mask.bool()]
        input_ids, bounds = pack(input_ids, mask)
        keywords = {"cu_seqlens": bounds}
    guessed = labels != cases.IGNORED
    rows = model.train().encode(input_ids, **keywords).rows
    loss = F.cross_entropy(model.decode(rows[guessed]), labels[guessed])
    loss.backward()
    assert_equal(loss.detach(), reference["loss"])
    gradients = to_published({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    wanted = {key.removeprefix("gradient/"): value for key, value in reference.items() if key.startswith("gradient/")}
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        assert_equal(gradient, wanted[name])


def test_the_authors_smallest_size_gives_their_logits() -> None:
    reference = stored(cases.LARGE_CASE)
    assert np.allclose(cases.digest(cases.weights(cases.LARGE_CONFIG)), reference["digest"])
    with torch.no_grad():
        assert_equal(cases.model(cases.LARGE_CONFIG)(cases.batch()[0][:1]).logits, reference["logits"])
