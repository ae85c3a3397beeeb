"""AdamW and its learning rate: the optimiser of AMPLIFY's pre-training, and its schedule as a function of the step."""

from __future__ import annotations

import math

import torch
from torch import nn

from .settings import Recipe


def learning_rate(step: int, recipe: Recipe) -> float:
    """The rate of step 0, 1, 2, …: a linear warm-up, half a cosine down to the final share, constant from there.

    The schedule of the paper's runs (peak after 1,000 steps, a tenth of it from step 900,000 on).
    """
    peak, final = recipe.learning_rate, recipe.learning_rate * recipe.final_learning_rate_share
    if step < recipe.warmup_steps:
        return peak * (step + 1) / recipe.warmup_steps
    progress = min(1.0, (step - recipe.warmup_steps) / (recipe.decay_steps - recipe.warmup_steps))
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * progress))


def adamw(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Fused AdamW; weight decay for matrices, none for norms and biases."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), eps=recipe.epsilon, fused=True
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
