"""How models are made: the settings of the training pipeline."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from stacks.config.checks import (
    not_a_schedule,
    not_a_switch,
    not_matching,
    not_one_of,
    out_of_range,
    raise_if_any,
    unknown_instance_type,
)
from stacks.instance_types import has_gpu, has_local_disk

ImageTarget = Literal["cpu", "gpu"]

MAX_JOB_DAYS = 28  # the longest training job SageMaker accepts


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

    schedule: str | None = None
    """When a run with the defaults begins by itself, in UTC: rate(7 days) or cron(0 3 ? * SUN *). None: never.
    A time at which a run is active is let go by."""

    on_arrival: bool = False
    """Whether a run with the defaults begins when an object proteins/READY is put into the data bucket."""

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if not faults:
            faults = list(self._faults_between_fields())
        raise_if_any("training", faults)

    def _faults(self) -> Iterable[str]:
        yield from not_matching(
            "recipe", self.recipe, r"[a-z0-9][a-z0-9_]*", "the name of a file in model_code/recipes, such as demo"
        )
        yield from not_matching(
            "init",
            self.init,
            r"scratch|s3://[^/]+/.+|hf:[^@/]+/[^@/]+@[\w.-]+",
            "scratch, s3://bucket/prefix or hf:owner/name@revision",
        )
        yield from not_one_of("image_target", self.image_target, ("cpu", "gpu"))
        if not self.instance_types:
            yield "instance_types is empty: give at least one, the default first"
        for field, value in [
            *(("instance_types", given) for given in self.instance_types),
            ("prepare_instance_type", self.prepare_instance_type),
            ("evaluate_instance_type", self.evaluate_instance_type),
        ]:
            yield from unknown_instance_type(field, value)
        yield from out_of_range("instance_count", self.instance_count, 1, 100)
        yield from out_of_range("volume_gb", self.volume_gb, 1, 16_384)
        yield from out_of_range("job_volume_gb", self.job_volume_gb, 1, 16_384)
        yield from out_of_range("max_runtime_hours", self.max_runtime_hours, 1, MAX_JOB_DAYS * 24)
        if self.schedule is not None:
            yield from not_a_schedule("schedule", self.schedule)
        yield from not_a_switch("on_arrival", self.on_arrival)
        if self.spot_max_wait_hours is not None:
            yield from out_of_range("spot_max_wait_hours", self.spot_max_wait_hours, 1, MAX_JOB_DAYS * 24)

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
