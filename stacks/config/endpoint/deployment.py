"""How a new release replaces the old one on an endpoint, and what of that SageMaker accepts.

Every kind but a plain AllAtOnce is watched by the endpoint's alarms, which take the release back. Limits: the API
reference of BlueGreenUpdatePolicy, TrafficRoutingConfig, RollingUpdatePolicy and CapacitySize.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from stacks.config.checks import out_of_range
from stacks.config.settings import Rule, Settings

ALARM_MINUTES = 3
"""How long the alarm on server errors needs to ring. A shorter wait would watch nothing."""

FLEET_START_MINUTES = 20
"""Reckoned for instances to come up: ten minutes to fetch the model, ten to answer /ping (constructs/variant.py)."""

LONGEST_WAIT_MINUTES = 60  # WaitIntervalInSeconds and TerminationWaitInSeconds: at most 3,600
LONGEST_DEPLOYMENT_MINUTES = 480  # MaximumExecutionTimeoutInSeconds: 600 to 28,800


@dataclass(frozen=True, kw_only=True)
class AllAtOnce(Settings):
    """All requests go over at once, when the whole new fleet is healthy. For fleets of one, which have no half."""

    bake_minutes: int = 0
    """The old fleet stays this long (and is paid for), and the alarms can bring it back. 0: it goes at once."""

    def _faults(self) -> Iterable[str]:
        if self.bake_minutes != 0:
            for fault in out_of_range("bake_minutes", self.bake_minutes, ALARM_MINUTES, LONGEST_WAIT_MINUTES):
                yield f"{fault}, or 0"

    def misfits(self, instances: int) -> Iterable[str]:
        """What does not fit a fleet that may be as small as `instances`."""
        if instances >= 2 and self.bake_minutes == 0:
            yield (
                f"deployment is AllAtOnce(bake_minutes=0), but there are {instances} instances: give Canary, Linear or "
                "Rolling, or bake_minutes, so that alarms can take a bad release back"
            )


@dataclass(frozen=True, kw_only=True)
class Canary(Settings):
    """A part of the requests goes to the new fleet first; after a wait under the alarms, the rest."""

    percent: int = 50
    """Of the fleet, for the first step: at most half."""

    wait_minutes: int = 10
    """Between the first step and the rest."""

    keep_old_minutes: int = 5
    """How long the old fleet stays after the last step, for the alarms to bring it back."""

    timeout_minutes: int = 120
    """SageMaker rolls back what is not done by then."""

    def _faults(self) -> Iterable[str]:
        yield from out_of_range("percent", self.percent, 1, 50)
        yield from _minute_faults(self.wait_minutes, self.timeout_minutes, self.keep_old_minutes)

    def _rules(self) -> Iterable[Rule]:
        yield ("wait_minutes", "keep_old_minutes", "timeout_minutes"), self._timeout_faults()

    def _timeout_faults(self) -> Iterable[str]:
        yield from _too_early(self.timeout_minutes, self.wait_minutes + self.keep_old_minutes, 1)

    def misfits(self, instances: int) -> Iterable[str]:
        """What does not fit a fleet that may be as small as `instances`."""
        yield from _too_few("Canary", "percent", self.percent, instances)


@dataclass(frozen=True, kw_only=True)
class Linear(Settings):
    """The requests go to the new fleet in equal steps, each after a wait under the alarms."""

    step_percent: int = 50
    """Of the fleet, a step: a tenth to a half."""

    wait_minutes: int = 10
    """After each step."""

    keep_old_minutes: int = 5
    """How long the old fleet stays after the last step, for the alarms to bring it back."""

    timeout_minutes: int = 120
    """SageMaker rolls back what is not done by then."""

    def _faults(self) -> Iterable[str]:
        yield from out_of_range("step_percent", self.step_percent, 10, 50)
        yield from _minute_faults(self.wait_minutes, self.timeout_minutes, self.keep_old_minutes)

    def _rules(self) -> Iterable[Rule]:
        yield ("step_percent", "wait_minutes", "keep_old_minutes", "timeout_minutes"), self._timeout_faults()

    def _timeout_faults(self) -> Iterable[str]:
        steps = math.ceil(100 / self.step_percent)
        yield from _too_early(self.timeout_minutes, steps * self.wait_minutes + self.keep_old_minutes, 1)

    def misfits(self, instances: int) -> Iterable[str]:
        """What does not fit a fleet that may be as small as `instances`."""
        yield from _too_few("Linear", "step_percent", self.step_percent, instances)


@dataclass(frozen=True, kw_only=True)
class Rolling(Settings):
    """New instances replace old ones in batches: no more than a batch is there twice, where capacity is scarce."""

    batch_percent: int = 50
    """Of the fleet (of an inference component: of its copies), a batch: a twentieth to a half."""

    wait_minutes: int = 10
    """After each batch, under the alarms."""

    timeout_minutes: int = 240
    """SageMaker rolls back what is not done by then. Each batch has to come up in it."""

    def _faults(self) -> Iterable[str]:
        yield from out_of_range("batch_percent", self.batch_percent, 5, 50)
        yield from _minute_faults(self.wait_minutes, self.timeout_minutes)

    def _rules(self) -> Iterable[Rule]:
        yield ("batch_percent", "wait_minutes", "timeout_minutes"), self._timeout_faults()

    def _timeout_faults(self) -> Iterable[str]:
        batches = math.ceil(100 / self.batch_percent)
        yield from _too_early(self.timeout_minutes, batches * self.wait_minutes, batches)

    def misfits(self, instances: int) -> Iterable[str]:
        """What does not fit a fleet that may be as small as `instances`."""
        yield from _too_few("Rolling", "batch_percent", self.batch_percent, instances)


Deployment = AllAtOnce | Canary | Linear | Rolling


def default_deployment(instances: int) -> Deployment:
    """For a fleet that may be as small as `instances`: a canary of half where there is a half."""
    return Canary() if instances >= 2 else AllAtOnce()


def _minute_faults(wait_minutes: object, timeout_minutes: object, keep_old_minutes: object = 0) -> Iterable[str]:
    yield from out_of_range("wait_minutes", wait_minutes, ALARM_MINUTES, LONGEST_WAIT_MINUTES)
    yield from out_of_range("keep_old_minutes", keep_old_minutes, 0, LONGEST_WAIT_MINUTES)
    yield from out_of_range("timeout_minutes", timeout_minutes, 10, LONGEST_DEPLOYMENT_MINUTES)


def _too_early(timeout_minutes: int, waits_minutes: int, fleet_starts: int) -> Iterable[str]:
    if timeout_minutes >= (wanted := waits_minutes + fleet_starts * FLEET_START_MINUTES):
        return
    least = f"give at least {wanted}" if wanted <= LONGEST_DEPLOYMENT_MINUTES else "give larger steps or shorter waits"
    yield f"timeout_minutes is {timeout_minutes}, but waits and starting instances can take {wanted}: {least}"


def _too_few(kind: str, field: str, percent: int, instances: int) -> Iterable[str]:
    if instances < 2:
        yield f"deployment is {kind}, but the fleet may be as small as {instances}, which has no half: give AllAtOnce"
    elif percent * instances < 100:
        yield (
            f"deployment is {kind}({field}={percent}): of {instances} instances that is less than one; "
            f"give {field} at least {math.ceil(100 / instances)}"
        )
