"""AMPLIFY: a bidirectional transformer over the residues of proteins (Fournier et al. 2024), in plain PyTorch.

Names of modules are those of the published checkpoints, except that the three projections q, k, v of a block are one
matrix `qkv` here (checkpoint.py converts). The mathematics, in the paper's order:

    x += wo(attention(attention_norm(x)))          rotary on q and k, no mask but the proteins' own bounds
    x += w3(silu(gate) * up),  gate, up = w12(ffn_norm(x))
    logits = decoder(layer_norm_2(x))

Shapes: B proteins padded to S tokens, or n proteins packed into T tokens; H hidden_size; V 27 tokens.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint as recompute

from .attention import Layout, Packed, Padded, attend, attention_map, one_kernel_serves, rotary_table, rotate
from .config import ModelConfig

AttentionMaps = Tensor | tuple[Tensor, ...]


class Encoded(NamedTuple):
    """`rows`: the last block's output, [B, S, H] or [T, H], before `layer_norm_2`; the others only when asked for.

    `hidden_states` holds the output of each block (the last one is `rows`), `attentions` the map of each block:
    [B, heads, S, S], or for packed input one [heads, L, L] for each protein.
    """

    rows: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[AttentionMaps, ...] | None


class ModelOutput(NamedTuple):
    """`logits` [B, S, V] or [T, V]; the other two as in `Encoded`."""

    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[AttentionMaps, ...] | None


class RMSNorm(nn.Module):
    """x / √(mean(x²) + eps) in float32, cast back to x's type, then times the weight (Zhang & Sennrich 2019)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, eps=self.eps) * self.weight  # float32 inside, whatever x is


class SwiGLU(nn.Module):
    """w3(silu(gate) * up), gate and up being the two halves of w12(x) (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.w12 = nn.Linear(config.hidden_size, 2 * config.ffn_width, bias=config.ffn_bias)
        self.w3 = nn.Linear(config.ffn_width, config.hidden_size, bias=config.ffn_bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * up)


def _feed_forward(config: ModelConfig) -> nn.Module:
    if config.hidden_act == "SwiGLU":
        return SwiGLU(config)
    return nn.Sequential(
        nn.Linear(config.hidden_size, config.ffn_width, bias=config.ffn_bias),
        nn.ReLU() if config.hidden_act == "ReLU" else nn.GELU(),
        nn.Linear(config.ffn_width, config.hidden_size, bias=config.ffn_bias),
    )


def _norm(config: ModelConfig) -> nn.Module:
    if config.rms_norm:
        return RMSNorm(config.hidden_size, config.norm_eps)
    return nn.LayerNorm(config.hidden_size, config.norm_eps)


class Block(nn.Module):
    """One pre-norm layer: attention, then the feed-forward network, each added to what came in."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.dropout_prob = config.dropout_prob
        self.attention_norm = _norm(config)
        self.build_projections(config)
        self.wo = nn.Linear(width, width, bias=config.att_bias)
        self.ffn_norm = _norm(config)
        self.ffn = _feed_forward(config)

    def build_projections(self, config: ModelConfig) -> None:
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.att_bias)

    def project(self, x: Tensor) -> Tensor:
        """q, k and v of all heads as one tensor, [..., 3·H]."""
        return self.qkv(x)

    def forward(
        self,
        x: Tensor,
        layout: Layout,
        table: Tensor,
        output_attentions: bool = False,
        watch: Callable[[Tensor, Tensor], None] | None = None,
    ) -> tuple[Tensor, AttentionMaps | None]:
        dropout = self.dropout_prob if self.training else 0.0
        qkv = self.project(self.attention_norm(x)).view(*x.shape[:-1], 3, self.heads, -1)
        qk, v = torch.split(qkv, [2, 1], dim=-3)
        q, k = rotate(qk, table).unbind(-3)
        if watch is not None:
            watch(q, k)
        attended = attend(q, k, v.squeeze(-3), layout, dropout).flatten(-2)
        x = x + F.dropout(self.wo(attended), dropout, self.training)
        x = x + F.dropout(self.ffn(self.ffn_norm(x)), dropout, self.training)
        return x, attention_map(q, k, layout) if output_attentions else None


