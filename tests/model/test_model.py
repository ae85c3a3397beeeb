"""The model's forward pass: layouts that must agree, precision, devices it is built on, and input it refuses."""

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from amplify_lm.attention import Packed, Padded, rotary_table
from amplify_lm.model import Amplify, RMSNorm
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.model import reference_cases as cases

CONFIG = cases.CASES["published"]


@pytest.fixture(scope="module")
def model() -> Amplify:
    return cases.model(CONFIG)


def random_proteins(lengths: list[int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(lengths))
    return [torch.randint(1, 27, (length,), generator=generator) for length in lengths]


def pad(proteins: list[Tensor]) -> tuple[Tensor, Tensor]:
    input_ids = torch.nn.utils.rnn.pad_sequence(proteins, batch_first=True)
    lengths = torch.tensor([len(protein) for protein in proteins])
    return input_ids, torch.arange(input_ids.shape[1]) < lengths[:, None]


def bounds(proteins: list[Tensor]) -> Tensor:
    return torch.tensor([0, *map(len, proteins)]).cumsum(0)


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_packed_is_padded_is_single_for_any_lengths(model: Amplify, lengths: list[int]) -> None:
    proteins = random_proteins(lengths)
    input_ids, mask = pad(proteins)
    with torch.no_grad():
        packed = model(torch.cat(proteins), cu_seqlens=bounds(proteins)).logits
        padded = model(input_ids, mask).logits
        for row, (protein, part) in enumerate(zip(proteins, packed.split(lengths), strict=True)):
            single = model(protein[None]).logits[0]
            torch.testing.assert_close(part, single, rtol=0, atol=1e-5)
            torch.testing.assert_close(padded[row, : len(protein)], single, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(order=st.permutations([3, 9, 9, 21]))
def test_the_order_of_a_packed_batch_changes_nothing(model: Amplify, order: list[int]) -> None:
    proteins = {9: torch.arange(6, 15), 3: torch.arange(7, 10), 21: torch.arange(5, 26)}
    batch = [proteins[length] for length in order]
    with torch.no_grad():
        parts = model(torch.cat(batch), cu_seqlens=bounds(batch)).logits.split(order)
        for length, part in zip(order, parts, strict=True):
            torch.testing.assert_close(part, model(proteins[length][None]).logits[0], rtol=0, atol=1e-5)


def test_positions_may_be_given(model: Amplify) -> None:
    input_ids = torch.randint(5, 26, (1, 9))
    with torch.no_grad():
        counted = model(input_ids).logits
        given_the_same = model(input_ids, position_ids=torch.arange(9)[None]).logits
        scattered = model(input_ids, position_ids=torch.tensor([[0, 5, 1, 7, 2, 9, 3, 4, 30]])).logits
    torch.testing.assert_close(given_the_same, counted)
    assert (scattered - counted).abs().max() > 1e-2


def test_the_tokenizers_own_bytes_are_taken_as_they_are(model: Amplify) -> None:
    input_ids = torch.randint(5, 26, (1, 9))
    with torch.no_grad():
        assert torch.equal(model(input_ids.to(torch.uint8)).logits, model(input_ids).logits)


def test_decoding_some_rows_is_decoding_all_and_choosing(model: Amplify) -> None:
    input_ids = torch.randint(5, 26, (2, 9))
    with torch.no_grad():
        rows = model.encode(input_ids).rows
        assert torch.allclose(model.decode(rows[:, 2:4]), model(input_ids).logits[:, 2:4], atol=1e-6)


def test_a_row_that_is_all_padding_gives_numbers_and_spoils_no_other(model: Amplify) -> None:
    input_ids = torch.randint(5, 26, (2, 9))
    mask = torch.ones(2, 9)
    mask[1] = 0
    output = model(input_ids, mask, output_attentions=True)
    assert output.attentions is not None
    assert all(bool(torch.isfinite(found).all()) for found in (output.logits, *output.attentions))
    torch.testing.assert_close(output.logits[:1], model(input_ids[:1]).logits, rtol=0, atol=1e-5)


def test_help_on_the_model_gives_the_shapes() -> None:
    told = inspect.getdoc(Amplify.forward) or ""
    assert all(shape in told for shape in ("[B, S, V]", "[T, V]", "[n + 1]", "[B, S, H]", "[B, heads, S, S]"))


def test_hidden_states_and_maps_cost_nothing_unless_asked_for(model: Amplify) -> None:
    output = model(torch.randint(5, 26, (1, 9)))
    assert (output.hidden_states, output.attentions) == (None, None)


def test_the_last_hidden_state_comes_before_the_last_norm(model: Amplify) -> None:
    encoded = model.encode(torch.randint(5, 26, (1, 9)), output_hidden_states=True)
    assert encoded.hidden_states is not None
    assert len(encoded.hidden_states) == CONFIG.num_hidden_layers
    assert torch.equal(encoded.hidden_states[-1], encoded.rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_norm_is_computed_in_float32_and_cast_back_before_the_weight(dtype: torch.dtype) -> None:
    norm = RMSNorm(64, 1e-5).to(dtype)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        x = (torch.randn(10, 64) * 30).to(dtype)
        exact = x.float() * (x.float().pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt()
        torch.testing.assert_close(norm(x), exact.to(dtype) * norm.weight, rtol=1e-6, atol=0)


@pytest.mark.parametrize("eps", [1e-5, 1e-2, 10.0])
def test_the_norm_takes_its_eps_from_the_configuration(eps: float) -> None:
    [norm, *_] = (m for m in Amplify(dataclasses.replace(CONFIG, norm_eps=eps)).modules() if isinstance(m, RMSNorm))
    x = torch.full((1, 16), 0.5)
    torch.testing.assert_close(norm(x), x / (0.25 + eps) ** 0.5)


@pytest.mark.parametrize("how", ["weights", "autocast"])
def test_bfloat16_stays_within_three_percent_of_float32(model: Amplify, how: str) -> None:
    input_ids, mask = pad(random_proteins([40, 12, 25]))
    with torch.no_grad():
        exact = model(input_ids, mask).logits
        if how == "weights":
            rough = cases.model(CONFIG).to(torch.bfloat16)(input_ids, mask).logits
        else:
            with torch.autocast("cpu", torch.bfloat16):
                rough = model(input_ids, mask).logits
    assert rough.dtype == torch.bfloat16
    assert ((rough.float() - exact).norm() / exact.norm()).item() < 0.03


def test_a_model_built_on_the_meta_device_computes_once_it_has_weights() -> None:
    with torch.device("meta"):
        hollow = Amplify(CONFIG)
    hollow.to_empty(device="cpu").load_state_dict(cases.model(CONFIG).state_dict())
    input_ids = torch.randint(5, 26, (1, 9))
    with torch.no_grad():
        assert torch.equal(hollow.eval()(input_ids).logits, cases.model(CONFIG)(input_ids).logits)


def test_a_model_that_served_in_inference_mode_can_be_trained() -> None:
    model = cases.model(CONFIG)
    with torch.inference_mode():
        model(torch.randint(5, 26, (1, 9)))
    model(torch.randint(5, 26, (1, 9))).logits.sum().backward()
    assert model.encoder.weight.grad is not None


def test_recomputing_activations_changes_no_gradient() -> None:
    def gradients(recompute: bool) -> Iterator[Tensor]:
        model = cases.model(CONFIG).train()
        model.gradient_checkpointing = recompute
        input_ids, mask, labels = cases.batch()
        logits = model(input_ids, mask).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
        return (p.grad for p in model.parameters() if p.grad is not None)

    for kept, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(recomputed, kept)


def test_dropout_acts_in_training_only() -> None:
    model = Amplify(dataclasses.replace(CONFIG, dropout_prob=0.5))
    input_ids = torch.randint(5, 26, (1, 9))
    with torch.no_grad():
        assert torch.equal(model.eval()(input_ids).logits, model(input_ids).logits)
        assert not torch.equal(model.train()(input_ids).logits, model(input_ids).logits)


LAYOUTS = {
    "padded": (torch.zeros(1, 30, 16), Padded(key_mask=None)),
    "packed": (torch.zeros(30, 16), Packed(cu_seqlens=torch.tensor([0, 30]), max_seqlen=30, lengths=(30,))),
}


@pytest.fixture(params=list(LAYOUTS))
def dropped(request: pytest.FixtureRequest) -> dict[str, Tensor]:
    """What each part of a layer adds in training, where without dropout it would add 1 everywhere."""
    config = dataclasses.replace(CONFIG, dropout_prob=0.5, att_bias=True, ffn_bias=True)
    block = Amplify(config).transformer_encoder[0].train()
    x, layout = LAYOUTS[request.param]
    added = {}
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
        block.qkv.bias[32:] = 1  # the values; queries and keys are 0, so that each residue sees all alike
        block.wo.weight.copy_(torch.eye(16))
        added["attention"] = block(x, layout, rotary_table(8, 30))[0]
        block.wo.weight.zero_()
        block.ffn.w3.bias.fill_(1)
        added["feed-forward"] = block(x, layout, rotary_table(8, 30))[0]
    return added


@pytest.mark.parametrize("part", ["attention", "feed-forward"])
def test_half_of_what_a_part_adds_is_dropped_and_the_rest_doubled(dropped: dict[str, Tensor], part: str) -> None:
    assert 0.3 < (dropped[part] == 0).float().mean().item() < 0.7
    assert dropped[part].mean().item() == pytest.approx(1, abs=0.25)


def test_attention_weights_are_dropped_too(dropped: dict[str, Tensor]) -> None:
    assert dropped["feed-forward"].unique().tolist() == [0, 2]
    assert len(dropped["attention"].unique()) > 10


def test_padding_learns_nothing_even_where_it_is_seen() -> None:
    model = cases.model(CONFIG).train()
    model(torch.tensor([[3, 6, 0, 7, 4]])).logits.pow(2).sum().backward()
    assert model.encoder.weight.grad is not None
    assert model.encoder.weight.grad[0].abs().max() == 0
    assert model.encoder.weight.grad[[3, 6, 7, 4]].abs().amin(dim=1).min() > 0


def test_a_fresh_model_has_the_published_initialisation() -> None:
    torch.manual_seed(0)
    model = Amplify(dataclasses.replace(cases.CASES["layer_norm_gelu_biases"], embedding_init_range=0.5))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            assert parameter.unique().tolist() == [1.0 if name.endswith("weight") else 0.0]
        elif name.endswith("bias"):
            assert parameter.abs().max() == 0
        else:
            range_of_it = 0.5 if name == "encoder.weight" else 0.02
            assert 0.75 * range_of_it < parameter.abs().max() <= range_of_it


def test_a_compiled_model_gives_the_same_numbers(model: Amplify) -> None:
    # "eager" traces as for a GPU, without waiting for a C++ compiler; a fresh model, whose rotary table is yet to make.
    compiled = torch.compile(cases.model(CONFIG), backend="eager", fullgraph=True)
    input_ids, mask = pad(random_proteins([12, 30]))
    with torch.no_grad():
        torch.testing.assert_close(compiled(input_ids, mask).logits, model(input_ids, mask).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": torch.zeros(4)}, "wanted [proteins, tokens], or [tokens] with cu_seqlens"),
        ({"input_ids": torch.zeros(1, 65)}, "a protein of 65 tokens (<bos> and <eos> included): the model takes 64"),
        ({"input_ids": torch.zeros(66), "cu_seqlens": torch.tensor([0, 65, 66])}, "a protein of 65 tokens"),
        ({"input_ids": torch.zeros(2, 4), "attention_mask": torch.ones(2, 5)}, "attention_mask [2, 5]: wanted"),
        (
            {"input_ids": torch.zeros(1, 2), "attention_mask": torch.tensor([[0.0, float("-inf")]])},
            "attention_mask holds negative numbers: wanted 1 at tokens and 0 at padding",
        ),
        ({"input_ids": torch.zeros(2, 4), "position_ids": torch.ones(4)}, "position_ids [4]: wanted"),
        ({"input_ids": torch.zeros(1, 2), "position_ids": torch.tensor([[-1, 0]])}, "from -1 to 0: wanted 0 to 63"),
        ({"input_ids": torch.zeros(1, 2), "position_ids": torch.tensor([[0, 64]])}, "from 0 to 64: wanted 0 to 63"),
        ({"input_ids": torch.zeros(0, 4)}, "input_ids [0, 4]: wanted one token at least"),
        ({"input_ids": torch.zeros(2, 0)}, "input_ids [2, 0]: wanted one token at least"),
        ({"input_ids": torch.zeros(0), "cu_seqlens": torch.tensor([0, 0])}, "input_ids [0]: wanted one token"),
        ({"input_ids": torch.zeros(2, 4), "cu_seqlens": torch.tensor([0, 8])}, "wanted [tokens], [proteins + 1]"),
        ({"input_ids": torch.zeros(4), "cu_seqlens": torch.tensor([0, 3])}, "must rise from 0 to 4"),
        ({"input_ids": torch.zeros(4), "cu_seqlens": torch.tensor([0, 3, 2, 4])}, "must rise from 0 to 4"),
        (
            {"input_ids": torch.zeros(4), "cu_seqlens": torch.tensor([0, 4]), "attention_mask": torch.ones(4)},
            "a packed batch has no padding to mask",
        ),
    ],
)
def test_input_that_does_not_fit_is_refused(model: Amplify, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        model(arguments.pop("input_ids").long(), **arguments)
    assert message in str(error.value)
