"""An endpoint with a queue, which can be without instances."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from stacks.config.checks import out_of_range
from stacks.config.endpoint.base import (
    LARGEST_SCAN_TOKENS,
    EndpointSettings,
    queue_faults,
    scaling_faults,
    size_faults,
    type_faults,
)
from stacks.config.endpoint.deployment import Deployment, default_deployment, misfits
from stacks.config.endpoint.modes import Mode
from stacks.config.endpoint.working_hours import WorkingHours
from stacks.config.settings import Rule
from stacks.instance_types import has_gpu


@dataclass(frozen=True, kw_only=True)
class Async(EndpointSettings):
    """Requests wait in a queue and may take an hour; while there are none, there need be no instance.

    A body is at most 6 MB, as in every mode: that is what the server reads.
    """

    mode: ClassVar[Mode] = "async"

    instance_type: str
    """Type of each serving instance, with a GPU."""

    allow_cpu: bool = False
    """Take a type without a GPU. What is asked asynchronously is long work, and on CPUs it can outlast the hour that
    SageMaker gives a request."""

    min_instances: int = 0
    """Instances at least; by day, where there are working_hours."""

    max_instances: int = 1
    """Instances at most."""

    backlog_per_instance: int = 5
    """What scaling aims at: requests that wait or run, per instance."""

    concurrent_requests: int = 2
    """Requests that SageMaker hands to an instance at once."""

    largest_request_tokens: int = LARGEST_SCAN_TOKENS
    """The work of the largest request that people send, in tokens of model passes: a masked-marginal scan of a protein
    of n residues is about n·n. All of concurrent_requests must fit the server's queue, or it would refuse some: 429."""

    max_wait_minutes: int = 60
    """The alarm rings when the oldest request has waited longer."""

    deployment: Deployment | None = None
    """How a release replaces the one before. None: a canary of half where there are always two instances, all at once
    under the alarms where there can be, else all at once."""

    working_hours: WorkingHours | None = None
    """Within them min_instances stay up; outside there are none until somebody asks. None: the same day and night."""

    @property
    def instance_types(self) -> tuple[str, ...]:
        return (self.instance_type,)

    @property
    def most_instances(self) -> int:
        return self.max_instances

    @property
    def scales(self) -> bool:
        """Whether the number of instances changes with the queue, or with the hour."""
        return self.min_instances < self.max_instances or self.working_hours is not None

    @property
    def kind_of_deployment(self) -> Deployment:
        """What `deployment` says, or its default."""
        return self.deployment or default_deployment(self.min_instances, self.max_instances)

    def _faults(self) -> Iterable[str]:
        yield from self._common_faults()
        yield from type_faults(self.instance_type, "endpoint")
        yield from size_faults("instances", self.min_instances, self.max_instances, least=0)
        yield from out_of_range("backlog_per_instance", self.backlog_per_instance, 1, 1_000)
        yield from out_of_range("max_wait_minutes", self.max_wait_minutes, 1, 24 * 60)
        yield from queue_faults("concurrent_requests", self.concurrent_requests, self.largest_request_tokens)

    def _rules(self) -> Iterable[Rule]:
        sizes = ("min_instances", "max_instances")
        yield ("instance_type", "allow_cpu"), self._gpu_faults()
        yield (*sizes, "instance_type", "working_hours"), self._scaling_faults()
        yield (*sizes, "deployment"), self._deployment_faults()
        yield ("min_instances", "working_hours"), self._hours_faults()

    def _gpu_faults(self) -> Iterable[str]:
        if not has_gpu(self.instance_type) and not self.allow_cpu:
            yield (
                f"instance_type is {self.instance_type}, which has no GPU: asynchronous requests are long work; "
                "give a GPU type, or allow_cpu=True for a small model"
            )

    def _scaling_faults(self) -> Iterable[str]:
        lowest = 0 if self.working_hours else self.min_instances
        yield from scaling_faults(self.instance_type, lowest, self.max_instances)

    def _deployment_faults(self) -> Iterable[str]:
        yield from misfits(self.kind_of_deployment, self.min_instances, self.max_instances)

    def _hours_faults(self) -> Iterable[str]:
        if self.working_hours is not None and self.min_instances == 0:
            yield "working_hours would change nothing: min_instances is 0 by day too; give 1 or more, or no hours"
