"""The attention engines and the two forms of rotary embedding against each other."""

import pytest
import torch
from amplify_lm.attention import Packed, Padded, _turn_real, attend, attention_map, rotary_table, rotate
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

HEADS, HEAD_DIM = 2, 8


def random_qkv(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    q, k, v = torch.randn(3, tokens, HEADS, HEAD_DIM, generator=generator)
    return q, k, v


def packed(lengths: list[int]) -> Packed:
    bounds = torch.tensor([0, *lengths]).cumsum(0).int()
    return Packed(cu_seqlens=bounds, max_seqlen=max(lengths), lengths=tuple(lengths))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=12).filter(any))
def test_packed_attention_is_each_proteins_own_whatever_the_lengths(lengths: list[int]) -> None:
    q, k, v = random_qkv(sum(lengths))
    together = attend(q, k, v, packed(lengths))
    start = 0
    for length in filter(None, lengths):
        one = (x[None, start : start + length] for x in (q, k, v))
        alone = attend(*one, Padded(key_mask=None))[0]
        torch.testing.assert_close(together[start : start + length], alone, rtol=1e-5, atol=1e-6)
        start += length


def test_attention_is_the_map_times_the_values() -> None:
    q, k, v = (x[None] for x in random_qkv(7))
    mask = torch.tensor([1, 1, 1, 1, 1, 0, 0]).bool()[None, None, None, :]
    weights = attention_map(q, k, Padded(key_mask=mask))
    assert isinstance(weights, Tensor)
    assert weights[..., 5:].abs().max() == 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, HEADS, 7))
    mixed = (weights @ v.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(attend(q, k, v, Padded(key_mask=mask)), mixed, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_row_that_is_all_padding_has_maps_of_zeros_and_no_gradient(dtype: torch.dtype) -> None:
    q, k, _ = (x[None].repeat(2, 1, 1, 1).to(dtype).requires_grad_() for x in random_qkv(5))
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()[:, None, None, :]
    weights = attention_map(q, k, Padded(key_mask=mask))
    assert isinstance(weights, Tensor)
    torch.testing.assert_close(weights[0].sum(-1), torch.ones(HEADS, 5).to(dtype), rtol=1e-2, atol=0)
    assert weights[1].abs().max() == 0
    weights.float().pow(2).sum().backward()
    assert q.grad is not None
    assert q.grad[0].abs().max() > 0
    assert q.grad[1].abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_real_and_the_complex_rotation_agree_forwards_and_backwards(dtype: torch.dtype) -> None:
    table = rotary_table(HEAD_DIM, 50)
    x = torch.randn(50, 2, HEADS, HEAD_DIM).to(dtype).requires_grad_()
    upstream = torch.randn(50, 2, HEADS, HEAD_DIM).to(dtype)
    turned = rotate(x, table)
    (gradient,) = torch.autograd.grad(turned, x, upstream)
    real = _turn_real(x, table[:, None, None])
    (real_gradient,) = torch.autograd.grad(real, x, upstream)
    assert turned.dtype == gradient.dtype == dtype
    torch.testing.assert_close(turned, real)
    torch.testing.assert_close(gradient, real_gradient)


def test_the_rotation_is_known_to_torchs_transforms_of_functions() -> None:
    table = rotary_table(HEAD_DIM, 6)
    x, upstream = torch.randn(2, 3, 6, 2, HEADS, HEAD_DIM)

    def weighed(one: Tensor, weights: Tensor) -> Tensor:
        return (rotate(one, table) * weights).sum()

    gradients = torch.func.vmap(torch.func.grad(weighed))(x, upstream)
    x.requires_grad_()
    rotate(x, table).backward(upstream)
    torch.testing.assert_close(gradients, x.grad)


def test_rotation_turns_pairs_by_the_angle_of_their_position() -> None:
    x = torch.zeros(3, 1, 1, 4)
    x[..., 0] = 1.0  # the first pair is (1, 0), and turns by one radian for each position
    turned = rotate(x, rotary_table(4, 3)).squeeze()
    angles = torch.arange(3.0)
    torch.testing.assert_close(turned, torch.stack([angles.cos(), angles.sin(), 0 * angles, 0 * angles], dim=-1))


@given(st.integers(0, 400), st.integers(0, 400), st.integers(0, 100))
@settings(deadline=None, max_examples=25)
def test_scores_depend_on_the_distance_between_residues_only(first: int, second: int, shift: int) -> None:
    table = rotary_table(HEAD_DIM, 512)
    q, k, _ = random_qkv(1)

    def score(at_q: int, at_k: int) -> Tensor:
        return (rotate(q[:, None], table[[at_q]]) * rotate(k[:, None], table[[at_k]])).sum(-1)

    torch.testing.assert_close(score(first, second), score(first + shift, second + shift), rtol=1e-3, atol=1e-4)
