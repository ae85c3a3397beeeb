"""An endpoint that answers at once, and what can be set beside it: capture, shadow."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from stacks.config.checks import not_one_of, out_of_range
from stacks.config.endpoint.base import (
    MOST_INSTANCES,
    SERVER_REQUESTS,
    EndpointSettings,
    latency_faults,
    scaling_faults,
    size_faults,
    type_faults,
)
from stacks.config.endpoint.deployment import AllAtOnce, Deployment, Rolling, default_deployment, misfits
from stacks.config.endpoint.modes import Mode, refusal
from stacks.config.endpoint.working_hours import WorkingHours
from stacks.config.settings import Rule, Settings
from stacks.instance_types import has_local_disk


@dataclass(frozen=True, kw_only=True)
class Capture(Settings):
    """A share of the requests and answers is written to `captured/<endpoint>/` of the artifact bucket for 30 days.

    They hold people's sequences: that is why it is off unless set.
    """

    percent: int
    """Share of the requests, 1 to 100."""

    what: Literal["Input", "Output", "InputAndOutput"] = "InputAndOutput"
    """Requests, answers, or both."""

    def _faults(self) -> Iterable[str]:
        yield from out_of_range("percent", self.percent, 1, 100)
        yield from not_one_of("what", self.what, ("Input", "Output", "InputAndOutput"))


@dataclass(frozen=True, kw_only=True)
class Shadow(Settings):
    """A second release gets copies of real requests and answers nobody.

    Deployed where releases/<env>.shadow.json pins it.
    """

    instance_type: str
    """Type of its instances."""

    instance_count: int = 1
    """Its instances; it does not scale."""

    percent: int = 10
    """Share of the requests that it gets a copy of, 1 to 100."""

    def _faults(self) -> Iterable[str]:
        yield from type_faults(self.instance_type, "endpoint")
        yield from out_of_range("instance_count", self.instance_count, 1, MOST_INSTANCES)
        yield from out_of_range("percent", self.percent, 1, 100)


@dataclass(frozen=True, kw_only=True)
class RealTime(EndpointSettings):
    """Answers at once, from instances that are always there."""

    mode: ClassVar[Mode] = "realtime"

    instance_type: str
    """Type of each serving instance."""

    min_instances: int = 1
    """Instances at least."""

    max_instances: int = 1
    """Instances at most. As many as min_instances: the fleet does not scale."""

    requests_per_instance: int = 8
    """What scaling aims at: requests under way at once on each instance, measured every 10 seconds."""

    max_latency_ms: int = 5_000
    """Slowest acceptable model latency (99th percentile of five minutes): above it the alarm rings."""

    deployment: Deployment | None = None
    """How a release replaces the one before. None: a canary of half where there are always two instances, all at once
    under the alarms where there can be, else all at once."""

    capture: Capture | None = None
    """None: nothing that people send is kept."""

    shadow: Shadow | None = None
    """A second release that gets copies of the requests."""

    working_hours: WorkingHours | None = None
    """Outside of them there is no endpoint at all where the size is fixed (it is deleted, and made again from the same
    configuration), and one instance where it scales. None: the same day and night."""

    @property
    def instance_types(self) -> tuple[str, ...]:
        return (self.instance_type, *([self.shadow.instance_type] if self.shadow else []))

    @property
    def most_instances(self) -> int:
        return self.max_instances + (self.shadow.instance_count if self.shadow else 0)

    @property
    def scales(self) -> bool:
        """Whether the number of instances changes with the requests."""
        return self.min_instances < self.max_instances

    @property
    def kind_of_deployment(self) -> Deployment:
        """What `deployment` says, or its default."""
        return self.deployment or default_deployment(self.min_instances, self.max_instances)

    def _faults(self) -> Iterable[str]:
        yield from self._common_faults()
        yield from latency_faults(self.max_latency_ms)
        yield from type_faults(self.instance_type, "endpoint")
        if self.min_instances == 0:
            yield f"min_instances is 0: {refusal(self.mode, 'scale_to_zero')}; give 1, or another mode"
            yield from out_of_range("max_instances", self.max_instances, 1, MOST_INSTANCES)
        else:
            yield from size_faults("instances", self.min_instances, self.max_instances, least=1)
        yield from out_of_range("requests_per_instance", self.requests_per_instance, 1, SERVER_REQUESTS)

    def _rules(self) -> Iterable[Rule]:
        sizes = ("min_instances", "max_instances")
        yield ("instance_type", *sizes), scaling_faults(self.instance_type, self.min_instances, self.max_instances)
        yield (*sizes, "deployment"), self._deployment_faults()
        yield ("instance_type", *sizes, "deployment", "shadow"), self._shadow_faults()
        yield ("working_hours", *sizes), self._hours_faults()

    def _deployment_faults(self) -> Iterable[str]:
        yield from misfits(self.kind_of_deployment, self.min_instances, self.max_instances)

    def _hours_faults(self) -> Iterable[str]:
        if self.working_hours is not None and self.scales and self.min_instances == 1:
            yield (
                "working_hours would save nothing: at night a fleet that scales keeps one instance, as many as by day; "
                "give min_instances 2 or more, a fixed size (which goes), or mode async or inference_components"
            )

    def _shadow_faults(self) -> Iterable[str]:
        shadow = self.shadow
        if shadow is None:
            return
        if has_local_disk(shadow.instance_type) != has_local_disk(self.instance_type):
            yield (
                f"instance_type is {self.instance_type} and shadow.instance_type {shadow.instance_type}: one has local "
                "disks and one has not, and SageMaker takes one volume key for both or none; give types of one kind"
            )
        kind = self.kind_of_deployment
        if isinstance(kind, Rolling):
            yield "deployment is Rolling, which SageMaker refuses beside a shadow variant: give another kind"
        elif not isinstance(kind, AllAtOnce) and shadow.instance_count < 2:
            yield (
                f"shadow.instance_count is 1, but deployment is {type(kind).__name__}, whose steps are parts of every "
                "variant: give 2, or AllAtOnce(bake_minutes=…)"
            )
