"""The arithmetic of training, counted by torch's own counter."""

import numpy as np
import pytest
import torch
from amplify_lm import flops
from amplify_lm.config import ModelConfig
from amplify_lm.model import Amplify
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@pytest.mark.parametrize("act", ["SwiGLU", "GELU"])
@pytest.mark.parametrize("length", [16, 400])
def test_the_formula_counts_what_torch_counts(act: str, length: int) -> None:
    config = ModelConfig.named("small", hidden_act=act)
    model = Amplify(config)
    # The counter knows products of matrices; of the fused kernel on a CPU it knows nothing.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model(torch.randint(6, 26, (2, length)))
    every_row_decoded = 2 * length
    counted = flops.training_flops(config, np.array([length, length]), every_row_decoded)
    assert counted == pytest.approx(3 * counter.get_total_flops(), rel=1e-6)


def test_nobody_knows_the_best_of_a_cpu() -> None:
    assert flops.peak_flops(torch.device("cpu")) is None
