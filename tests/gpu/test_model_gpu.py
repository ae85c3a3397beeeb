"""The model on a GPU: engines that must agree, half precision, compilation, memory, and no waiting in a step."""

import copy

import pytest
import torch
from amplify_lm.attention import Packed, attend, one_kernel_serves
from amplify_lm.config import ModelConfig
from amplify_lm.model import Amplify
from torch import Tensor

CUDA = torch.device("cuda")
HAS_CUDA = torch.cuda.is_available()
HAS_AMPERE = HAS_CUDA and torch.cuda.get_device_capability() >= (8, 0)

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device on this machine")]
needs_ampere = pytest.mark.skipif(
    HAS_CUDA and not HAS_AMPERE, reason="the variable-length kernel needs compute capability 8.0 (Ampere) or newer"
)

LENGTHS = (37, 512, 3, 200, 200, 64, 1024, 1)
SMALL = ModelConfig(hidden_size=320, num_hidden_layers=4, num_attention_heads=5, intermediate_size=1280)
# Half precision rounds each of many steps; against float32 the whole output stays within this share of its norm.
HALF_PRECISION_BOUND = 0.03


def packed_batch(lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, 27, (sum(lengths),), generator=generator)
    return tokens.to(CUDA), torch.tensor([0, *lengths]).cumsum(0).int().to(CUDA)


def padded_batch(lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor]:
    tokens, _ = packed_batch(lengths)
    input_ids = torch.nn.utils.rnn.pad_sequence(list(tokens.split(lengths)), batch_first=True)
    return input_ids, torch.arange(max(lengths), device=CUDA) < torch.tensor(lengths, device=CUDA)[:, None]


@pytest.fixture(scope="module")
def model() -> Amplify:
    """Weights five times the published initialisation, so that attention is far from uniform."""
    torch.manual_seed(0)
    model = Amplify(SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter *= 5
    return model.to(CUDA).eval()


def relative(found: Tensor, wanted: Tensor) -> float:
    return ((found.float() - wanted.float()).norm() / wanted.float().norm()).item()


@needs_ampere
@pytest.mark.parametrize("head_dim", [8, 16, 24, 32, 64, 128])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_one_kernel_engine_agrees_with_going_by_protein(head_dim: int, dtype: torch.dtype) -> None:
    assert one_kernel_serves(dtype, CUDA, head_dim, dropout=0.0)
    torch.manual_seed(0)
    q, k, v = torch.randn(3, sum(LENGTHS), 4, head_dim, device=CUDA, dtype=dtype).requires_grad_().unbind(0)
    upstream = torch.randn(sum(LENGTHS), 4, head_dim, device=CUDA, dtype=dtype)
    bounds = packed_batch()[1]
    results = []
    for lengths in (None, LENGTHS):
        output = attend(q, k, v, Packed(cu_seqlens=bounds, max_seqlen=max(LENGTHS), lengths=lengths))
        results.append((output, *torch.autograd.grad(output, (q, k, v), upstream)))
    for one_kernel, by_protein in zip(*results, strict=True):
        assert relative(one_kernel, by_protein) < 0.01


def test_float32_on_the_gpu_is_float32_on_the_cpu(model: Amplify) -> None:
    tokens, bounds = packed_batch()
    with torch.no_grad():
        on_cpu = copy.deepcopy(model).cpu()(tokens.cpu(), cu_seqlens=bounds.cpu()).logits
        on_gpu = model(tokens, cu_seqlens=bounds).logits.cpu()
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, HALF_PRECISION_BOUND)])
def test_packed_is_padded_is_single(model: Amplify, dtype: torch.dtype, bound: float) -> None:
    model = copy.deepcopy(model).to(dtype)
    tokens, bounds = packed_batch()
    input_ids, mask = padded_batch()
    with torch.no_grad():
        packed = model(tokens, cu_seqlens=bounds).logits
        padded = model(input_ids, mask).logits[mask]
        singles = torch.cat([model(protein[None]).logits[0] for protein in tokens.split(LENGTHS)])
    assert relative(packed, singles) < bound
    assert relative(padded, singles) < bound


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_bfloat16_stays_within_the_bound_of_float32(model: Amplify, how: str) -> None:
    tokens, bounds = packed_batch()
    with torch.no_grad():
        exact = model(tokens, cu_seqlens=bounds).logits
        if how == "weights":
            rough = copy.deepcopy(model).to(torch.bfloat16)(tokens, cu_seqlens=bounds).logits
        else:
            with torch.autocast("cuda", torch.bfloat16):
                rough = model(tokens, cu_seqlens=bounds).logits
    assert rough.dtype == torch.bfloat16
    assert relative(rough, exact) < HALF_PRECISION_BOUND


