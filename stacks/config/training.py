"""How models are made: the settings of the training pipeline."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from stacks.config.capacity import MAX_JOB_HOURS, Capacity, InstancePreferences, ManagedSpot, capacity_faults
from stacks.config.checks import (
    not_a_schedule,
    not_matching,
    not_one_of,
    out_of_range,
    unknown_instance_type,
)
from stacks.config.settings import Rule, Settings
from stacks.instance_types import has_gpu, has_local_disk
from stacks.recipes import recipe_names
from stacks.training_types import MACHINES, machine, processing_machine

ImageTarget = Literal["cpu", "gpu"]

MAX_VOLUME_GB = 16_384
MAX_INSTANCES = 100
MAX_RETRIES = 30


@dataclass(frozen=True, kw_only=True)
class Training(Settings):
    """How models are made: the defaults and limits of the SageMaker Pipeline."""

    recipe: str
    """Recipe a run takes when it names none: a file of model_code/recipes, without its ending."""

    init: str = "scratch"
    """Starting weights a run takes when it names none: scratch, s3://… or hf:<repo>@<revision>."""

    image_target: ImageTarget
    """Which stage of model_code/Dockerfile the jobs (and the models they make) run on."""

    instance_types: tuple[str, ...]
    """Types a run may ask for, the default first. The pipeline refuses any other, so this also caps a run's price."""

    capacity: Capacity = field(default_factory=ManagedSpot)
    """How jobs get their machines. A setting and not a parameter of a run: each way has members that SageMaker refuses
    beside the others, and a pipeline definition has no conditional member."""

    instance_count: int = 1
    """Machines of a training job, unless a run says otherwise. Several want EFA: stacks/training_types.py says which
    types have it, and synthesis warns of those that do not."""

    max_instance_count: int | None = None
    """Most machines that `amplify train` asks for. None: instance_count."""

    volume_gb: int = 50
    """Disk of a training instance: dataset, checkpoints and scratch."""

    max_runtime_hours: int
    """A training job is stopped (and its model kept) after this long, all retries and interruptions together."""

    max_pending_hours: int | None = None
    """How long a job waits for GPUs before SageMaker gives up. None: as long as SageMaker likes."""

    retries: int = 2
    """How often SageMaker begins a job again, from its checkpoint, where SageMaker itself failed."""

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

    def _faults(self) -> Iterable[str]:
        if self.recipe not in (recipes := recipe_names()):
            yield f"recipe is {self.recipe!r}: give the name of a file in model_code/recipes, {', '.join(recipes)}"
        yield from not_matching(
            "init",
            self.init,
            r"scratch|s3://[^/]+/.+|hf:[^@/]+/[^@/]+@[\w.-]+",
            "scratch, s3://bucket/prefix or hf:owner/name@revision",
        )
        yield from not_one_of("image_target", self.image_target, ("cpu", "gpu"))
        for name, given in self._processing_types():
            yield from unknown_instance_type(name, given, processing_machine)
        yield from out_of_range("instance_count", self.instance_count, 1, MAX_INSTANCES)
        if self.max_instance_count is not None:
            yield from out_of_range("max_instance_count", self.max_instance_count, 1, MAX_INSTANCES)
        yield from out_of_range("volume_gb", self.volume_gb, 1, MAX_VOLUME_GB)
        yield from out_of_range("job_volume_gb", self.job_volume_gb, 1, MAX_VOLUME_GB)
        yield from out_of_range("max_runtime_hours", self.max_runtime_hours, 1, MAX_JOB_HOURS)
        if self.max_pending_hours is not None:
            yield from out_of_range("max_pending_hours", self.max_pending_hours, 1, MAX_JOB_HOURS)
        yield from out_of_range("retries", self.retries, 0, MAX_RETRIES)
        if self.schedule is not None:
            yield from not_a_schedule("schedule", self.schedule)

    def _rules(self) -> Iterable[Rule]:
        types = "instance_types"
        yield (types,), self._type_faults()
        yield (types, "capacity"), capacity_faults(self.capacity, self.instance_types)
        yield (types, "image_target", "evaluate_instance_type"), self._gpu_faults()
        yield (types,), self._disk_kind_faults()
        yield (types, "volume_gb"), self._disk_faults("volume_gb", types)
        for name, _ in self._processing_types():
            yield (name, "job_volume_gb"), self._disk_faults("job_volume_gb", name)
        yield ("instance_count", "max_instance_count"), self._count_faults()
        yield ("capacity", "max_runtime_hours", "max_pending_hours", "image_target"), self._time_faults()

    def _type_faults(self) -> Iterable[str]:
        if not self.instance_types:
            yield "instance_types is empty: give at least one, the default first"
        for given in self.instance_types:
            yield from unknown_instance_type("instance_types", given, machine)
        if len(set(self.instance_types)) < len(self.instance_types):
            yield f"instance_types names a type twice ({', '.join(self.instance_types)}): give each once"

    def _gpu_faults(self) -> Iterable[str]:
        wants_gpu = self.image_target == "gpu"
        for given in self.instance_types:
            if has_gpu(given) != wants_gpu:
                found = "no GPU" if wants_gpu else "a GPU"
                yield f"instance_types holds {given}, which has {found}, but image_target is {self.image_target}"
        if not wants_gpu and has_gpu(self.evaluate_instance_type):
            yield f"evaluate_instance_type is {self.evaluate_instance_type}, which has a GPU, but image_target is cpu"

    def _disk_kind_faults(self) -> Iterable[str]:
        if len({has_local_disk(given) for given in self.instance_types}) > 1:
            yield (
                f"instance_types mixes types with and without local disks ({', '.join(self.instance_types)}): the ones "
                "need a volume key, SageMaker refuses it for the others, and a pipeline has one answer for all; "
                "give types of one kind"
            )

    def _count_faults(self) -> Iterable[str]:
        if self.most_instances < self.instance_count:
            yield f"max_instance_count is {self.most_instances}: give at least instance_count, {self.instance_count}"

    def _time_faults(self) -> Iterable[str]:
        wait = self.spot_max_wait_hours
        if wait is not None and wait < self.max_runtime_hours:
            yield (
                f"capacity.max_wait_hours is {wait}: it includes the run itself, so give at least "
                f"max_runtime_hours, {self.max_runtime_hours}"
            )
        if self.max_pending_hours is not None and wait is not None:
            yield (
                f"max_pending_hours is {self.max_pending_hours}, but capacity.max_wait_hours already ends the "
                "waiting: give one of them"
            )
        if self.max_pending_hours is not None and self.image_target != "gpu":
            yield (
                f"max_pending_hours is {self.max_pending_hours}: SageMaker heeds it for GPU types only, leave it out "
                f"with image_target {self.image_target}"
            )

    def _disk_faults(self, volume: str, types: str) -> Iterable[str]:
        """A local disk is all the disk there is: a larger one is not attached."""
        wanted_gb, given_types = getattr(self, volume), getattr(self, types)
        for given in (given_types,) if isinstance(given_types, str) else given_types:
            disk_gb = MACHINES[given].local_disk_gb
            if disk_gb is not None and wanted_gb > disk_gb:
                has = f"has a local disk of {disk_gb} GB and gets no other"
                yield f"{volume} is {wanted_gb}: {given} {has}, give no more"

    def _processing_types(self) -> list[tuple[str, str]]:
        return [
            ("prepare_instance_type", self.prepare_instance_type),
            ("evaluate_instance_type", self.evaluate_instance_type),
        ]

    @property
    def most_instances(self) -> int:
        """Machines that a run may ask for."""
        return self.instance_count if self.max_instance_count is None else self.max_instance_count

    @property
    def spot_max_wait_hours(self) -> int | None:
        """How long a job may take on spot from start to end, waiting included; None where it is not on spot."""
        if isinstance(self.capacity, ManagedSpot):
            return self.capacity.wait_hours(self.max_runtime_hours)
        return None

    @property
    def run_chooses_type(self) -> bool:
        """Whether a run may name one of instance_types. Of preferences, SageMaker takes the first it has."""
        return not isinstance(self.capacity, InstancePreferences)

    @property
    def possible_machines(self) -> tuple[tuple[str, int], ...]:
        """(type, count) of all that a run may get. Whoever bounds the price of a run has to look at the dearest."""
        return tuple((given, self.most_instances) for given in self.instance_types)
