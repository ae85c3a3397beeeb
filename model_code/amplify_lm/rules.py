"""Rules that watch a training run, as SageMaker Debugger's did: what a person would see in the curves, said at once.

A rule is a function of the metric lines so far, so a resumed run goes on watching where it was, and anybody can judge
a finished run again from its `metrics.json`. It is broken when what it measures is beyond the recipe's threshold in
three lines running: one line alone is noise. A broken rule is told in the log, counted in `rules_broken` of the metric
lines (the stack's alarm reads that), and ends the run if the recipe's `stop_on` names it.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .loss import LossBatch, autocast
from .model import Amplify
from .settings import RULE_THRESHOLDS, Recipe

Point = Mapping[str, float]
Curve = Sequence[Point]

LINES_RUNNING = 3
LINES_LOOKED_BACK = 100
"""When a run is resumed."""
USUAL_LINES = 20
"""How many lines before one say what is usual."""
DEAD_SHARE = 1e-4
"""A layer is dead whose gradient is this much smaller than the median layer's."""
ONE_TOKEN_NATS = 0.1
"""A head has collapsed whose attention has less entropy than this, in nats: nearly all of it on one token each time.
Low entropy goes before a diverging loss (Zhai et al. 2023, https://arxiv.org/abs/2303.06296)."""


class RuleBrokenError(ValueError):
    """A rule that the recipe's `stop_on` names was broken."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`measure` gives what the last line of a curve shows, or None where it shows nothing of this."""

    name: str
    measure: Callable[[Curve, Recipe], float | None]
    says: str
    """To people; `{value}` and `{threshold}` are filled in."""

    def threshold(self, recipe: Recipe) -> float:
        return float(getattr(recipe, RULE_THRESHOLDS[self.name]))

    def breaks(self, value: float, recipe: Recipe) -> bool:
        """Whether one measurement is beyond the recipe's threshold."""
        threshold = self.threshold(recipe)
        return value > threshold if RULE_THRESHOLDS[self.name].startswith("max_") else value < threshold

    def text(self, value: float, recipe: Recipe) -> str:
        return f"{self.name}: {self.says.format(value=value, threshold=self.threshold(recipe))}"


# ---- what the rules measure ------------------------------------------------------------------------------------------


