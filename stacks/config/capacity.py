"""How training jobs get their machines. One of these for each environment, so that two which SageMaker does not combine
cannot be named together (spot with a warm pool, a training plan with either).

Rules: the notes on ResourceConfig, InstancePreference and StoppingCondition in the API reference, and the developer
guide's pages on managed spot training, warm pools and training plans.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from stacks.config.checks import not_matching, out_of_range
from stacks.config.settings import Settings
from stacks.training_types import IN_TRAINING_PLANS

MAX_JOB_DAYS = 28  # the longest training job SageMaker accepts
MAX_JOB_HOURS = MAX_JOB_DAYS * 24
MAX_KEEP_ALIVE_MINUTES = 360  # KeepAlivePeriodInSeconds ends at 21,600
MAX_PREFERENCES = 5
PLAN_ARN = r"arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:\d{12}:training-plan/[A-Za-z0-9-]+"


@dataclass(frozen=True, kw_only=True)
class ManagedSpot(Settings):
    """Spare capacity, up to 90 % cheaper, taken away with two minutes' notice: the job goes on from its checkpoint when
    there is some again. The default, because of the price."""

    max_wait_hours: int | None = None
    """From start to end, waiting included; then SageMaker stops the job. None: twice max_runtime_hours."""

    def wait_hours(self, max_runtime_hours: int) -> int:
        return self.max_wait_hours or min(2 * max_runtime_hours, MAX_JOB_HOURS)

    def _faults(self) -> Iterable[str]:
        if self.max_wait_hours is not None:
            yield from out_of_range("max_wait_hours", self.max_wait_hours, 1, MAX_JOB_HOURS)


@dataclass(frozen=True, kw_only=True)
class OnDemand(Settings):
    """Machines at the list price, for the time of the job."""


@dataclass(frozen=True, kw_only=True)
class WarmPool(Settings):
    """On demand, and kept afterwards for the next run, which then starts in seconds. Billed while they wait; needs a
    quota of its own, which is 0 until you ask for it."""

    keep_alive_minutes: int
    """How long machines wait for the next run."""

    def _faults(self) -> Iterable[str]:
        yield from out_of_range("keep_alive_minutes", self.keep_alive_minutes, 1, MAX_KEEP_ALIVE_MINUTES)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan(Settings):
    """GPUs that were reserved and paid for in advance; a job waits until they are there."""

    arn: str

    def _faults(self) -> Iterable[str]:
        wanted = "the ARN of a training plan, arn:aws:sagemaker:<region>:<account>:training-plan/<name>"
        yield from not_matching("arn", self.arn, PLAN_ARN, wanted)


@dataclass(frozen=True, kw_only=True)
class InstancePreferences(Settings):
    """On demand, on the first of `instance_types` that SageMaker has machines of. A run cannot choose its type then."""


Capacity = ManagedSpot | OnDemand | WarmPool | TrainingPlan | InstancePreferences


def capacity_faults(capacity: Capacity, instance_types: tuple[str, ...]) -> Iterable[str]:
    """What cannot work of a capacity with the types that it is of."""
    match capacity:
        case TrainingPlan():
            yield from _plan_type_faults(instance_types)
        case InstancePreferences() if len(instance_types) > MAX_PREFERENCES:
            count = len(instance_types)
            yield f"instance_types holds {count}: give at most {MAX_PREFERENCES} types as InstancePreferences"


def _plan_type_faults(instance_types: tuple[str, ...]) -> Iterable[str]:
    if len(instance_types) != 1:
        yield f"instance_types is {', '.join(instance_types)}: a training plan is of one type, give that one"
    for given in instance_types:
        if given not in IN_TRAINING_PLANS:
            wanted = ", ".join(sorted(IN_TRAINING_PLANS))
            yield f"instance_types holds {given}, of which there are no training plans: give one of {wanted}"
