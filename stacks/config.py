"""The settings of one environment: typed, frozen, and checked where they enter, all faults reported at once.

`environments.py` holds the values. Nothing below this door reads the environment or a context value for a setting.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from stacks.instance_types import has_gpu, has_local_disk

ImageTarget = Literal["cpu", "gpu"]

MAX_JOB_DAYS = 28  # the longest training job SageMaker accepts


class SettingsError(ValueError):
    """One or more settings cannot work. The message lists every fault: value given, value wanted."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How models are made: the defaults and limits of the SageMaker Pipeline."""

    recipe: str
    """Recipe a run takes when it names none: a file of model_code/recipes, without its ending."""

    init: str = "scratch"
    """Starting weights a run takes when it names none: scratch, s3://… or hf:<repo>@<revision>."""

    image_target: ImageTarget
    """Which stage of model_code/Dockerfile the jobs (and the models they make) run on."""

    instance_types: tuple[str, ...]
    """Types a run may ask for, the default first. The pipeline refuses any other, so this also caps a run's price."""

    instance_count: int = 1
    """Machines of a training job, unless a run says otherwise."""

    volume_gb: int = 50
    """Disk of a training instance: dataset, checkpoints and scratch."""

    max_runtime_hours: int
    """A training job is stopped (and its model kept) after this long."""

    spot_max_wait_hours: int | None = None
    """Train on managed spot, for at most this long from start to end, waiting included. None: on demand.
    A setting and not a parameter of a run: SageMaker accepts MaxWaitTimeInSeconds only beside spot, and a pipeline
    definition has no conditional field."""

    prepare_instance_type: str = "ml.m5.xlarge"
    """Where FASTA becomes token shards: CPU work."""

    evaluate_instance_type: str
    """Where the held-out proteins are scored."""

    job_volume_gb: int = 30
    """Disk of the prepare and evaluate instances."""

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if not faults:
            faults = list(self._faults_between_fields())
        _raise_if_any("training", faults)

    def _faults(self) -> Iterable[str]:
        yield from _not_matching(
            "recipe", self.recipe, r"[a-z0-9][a-z0-9_]*", "the name of a file in model_code/recipes, such as demo"
        )
        yield from _not_matching(
            "init",
            self.init,
            r"scratch|s3://[^/]+/.+|hf:[^@/]+/[^@/]+@[\w.-]+",
            "scratch, s3://bucket/prefix or hf:owner/name@revision",
        )
        yield from _not_one_of("image_target", self.image_target, ("cpu", "gpu"))
        if not self.instance_types:
            yield "instance_types is empty: give at least one, the default first"
        for field, value in [
            *(("instance_types", given) for given in self.instance_types),
            ("prepare_instance_type", self.prepare_instance_type),
            ("evaluate_instance_type", self.evaluate_instance_type),
        ]:
            yield from _unknown_instance_type(field, value)
        yield from _out_of_range("instance_count", self.instance_count, 1, 100)
        yield from _out_of_range("volume_gb", self.volume_gb, 1, 16_384)
        yield from _out_of_range("job_volume_gb", self.job_volume_gb, 1, 16_384)
        yield from _out_of_range("max_runtime_hours", self.max_runtime_hours, 1, MAX_JOB_DAYS * 24)
        if self.spot_max_wait_hours is not None:
            yield from _out_of_range("spot_max_wait_hours", self.spot_max_wait_hours, 1, MAX_JOB_DAYS * 24)

    def _faults_between_fields(self) -> Iterable[str]:
        wants_gpu = self.image_target == "gpu"
        for given in self.instance_types:
            if has_gpu(given) != wants_gpu:
                found = "no GPU" if wants_gpu else "a GPU"
                yield f"instance_types holds {given}, which has {found}, but image_target is {self.image_target}"
        if not wants_gpu and has_gpu(self.evaluate_instance_type):
            yield f"evaluate_instance_type is {self.evaluate_instance_type}, which has a GPU, but image_target is cpu"
        if len({has_local_disk(given) for given in self.instance_types}) > 1:
            yield (
                f"instance_types mixes types with and without local disks ({', '.join(self.instance_types)}): the ones "
                "need a volume key, SageMaker refuses it for the others, and a pipeline has one answer for all; "
                "give types of one kind"
            )
        if self.spot_max_wait_hours is not None and self.spot_max_wait_hours < self.max_runtime_hours:
            yield (
                f"spot_max_wait_hours is {self.spot_max_wait_hours}: it includes the run itself, so give at least "
                f"max_runtime_hours, {self.max_runtime_hours}"
            )


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """How an approved model is served, once releases/<env>.json names one."""

    instance_type: str
    """Type of each serving instance."""

    instance_count: int = 1
    """Serving instances. From two on, a release goes out as a canary and is rolled back on alarms."""

    max_latency_ms: int = 5_000
    """Slowest acceptable model latency (99th percentile of five minutes): above it the alarm rings."""

    def __post_init__(self) -> None:
        faults = [
            *_unknown_instance_type("instance_type", self.instance_type),
            *_out_of_range("instance_count", self.instance_count, 1, 100),
            *_out_of_range("max_latency_ms", self.max_latency_ms, 1, 60_000),
        ]
        _raise_if_any("endpoint", faults)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment: an account and region, what is made there and what is served there."""

    name: str
    """The `<env>` in every name: stacks amplify-<env>-…, pipeline, group, repository and endpoint amplify-<env>."""

    account: str
    """Twelve digits."""

    region: str
    """Such as eu-central-1."""

    training: Training | None
    """None where models only arrive as releases."""

    endpoint: Endpoint
    """Deployed where releases/<name>.json exists."""

    termination_protection: bool = True
    """Whether CloudFormation refuses to delete the stacks that hold data."""

    def __post_init__(self) -> None:
        faults = [
            *_not_matching(
                "name", self.name, r"[a-z][a-z0-9-]{0,19}", "up to 20 lower-case letters, digits and hyphens"
            ),
            *_not_matching("account", self.account, r"\d{12}", "the twelve digits of an AWS account"),
            *_not_matching("region", self.region, r"[a-z]{2}(-[a-z]+)+-\d", "an AWS region such as eu-central-1"),
        ]
        _raise_if_any(f"environment {self.name}", faults)

    @property
    def resource_name(self) -> str:
        """The one fixed name: of the pipeline, the model package group, the image repository and the endpoint."""
        return f"amplify-{self.name}"


def _raise_if_any(where: str, faults: list[str]) -> None:
    if faults:
        raise SettingsError(f"{where}: " + "; ".join(faults))


def _not_matching(field: str, value: str, pattern: str, wanted: str) -> Iterable[str]:
    if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
        yield f"{field} is {value!r}: give {wanted}"


def _not_one_of(field: str, value: object, wanted: tuple[str, ...]) -> Iterable[str]:
    if value not in wanted:
        yield f"{field} is {value!r}: give {' or '.join(wanted)}"


def _out_of_range(field: str, value: int, low: int, high: int) -> Iterable[str]:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        yield f"{field} is {value!r}: give a whole number from {low} to {high}"


def _unknown_instance_type(field: str, value: str, check: Callable[[str], object] = has_gpu) -> Iterable[str]:
    try:
        check(value)
    except ValueError as fault:
        yield f"{field}: {fault}"