def gradients(model: Amplify, dtype: torch.dtype | None) -> dict[str, Tensor]:
    model = copy.deepcopy(model).train()
    tokens, bounds = packed_batch()
    with torch.autocast("cuda", dtype or torch.bfloat16, enabled=dtype is not None):
        rows = model.encode(tokens, cu_seqlens=bounds, max_seqlen=max(LENGTHS)).rows
        loss = torch.nn.functional.cross_entropy(model.decode(rows[::7]).float(), tokens[::7])
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_gradients_under_autocast_point_where_float32s_do(model: Amplify) -> None:
    exact, rough = gradients(model, None), gradients(model, torch.bfloat16)
    assert exact.keys() == rough.keys()
    for name, wanted in exact.items():
        cosine = torch.nn.functional.cosine_similarity(rough[name].flatten(), wanted.flatten(), dim=0).item()
        assert cosine > 0.98, name


@needs_ampere
def test_a_packed_step_never_waits_for_the_gpu(model: Amplify) -> None:
    tokens, bounds = packed_batch()
    half = copy.deepcopy(model).to(torch.bfloat16)
    half(tokens, cu_seqlens=bounds, max_seqlen=max(LENGTHS))  # makes the rotary table
    torch.cuda.set_sync_debug_mode("error")
    try:
        half(tokens, cu_seqlens=bounds, max_seqlen=max(LENGTHS)).logits.sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_ampere
@pytest.mark.parametrize("layout", ["packed", "padded"])
def test_a_compiled_model_gives_the_same_numbers(model: Amplify, layout: str) -> None:
    half = copy.deepcopy(model).to(torch.bfloat16)
    compiled = torch.compile(half, fullgraph=True, dynamic=True)
    for lengths in (LENGTHS, LENGTHS[::-1], (300, 12, 700)):
        with torch.no_grad():
            if layout == "packed":
                tokens, bounds = packed_batch(lengths)
                found = compiled(tokens, cu_seqlens=bounds, max_seqlen=max(lengths)).logits
                wanted = model(tokens, cu_seqlens=bounds).logits
            else:
                input_ids, mask = padded_batch(lengths)
                found = compiled(input_ids, mask).logits[mask]
                wanted = model(input_ids, mask).logits[mask]
        assert relative(found, wanted) < HALF_PRECISION_BOUND


def peak_bytes(model: Amplify, lengths: tuple[int, ...], train: bool) -> int:
    tokens, bounds = packed_batch(lengths)
    model.train(train).zero_grad()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.set_grad_enabled(train):
        rows = model.encode(tokens, cu_seqlens=bounds, max_seqlen=max(lengths)).rows
        if train:
            rows.float().pow(2).mean().backward()
    return torch.cuda.max_memory_allocated() - before


@needs_ampere
def test_memory_grows_with_the_tokens_and_not_with_their_square(model: Amplify) -> None:
    half = copy.deepcopy(model).to(torch.bfloat16)
    short = peak_bytes(half, (128,) * 128, train=False)
    long = peak_bytes(half, (2048,) * 8, train=False)
    assert long < 1.2 * short
    assert peak_bytes(half, (2048,) * 16, train=False) < 2.4 * long


@needs_ampere
def test_gradient_checkpointing_halves_the_memory_of_a_step(model: Amplify) -> None:
    half = copy.deepcopy(model).to(torch.bfloat16)
    kept = peak_bytes(half, (1024,) * 16, train=True)
    half.gradient_checkpointing = True
    assert peak_bytes(half, (1024,) * 16, train=True) < 0.6 * kept
