"""Which of a folder's files are the checkpoint: decided by their names alone, so that S3 and archives are asked first.

| layout | configuration | weights |
|---|---|---|
| Hugging Face, and ours | `config.json` | `model.safetensors`, or shards with `model.safetensors.index.json` |
| Mila, as the authors train | Hydra's `config.yaml` | `model.safetensors`, `model.pt`, `pytorch_model.pt` or `.bin` |

The authors' trainer leaves its weights in accelerate's folders `checkpoints/checkpoint_0`, `checkpoint_1`, …: the last
one is taken. Two files that may both be the weights are refused: to take one would be a guess.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from .checkpoint_errors import CheckpointError

SHARD_INDEX = "model.safetensors.index.json"
WEIGHT_FILES = ("model.safetensors", SHARD_INDEX, "model.pt", "pytorch_model.pt", "pytorch_model.bin")
# The authors' script safetensors_to_pt.py writes the second from the first and leaves both: they are the same weights.
SAME_WEIGHTS = ["model.safetensors", "model.pt"]
CONFIG = "config.json"
HYDRA_CONFIGS = ("config.yaml", ".hydra/config.yaml")
TOKENIZER_FILE = "tokenizer.json"
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")

_ACCELERATE_FOLDER = re.compile(r"(checkpoints/)?checkpoint_(\d+)/")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The files of a checkpoint, by their paths relative to its folder."""

    name: str  # "Hugging Face" or "Mila"
    configs: tuple[str, ...]  # a run of the authors' may hold its configuration twice: both must say the same
    weights: str
    shards: tuple[str, ...] = ()
    tokenizer: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.configs, self.weights, *self.shards, *filter(None, [self.tokenizer]))


def detect(names: Collection[str]) -> Layout:
    """Say which of a folder's files are the checkpoint; names are relative and have `/` between their parts.

    Raises CheckpointError where there is none, and where two files may be the configuration or the weights.
    """
    hydra = tuple(name for name in HYDRA_CONFIGS if name in names)
    if CONFIG in names and hydra:
        raise CheckpointError(f"both {CONFIG} and {hydra[0]}: remove the one that does not describe the weights")
    if not hydra and CONFIG not in names:
        raise CheckpointError(f"no {CONFIG} and no config.yaml: not a checkpoint ({_what_it_is(names)})")
    folder, weights = _weights(names, within_run=bool(hydra))
    shards: tuple[str, ...] = ()
    if weights == SHARD_INDEX:
        inside = (name.removeprefix(folder) for name in names if name.startswith(folder))
        shards = tuple(sorted(folder + name for name in inside if SHARD.fullmatch(name)))
    return Layout(
        name="Mila" if hydra else "Hugging Face",
        configs=hydra or (CONFIG,),
        weights=folder + weights,
        shards=shards,
        tokenizer=TOKENIZER_FILE if TOKENIZER_FILE in names else None,
    )


def _weights(names: Collection[str], *, within_run: bool) -> tuple[str, str]:
    """Folder (empty, or with its `/`) and name of the weights: beside the configuration, or in accelerate's last."""
    folders = {""}
    if within_run:
        places = {f"{path.parent}/" for path in map(PurePosixPath, names) if path.name in WEIGHT_FILES}
        folders |= _last_of_accelerate(places)
    found = {folder: [name for name in WEIGHT_FILES if folder + name in names] for folder in folders}
    paths = [folder + name for folder, inside in sorted(found.items()) for name in inside]
    if not paths:
        raise CheckpointError(f"no weights: wanted one of {', '.join(WEIGHT_FILES)}")
    [folder, *others] = [folder for folder, inside in sorted(found.items()) if inside]
    if others or (len(paths) > 1 and found[folder] != SAME_WEIGHTS):
        raise CheckpointError(f"{' and '.join(paths)}: remove all but the weights that are meant")
    return folder, found[folder][0]


def _last_of_accelerate(folders: Iterable[str]) -> set[str]:
    """The last of accelerate's folders by number, of those below `checkpoints/` and of those beside it."""
    last: dict[str | None, tuple[int, str]] = {}
    for folder in folders:
        if match := _ACCELERATE_FOLDER.fullmatch(folder):
            last[match[1]] = max(last.get(match[1], (-1, "")), (int(match[2]), folder))
    return {folder for _, folder in last.values()}


def _what_it_is(names: Collection[str]) -> str:
    """What lies in a folder that is no checkpoint, and how the checkpoint may be meant."""
    if archive := next((name for name in sorted(names) if name.endswith(".tar.gz")), None):
        return f"it holds {archive}: name that"
    inner = sorted(name for name in names if PurePosixPath(name).name in (CONFIG, "config.yaml"))
    if inner:
        return f"{inner[0]} lies deeper: name its folder, or leave the folder out of the archive"
    if any(name in names for name in WEIGHT_FILES):
        return "weights alone: name the folder of the run, which holds the configuration"
    return f"it holds {', '.join(sorted(names)[:8]) or 'nothing'}"
