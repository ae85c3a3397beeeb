"""The learning rate's course, and which weights decay."""

import pytest
import torch
from amplify_lm import optim
from amplify_lm.model import Amplify
from amplify_lm.settings import read_recipe

RECIPE = read_recipe("tiny", {"learning_rate": 1e-3, "warmup_steps": 1000, "decay_steps": 900_000, "steps": 1_000_000})


def rate(step: int) -> float:
    return optim.learning_rate(step, RECIPE)


def test_the_rate_rises_to_its_peak_falls_to_a_tenth_and_stays() -> None:
    assert rate(0) == pytest.approx(1e-6)
    assert rate(499) == pytest.approx(5e-4)
    assert rate(999) == rate(1000) == pytest.approx(1e-3)
    assert rate((900_000 + 1000) // 2) == pytest.approx(5.5e-4)
    assert rate(900_000) == rate(999_999) == pytest.approx(1e-4)


def test_without_a_warm_up_the_first_step_has_the_full_rate() -> None:
    assert optim.learning_rate(0, read_recipe("tiny", {"warmup_steps": 0})) == pytest.approx(0.01)


def test_matrices_decay_and_norms_and_biases_do_not() -> None:
    model = Amplify(RECIPE.model_config())
    groups = optim.adamw(model, RECIPE).param_groups
    decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert len(decays) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert decays[id(parameter)] == (0.0 if "norm" in name or "bias" in name else 0.01), name


def test_one_step_follows_the_published_update() -> None:
    """First step of AdamW: both moments are bias-corrected away, so each weight moves by lr·sign(g), after decay."""
    model = torch.nn.Linear(2, 1, bias=False)
    before = model.weight.detach().clone()
    optimizer = optim.adamw(model, RECIPE)
    optim.set_learning_rate(optimizer, 0.1)
    model(torch.tensor([[1.0, -2.0]])).sum().backward()
    optimizer.step()
    expected = before * (1 - 0.1 * 0.01) - 0.1 * torch.tensor([[1.0, -1.0]])
    torch.testing.assert_close(model.weight.detach(), expected, rtol=0, atol=1e-6)
