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

BAKE_MINUTES = 10
"""How long both fleets of a size that scaling chooses are there, unless a setting says otherwise."""

FLEET_START_MINUTES = 20
"""Reckoned for instances to come up: ten minutes to fetch the model, ten to answer /ping (constructs/variant.py)."""

LONGEST_WAIT_MINUTES = 60  # WaitIntervalInSeconds and TerminationWaitInSeconds: at most 3,600
LONGEST_DEPLOYMENT_MINUTES = 480  # MaximumExecutionTimeoutInSeconds: 600 to 28,800


@dataclass(frozen=True, kw_only=True)
class AllAtOnce(Settings):
    """All requests go over at once, when the whole new fleet is healthy. For fleets that can be of one."""

    bake_minutes: int = 0
    """The old fleet stays this long (and is paid for), and the alarms can bring it back. 0: it goes at once."""

    def _faults(self) -> Iterable[str]:
        if self.bake_minutes != 0:
            for fault in out_of_range("bake_minutes", self.bake_minutes, ALARM_MINUTES, LONGEST_WAIT_MINUTES):
                yield f"{fault}, or 0"


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


Deployment = AllAtOnce | Canary | Linear | Rolling


def default_deployment(least: int, most: int) -> Deployment:
    """For a fleet of `least` to `most` instances: a canary of half where there always is a half; all at once under the
    alarms where there may be several; and as SageMaker does by itself where there is one at most."""
    if least >= 2:
        return Canary()
    return AllAtOnce(bake_minutes=BAKE_MINUTES if most >= 2 else 0)


def misfits(kind: Deployment, least: int, most: int) -> Iterable[str]:
    """What does not fit a fleet of `least` to `most` instances."""
    match kind:
        case AllAtOnce(bake_minutes=0) if most >= 2:
            others = "Canary, Linear or Rolling, or " if least >= 2 else ""
            yield (
                f"deployment is AllAtOnce(bake_minutes=0), but there can be {most} instances: give "
                f"{others}bake_minutes, so that alarms can take a bad release back"
            )
        case Canary():
            yield from _too_few("Canary", "percent", kind.percent, least)
        case Linear():
            yield from _too_few("Linear", "step_percent", kind.step_percent, least)
        case Rolling():
            yield from _too_few("Rolling", "batch_percent", kind.batch_percent, least)


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
