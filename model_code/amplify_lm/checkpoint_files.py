"""Reading a checkpoint folder: which layout it is, its configuration, its tensors under their published names.

| layout | configuration | weights |
|---|---|---|
| Hugging Face, and ours | `config.json` | `model.safetensors`, or shards with `model.safetensors.index.json` |
| Mila, as the authors train | Hydra's `config.yaml` | `model.safetensors`, `model.pt`, `pytorch_model.pt` or `.bin` |

The authors' trainer leaves its weights in accelerate's folders `checkpoints/checkpoint_0`, `checkpoint_1`, …: the last
one is taken. Pickles (`.pt`, `.bin`) are read as weights only; one that carries code is refused.
"""

import json
import pickle
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .config import ModelConfig
from .tokenizer import VOCABULARY


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: what is wrong, where, and what is wanted."""


SHARD_INDEX = "model.safetensors.index.json"
# In order of preference: the authors' script writes model.pt from model.safetensors and leaves both.
WEIGHT_FILES = ("model.safetensors", SHARD_INDEX, "model.pt", "pytorch_model.pt", "pytorch_model.bin")
HYDRA_CONFIGS = ("config.yaml", ".hydra/config.yaml")
TOKENIZER_FILE = "tokenizer.json"

_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_ACCELERATE_FOLDER = re.compile(r"(?:checkpoints/)?checkpoint_(\d+)")
# What DistributedDataParallel and torch.compile put before every name.
_WRAPPERS = ("module.", "_orig_mod.")
# Where training scripts keep the weights in a larger dictionary.
_NESTS = ("state_dict", "model_state_dict", "model", "module")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The files of a checkpoint, by their paths relative to its folder."""

    name: str  # "Hugging Face" or "Mila"
    config: str
    weights: str
    shards: tuple[str, ...] = ()
    tokenizer: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        return (self.config, self.weights, *self.shards, *filter(None, [self.tokenizer]))


def detect(names: Collection[str]) -> Layout:
    """Say which of a folder's files are the checkpoint; names are relative and have `/` between their parts.

    Raises CheckpointError where there is none, and where two layouts lie in one folder: taking one would be a guess.
    """
    hydra = [name for name in HYDRA_CONFIGS if name in names]
    if "config.json" in names and hydra:
        raise CheckpointError(f"both config.json and {hydra[0]}: remove the one that does not describe the weights")
    if not hydra and "config.json" not in names:
        shown = ", ".join(sorted(names)[:8]) or "nothing"
        raise CheckpointError(f"no config.json and no config.yaml: not a checkpoint (it holds {shown})")
    folder = "" if "config.json" in names else _weights_folder(names)
    weights = next((name for name in WEIGHT_FILES if folder + name in names), None)
    if weights is None:
        raise CheckpointError(f"no weights: wanted one of {', '.join(WEIGHT_FILES)}")
    shards: tuple[str, ...] = ()
    if weights == SHARD_INDEX:
        inside = (name.removeprefix(folder) for name in names if name.startswith(folder))
        shards = tuple(sorted(folder + name for name in inside if _SHARD.fullmatch(name)))
    return Layout(
        name="Mila" if hydra else "Hugging Face",
        config=hydra[0] if hydra else "config.json",
        weights=folder + weights,
        shards=shards,
        tokenizer=TOKENIZER_FILE if TOKENIZER_FILE in names else None,
    )


def _weights_folder(names: Collection[str]) -> str:
    """Where a Mila checkpoint keeps its weights: beside the configuration, or in accelerate's last folder."""
    if any(name in names for name in WEIGHT_FILES):
        return ""
    numbered = {}
    for name in names:
        path = PurePosixPath(name)
        match = _ACCELERATE_FOLDER.fullmatch(str(path.parent))
        if match and path.name in WEIGHT_FILES:
            numbered[int(match[1])] = f"{path.parent}/"
    return numbered[max(numbered)] if numbered else ""


def read_checkpoint(folder: Path) -> tuple[Layout, ModelConfig, dict[str, Tensor]]:
    """Layout, configuration and tensors of a folder; raises CheckpointError where it is not a readable checkpoint."""
    layout = detect({path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()})
    config = _read_config(folder / layout.config)
    if layout.tokenizer:
        _check_vocabulary(folder / layout.tokenizer)
    weights = folder / layout.weights
    if weights.name == SHARD_INDEX:
        return layout, config, _read_shards(weights)
    return layout, config, _read_weights(weights)


