"""Reading a checkpoint folder: which layout it is, its configuration, its tensors under their published names."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .config import ModelConfig


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: what is wrong, where, and what is wanted."""


def read_checkpoint(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and tensors of a folder; raises CheckpointError where it is not a readable checkpoint."""
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise CheckpointError("no config.json: not a checkpoint")
    return read_config_json(config_file), read_safetensors(folder / "model.safetensors")


def read_config_json(path: Path) -> ModelConfig:
    try:
        values = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path.name} holds no JSON object")
    try:
        return ModelConfig.from_dict(values)
    except ValueError as error:
        raise CheckpointError(f"{path.name}: {error}") from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"no {path.name}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is truncated or corrupt: {error}") from error