class Trunk(nn.Module):
    """The model's modules and their forward pass, without a constructor of its own.

    `Amplify` below is the model; `amplify_lm.hf` puts the same trunk into Hugging Face's base class.
    """

    shape: ModelConfig
    gradient_checkpointing = False  # True: a third more arithmetic for the memory of the blocks' insides, in training
    _table: Tensor | None = None

    def build(self, shape: ModelConfig, block: Callable[[ModelConfig], nn.Module]) -> None:
        """Make the modules below the decoder; `block` makes one layer."""
        self.shape = shape
        self.encoder = nn.Embedding(shape.vocab_size, shape.hidden_size, padding_idx=shape.pad_token_id)
        self.layer_norm_1 = _norm(shape) if shape.layer_norm_after_embedding else nn.Identity()
        self.transformer_encoder = nn.ModuleList(block(shape) for _ in range(shape.num_hidden_layers))

    def build_decoder(self) -> None:
        shape = self.shape
        self.layer_norm_2 = _norm(shape) if shape.layer_norm_before_last_layer else nn.Identity()
        self.decoder = nn.Linear(shape.hidden_size, shape.vocab_size)

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        max_seqlen: int | None = None,
        watch: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> Encoded:
        """Run the blocks.

        Padded: `input_ids` [B, S] and, where proteins differ in length, `attention_mask` [B, S], 1 or True at tokens
        and 0 at padding. Packed: `input_ids` [T] and `cu_seqlens` [n + 1], the proteins' bounds from 0 to T.
        `position_ids` has the shape of `input_ids`; left out, each protein counts from 0. `max_seqlen`, the longest
        packed protein, spares a wait for the GPU where it is known. `watch` is called in each block with its number
        from 1, and q and k after rotary, [B, S, heads, head_dim] or [T, heads, head_dim]: what attention maps are made
        of, for whoever cannot hold them all.

        Raises ValueError for shapes and values that do not fit, and for proteins longer than the configuration's
        max_length. What lies on a GPU is believed where to look would be to wait for it: the values of `position_ids`,
        and of `cu_seqlens` where `max_seqlen` is given.
        """
        layout, positions = self._lay_out(input_ids, attention_mask, cu_seqlens, position_ids, max_seqlen)
        table = self._rotary_table(input_ids.device)
        table = table[: input_ids.shape[1]] if positions is None else table[positions]
        x = self.layer_norm_1(self.encoder(input_ids.long()))
        hidden_states: list[Tensor] = []
        attentions: list[AttentionMaps] = []
        for number, block in enumerate(self.transformer_encoder, start=1):
            seen = None if watch is None else partial(watch, number)
            if self.gradient_checkpointing and self.training:
                x, attention = recompute(block, x, layout, table, output_attentions, seen, use_reentrant=False)
            else:
                x, attention = block(x, layout, table, output_attentions, seen)
            if output_hidden_states:
                hidden_states.append(x)
            if attention is not None:
                attentions.append(attention)
        return Encoded(
            x,
            tuple(hidden_states) if output_hidden_states else None,
            tuple(attentions) if output_attentions else None,
        )

    def decode(self, rows: Tensor) -> Tensor:
        """Logits [..., V] of rows [..., H] of `encode`; training decodes the masked rows only."""
        return self.decoder(self.layer_norm_2(rows))

    def _rotary_table(self, device: torch.device) -> Tensor:
        # Neither parameter nor buffer: it is never saved, never cast to half precision, and survives a model that was
        # built on the meta device. Made outside inference mode, or a later training step could not use it.
        if self._table is None or self._table.device != device:
            with torch.inference_mode(False):
                self._table = rotary_table(self.shape.head_dim, self.shape.max_length).to(device)
        return self._table

    def _lay_out(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        cu_seqlens: Tensor | None,
        position_ids: Tensor | None,
        max_seqlen: int | None,
    ) -> tuple[Layout, Tensor | None]:
        """Check the input; say which tokens see each other and where each stands (None: 0, 1, 2, …)."""
        if input_ids.numel() == 0:
            raise ValueError(f"input_ids {_shape(input_ids)}: wanted one token at least")
        if position_ids is not None:
            self._check_positions(position_ids, input_ids)
        if cu_seqlens is None:
            if input_ids.ndim != 2:
                raise ValueError(
                    f"input_ids {_shape(input_ids)}: wanted [proteins, tokens], or [tokens] with cu_seqlens"
                )
            if attention_mask is not None and attention_mask.shape != input_ids.shape:
                raise ValueError(
                    f"attention_mask {_shape(attention_mask)}: wanted the shape of input_ids, {_shape(input_ids)}"
                )
            if attention_mask is not None and attention_mask.is_floating_point() and bool((attention_mask < 0).any()):
                raise ValueError(
                    "attention_mask holds negative numbers: wanted 1 at tokens and 0 at padding, not added"
                )
            self._check_length(input_ids.shape[1])
            key_mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
            return Padded(key_mask=key_mask), position_ids
        if attention_mask is not None:
            raise ValueError("attention_mask and cu_seqlens given: a packed batch has no padding to mask")
        layout = self._packed(input_ids, cu_seqlens, max_seqlen)
        self._check_length(layout.max_seqlen)
        if position_ids is None:
            lengths = layout.cu_seqlens.diff()
            starts = layout.cu_seqlens[:-1].repeat_interleave(lengths, output_size=len(input_ids))
            position_ids = torch.arange(len(input_ids), device=input_ids.device) - starts
        return layout, position_ids

    def _packed(self, input_ids: Tensor, cu_seqlens: Tensor, max_seqlen: int | None) -> Packed:
        if input_ids.ndim != 1 or cu_seqlens.ndim != 1 or len(cu_seqlens) < 2:
            raise ValueError(
                f"input_ids {_shape(input_ids)} with cu_seqlens {_shape(cu_seqlens)}: wanted [tokens], [proteins + 1]"
            )
        device = input_ids.device
        bounds = cu_seqlens.to(device=device, dtype=torch.int32)
        dropout = self.shape.dropout_prob if self.training else 0.0
        one_kernel = one_kernel_serves(self._compute_dtype(device), device, self.shape.head_dim, dropout)
        if one_kernel and max_seqlen:
            return Packed(cu_seqlens=bounds, max_seqlen=max_seqlen, lengths=None)
        listed = cu_seqlens.tolist()
        lengths = tuple(after - before for before, after in pairwise(listed))
        if listed[0] != 0 or listed[-1] != len(input_ids) or min(lengths) < 0:
            raise ValueError(f"cu_seqlens must rise from 0 to {len(input_ids)}, the number of tokens; it is {listed}")
        return Packed(cu_seqlens=bounds, max_seqlen=max(lengths), lengths=None if one_kernel else lengths)

    def _compute_dtype(self, device: torch.device) -> torch.dtype:
        if torch.is_autocast_enabled(device.type):
            return torch.get_autocast_dtype(device.type)
        return self.encoder.weight.dtype

    def _check_positions(self, position_ids: Tensor, input_ids: Tensor) -> None:
        if position_ids.shape != input_ids.shape:
            raise ValueError(f"position_ids {_shape(position_ids)}: wanted the shape of input_ids, {_shape(input_ids)}")
        if position_ids.device.type != "cpu" or torch.compiler.is_compiling():
            return
        first, last = position_ids.min().item(), position_ids.max().item()
        if first < 0 or last >= self.shape.max_length:
            raise ValueError(f"position_ids from {first} to {last}: wanted 0 to {self.shape.max_length - 1}")

    def _check_length(self, tokens: int) -> None:
        if tokens > self.shape.max_length:
            raise ValueError(
                f"a protein of {tokens} tokens (<bos> and <eos> included): the model takes {self.shape.max_length}"
            )