def _loss_fall(curve: Curve, recipe: Recipe) -> float | None:
    """By how much the last fifth of the losses is lower than the fifth before it; while the rate still changes."""
    losses = [point["train_loss"] for point in curve if "train_loss" in point]
    if "train_loss" not in curve[-1] or not recipe.warmup_steps < curve[-1]["step"] < recipe.decay_steps:
        return None
    fifth = max(len(losses) // 5, USUAL_LINES // 2)
    if len(losses) < 2 * fifth:
        return None
    return statistics.fmean(losses[-2 * fifth : -fifth]) - statistics.fmean(losses[-fifth:])


def _gradient_jump(curve: Curve, _recipe: Recipe) -> float | None:
    """How many times the usual norm the last one is."""
    if "gradient_norm" not in curve[-1]:
        return None
    norms = [point["gradient_norm"] for point in curve[:-1] if "gradient_norm" in point][-USUAL_LINES:]
    if len(norms) < USUAL_LINES // 2 or not (usual := statistics.median(norms)):
        return None
    return curve[-1]["gradient_norm"] / usual


def _overfit(curve: Curve, _recipe: Recipe) -> float | None:
    """By how much the last validation loss is above the lowest before it."""
    if "validation_loss" not in curve[-1]:
        return None
    before = [point["validation_loss"] for point in curve[:-1] if "validation_loss" in point]
    return curve[-1]["validation_loss"] - min(before) if before else None


def _last(key: str) -> Callable[[Curve, Recipe], float | None]:
    return lambda curve, _recipe: curve[-1].get(key)


RULES = (
    Rule(
        "loss_not_falling",
        _loss_fall,
        "the last fifth of the losses is {value:.4f} nats lower than the fifth before; wanted {threshold:g} at least",
    ),
    Rule(
        "exploding_gradients",
        _gradient_jump,
        "the gradient's norm is {value:.1f} times the usual; wanted {threshold:g} at most",
    ),
    Rule(
        "vanishing_gradients",
        _last("gradient_norm"),
        "the gradient's norm is {value:.2g}; wanted {threshold:g} at least",
    ),
    Rule(
        "dead_layers",
        _last("dead_layers"),
        "{value:.0f} layers have next to no gradient; wanted {threshold:g} at most",
    ),
    Rule(
        "attention_collapse",
        _last("collapsed_heads"),
        "{value:.0%} of the attention heads look at one token only; wanted {threshold:.0%} at most",
    ),
    Rule(
        "over_fitting",
        _overfit,
        "the validation loss is {value:.3f} nats above its lowest; wanted {threshold:g} at most",
    ),
    Rule(
        "input_starvation",
        _last("input_wait"),
        "{value:.0%} of the time goes into reading and packing; wanted {threshold:.0%} at most",
    ),
    Rule(
        "gpu_under_use",
        _last("mfu"),
        "the GPU does {value:.1%} of the arithmetic that it could; wanted {threshold:.1%} at least",
    ),
)


class Watch:
    """Judges a curve as it grows, and tells of a rule when it breaks and when it holds again."""

    def __init__(self, recipe: Recipe, curve: Curve, tell: Callable[[str], None]) -> None:
        """`curve`: of an interrupted run, what it had."""
        self._recipe, self._tell = recipe, tell
        self._last: dict[str, deque[bool]] = {rule.name: deque(maxlen=LINES_RUNNING) for rule in RULES}
        self._broken: set[str] = set()
        for end in range(max(1, len(curve) - LINES_LOOKED_BACK), len(curve) + 1):
            self._look(curve[:end])
        self._broken = {name for name, last in self._last.items() if _all_of(last)}

    def judge(self, curve: Curve) -> int:
        """Look at a curve's last line; returns how many rules are broken now.

        Raises RuleBrokenError for one that the run is to stop on.
        """
        for rule, value in self._look(curve):
            broken = _all_of(self._last[rule.name])
            if broken and rule.name not in self._broken:
                self._tell(f"[rule] {rule.text(value, self._recipe)}")
            elif not broken and rule.name in self._broken:
                self._tell(f"[rule] {rule.name} holds again")
            self._broken = self._broken | {rule.name} if broken else self._broken - {rule.name}
            if broken and rule.name in self._recipe.stop_on_rules:
                said = rule.text(value, self._recipe)
                raise RuleBrokenError(f"{said}, {LINES_RUNNING} lines running, and stop_on names this rule")
        return len(self._broken)

    def _look(self, curve: Curve) -> list[tuple[Rule, float]]:
        """What the last line shows, by rule; noted."""
        found = [(rule, value) for rule in RULES if (value := rule.measure(curve, self._recipe)) is not None]
        for rule, value in found:
            self._last[rule.name].append(rule.breaks(value, self._recipe))
        return found


def _all_of(last: deque[bool]) -> bool:
    return len(last) == LINES_RUNNING and all(last)


# ---- what only the model can tell ------------------------------------------------------------------------------------


def dead_layers(model: Amplify) -> int:
    """Blocks whose gradient is `DEAD_SHARE` of the median block's or less; call it while the gradients are there."""
    norms = []
    for block in model.transformer_encoder:
        gradients = [parameter.grad for parameter in block.parameters() if parameter.grad is not None]
        norms.append(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
    found = torch.stack(norms)
    return int((found <= DEAD_SHARE * found.median()).sum())


@torch.inference_mode()
def collapsed_heads(model: Amplify, batch: LossBatch) -> float:
    """Share of the attention heads whose mean entropy on these proteins is under `ONE_TOKEN_NATS`."""
    packed = batch.packed
    with torch.compiler.set_stance("force_eager"), autocast(packed.input_ids.device):
        encoded = model.encode(
            packed.input_ids,
            cu_seqlens=packed.cu_seqlens,
            position_ids=packed.position_ids,
            max_seqlen=packed.max_length,
            output_attentions=True,
        )
    assert encoded.attentions is not None
    entropies = torch.stack([_entropy_by_head(maps) for maps in encoded.attentions])
    return float((entropies < ONE_TOKEN_NATS).float().mean())


def _entropy_by_head(maps: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Mean over all tokens of the entropy of where they look, [heads], in nats."""
    sums = [torch.special.entr(one.float()).sum(-1) for one in maps]  # each [heads, L]
    return torch.cat(sums, dim=-1).mean(-1)
