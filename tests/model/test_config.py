"""The model's configuration: the authors' sizes, the published config.json, and what is refused."""

import dataclasses
from typing import Any

import pytest
import torch
from amplify_lm.config import SIZES, ModelConfig
from amplify_lm.model import Amplify

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


# hidden_size, layers, heads and intermediate_size of the authors' conf/model/*.yaml, and ours; then the parameters that
# their code counts.
TABLE = {
    "8M": (320, 6, 20, 1280, 7_409_627),
    "35M": (480, 12, 20, 1920, 33_215_547),
    "120M": (640, 24, 10, 2560, 118_276_507),
    "150M": (640, 30, 20, 2560, 147_836_827),
    "350M": (960, 32, 15, 3840, 354_008_667),
    "650M": (1280, 33, 20, 5120, 649_299_227),
    "750M": (1280, 38, 20, 5120, 747_667_227),
    "3B": (2560, 36, 40, 10240, 2_832_954_907),
    "15B": (5120, 48, 40, 20480, 15_102_233_627),
    "small": (320, 6, 5, 1280, 7_409_627),
}


def test_every_size_has_a_row() -> None:
    assert tuple(TABLE) == SIZES


@pytest.mark.parametrize("size", SIZES)
def test_a_size_has_its_shape_and_number_of_parameters(size: str) -> None:
    config = ModelConfig.named(size)
    shape = (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.intermediate_size)
    with torch.device("meta"):
        assert (*shape, Amplify(config).num_parameters) == TABLE[size]


def test_the_inner_width_is_two_thirds_rounded_up_to_eight() -> None:
    widths = [ModelConfig.named(size).ffn_width for size in ("120M", "350M", "small")]
    assert widths == [1712, 2560, 856]


def test_a_named_size_takes_changes() -> None:
    assert ModelConfig.named("8M", max_length=512).max_length == 512


def test_config_json_written_and_read_is_the_same_configuration() -> None:
    config = ModelConfig(**TINY, rms_norm=False, hidden_act="GELU", att_bias=True, ffn_bias=True, dropout_prob=0.1)
    assert ModelConfig.from_dict(config.to_dict()) == config


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    assert ModelConfig.from_dict({**TINY, "norm_eps": "1e-05", "dropout_prob": 0}).norm_eps == 1e-5


def test_the_activation_is_read_in_any_case_as_the_authors_code_does() -> None:
    assert ModelConfig.from_dict({**TINY, "hidden_act": "swiglu"}).hidden_act == "SwiGLU"


WRONG: list[tuple[dict[str, Any], str]] = [
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
    ({"norm_eps": [1e-5]}, "norm_eps is [1e-05]: wanted a number"),
    ({"hidden_size": 32.0}, "hidden_size is 32.0: wanted a whole number"),
    ({"vocab_size": 27.0}, "vocab_size is 27.0: wanted a whole number"),
    ({"decoder_init_range": 0}, "decoder_init_range is 0.0: wanted a positive number"),
    ({"norm_eps": float("inf")}, "norm_eps is inf: wanted a positive number"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_wrong_value_is_refused_with_the_value_wanted(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        ModelConfig.from_dict({**TINY, **changes})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rms_norm": "yes"}, "rms_norm is 'yes': wanted true or false"),
        ({"att_bias": 1}, "att_bias is 1: wanted true or false"),
        ({"vocab_size": 27.0}, "vocab_size is 27.0: wanted a whole number"),
        ({"max_length": "64"}, "max_length is '64': wanted a whole number"),
        ({"norm_eps": "1e-5"}, "norm_eps is '1e-5': wanted a number"),
        ({"norm_eps": 10**400}, "wanted a positive number"),
    ],
)
def test_code_is_held_to_the_types_as_files_are(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        ModelConfig(**TINY, **changes)
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
