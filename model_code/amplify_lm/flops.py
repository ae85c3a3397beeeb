"""How much arithmetic training takes, and what share of a GPU's best it is (model FLOPs utilisation, MFU).

Only what the model needs is counted: no recomputation, no padding, the decoder on masked rows alone (Chowdhery et al.
2022, appendix B: https://arxiv.org/abs/2204.02311).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .config import ModelConfig

# Dense BF16 products a second, in 1e12, by a part of the device's name; NVIDIA's data sheets, without sparsity. The
# order matters: the first that fits is taken.
BF16_PEAKS = (
    ("GB200", 2500.0),
    ("B200", 2250.0),
    ("H200", 989.5),
    ("H100 PCIe", 756.0),
    ("H100 NVL", 835.0),
    ("H100", 989.5),
    ("A100", 312.0),
    ("L40S", 362.05),
    ("A10G", 70.0),
    ("L4", 121.0),
)


def peak_flops(device: torch.device) -> float | None:
    """Of this device in BF16, in FLOP/s; None for one that the table does not know, such as a CPU."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak * 1e12 for part, peak in BF16_PEAKS if part in name), None)


def training_flops(config: ModelConfig, lengths: NDArray[np.integer], masked: float) -> float:
    """Of forward and backward over windows of these lengths in tokens, `masked` residues of which are decoded.

    A product of matrices with N weights takes 2·N operations a token forward and twice that backward. Attention within
    a window of L tokens takes 4·L²·hidden in each layer forward: q·kᵀ and the sum over v.
    """
    layer = 4 * config.hidden_size**2 + _matrices(config) * config.hidden_size * config.ffn_width
    tokens, pairs = float(lengths.sum()), float((lengths.astype(np.float64) ** 2).sum())
    forward = config.num_hidden_layers * (2 * layer * tokens + 4 * config.hidden_size * pairs)
    forward += 2 * config.hidden_size * config.vocab_size * masked
    return 3 * forward


def _matrices(config: ModelConfig) -> int:
    return 3 if config.hidden_act == "SwiGLU" else 2
