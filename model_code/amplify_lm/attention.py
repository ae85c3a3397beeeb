"""Attention between the residues of a protein: one interface, the engine chosen once per forward pass.

Two layouts of a batch exist. *Padded*: [B, S, heads, head_dim], where a mask names the keys that are real. *Packed*:
[T, heads, head_dim], proteins one after the other, where `cu_seqlens` says where each begins; nothing is padding.

| layout | engine |
|---|---|
| padded | `scaled_dot_product_attention` with a key mask |
| packed, CUDA (Ampere or newer), half precision | `torch.nn.attention.varlen`: one kernel over all proteins |
| packed, elsewhere | `scaled_dot_product_attention` on each run of equally long proteins |

All give the same numbers (tests/model/test_attention.py, tests/gpu/). Rotary position embedding lives here as well.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

ROTARY_BASE = 10000.0


@dataclass(frozen=True, kw_only=True)
class Padded:
    """Which keys of a padded batch may be seen: `key_mask` [B, 1, 1, S], True at tokens; None where all may."""

    key_mask: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Where the proteins of a packed batch lie.

    `cu_seqlens` [n + 1] int32 for the one-kernel engine, `lengths` (n numbers) for the engine that goes by protein;
    whoever builds this fills in what the device's engine needs.
    """

    cu_seqlens: Tensor
    max_seqlen: int
    lengths: tuple[int, ...] | None


Layout = Padded | Packed


def attend(q: Tensor, k: Tensor, v: Tensor, layout: Layout, dropout: float = 0.0) -> Tensor:
    """softmax(q·kᵀ / √head_dim)·v within each protein; q, k, v and the result are [B, S, h, d] or [T, h, d]."""
    if isinstance(layout, Padded):
        return _attend_padded(q, k, v, layout.key_mask, dropout)
    if layout.lengths is None:
        return _attend_one_kernel(q, k, v, layout)
    return _attend_by_protein(q, k, v, layout.lengths, dropout)


def one_kernel_serves(q_dtype: torch.dtype, device: torch.device, head_dim: int, dropout: float) -> bool:
    """Whether torch's variable-length kernel takes a packed batch: half precision, no dropout, Ampere or newer."""
    return (
        device.type == "cuda"
        and q_dtype in (torch.float16, torch.bfloat16)
        and head_dim % 8 == 0
        and head_dim <= 256
        and dropout == 0.0
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


def _attend_padded(q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None, dropout: float) -> Tensor:
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=key_mask, dropout_p=dropout).transpose(1, 2)


def _attend_one_kernel(q: Tensor, k: Tensor, v: Tensor, layout: Packed) -> Tensor:
    # Imported late: the module needs a torch built for the device at hand.
    from torch.nn.attention.varlen import varlen_attn

    bounds, longest = layout.cu_seqlens, layout.max_seqlen
    result = varlen_attn(q, k, v, bounds, bounds, longest, longest)
    assert isinstance(result, Tensor)
    return result


def _attend_by_protein(q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...], dropout: float) -> Tensor:
    """Neighbours of equal length share one call: windows cut to one size, the usual training batch, are one run."""
    runs = [(length, sum(1 for _ in same)) for length, same in groupby(n for n in lengths if n)]
    # split, not slices: its backward pass is one concatenation instead of a full-size gradient for each protein.
    sizes = [length * count for length, count in runs]
    parts = zip(*(torch.split(x, sizes) for x in (q, k, v)), strict=True)
    outputs = []
    for (length, count), part in zip(runs, parts, strict=True):
        q_run, k_run, v_run = (x.view(count, length, *x.shape[1:]) for x in part)
        outputs.append(_attend_padded(q_run, k_run, v_run, None, dropout).flatten(0, 1))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


# ---- attention maps ----------------------------------------------------------------------------------------------


def attention_map(q: Tensor, k: Tensor, layout: Layout) -> Tensor | tuple[Tensor, ...]:
    """The weights themselves, softmax(q·kᵀ / √head_dim) after rotary.

    Padded: [B, h, S, S], zero at keys that are padding. Packed: one [h, L, L] for each protein. Costs L² memory.
    """
    if isinstance(layout, Packed):
        lengths = layout.lengths or tuple(layout.cu_seqlens.diff().tolist())
        pairs = zip(torch.split(q, list(lengths)), torch.split(k, list(lengths)), strict=True)
        return tuple(_map(one_q.transpose(0, 1), one_k.transpose(0, 1), None) for one_q, one_k in pairs)
    return _map(q.transpose(1, 2), k.transpose(1, 2), layout.key_mask)


def _map(q: Tensor, k: Tensor, key_mask: Tensor | None) -> Tensor:
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if key_mask is None:
        return scores.softmax(-1)
    # Zero where nothing may be seen: a row without a single token is 0/0 otherwise.
    return scores.masked_fill(~key_mask, float("-inf")).softmax(-1).masked_fill(~key_mask, 0.0)


# ---- rotary position embedding -----------------------------------------------------------------------------------


def rotary_table(head_dim: int, max_length: int) -> Tensor:
    """cos and sin of every position's angles, [max_length, head_dim/2, 2] float32 on the CPU (Su et al. 2021).

    Always made on the CPU, so that the numbers are the same wherever the model runs.
    """
    frequencies = 1.0 / ROTARY_BASE ** (torch.arange(0, head_dim, 2, device="cpu").float() / head_dim)
    angles = torch.outer(torch.arange(max_length, device="cpu").float(), frequencies)
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn each neighbouring pair (x0, x1), (x2, x3), … of x [..., n, h, d] by its position's angle, in float32.

    `table` [..., d/2, 2] is the rotary table at the positions of x, with the dimensions n and h left out.
    """
    at_rows = table.unsqueeze(-3).unsqueeze(-3)
    if torch.compiler.is_compiling():  # the compiler fuses real arithmetic and does not know complex numbers
        return _turn_real(x, at_rows)
    return _Rotation.apply(x, at_rows)  # type: ignore[no-untyped-call]


def _turn_real(x: Tensor, table: Tensor) -> Tensor:
    even, odd = x.float()[..., 0::2], x.float()[..., 1::2]
    cos, sin = table.unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).type_as(x)


class _Rotation(torch.autograd.Function):
    """The same as one complex multiplication each way; five times faster than autograd's on a CPU (docs/decisions)."""

    generate_vmap_rule = True  # with `setup_context`, this is what torch.func asks of a function

    @staticmethod
    def forward(x: Tensor, table: Tensor) -> Tensor:
        return _turn_complex(x, torch.view_as_complex(table))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], _output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (table,) = ctx.saved_tensors
        return _turn_complex(grads[0], torch.view_as_complex(table).conj()), None


def _turn_complex(x: Tensor, table: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * table).flatten(-2).type_as(x)
