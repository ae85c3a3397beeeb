"""Rules that watch a run: each breaks on the curve that it is for, and on no healthy one."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from amplify_lm import rules
from amplify_lm.config import ModelConfig
from amplify_lm.distributed import Processes
from amplify_lm.loss import MaskedLoss
from amplify_lm.model import Amplify
from amplify_lm.rules import LINES_RUNNING, RuleBrokenError, Watch
from amplify_lm.settings import RULE_THRESHOLDS, SettingsError, read_recipe

from tests.model.test_train import ONE, NoSignal, dataset, make_job, one_thread  # noqa: F401

import train  # isort: skip

LINES = 60
DEMO = read_recipe("demo", {"steps": 1000, "decay_steps": 1000, "warmup_steps": 50})


def line(number: int, **values: float) -> dict[str, float]:
    """Of a healthy run, with some values changed."""
    noise = random.Random(number).gauss(0, 0.005)
    healthy = {
        "step": number * 10,
        "steps": 1000,
        "train_loss": 2.6 + 0.4 * math.exp(-number / 20) + noise,
        "gradient_norm": 0.4 + noise,
        "input_wait": 0.05,
        "dead_layers": 0,
        "mfu": 0.4,
    }
    return healthy | values


def validation(number: int, loss: float, collapsed: float = 0.0) -> dict[str, float]:
    return {"step": number * 10, "validation_loss": loss, "validation_accuracy": 0.1, "collapsed_heads": collapsed}


HEALTHY = [line(number) for number in range(1, LINES)] + [validation(60, 2.7), validation(61, 2.69)]
SICK: dict[str, list[dict[str, float]]] = {
    "loss_not_falling": [line(number, train_loss=2.6 + number / 1000) for number in range(1, LINES)],
    "exploding_gradients": [line(number, gradient_norm=0.4 if number < 50 else 40.0) for number in range(1, LINES)],
    "vanishing_gradients": [line(number, gradient_norm=1e-7) for number in range(1, LINES)],
    "dead_layers": [line(number, dead_layers=1) for number in range(1, LINES)],
    "attention_collapse": [validation(number, 2.7, collapsed=0.8) for number in range(1, LINES)],
    "over_fitting": [validation(number, 2.5 + abs(number - 10) / 50) for number in range(1, LINES)],
    "input_starvation": [line(number, input_wait=0.7) for number in range(1, LINES)],
    "gpu_under_use": [line(number, mfu=0.02) for number in range(1, LINES)],
}


def told(curve: list[dict[str, float]], recipe: Any = DEMO, seen_before: int = 0) -> tuple[list[str], int]:
    """What a watch says of a curve line by line, and how many rules were broken at its end."""
    lines: list[str] = []
    watch = Watch(recipe, curve[:seen_before], lines.append)
    broken = [watch.judge(curve[:end]) for end in range(seen_before + 1, len(curve) + 1)]
    return lines, broken[-1]


def test_every_rule_has_its_sick_curve() -> None:
    assert set(SICK) == set(RULE_THRESHOLDS) == {rule.name for rule in rules.RULES}


def test_a_healthy_run_breaks_no_rule() -> None:
    assert told(HEALTHY) == ([], 0)


@pytest.mark.parametrize("name", SICK)
def test_a_sick_run_breaks_its_rule_once_and_no_other(name: str) -> None:
    lines, broken = told(SICK[name])
    assert [text.split(":")[0] for text in lines] == [f"[rule] {name}"]
    assert broken == 1


@pytest.mark.parametrize("name", SICK)
def test_a_rule_that_the_recipe_names_ends_the_run(name: str) -> None:
    recipe = read_recipe("demo", {"steps": 1000, "decay_steps": 1000, "stop_on": f"{name}"})
    with pytest.raises(RuleBrokenError, match=f"^{name}: .* wanted .* stop_on names this rule"):
        told(SICK[name], recipe)


def test_one_line_beyond_the_threshold_is_noise() -> None:
    curve = [line(number, gradient_norm=40.0 if number % 10 == 0 else 0.4) for number in range(1, LINES)]
    assert told(curve) == ([], 0)


def test_a_rule_that_holds_again_is_told_too() -> None:
    curve = [line(number, input_wait=0.7 if 10 < number < 20 else 0.1) for number in range(1, LINES)]
    lines, broken = told(curve)
    assert [text.split(":")[0] for text in lines] == ["[rule] input_starvation", "[rule] input_starvation holds again"]
    assert broken == 0


def test_after_the_decay_a_loss_need_not_fall() -> None:
    recipe = read_recipe("demo", {"steps": 1000, "decay_steps": 100, "warmup_steps": 50})
    assert told(SICK["loss_not_falling"], recipe) == ([], 0)


def test_a_resumed_run_neither_forgets_nor_repeats_what_was_broken() -> None:
    curve = SICK["dead_layers"]
    lines, broken = told(curve, seen_before=LINES_RUNNING + 5)
    assert (lines, broken) == ([], 1)
    lines, broken = told(curve, seen_before=LINES_RUNNING - 1)
    assert len(lines) == broken == 1


def test_an_unknown_rule_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"stop_on: unknown rule 'over_fiting' \(did you mean 'over_fitting'"):
        read_recipe("demo", {"stop_on": "dead_layers, over_fiting"})


# ---- what the model tells --------------------------------------------------------------------------------------------


def small() -> Amplify:
    torch.manual_seed(0)
    return Amplify(ModelConfig.named("small", num_hidden_layers=3, hidden_size=64, num_attention_heads=4))


def batch() -> Any:
    from amplify_lm.loss import LossBatch
    from amplify_lm.packing import pack

    packed = pack([torch.randint(6, 26, (length,)).numpy().astype("uint8") for length in (40, 25)])
    return LossBatch(packed, torch.arange(0, 60, 7), torch.randint(6, 26, (9,)))


def test_a_block_that_passes_nothing_on_is_dead() -> None:
    model, asked = small(), batch()
    MaskedLoss(model)(asked)[0].backward()
    assert rules.dead_layers(model) == 0
    model.zero_grad()
    with torch.no_grad():
        block = model.transformer_encoder[1]
        for weight in (block.attention_norm.weight, block.ffn_norm.weight, block.wo.weight, block.ffn.w3.weight):
            weight.zero_()
    MaskedLoss(model)(asked)[0].backward()
    assert rules.dead_layers(model) == 1


def test_heads_that_look_at_one_token_have_collapsed() -> None:
    model, asked = small(), batch()
    assert rules.collapsed_heads(model, asked) == 0
    with torch.no_grad():
        for block in model.transformer_encoder[:2]:
            block.qkv.weight[:128] *= 10_000  # of q and k: scores so large that the softmax takes one
    assert rules.collapsed_heads(model, asked) == pytest.approx(2 / 3)


# ---- in a run --------------------------------------------------------------------------------------------------------


def test_a_run_with_a_rate_of_nothing_is_stopped_by_the_rule_and_keeps_its_checkpoint(
    dataset: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    box = make_job(
        *(tmp_path / "job", dataset),
        steps=200,
        decay_steps=200,
        log_every=1,
        checkpoint_every=10,
        learning_rate=1e-8,
        stop_on="loss_not_falling",
        warmup_steps=1,
        min_loss_fall=0.01,
    )
    with pytest.raises(RuleBrokenError, match="loss_not_falling"):
        train.train(box, ONE, NoSignal())
    assert list(box.checkpoints.glob("step-*.safetensors"))
    assert "[rule] loss_not_falling: the last fifth" in capsys.readouterr().out


def test_what_is_watched_stands_in_every_line(
    dataset: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    box = make_job(tmp_path / "job", dataset, profile_steps=2)
    train.train(box, Processes(0, 1, torch.device("cpu")), NoSignal())
    curve = json.loads((box.model / "metrics.json").read_text())["curve"]
    for point in curve:
        assert point["rules_broken"] >= 0
        if "train_loss" in point:
            assert point["perplexity"] == pytest.approx(math.exp(point["train_loss"]))
            assert 0 <= point["train_accuracy"] <= 1
            assert 0 <= point["input_wait"] <= 1
            assert "mfu" not in point  # of a CPU nobody knows the best
        else:
            assert 0 <= point["collapsed_heads"] <= 1
    assert (box.output_data / "profile" / "trace.json.gz").stat().st_size > 1000
