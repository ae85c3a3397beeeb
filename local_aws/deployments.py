"""How an endpoint goes over to a new fleet: blue/green at once, by a canary or in linear steps, or rolling; and back.

    start the new ─ a share of the requests ─ bake under the alarms ─ … ─ all requests ─ bake ─ end the old

An alarm in ALARM, a container that does not come up, or too long a time rolls back: the old fleet, which answers all
the while, gets all requests again. A share is counted in instances, as on AWS: a canary of one of four instances gets
a quarter of the requests.
https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails.html
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from local_aws.clients import client
from local_aws.errors import invalid
from local_aws.fleet import Fleet
from local_aws.serving_container import ServingError
from local_aws.store import Scope

ALARM_SECONDS = 0.5  # between two looks at the alarms
LONGEST_SECONDS = 28_800.0  # of a deployment that names no MaximumExecutionTimeoutInSeconds
DEFAULT: dict[str, Any] = {
    "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}}
}


class RollBackError(Exception):
    """The deployment failed, and all is as before; the message is the endpoint's FailureReason."""


class RollBackFailedError(RollBackError):
    """The way back failed too: old and new instances answer, as many as there are. As AWS's UpdateRollbackFailed."""


@dataclass
class Traffic:
    """Which fleet answers: `old`, and `share` (0 to 1) of the requests `new`. Replaced as a whole, never changed."""

    old: Fleet | None = None
    new: Fleet | None = None
    share: float = 0.0


@dataclass
class Progress:
    """What DescribeEndpoint shows of a deployment that goes on. `stage` is a VariantStatus."""

    fleet: Fleet
    counts: Mapping[str, int]
    stage: str = "Creating"
    since: float = field(default_factory=time.time)
    start: float = field(default_factory=time.time)

    def enter(self, stage: str) -> None:
        self.stage, self.since = stage, time.time()


@dataclass(kw_only=True)
class Deployment:
    """One update. `route` gives the new fleet a share of the requests; `rolling_back` is called when it turns."""

    scope: Scope
    policy: Mapping[str, Any]
    old: Fleet
    new: Fleet
    counts: Mapping[str, int]  # of the new fleet's instances
    cancelled: threading.Event
    route: Callable[[float], None]
    rolling_back: Callable[[str], None]
    progress: Progress
    _deadline: float = 0.0

    def run(self) -> None:
        """Bring the new fleet into service, all of it. The old one is left to the caller.

        Raises RollBackError; RollBackFailedError where the old fleet is not what it was.
        """
        rolling = self.policy.get("RollingUpdatePolicy")
        policy = rolling or self.policy.get("BlueGreenUpdatePolicy") or DEFAULT["BlueGreenUpdatePolicy"]
        self._deadline = time.monotonic() + policy.get("MaximumExecutionTimeoutInSeconds", LONGEST_SECONDS)
        before = self.old.counts()
        try:
            if rolling:
                self._roll(rolling, before)
            else:
                self._blue_green(policy)
        except (ServingError, RollBackError) as error:
            reason = str(error)
            self.rolling_back(reason)
            try:
                self._roll_back(rolling, before)
            except ServingError as second:
                raise RollBackFailedError(f"{reason} The way back failed: {second}") from second
            raise RollBackError(reason) from error

    def _blue_green(self, policy: Mapping[str, Any]) -> None:
        routing = policy["TrafficRoutingConfiguration"]
        self._start(self.counts)
        *steps, _ = shares(routing, self.counts)
        for share in steps:
            self._shift(share)
            self._bake(routing["WaitIntervalInSeconds"])
        self._shift(1.0)
        self._bake(policy.get("TerminationWaitInSeconds", 0))

    def _roll(self, policy: Mapping[str, Any], before: Mapping[str, int]) -> None:
        """New instances batch by batch, and of the old ones the same part goes after each."""
        total = sum(self.counts.values())
        for reached in batches(policy["MaximumBatchSize"], self.counts):
            self._start(reached)
            share = sum(reached.values()) / total
            self._shift(share)
            self._bake(policy["WaitIntervalInSeconds"])
            self.old.scale({name: math.floor(count * (1 - share)) for name, count in before.items()})

    def _roll_back(self, rolling: Mapping[str, Any] | None, before: Mapping[str, int]) -> None:
        if rolling:  # old instances have gone: they come back before the new ones lose their requests
            size = rolling.get("RollbackMaximumBatchSize", {"Type": "CAPACITY_PERCENT", "Value": 100})
            for reached in batches(size, before):
                left = self.old.counts()
                self.old.scale({name: max(count, left[name]) for name, count in reached.items()})
        self.route(0.0)
        self.new.retire()

    def _start(self, counts: Mapping[str, int]) -> None:
        """Raises ServingError; RollBackError where it takes longer than the deployment may."""
        self.progress.enter("Creating")
        late = threading.Timer(max(0.0, self._deadline - time.monotonic()), self.new.abandon)
        late.daemon = True
        late.start()
        try:
            self.new.scale(counts)
        except ServingError:
            self._check_time()
            raise
        finally:
            late.cancel()

    def _shift(self, share: float) -> None:
        self.progress.enter("ActivatingTraffic")
        self.route(share)

    def _bake(self, seconds: float) -> None:
        """Wait, and watch the alarms; look at them once where there is nothing to wait for. Raises RollBackError."""
        self.progress.enter("Baking")
        end = time.monotonic() + seconds
        while True:
            if ringing := ringing_alarms(self.scope, self.policy):
                raise RollBackError(f"The deployment was rolled back: alarm {', '.join(ringing)} is in ALARM.")
            self._check_time()
            left = end - time.monotonic()
            if left <= 0:
                return
            if self.cancelled.wait(min(ALARM_SECONDS, left)):
                raise RollBackError("The endpoint was deleted, or local AWS stopped, during the deployment.")

    def _check_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise RollBackError("The deployment was rolled back: it took longer than MaximumExecutionTimeoutInSeconds.")