# ---- configuration -------------------------------------------------------------------------------------------------


def _read_config(path: Path) -> ModelConfig:
    values = _read_json(path) if path.suffix == ".json" else _read_hydra(path)
    try:
        return ModelConfig.from_dict(values)
    except ValueError as error:
        raise CheckpointError(f"{path.name}: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path.name} holds no JSON object")
    return values


def _read_hydra(path: Path) -> dict[str, Any]:
    """The sections `model` and `tokenizer`, which the authors' code merges into one configuration."""
    import yaml  # here only: a server reads our own layout

    try:
        values = yaml.safe_load(path.read_text())
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path.name} is not YAML: {error}") from error
    sections = [values.get(name) if isinstance(values, dict) else None for name in ("model", "tokenizer")]
    if not all(isinstance(section, dict) for section in sections):
        raise CheckpointError(f"{path.name} is not a Hydra configuration: wanted the sections model and tokenizer")
    return {key: value for section in sections for key, value in (section or {}).items()}


def _check_vocabulary(path: Path) -> None:
    """Refuse a tokenizer.json whose tokens have other ids: the same weights would read other residues."""
    content = _read_json(path)
    try:
        ids = dict(content["model"]["vocab"]) | {token["content"]: token["id"] for token in content["added_tokens"]}
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path.name} is not a tokenizer that names its tokens: {error!r}") from error
    ours = {token: i for i, token in enumerate(VOCABULARY)}
    if ids != ours:
        different = [repr(token) for token in sorted(ids.keys() | ours.keys()) if ids.get(token) != ours.get(token)]
        shown = ", ".join(different[:6])
        raise CheckpointError(
            f"{path.name} is not the published tokenizer: {len(ids)} tokens, wanted {len(ours)}; different: {shown}"
        )


# ---- weights -------------------------------------------------------------------------------------------------------


def _read_weights(path: Path) -> dict[str, Tensor]:
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return _unwrapped(load_file(path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is truncated or corrupt: {error}") from error


def _read_shards(index: Path) -> dict[str, Tensor]:
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index.name} has no weight_map")
    files = sorted({str(name) for name in weight_map.values()})
    if strange := [name for name in files if not _SHARD.fullmatch(name)]:
        raise CheckpointError(
            f"{index.name} names {strange[0]!r}: wanted model-00001-of-00002.safetensors and the like"
        )
    if missing := [name for name in files if not (index.parent / name).is_file()]:
        raise CheckpointError(f"missing shards: {', '.join(missing)}")
    state: dict[str, Tensor] = {}
    for file in files:
        shard = _read_safetensors(index.parent / file)
        promised = {name for name, place in weight_map.items() if place == file}
        if shard.keys() != promised:
            raise CheckpointError(
                f"{file} does not hold the tensors that {index.name} says: {_difference(shard, promised)}"
            )
        state |= shard
    return state


def _difference(shard: Mapping[str, Tensor], promised: set[str]) -> str:
    return ", ".join(sorted(shard.keys() ^ promised)[:8])


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own text advises loading with weights_only=False: not passed on.
        if needed := re.search(r"GLOBAL (\S+)", str(error)):
            raise CheckpointError(
                f"{path.name} holds more than weights: loading it would run {needed[1]}, so it is refused; "
                "save its state dict alone, best as model.safetensors"
            ) from error
        raise CheckpointError(f"{path.name} is truncated or corrupt: not what torch.save writes") from error
    except Exception as error:  # a damaged pickle fails in whatever way its bytes lead to
        raise CheckpointError(f"{path.name} is truncated or corrupt: {error}") from error
    for nest in _NESTS:
        if isinstance(loaded, dict) and isinstance(loaded.get(nest), dict):
            loaded = loaded[nest]
    if not isinstance(loaded, dict) or not loaded:
        raise CheckpointError(f"{path.name} holds {type(loaded).__name__}: wanted a state dict, names and tensors")
    if strange := [str(name) for name, value in loaded.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(f"{path.name} holds {', '.join(strange[:8])} beside tensors: wanted a state dict alone")
    return _unwrapped(loaded)


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for wrapper in (*_WRAPPERS, *_WRAPPERS):  # twice: either may lie around the other
        if state and all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    return state
