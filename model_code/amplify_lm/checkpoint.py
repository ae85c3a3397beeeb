"""Weights in and out: `load_model(source)` and `save_model(model, folder)`.

On disk every tensor has its published name, so what is saved here loads in the authors' code and on the Hub's remote
code, and theirs loads here. Inside, q, k and v of a block are one matrix: fused on the way in, split on the way out.
A checkpoint is checked whole before a model exists: a wrong one is refused with every fault named.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from .checkpoint_errors import CheckpointError, SourceUnavailableError
from .checkpoint_files import read_checkpoint
from .checkpoint_layout import CONFIG, HYDRA_CONFIGS, WEIGHT_FILES
from .checkpoint_sources import locate
from .config import ModelConfig
from .model import Amplify
from .tokenizer import tokenizer_files

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "SourceUnavailableError",
    "build_model",
    "from_published",
    "load_model",
    "read_source",
    "save_model",
    "to_published",
]

LISTED_AT_MOST = 8  # names in one message; a wrong architecture has hundreds
WEIGHTS = "model.safetensors"
# The types of number that weights come in. Others may be loaded as numbers too, and mean something else: quantised
# weights want their scales, whole numbers a table.
WEIGHT_TYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def save_model(model: Amplify, folder: str | Path) -> None:
    """Write `config.json`, `model.safetensors` (published names) and the tokenizer's files into the folder.

    Each file is written beside and renamed: a reader, or a crash, never meets half of one. Raises CheckpointError for
    weights that are not finite, and for a folder that holds a checkpoint of another layout: nobody could tell which is
    meant.
    """
    folder = Path(folder)
    if others := [name for name in (*HYDRA_CONFIGS, *WEIGHT_FILES) if name != WEIGHTS and (folder / name).exists()]:
        raise CheckpointError(f"{folder} holds another checkpoint, {', '.join(others)}: save into a folder of its own")
    state = {name: tensor.contiguous().cpu() for name, tensor in to_published(model.state_dict()).items()}
    _check_finite(state)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{WEIGHTS}.partial"
    save_file(state, partial, metadata={"format": "pt"})
    partial.replace(folder / WEIGHTS)
    texts = {CONFIG: json.dumps(model.config.to_dict(), indent=2, sort_keys=True)}
    for name, text in (texts | tokenizer_files(model.config.max_length)).items():
        partial = folder / f"{name}.partial"
        partial.write_text(text + "\n")
        partial.replace(folder / name)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checked checkpoint in memory: `state` holds every tensor under its published name, all finite."""

    source: str  # where it came from, with a Hub revision pinned to its commit
    layout: str  # "Hugging Face" or "Mila"
    config: ModelConfig
    state: dict[str, Tensor]


def read_source(source: str | Path) -> Checkpoint:
    """Fetch, read and check a checkpoint.

    A source is a local folder, a `model.tar.gz`, `s3://bucket/prefix/`, `s3://…/model.tar.gz` or
    `hf:owner/name[@revision]`. Raises CheckpointError, naming the source, what is wrong and what is wanted.
    """
    try:
        with locate(source) as located:
            layout, config, state = read_checkpoint(located.folder)
            check_state(config, state)
    except CheckpointError as error:
        raise type(error)(f"{source}: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{source}: cannot be read: {error}") from error
    return Checkpoint(source=located.source, layout=layout.name, config=config, state=state)


def load_model(
    source: str | Path, *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> Amplify:
    """The model of a source of `read_source`, in evaluation mode. Raises CheckpointError."""
    checkpoint = read_source(source)
    return build_model(checkpoint, dtype=dtype, device=device)


def build_model(
    checkpoint: Checkpoint, *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> Amplify:
    """The model of a checkpoint in memory, in evaluation mode.

    Raises CheckpointError where its weights are too large for the type of number asked for.
    """
    with torch.device("meta"):
        model = Amplify(checkpoint.config)
    state = {name: tensor.to(device=device, dtype=dtype) for name, tensor in checkpoint.state.items()}
    cast = {name: tensor for name, tensor in state.items() if checkpoint.state[name].dtype != dtype}
    _check_finite(cast, f"{checkpoint.source}: too large for {dtype}:")
    model.load_state_dict(from_published(state), assign=True)
    return model.requires_grad_(True).eval()


def to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published names and shapes of our model's state dict: `…qkv.weight` [3H, H] becomes q, k, v [H, H]."""
    published: dict[str, Tensor] = {}
    for name, tensor in state.items():
        prefix, marker, kind = name.rpartition(".qkv.")
        if not marker:
            published[name] = tensor
            continue
        for letter, part in zip("qkv", tensor.chunk(3), strict=True):
            published[f"{prefix}.{letter}.{kind}"] = part
    return published


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_published`."""
    fused: dict[str, Tensor] = {}
    for name, tensor in state.items():
        prefix, marker, kind = name.rpartition(".q.")
        if marker:
            fused[f"{prefix}.qkv.{kind}"] = torch.cat([state[f"{prefix}.{letter}.{kind}"] for letter in "qkv"])
        elif ".k." not in name and ".v." not in name:
            fused[name] = tensor
    return fused


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Published name → shape of every tensor that a checkpoint of this configuration holds."""
    with torch.device("meta"):
        state = to_published(Amplify(config).state_dict())
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def check_state(config: ModelConfig, state: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError listing every tensor that is missing, not wanted, no array of floating-point numbers, of a
    wrong shape or not finite."""
    expected = expected_shapes(config)
    faults = []
    if missing := [name for name in expected if name not in state]:
        faults.append(f"missing {_listed(missing)}")
    if extra := [name for name in state if name not in expected]:
        faults.append(f"not part of AMPLIFY: {_listed(extra)}")
    wrong_kinds = {name: kind for name, tensor in state.items() if (kind := _kind(tensor)) not in WEIGHT_TYPES}
    if wrong_kinds:
        listed = _listed([f"{name} is {kind}" for name, kind in wrong_kinds.items()])
        faults.append(f"wrong type: {listed}; wanted {', '.join(map(str, WEIGHT_TYPES))}")
    wrong_shapes = [
        f"{name} is {list(state[name].shape)}, wanted {list(shape)}"
        for name, shape in expected.items()
        if name in state and name not in wrong_kinds and tuple(state[name].shape) != shape
    ]
    if wrong_shapes:
        faults.append(f"wrong shape: {_listed(wrong_shapes)}")
    if faults:
        raise CheckpointError(f"the weights do not fit the configuration; {'; '.join(faults)}")
    _check_finite(state)


def _kind(tensor: Tensor) -> torch.dtype | str:
    """The type of a tensor's numbers; for one that is no plain array in memory, what it is instead."""
    if tensor.is_nested:
        return "nested"
    if tensor.layout is not torch.strided:
        return str(tensor.layout)
    return "without numbers" if tensor.is_meta else tensor.dtype


def _check_finite(state: Mapping[str, Tensor], fault: str = "NaN or infinite weights in") -> None:
    if broken := [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]:
        raise CheckpointError(f"{fault} {_listed(broken)}")


def _listed(names: list[str]) -> str:
    rest = len(names) - LISTED_AT_MOST
    return ", ".join(names[:LISTED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
