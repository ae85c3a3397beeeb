"""A real-time endpoint that can be without instances: the model is a component of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from stacks.config.checks import out_of_range
from stacks.config.endpoint.base import (
    SERVER_REQUESTS,
    EndpointSettings,
    latency_faults,
    scaling_faults,
    size_faults,
    type_faults,
)
from stacks.config.endpoint.deployment import AllAtOnce, Canary, Deployment, Linear, Rolling, misfits
from stacks.config.endpoint.modes import Mode, refusal
from stacks.config.endpoint.working_hours import WorkingHours
from stacks.config.settings import Rule
from stacks.hosting_types import gpus, memory_mb
from stacks.instance_types import has_gpu, vcpus


@dataclass(frozen=True, kw_only=True)
class InferenceComponents(EndpointSettings):
    """Real-time, with the model as a component of the endpoint: its copies, and the instances, can be none at all.

    While there is none every request fails; the first of them makes a copy come up, which takes several minutes.
    """

    mode: ClassVar[Mode] = "inference_components"

    instance_type: str
    """Type of the instances that copies are placed on."""

    min_copies: int = 0
    """Copies of the model at least; by day, where there are working_hours."""

    max_copies: int = 1
    """Copies at most, and so instances at most: the worst case is a copy on each."""

    memory_mb_per_copy: int = 8_192
    """Memory that a copy reserves."""

    gpus_per_copy: int = 1
    """GPUs of a copy, on a type that has some. The server uses one."""

    cpus_per_copy: int = 2
    """CPU cores of a copy, on a type without GPU."""

    requests_per_copy: int = 8
    """What scaling aims at: requests under way at once on each copy, measured every 10 seconds."""

    max_latency_ms: int = 5_000
    """Slowest acceptable model latency (99th percentile of five minutes): above it the alarm rings."""

    deployment: AllAtOnce | Rolling | None = None
    """How a release replaces the one before. None: rolling by halves from two copies on, else all at once."""

    working_hours: WorkingHours | None = None
    """Within them min_copies stay up; outside there are none until somebody asks. None: the same day and night."""

    @property
    def instance_types(self) -> tuple[str, ...]:
        return (self.instance_type,)

    @property
    def most_instances(self) -> int:
        return self.max_copies

    @property
    def scales(self) -> bool:
        """Whether the number of copies changes with the requests, or with the hour."""
        return self.min_copies < self.max_copies or self.working_hours is not None

    @property
    def kind_of_deployment(self) -> Deployment:
        """What `deployment` says, or its default."""
        return self.deployment or (Rolling() if self.min_copies >= 2 else AllAtOnce())

    def _faults(self) -> Iterable[str]:
        yield from self._common_faults()
        yield from latency_faults(self.max_latency_ms)
        yield from type_faults(self.instance_type, "endpoint")
        yield from size_faults("copies", self.min_copies, self.max_copies, least=0)
        yield from out_of_range("memory_mb_per_copy", self.memory_mb_per_copy, 128, 4_194_304)
        yield from out_of_range("gpus_per_copy", self.gpus_per_copy, 1, 8)
        yield from out_of_range("cpus_per_copy", self.cpus_per_copy, 1, 192)
        yield from out_of_range("requests_per_copy", self.requests_per_copy, 1, SERVER_REQUESTS)
        given: object = self.deployment
        if isinstance(given, Canary | Linear):
            yield f"deployment is {type(given).__name__}: {refusal(self.mode, 'canary')}; give Rolling or AllAtOnce()"

    def _rules(self) -> Iterable[Rule]:
        yield ("instance_type", "memory_mb_per_copy", "gpus_per_copy", "cpus_per_copy"), self._room_faults()
        yield ("instance_type", "min_copies", "max_copies", "working_hours"), self._scaling_faults()
        yield ("min_copies", "max_copies", "deployment"), self._deployment_faults()
        yield ("min_copies", "working_hours"), self._hours_faults()

    def _room_faults(self) -> Iterable[str]:
        """A copy that no instance has room for is never placed. Of its memory an instance keeps some for itself."""
        given, most = self.instance_type, memory_mb(self.instance_type)
        if self.memory_mb_per_copy >= most:
            has = f"{given} has {most}, and needs some itself"
            yield f"memory_mb_per_copy is {self.memory_mb_per_copy}: {has}; give less"
        if has_gpu(given):
            if self.gpus_per_copy > gpus(given):
                yield f"gpus_per_copy is {self.gpus_per_copy}: {given} has {gpus(given)}; give no more"
        elif self.cpus_per_copy > vcpus(given):
            yield f"cpus_per_copy is {self.cpus_per_copy}: {given} has {vcpus(given)}; give no more"

    def _scaling_faults(self) -> Iterable[str]:
        lowest = 0 if self.working_hours else self.min_copies
        yield from scaling_faults(self.instance_type, lowest, self.max_copies)

    def _deployment_faults(self) -> Iterable[str]:
        kind = self.kind_of_deployment
        if isinstance(kind, AllAtOnce) and kind.bake_minutes:
            yield "deployment is AllAtOnce with bake_minutes, which inference components do not have: give AllAtOnce()"
        else:
            yield from misfits(kind, self.min_copies, self.min_copies)

    def _hours_faults(self) -> Iterable[str]:
        if self.working_hours is not None and self.min_copies == 0:
            yield "working_hours would change nothing: min_copies is 0 by day too; give 1 or more, or no hours"
