"""The model's configuration: the authors' sizes, the published config.json, and what is refused."""

import dataclasses
from typing import Any

import pytest
import torch
from amplify_lm.config import SIZES, ModelConfig
from amplify_lm.model import Amplify

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.mark.parametrize(("size", "parameters"), [("120M", 118_276_507), ("350M", 354_008_667)])
def test_published_sizes_have_the_published_number_of_parameters(size: str, parameters: int) -> None:
    with torch.device("meta"):
        assert Amplify(ModelConfig.named(size)).num_parameters == parameters


def test_every_size_of_the_authors_is_known_by_name() -> None:
    assert SIZES == ("8M", "35M", "120M", "150M", "350M", "650M", "750M", "3B", "15B")
    assert all(ModelConfig.named(size).head_dim in (16, 24, 32, 64, 128) for size in SIZES)
    assert (ModelConfig.named("120M").ffn_width, ModelConfig.named("350M").ffn_width) == (1712, 2560)


def test_a_named_size_takes_changes() -> None:
    assert ModelConfig.named("8M", max_length=512).max_length == 512


def test_config_json_written_and_read_is_the_same_configuration() -> None:
    config = ModelConfig(**TINY, rms_norm=False, hidden_act="GELU", att_bias=True, ffn_bias=True, dropout_prob=0.1)
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    assert ModelConfig.from_dict({**TINY, "norm_eps": "1e-05", "dropout_prob": 0}).norm_eps == 1e-5


def test_the_activation_is_read_in_any_case_as_the_authors_code_does() -> None:
    assert ModelConfig.from_dict({**TINY, "hidden_act": "swiglu"}).hidden_act == "SwiGLU"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 30}, "hidden_size is 30: wanted a multiple of 4"),
        ({"hidden_size": "32"}, "hidden_size is '32': wanted a whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0: wanted a whole number from 1 to 1,000"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000: wanted a whole number from 1 to 1,000"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True: wanted a whole number"),
        ({"hidden_act": "SiLU"}, "hidden_act is 'SiLU': wanted SwiGLU, ReLU or GELU"),
        ({"hidden_act": None}, "hidden_act is None: wanted SwiGLU, ReLU or GELU"),
        ({"dropout_prob": 1.0}, "dropout_prob is 1.0: wanted at least 0 and below 1"),
        ({"norm_eps": float("nan")}, "norm_eps is nan: wanted a positive number"),
        ({"norm_eps": True}, "norm_eps is True: wanted a number"),
        ({"dropout_prob": 10**400}, ": wanted a number"),
        ({"norm_eps": "tiny"}, "norm_eps is 'tiny': wanted a number"),
        ({"rms_norm": "yes"}, "rms_norm is 'yes': wanted true or false"),
        ({"vocab_size": 32}, "vocab_size 32: not an AMPLIFY checkpoint of the published tokenizer"),
        ({"pad_token_id": 1}, "pad_token_id is 1: wanted 0"),
        ({"model_type": "esm"}, "model_type 'esm': not an AMPLIFY checkpoint"),
    ],
)
def test_a_wrong_value_is_refused_with_the_value_wanted(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        ModelConfig.from_dict({**TINY, **changes})
    assert message in str(error.value)


def test_a_shape_left_out_is_not_guessed() -> None:
    with pytest.raises(ValueError, match="lacks num_hidden_layers, intermediate_size"):
        ModelConfig.from_dict({"hidden_size": 640, "num_attention_heads": 10})


def test_an_unknown_size_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown size '1T': wanted one of 8M, 35M"):
        ModelConfig.named("1T")


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().hidden_size = 1  # type: ignore[misc]