class Amplify(Trunk):
    """The model with its decoder, freshly initialised: U(-range, range) for matrices, 0 for biases, 1 for norms."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.build(config, Block)
        self.build_decoder()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.uniform_(module.weight, -self.config.embedding_init_range, self.config.embedding_init_range)
            elif isinstance(module, nn.Linear):
                nn.init.uniform_(module.weight, -self.config.decoder_init_range, self.config.decoder_init_range)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cu_seqlens: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        max_seqlen: int | None = None,
    ) -> ModelOutput:
        """Logits of every token: [B, S, V] of a padded batch, [T, V] of a packed one; V is 27.

        Padded: `input_ids` [B, S] and `attention_mask` [B, S], 1 or True at tokens and 0 at padding; left out, all are
        tokens. Packed: `input_ids` [T] and `cu_seqlens` [n + 1], the bounds of n proteins from 0 to T. `position_ids`
        has the shape of `input_ids`. On demand `hidden_states`, one [B, S, H] or [T, H] for each block, and
        `attentions`, for each block [B, heads, S, S] or one [heads, L, L] for each packed protein. More, and the
        errors raised, at `encode`.
        """
        encoded = self.encode(
            input_ids, attention_mask, cu_seqlens, position_ids, output_hidden_states, output_attentions, max_seqlen
        )
        return ModelOutput(self.decode(encoded.rows), encoded.hidden_states, encoded.attentions)


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))
