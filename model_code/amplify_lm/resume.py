"""Checkpoints of a run in progress: all it takes to go on as if nothing had happened.

A checkpoint is one safetensors file, `step-00000120-<digest>.safetensors`: the model, the optimiser's state and the
random state as tensors, and the step, the place in the data, the recipe and the curve so far as JSON in its header.
The name holds the SHA-256 of the content, so half a file and a flipped bit are noticed wherever they come from (a kill,
a full disk, an interrupted copy to or from S3), and the next older checkpoint is taken. The file appears under its
name at once, by a rename, after its bytes are on the disk. Training waits for the copy in memory only (`Writer`).

Masks and windows are hashes of the step's data (masking.py), so no generator's place has to be kept for them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .settings import RULE_THRESHOLDS, SettingsError

_NAME = re.compile(r"step-(\d{8,})-([0-9a-f]{64})\.safetensors")
PARTIAL = ".partial-checkpoint"
_RANDOM = "random_state"

# How a run is watched and kept, not what it computes: these settings may change between interruption and resume.
FREE_TO_CHANGE = (
    *("log_every", "validate_every", "validation_tokens", "checkpoint_every", "keep_checkpoints"),
    *("max_skipped_steps", "profile_steps", "stop_on", *RULE_THRESHOLDS.values()),
)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a checkpoint knows besides tensors; plain JSON values only."""

    step: int
    """Steps done."""
    epoch: int
    index: int
    ahead: int
    """The place in the data: see order.Place."""
    seconds: float
    """Time spent training so far, over all interruptions."""
    residues: int
    """Residues trained on so far."""
    curve: list[dict[str, float]]
    """The metric lines so far."""
    recipe: dict[str, Any]
    dataset: str
    """SHA-256 of the dataset's manifest."""
    skipped: int = 0
    """Steps whose gradient was not finite, so that they changed nothing."""
    best_step: int = -1
    """Of the checkpoints, the one with the lowest validation loss; -1 before the first validation."""
    best_validation_loss: float = float("inf")


class Writer:
    """Writes checkpoints to a folder while training goes on, one at a time."""

    def __init__(self, folder: Path, keep: int, tell: Callable[[str], None]) -> None:
        """Keeps the newest `keep` and the best; `tell` is called with a line for each that is on the disk."""
        self._folder, self._keep, self._tell = folder, keep, tell
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None

    def save(self, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Copy the state and return; it is written beside. Raises what `wait` does, of the checkpoint before."""
        self.wait()
        tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in _tensors(model, optimizer).items()}
        tensors[_RANDOM] = torch.get_rng_state()
        # No daemon: a process that ends by an error still finishes the checkpoint that it began.
        self._thread = threading.Thread(target=self._write, args=[progress, tensors], name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Until everything is on the disk. Raises OSError where it cannot be, such as on a full disk."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, progress: Progress, tensors: dict[str, Tensor]) -> None:
        began = time.perf_counter()
        try:
            path = _write(self._folder, progress, tensors, self._keep)
        except Exception as error:  # safetensors has an error of its own for a full disk
            said = f"the checkpoint of step {progress.step} cannot be written to {self._folder}: {error}"
            self._error = OSError(f"{said}; make room there, and the run goes on from the checkpoint before")
        else:
            self._tell(f"checkpoint {path.name[:13]} after {time.perf_counter() - began:.1f} s of writing")


def _write(folder: Path, progress: Progress, tensors: dict[str, Tensor], keep: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / PARTIAL
    header = {name: json.dumps(getattr(progress, name)) for name in Progress.__slots__}
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata=header)
        with partial.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    path = folder / f"step-{progress.step:08d}-{digest}.safetensors"
    partial.replace(path)
    for old in list(_newest_first(folder))[keep:]:
        if not old.name.startswith(f"step-{progress.best_step:08d}-"):
            old.unlink(missing_ok=True)
    return path


def newest(folder: Path, say: Any = print) -> Path | None:
    """The newest checkpoint whose content has the digest of its name; damaged ones are reported and passed over."""
    for path in _newest_first(folder):
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() in path.name:
                return path
        say(f"checkpoint {path.name} is damaged (its content has another digest); an older one is tried")
    return None


def read_progress(path: Path) -> Progress:
    """What a checkpoint knows besides tensors. Raises ValueError for one of an older form."""
    with safe_open(path, "pt") as file:
        header = file.metadata()
    if missing := [name for name in Progress.__slots__ if name not in header]:
        wanted = "go on with the code that wrote it, or begin anew in another checkpoint folder"
        raise ValueError(f"checkpoint {path} is of an older form, without {', '.join(missing)}; {wanted}")
    return Progress(**{name: json.loads(header[name]) for name in Progress.__slots__})


def check_same_run(found: Progress, wanted: Progress, path: Path) -> None:
    """A checkpoint of another dataset or other settings is not a place to go on from. Raises SettingsError."""
    keys = [key for key in wanted.recipe if key not in FREE_TO_CHANGE]
    changed = [
        f"{key} was {found.recipe.get(key)!r}, now {wanted.recipe[key]!r}"
        for key in keys
        if found.recipe.get(key) != wanted.recipe[key]
    ]
    if found.dataset != wanted.dataset:
        changed.append("the dataset is another one")
    if changed:
        raise SettingsError(
            f"checkpoint {path} is of a different run: {'; '.join(changed)}. "
            "Use the same settings, or another checkpoint folder"
        )


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a checkpoint's tensors into a model and an optimiser of the same recipe, in place."""
    create_state(optimizer)
    with safe_open(path, "pt") as file, torch.no_grad():
        for name, tensor in _tensors(model, optimizer).items():
            tensor.copy_(file.get_tensor(name))
        torch.set_rng_state(file.get_tensor(_RANDOM))


def create_state(optimizer: torch.optim.Optimizer) -> None:
    """Make AdamW's state exist, all zero, as it is before the first step."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    states = (optimizer.state[parameter] for group in optimizer.param_groups for parameter in group["params"])
    return [state[key] for state in states for key in sorted(state)]


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Every tensor of the state under a name of its own; the live tensors, not copies."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for parameter, state in optimizer.state.items():
        tensors |= {f"optimizer.{names[id(parameter)]}.{key}": tensor for key, tensor in state.items()}
    return tensors


def _newest_first(folder: Path) -> Iterator[Path]:
    named = ((match, path) for path in folder.glob("step-*") if (match := _NAME.fullmatch(path.name)))
    yield from (path for match, path in sorted(named, key=lambda found: int(found[0][1]), reverse=True))
