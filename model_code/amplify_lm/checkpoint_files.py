"""Reading a checkpoint's folder: its configuration, and its tensors under their published names.

Pickles (`.pt`, `.bin`) are read as weights only; one that carries code is refused.
"""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .checkpoint_errors import CheckpointError
from .checkpoint_layout import SHARD, SHARD_INDEX, Layout, detect
from .config import ModelConfig
from .tokenizer import VOCABULARY

# What DistributedDataParallel and torch.compile put before every name.
_WRAPPERS = ("module.", "_orig_mod.")
# Where training scripts keep the weights in a larger dictionary, one within another at most as deep as there are names.
_NESTS = ("state_dict", "model_state_dict", "model", "module")


def read_checkpoint(folder: Path) -> tuple[Layout, ModelConfig, dict[str, Tensor]]:
    """Layout, configuration and tensors of a folder.

    Raises CheckpointError where it is not a readable checkpoint, OSError where the disk does not let it be read.
    """
    layout = detect({path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()})
    config, *others = (_read_config(folder / name) for name in layout.configs)
    if any(other != config for other in others):
        raise CheckpointError(f"{' and '.join(layout.configs)} differ: remove the one that is not of the weights")
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
    content = path.read_bytes()
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:  # also numbers of more digits than Python reads, and deep nesting
        raise CheckpointError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path.name} holds no JSON object")
    return values


def shards_of(index: Path) -> dict[str, set[str]]:
    """File of each shard → names of the tensors that the index says it holds."""
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index.name} has no weight_map")
    shards: dict[str, set[str]] = {}
    for name, file in weight_map.items():
        if not isinstance(file, str) or not SHARD.fullmatch(file):
            raise CheckpointError(f"{index.name} names {file!r}: wanted model-00001-of-00002.safetensors and the like")
        shards.setdefault(file, set()).add(name)
    return shards


def _read_hydra(path: Path) -> dict[str, Any]:
    """The sections `model` and `tokenizer`, which the authors' code merges into one configuration."""
    import yaml  # here only: a server reads our own layout

    content = path.read_bytes()
    try:
        values = yaml.safe_load(content)
    except Exception as error:  # PyYAML passes on whatever a wrong date, number or depth leads to
        raise CheckpointError(f"{path.name} is not YAML: {type(error).__name__}: {error}") from error
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
        tokens = sorted(ids.keys() | ours.keys(), key=str)
        different = [repr(token) for token in tokens if ids.get(token) != ours.get(token)]
        shown = ", ".join(different[:6])
        raise CheckpointError(
            f"{path.name} is not the published tokenizer: {len(ids)} tokens, wanted {len(ours)}; different: {shown}"
        )


# ---- weights -------------------------------------------------------------------------------------------------------


def _read_weights(path: Path) -> dict[str, Tensor]:
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with path.open("rb"):  # the library says "no such file" of one that may not be read
        pass
    try:
        return _unwrapped(load_file(path))
    except (SafetensorError, OSError, AttributeError) as error:  # the last: a type of number that torch has not got
        raise CheckpointError(f"{path.name} is truncated or corrupt: {error}") from error


def _read_shards(index: Path) -> dict[str, Tensor]:
    shards = shards_of(index)
    if missing := sorted(file for file in shards if not (index.parent / file).is_file()):
        raise CheckpointError(f"missing shards: {', '.join(missing)}")
    state: dict[str, Tensor] = {}
    for file, promised in sorted(shards.items()):
        shard = _read_safetensors(index.parent / file)
        if shard.keys() != promised:
            different = ", ".join(sorted(shard.keys() ^ promised)[:8])
            raise CheckpointError(f"{file} does not hold the tensors that {index.name} says: {different}")
        state |= shard
    return state


def _read_pickle(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        try:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
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
    for _ in _NESTS:
        loaded = _within(loaded, path.name)
    if not isinstance(loaded, dict) or not loaded:
        raise CheckpointError(f"{path.name} holds {type(loaded).__name__}: wanted a state dict, names and tensors")
    if strange := [str(name) for name, value in loaded.items() if not _is_weight(name, value)]:
        raise CheckpointError(f"{path.name} holds {', '.join(strange[:8])} beside tensors: wanted a state dict alone")
    return _unwrapped(loaded)


def _is_weight(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _within(loaded: Any, file: str) -> Any:
    """What lies one nest deeper, where there is one; averaged weights beside the last ones are another choice."""
    if not isinstance(loaded, dict):
        return loaded
    inner = {name: value for name, value in loaded.items() if isinstance(value, dict) and value}
    found = [name for name, value in inner.items() if name in _NESTS or all(map(_is_weight, value, value.values()))]
    if len(found) > 1:
        raise CheckpointError(f"{file} holds {' and '.join(map(str, found))}: save the one state dict that is meant")
    return loaded[found[0]] if found and found[0] in _NESTS else loaded


def _unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for wrapper in (*_WRAPPERS, *_WRAPPERS):  # twice: either may lie around the other
        if state and all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    return state
