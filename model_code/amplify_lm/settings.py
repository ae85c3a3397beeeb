"""Recipes: a training run by name, as one flat set of checked settings.

A recipe is a JSON object in `recipes/<name>.json`; `overrides` is a JSON object of the same keys that a run lays over
it. Nothing is guessed: an unknown key is an error that names the nearest known one, a wrong type or a value out of
range is an error that says what is wanted, and all faults are reported at once. The resolved recipe goes into the
artefact as `recipe.json`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .config import ModelConfig

RECIPES = Path(__file__).parent.parent / "recipes"


# Smallest and largest value allowed, both included; every number of a recipe but the seed has a line.
_RANGES: dict[str, tuple[float, float]] = {
    "validation_share": (0.0001, 0.5),
    "max_rejected_share": (0, 1),
    "window": (8, 1 << 20),
    "tokens_per_step": (8, 1 << 32),
    "tokens_per_pass": (8, 1 << 24),
    "mask_share": (0.01, 0.9),
    "mask_token_share": (0, 1),
    "random_token_share": (0, 1),
    "steps": (1, 100_000_000),
    "learning_rate": (1e-8, 1),
    "warmup_steps": (0, 100_000_000),
    "decay_steps": (1, 100_000_000),
    "final_learning_rate_share": (0, 1),
    "beta1": (0, 0.99999),
    "beta2": (0, 0.99999),
    "epsilon": (1e-16, 0.1),
    "weight_decay": (0, 1),
    "clip_norm": (1e-6, 1e6),
    "max_skipped_steps": (1, 1_000_000),
    "seed": (0, (1 << 63) - 1),
    "log_every": (1, 1_000_000),
    "validate_every": (1, 100_000_000),
    "validation_tokens": (1, 1 << 40),
    "checkpoint_every": (1, 100_000_000),
    "keep_checkpoints": (1, 1000),
    "profile_steps": (0, 100),
    "min_loss_fall": (-10, 10),
    "max_gradient_jump": (1, 1e9),
    "min_gradient_norm": (0, 1e6),
    "max_dead_layers": (0, 1000),
    "max_collapsed_heads": (0, 1),
    "max_overfit": (0, 10),
    "max_input_wait": (0, 1),
    "min_mfu": (0, 1),
}
RULE_THRESHOLDS = {
    "loss_not_falling": "min_loss_fall",
    "exploding_gradients": "max_gradient_jump",
    "vanishing_gradients": "min_gradient_norm",
    "dead_layers": "max_dead_layers",
    "attention_collapse": "max_collapsed_heads",
    "over_fitting": "max_overfit",
    "input_starvation": "max_input_wait",
    "gpu_under_use": "min_mfu",
}
"""Rules that watch a run (rules.py) → the setting that each is held to."""
_RANDOM_TOKENS = ("residues", "vocabulary")
_SPLIT_BY = ("auto", "cluster", "hash")
_WEIGHTS = (0.001, 1000.0)


class SettingsError(ValueError):
    """A recipe, an override or a hyper-parameter that cannot be used; the message lists every fault."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The settings of one run. "Tokens" count `<bos>` and `<eos>`; nothing here depends on how many processes run."""

    name: str
    description: str

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    """Nominal width of the feed-forward layers; SwiGLU uses two thirds of it, rounded up to a multiple of 8."""
    max_length: int = 2048
    """Longest protein, in tokens, that the trained model takes."""

    validation_share: float = 0.01
    """Share of the proteins that `prepare` sets aside, chosen by a hash of the sequence."""
    split_by: Literal["auto", "cluster", "hash"] = "auto"
    """What is drawn for validation: a cluster of relatives (wants MMseqs2), or each protein by itself. `auto`: clusters
    where the program is there; the manifest says which it was."""
    max_rejected_share: float = 0.05
    """`prepare` stops when more than this share of the records cannot be used."""
    mix: dict[str, float] = dataclasses.field(default_factory=dict)
    """Folder at the top of the input → how often an epoch meets each of its proteins: 1 once, 0.25 every fourth epoch,
    3 three times. Every file has to lie in one of the folders. Without a mix all files are one source."""

    window: int
    """Tokens of a training window; a longer protein is cut to a random window, another one in each epoch."""
    tokens_per_step: int
    """Tokens of one optimiser step, over all processes."""
    tokens_per_pass: int
    """Tokens that one process takes through the model at once; a step has as many passes as it needs."""
    mask_share: float = 0.15
    """Share of the residues that the model has to predict."""
    mask_token_share: float = 0.8
    """Share of those that become `<mask>`; see `random_token_share` for the rest."""
    random_token_share: float = 0.1
    """Share of those that become a random token; what is left keeps its residue."""
    random_tokens: Literal["residues", "vocabulary"] = "residues"
    """What a random token is drawn from; the authors' code draws from the whole vocabulary, `<pad>` included."""

    steps: int
    learning_rate: float
    """At the end of the warm-up."""
    warmup_steps: int
    decay_steps: int
    """The step at which the learning rate has come down to `final_learning_rate_share` of its peak, to stay there."""
    final_learning_rate_share: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    """Of the matrices; norms and biases have none."""
    clip_norm: float = 1.0
    """Largest Euclidean norm of the whole gradient."""
    max_skipped_steps: int = 10
    """A step whose gradient is not finite changes nothing; so many of them one after the other end the run."""

    seed: int = 0
    log_every: int = 10
    """Steps between two metric lines."""
    validate_every: int = 1000
    """Steps between two validations; there is one at the end in any case."""
    validation_tokens: int = 1_000_000
    """At most this many tokens of the validation set are used during the run."""
    checkpoint_every: int = 1000
    keep_checkpoints: int = 2
    """The newest ones; the one with the lowest validation loss stays beside them."""
    profile_steps: int = 0
    """So many steps, after the first ten, are recorded by torch's profiler into the job's output."""
    stop_on: str = ""
    """Rules that end the run when they break, with commas between; the others are told and counted."""
    min_loss_fall: float = 0.0
    """Nats by which the last fifth of the losses is lower than the fifth before, from warm-up to the end of decay."""
    max_gradient_jump: float = 10.0
    """The gradient's norm, before clipping, as a multiple of the usual."""
    min_gradient_norm: float = 1e-5
    max_dead_layers: int = 0
    max_collapsed_heads: float = 0.5
    """Share of the attention heads that look at one token only."""
    max_overfit: float = 0.05
    """Nats by which the validation loss is above its lowest."""
    max_input_wait: float = 0.5
    """Share of the time that goes into reading, masking and packing."""
    min_mfu: float = 0.1
    """Share of the GPU's BF16 arithmetic; where that is not known, such as on a CPU, nothing is held to it."""

    def __post_init__(self) -> None:
        faults = [
            f"{name} is {value!r}, {low} to {high} is wanted"
            for name, (low, high) in _RANGES.items()
            if not low <= (value := getattr(self, name)) <= high  # false for NaN too
        ]
        if self.mask_token_share + self.random_token_share > 1:
            total = self.mask_token_share + self.random_token_share
            faults.append(f"mask_token_share + random_token_share is {total}, at most 1 is wanted")
        if self.random_tokens not in _RANDOM_TOKENS:
            faults.append(f"random_tokens is {self.random_tokens!r}, one of {', '.join(_RANDOM_TOKENS)} is wanted")
        if self.split_by not in _SPLIT_BY:
            faults.append(f"split_by is {self.split_by!r}, one of {', '.join(_SPLIT_BY)} is wanted")
        faults += self._faults_of_the_mix()
        if self.window > self.max_length:
            faults.append(f"window is {self.window}, at most max_length ({self.max_length}) is wanted")
        for name in ("tokens_per_step", "tokens_per_pass"):
            if getattr(self, name) < self.window:
                faults.append(f"{name} is {getattr(self, name)}, at least window ({self.window}) is wanted")
        if self.decay_steps <= self.warmup_steps:
            faults.append(f"decay_steps is {self.decay_steps}, more than warmup_steps ({self.warmup_steps}) is wanted")
        known = list(RULE_THRESHOLDS)
        faults += [f"stop_on: {_unknown(name, known, 'rule')}" for name in self.stop_on_rules if name not in known]
        try:
            self.model_config()
        except ValueError as fault:
            faults.append(str(fault))
        if faults:
            raise SettingsError("; ".join(faults))

    def _faults_of_the_mix(self) -> list[str]:
        low, high = _WEIGHTS
        faults = [
            f"mix: the weight of {name!r} is {weight!r}, {low} to {high} is wanted"
            for name, weight in self.mix.items()
            if not low <= weight <= high
        ]
        names = [name for name in self.mix if not name or "/" in name or name.startswith(".")]
        return faults + [f"mix: {name!r} is no name of a folder at the top of the input" for name in names]

    @property
    def stop_on_rules(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.stop_on.split(",") if name.strip())

    def model_config(self) -> ModelConfig:
        """The model that the recipe describes."""
        return ModelConfig(
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=self.intermediate_size,
            max_length=self.max_length,
        )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Build a recipe from a JSON object, strictly. Raises SettingsError with every fault found."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        faults = [_unknown(key, list(fields)) for key in values if key not in fields]
        required = (
            name
            for name, field in fields.items()
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        faults += [f"{name} is missing" for name in required if name not in values]
        faults += [
            f"{key} is {value!r}, {wanted} is wanted"
            for key, value in values.items()
            if key in fields and (wanted := _wrong_type(value, str(fields[key].type)))
        ]
        if faults:
            raise SettingsError("; ".join(faults))
        return cls(**values)


def recipe_names(folder: Path = RECIPES) -> list[str]:
    """The recipes at hand, sorted."""
    return sorted(path.stem for path in folder.glob("*.json"))


def read_recipe(name: str, overrides: Mapping[str, Any] | None = None, folder: Path = RECIPES) -> Recipe:
    """The recipe of that name with the overrides laid over it. Raises SettingsError naming the recipe, each fault."""
    if name not in (names := recipe_names(folder)):
        raise SettingsError(f"recipe {name!r} does not exist{_nearest(name, names)}; there are {', '.join(names)}")
    if fixed := {"name", "description"} & set(overrides or {}):
        raise SettingsError(f"overrides: {', '.join(sorted(fixed))} cannot be overridden")
    try:
        values = json.loads((folder / f"{name}.json").read_text())
        return Recipe.from_dict({"name": name, **values, **(overrides or {})})
    except (json.JSONDecodeError, SettingsError) as error:
        place = f"recipe {name!r} with overrides {json.dumps(overrides)}" if overrides else f"recipe {name!r}"
        raise SettingsError(f"{place}: {error}") from None


def parse_overrides(text: str) -> dict[str, Any]:
    """The JSON object of an `overrides` hyper-parameter; empty text is none. Raises SettingsError for anything else."""
    try:
        values = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise SettingsError(f"overrides is not JSON ({error}): {text[:80]!r}; a JSON object is wanted") from None
    if not isinstance(values, dict):
        raise SettingsError(f'overrides is {text[:80]!r}; a JSON object is wanted, such as {{"steps": 100}}')
    return values


def _unknown(key: str, known: list[str], what: str = "key") -> str:
    return f"unknown {what} {key!r}{_nearest(key, known)}"


def _nearest(word: str, known: list[str]) -> str:
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f" (did you mean {match[0]!r}?)" if match else ""


def _wrong_type(value: object, annotation: str) -> str:
    """What is wanted where the value's type is wrong, else the empty string. A whole number serves as a number."""
    match annotation:
        case "int":
            return "" if isinstance(value, int) and not isinstance(value, bool) else "a whole number"
        case "float":
            return "" if isinstance(value, int | float) and not isinstance(value, bool) else "a number"
        case "dict[str, float]":
            numbers = isinstance(value, dict) and all(_wrong_type(one, "float") == "" for one in value.values())
            return "" if numbers else "an object of numbers by name"
        case _:
            return "" if isinstance(value, str) else "text"