def shares(routing: Mapping[str, Any], counts: Mapping[str, int]) -> list[float]:
    """The new fleet's share of the requests after each step of a blue/green deployment; the last is 1."""
    total = sum(counts.values())
    if routing["Type"] == "ALL_AT_ONCE" or total == 0:
        return [1.0]
    if routing["Type"] == "CANARY":
        size = routing["CanarySize"]
        return [sum(instances(size, count) for count in counts.values()) / total, 1.0]
    steps = batches(routing["LinearStepSize"], counts)
    return [sum(reached.values()) / total for reached in steps]


def batches(size: Mapping[str, Any], counts: Mapping[str, int]) -> list[dict[str, int]]:
    """How many instances of each variant there are after each batch, up to `counts`."""
    reached = dict.fromkeys(counts, 0)
    found = []
    while reached != counts:
        reached = {name: min(count, reached[name] + instances(size, count)) for name, count in counts.items()}
        found.append(reached)
    return found or [dict(counts)]


def instances(size: Mapping[str, Any], count: int) -> int:
    """A CapacitySize as a number of instances, of `count`: at least one."""
    value = int(size["Value"])
    return min(count, value) if size["Type"] == "INSTANCE_COUNT" else max(1, count * value // 100)


def ringing_alarms(scope: Scope, policy: Mapping[str, Any]) -> list[str]:
    """The alarms of a policy that are in ALARM now."""
    return [alarm["AlarmName"] for alarm in _alarms(scope, policy) if alarm["StateValue"] == "ALARM"]


def _alarms(scope: Scope, policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = [alarm["AlarmName"] for alarm in policy.get("AutoRollbackConfiguration", {}).get("Alarms", [])]
    if not names:
        return []
    found = client("cloudwatch", scope.account, scope.region).describe_alarms(
        AlarmNames=names, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    )
    return [*found.get("MetricAlarms", []), *found.get("CompositeAlarms", [])]


# ---- at the door -----------------------------------------------------------------------------------------------------


def check(scope: Scope, policy: Mapping[str, Any], counts: Mapping[str, int], *, alarms_exist: bool) -> None:
    """Hold a DeploymentConfig to what AWS takes for a fleet of `counts`. Raises SageMakerError with every fault."""
    faults = list(_faults(policy, counts))
    if alarms_exist and not faults:
        known = {alarm["AlarmName"] for alarm in _alarms(scope, policy)}
        named = [alarm["AlarmName"] for alarm in policy.get("AutoRollbackConfiguration", {}).get("Alarms", [])]
        if missing := [name for name in named if name not in known]:
            faults.append(f"AutoRollbackConfiguration names the alarms {', '.join(missing)}, which do not exist")
    if faults:
        raise invalid("DeploymentConfig: " + "; ".join(faults))


def _faults(policy: Mapping[str, Any], counts: Mapping[str, int]) -> Iterator[str]:
    blue_green, rolling = policy.get("BlueGreenUpdatePolicy"), policy.get("RollingUpdatePolicy")
    if blue_green and rolling:
        yield "give either BlueGreenUpdatePolicy or RollingUpdatePolicy, not both"
        return
    if rolling:
        yield from _size_faults("MaximumBatchSize", rolling["MaximumBatchSize"], counts, 5, 50)
        if size := rolling.get("RollbackMaximumBatchSize"):
            yield from _size_faults("RollbackMaximumBatchSize", size, counts, 5, 100)
        steps = len(batches(rolling["MaximumBatchSize"], counts))
        yield from _time_faults(rolling, rolling["WaitIntervalInSeconds"] * steps)
    if blue_green:
        routing = blue_green["TrafficRoutingConfiguration"]
        wanted = {"CANARY": "CanarySize", "LINEAR": "LinearStepSize"}.get(routing["Type"])
        for member in ("CanarySize", "LinearStepSize"):
            if (member in routing) != (member == wanted):
                yield f"Type {routing['Type']} {'needs' if member == wanted else 'takes no'} {member}"
        if wanted is not None and wanted not in routing:
            return
        if wanted is not None:
            yield from _size_faults(wanted, routing[wanted], counts, 10 if wanted == "LinearStepSize" else 1, 50)
        steps = len(shares(routing, counts)) - 1
        waits = routing["WaitIntervalInSeconds"] * steps + blue_green.get("TerminationWaitInSeconds", 0)
        yield from _time_faults(blue_green, waits)


def _size_faults(
    member: str, size: Mapping[str, Any], counts: Mapping[str, int], least: int, most: int
) -> Iterator[str]:
    value, fleet = size["Value"], min(counts.values(), default=0)
    if size["Type"] == "CAPACITY_PERCENT":
        if not least <= value <= most:
            yield f"{member} is {value} percent; give {least} to {most}"
        elif most <= 50 and fleet < 2:
            yield f"{member} is {value} percent of {fleet} instance, which has no half: give ALL_AT_ONCE"
    elif value * 100 > fleet * most:
        yield f"{member} is {value} instances, more than {most} percent of the variant's {fleet}"


def _time_faults(policy: Mapping[str, Any], waits: float) -> Iterator[str]:
    limit = policy.get("MaximumExecutionTimeoutInSeconds")
    if limit is not None and limit <= waits:
        yield f"MaximumExecutionTimeoutInSeconds is {limit}, and the waits alone take {waits}"
