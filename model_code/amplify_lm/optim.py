"""AdamW and its learning rate: the optimiser of AMPLIFY's pre-training, and its schedule as a function of the step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

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


class FiniteSteps:
    """Lets an optimiser take no step whose gradient is not finite, without waiting for the device to say so.

    The fused AdamW reads `found_inf` on the device and then changes neither weights nor moments; it is what GradScaler
    hands it: https://docs.pytorch.org/docs/stable/amp.html
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
        self._optimizer: Any = optimizer  # the two attributes are GradScaler's, and in no class's declaration
        self._skipped, self._in_a_row, self._most_in_a_row = (torch.zeros((), device=device) for _ in range(3))

    def step(self, gradient_norm: Tensor) -> Tensor:
        """Take the step where the norm of its gradient is finite; returns whether, 1.0 or 0.0, on the device."""
        finite = torch.isfinite(gradient_norm).float()
        self._optimizer.grad_scale, self._optimizer.found_inf = None, 1 - finite
        self._optimizer.step()
        self._skipped += 1 - finite
        self._in_a_row = (self._in_a_row + 1) * (1 - finite)
        self._most_in_a_row = torch.maximum(self._most_in_a_row, self._in_a_row)
        return finite

    def read(self) -> tuple[int, int]:
        """Steps skipped since this was last read, and the most of them one after the other. Waits for the device."""
        skipped, most = int(self._skipped), int(self._most_in_a_row)
        self._skipped.zero_()
        self._most_in_a_row.zero_()
        return skipped, most


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
