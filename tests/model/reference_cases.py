"""The cases in which our numbers are held against the authors' code: configurations, weights from a seed, inputs.

Read by make_reference.py, which runs the authors' code on them once, and by test_reference.py, which runs ours.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from amplify_lm.checkpoint import expected_shapes, from_published
from amplify_lm.config import ModelConfig
from amplify_lm.model import Amplify
from amplify_lm.tokenizer import PAD, encode

_SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_length": 64,
}

CASES: dict[str, ModelConfig] = {
    "published": ModelConfig(**_SMALL),
    "three_heads_of_16": ModelConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=3, intermediate_size=50, max_length=40
    ),
    "layer_norm_gelu_biases": ModelConfig(**_SMALL, rms_norm=False, hidden_act="GELU", att_bias=True, ffn_bias=True),
    "relu_norm_after_embedding": ModelConfig(**_SMALL, hidden_act="ReLU", layer_norm_after_embedding=True),
    "swiglu_biases_no_last_norm": ModelConfig(
        **_SMALL, att_bias=True, ffn_bias=True, layer_norm_after_embedding=True, layer_norm_before_last_layer=False
    ),
    "rms_norm_wide_eps": ModelConfig(**_SMALL, norm_eps=1e-2),
    "layer_norm_swiglu_wide_eps": ModelConfig(**_SMALL, rms_norm=False, layer_norm_after_embedding=True, norm_eps=1e-2),
}
# The authors' smallest size as it stands; only its logits are kept.
LARGE_CASE = "8M"
LARGE_CONFIG = ModelConfig.named("8M")

PROTEINS = ("MKTAYIAKQRQISFVKSH", "MA", "EVQLVESGG|DIQMTQ", "MXB")
IGNORED = -100


def weights(config: ModelConfig, seed: int = 20240923) -> dict[str, torch.Tensor]:
    """Published name → tensor, large enough that every part of the model tells in the output."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, shape in sorted(expected_shapes(config).items()):
        values = rng.random(shape) * 2 - 1
        if "norm" in name and name.endswith("weight"):
            values = 1 + 0.3 * values
        elif len(shape) == 2:
            values = values * (3 / shape[1]) ** 0.5 if name != "encoder.weight" else values * 1.5
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


def model(config: ModelConfig) -> Amplify:
    amplify = Amplify(config)
    amplify.load_state_dict(from_published(weights(config)))
    return amplify.eval()


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """input_ids [B, S], attention_mask [B, S] and labels [B, S] of PROTEINS; every third token is to be guessed."""
    rows = [encode(protein).astype(np.int64) for protein in PROTEINS]
    width = max(map(len, rows))
    input_ids = torch.from_numpy(np.stack([np.pad(row, (0, width - len(row)), constant_values=PAD) for row in rows]))
    mask = (input_ids != PAD).long()
    guessed = (torch.arange(width) % 3 == 1) & (mask == 1)
    return input_ids, mask, torch.where(guessed, input_ids, IGNORED)


def digest(state: dict[str, torch.Tensor]) -> npt.NDArray[np.float64]:
    """Sum and sum of squares over all weights: says whether two machines drew the same ones."""
    values = [tensor.double() for tensor in state.values()]
    return np.array([sum(v.sum().item() for v in values), sum((v * v).sum().item() for v in values)])
