"""The shape of an AMPLIFY model, in the words of the published `config.json`.

`ModelConfig.named("120M")` gives the sizes of the authors' repository; `from_dict` reads a `config.json` (or the
numbers of a Hydra `config.yaml`), `to_dict` writes one that the authors' code and the Hub's remote code read back.
"""

import dataclasses
import reprlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

from .tokenizer import BOS, EOS, MASK, PAD, UNK, VOCABULARY

Activation = Literal["SwiGLU", "ReLU", "GELU"]
_ACTIVATIONS: dict[str, Activation] = {"swiglu": "SwiGLU", "relu": "ReLU", "gelu": "GELU"}

MODEL_TYPE = "AMPLIFY"
_SPECIAL_IDS = {"unk_token_id": UNK, "mask_token_id": MASK, "bos_token_id": BOS, "eos_token_id": EOS}

# name: (hidden_size, num_hidden_layers, num_attention_heads, intermediate_size), as in the authors' conf/model/*.yaml.
_SIZES = {
    "8M": (320, 6, 20, 1280),
    "35M": (480, 12, 20, 1920),
    "120M": (640, 24, 10, 2560),
    "150M": (640, 30, 20, 2560),
    "350M": (960, 32, 15, 3840),
    "650M": (1280, 33, 20, 5120),
    "750M": (1280, 38, 20, 5120),
    "3B": (2560, 36, 40, 10240),
    "15B": (5120, 48, 40, 20480),
    "small": (320, 6, 5, 1280),  # ours: the 8M with heads as wide as those of the published models
}
SIZES = tuple(_SIZES)

# What a field of each type takes; True and False are whole numbers to Python, and here they are none.
_TYPES: dict[object, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
}
# Far beyond any model there is: a mistyped or hostile file is refused before memory is asked for.
_AT_MOST = {
    "hidden_size": 65_536,
    "num_hidden_layers": 1_000,
    "num_attention_heads": 1_024,
    "intermediate_size": 1_000_000,
    "max_length": 1_000_000,
}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Everything that fixes the tensors of a model and what they mean; the defaults are those of AMPLIFY 350M.

    Raises ValueError naming the field, the value given and the value wanted.
    """

    hidden_size: int = 960
    num_hidden_layers: int = 32
    num_attention_heads: int = 15
    intermediate_size: int = 3840  # nominal; SwiGLU is `ffn_width` wide
    dropout_prob: float = 0.0
    embedding_init_range: float = 0.02
    decoder_init_range: float = 0.02
    rms_norm: bool = True  # False: LayerNorm with bias
    norm_eps: float = 1e-5
    hidden_act: Activation = "SwiGLU"
    layer_norm_after_embedding: bool = False
    layer_norm_before_last_layer: bool = True
    vocab_size: int = len(VOCABULARY)
    ffn_bias: bool = False
    att_bias: bool = False
    pad_token_id: int = PAD
    max_length: int = 2048  # tokens, <bos> and <eos> included

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.type in _TYPES:
                types, wanted = _TYPES[field.type]
                value = getattr(self, field.name)
                of_type = isinstance(value, types) and (isinstance(value, bool) == (field.type is bool))
                _check(of_type, field.name, value, wanted)
        for name, most in _AT_MOST.items():
            _check(0 < (value := getattr(self, name)) <= most, name, value, f"a whole number from 1 to {most:,}")
        heads = self.num_attention_heads
        _check(
            self.hidden_size % (2 * heads) == 0,
            "hidden_size",
            self.hidden_size,
            f"a multiple of {2 * heads}, twice num_attention_heads: rotary embedding turns pairs within each head",
        )
        _check(self.hidden_act in _ACTIVATIONS.values(), "hidden_act", self.hidden_act, "SwiGLU, ReLU or GELU")
        _check(0 <= self.dropout_prob < 1, "dropout_prob", self.dropout_prob, "at least 0 and below 1")
        for name in ("norm_eps", "embedding_init_range", "decoder_init_range"):
            _check(0 < (value := getattr(self, name)) <= sys.float_info.max, name, value, "a positive number")
        if self.vocab_size != len(VOCABULARY):
            raise ValueError(
                f"vocab_size {self.vocab_size}: not an AMPLIFY checkpoint of the published tokenizer, "
                f"which has {len(VOCABULARY)} tokens"
            )
        _check(self.pad_token_id == PAD, "pad_token_id", self.pad_token_id, f"{PAD}, the published tokenizer's <pad>")

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def ffn_width(self) -> int:
        """Numbers between the two halves of a feed-forward layer.

        SwiGLU has three matrices where the others have two, so it takes two thirds of the nominal width, rounded up
        to a multiple of 8 for the matrix units (Shazeer 2020, arXiv:2002.05202).
        """
        if self.hidden_act != "SwiGLU":
            return self.intermediate_size
        return (int(2 * self.intermediate_size / 3) + 7) // 8 * 8

    @classmethod
    def named(cls, size: str, **changes: Any) -> Self:
        """A size of the authors' repository ("8M" … "15B"), or "small", with fields of it changed at will."""
        if size not in _SIZES:
            raise ValueError(f"unknown size {size!r}: wanted one of {', '.join(SIZES)}")
        hidden, layers, heads, intermediate = _SIZES[size]
        shape = {
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": intermediate,
        }
        return cls(**(shape | changes))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of a `config.json`; keys that say nothing about the model are passed over.

        All four numbers of the shape must be there: a default for one of them would be a guess.
        """
        model_type = values.get("model_type", MODEL_TYPE)
        if model_type != MODEL_TYPE:
            raise ValueError(
                f"model_type {reprlib.repr(model_type)}: not an AMPLIFY checkpoint, whose model_type is {MODEL_TYPE!r}"
            )
        shape = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
        if missing := [name for name in shape if name not in values]:
            raise ValueError(f"the configuration of the model lacks {', '.join(missing)}")
        for name, wanted in _SPECIAL_IDS.items():
            given = values.get(name, wanted)
            _check(given is None or given == wanted, name, given, f"{wanted}, the published tokenizer's")
        fields = {field.name: field for field in dataclasses.fields(cls)}
        known: dict[str, Any] = {name: _read(fields[name], values[name]) for name in fields if name in values}
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """The published form: what `config.json` of the Hub's checkpoints holds, the tokenizer's ids included."""
        return {
            "architectures": [MODEL_TYPE],
            "model_type": MODEL_TYPE,
            **dataclasses.asdict(self),
            **_SPECIAL_IDS,
            "other_special_token_ids": None,
        }


def _check(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:  # the value cut short: that of a hostile file may take gigabytes to write out
        raise ValueError(f"{name} is {reprlib.repr(value)}: wanted {wanted}")


def _read(field: "dataclasses.Field[Any]", value: object) -> object:
    """One value of a JSON or YAML file as its field's type, where it can be; the configuration judges what remains."""
    if field.name == "hidden_act" and isinstance(value, str):
        return _ACTIVATIONS.get(value.lower(), cast(Activation, value))
    if field.type is float and isinstance(value, int | str) and not isinstance(value, bool):
        try:
            return float(value)  # PyYAML reads 1e-05, without a dot, as a string
        except (ValueError, OverflowError):
            raise ValueError(f"{field.name} is {reprlib.repr(value)}: wanted a number") from None
    return value
