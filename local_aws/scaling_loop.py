"""The loop that scales variants: it reads the metrics that endpoints publish, and asks for other numbers of instances.

Target tracking keeps a metric per instance near a value: above it for three data points in a row, more instances at
once; below nine tenths of it for as long, fewer. Step scaling acts while an alarm that names the policy rings,
scheduled actions by the clock. All of it between the target's least and most, and not again before its cooldown is
over. AWS waits 15 minutes before it takes instances away; nobody waits so long for a laptop.
https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking.html
"""

import logging
import math
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_aws import alarms, endpoint_life, endpoints, scaling, scaling_schedules, store
from local_aws.clients import client
from local_aws.endpoint_metrics import REQUESTS
from local_aws.errors import SageMakerError
from local_aws.listings import seconds
from local_aws.ministack_hooks.requests import request_scope
from local_aws.scaling import ACTION, ACTIVITY, POLICY, PREDEFINED, RESOURCE, TARGET
from local_aws.store import Record, Scope

logger = logging.getLogger("local_aws")

LOOK_SECONDS = 2.0
POINTS = 3
IN_SHARE = 0.9  # of the target value: between this and the value nothing is done
COOLDOWN_SECONDS = 300  # AWS's default for endpoints
MOST_ACTIVITIES = 100


@dataclass(frozen=True)
class Proposal:
    """A number of instances that a policy would have, and why."""

    capacity: int
    cause: str


def start() -> None:
    threading.Thread(target=_run, name="scaling", daemon=True).start()


def _run() -> None:
    while True:
        time.sleep(LOOK_SECONDS)
        for scope, resource, target in store.current().everywhere(TARGET):
            try:
                with request_scope(scope.account, scope.region):
                    _look_after(scope, resource, target)
            except SageMakerError as error:
                logger.warning("scaling of %s: %s", resource, error)
            except Exception:
                logger.exception("scaling of %s: a bug of local AWS", resource)


def _look_after(scope: Scope, resource: str, target: Record) -> None:
    """One look at one variant: do what is due, and no more than one thing."""
    match = RESOURCE.fullmatch(resource)
    assert match is not None, "only such are registered"
    record = store.current().get(scope, endpoint_life.KIND, match[1])
    life = endpoint_life.life_of(scope, match[1])
    if record is None or record["EndpointStatus"] != "InService" or life is None or life.traffic.old is None:
        return
    variant = life.traffic.old.variants.get(match[2])
    if variant is None:
        return
    target = _by_schedule(scope, resource, target)
    current = len(variant.servers)
    wanted = _bounded(target, current)
    if wanted != current:
        proposal = Proposal(wanted, f"capacity {current} is outside of the target's bounds")
    else:
        found = _by_alarms(scope, resource, target, current) or _by_tracking(scope, resource, target, current)
        if found is None:
            return
        proposal = found
    _scale(scope, resource, match[1], match[2], current, proposal)


def _scale(scope: Scope, resource: str, endpoint: str, variant: str, current: int, proposal: Proposal) -> None:
    desired = [{"VariantName": variant, "DesiredInstanceCount": proposal.capacity}]
    request = {"EndpointName": endpoint, "DesiredWeightsAndCapacities": desired}
    now = time.time()
    outcome = {"StatusCode": "Successful", "StatusMessage": "Successfully set desired instance count."}
    try:
        endpoints.update_weights_and_capacities(scope, request)
    except SageMakerError as error:
        outcome = {"StatusCode": "Failed", "StatusMessage": str(error)}
    logger.info("scaling of %s from %d to %d: %s", resource, current, proposal.capacity, proposal.cause)
    moved = "_LastOut" if proposal.capacity > current else "_LastIn"
    store.current().change(scope, TARGET, resource, **{moved: now})
    identity = str(uuid.uuid4())
    activity = {
        "ActivityId": identity,
        "ServiceNamespace": "sagemaker",
        "ResourceId": resource,
        "ScalableDimension": scaling.DIMENSION,
        "Description": f"Setting desired instance count to {proposal.capacity}.",
        "Cause": proposal.cause,
        "StartTime": now,
        "EndTime": time.time(),
        "CreationTime": now,
        **outcome,
    }
    store.current().put(scope, ACTIVITY, identity, activity)
    for old in scaling.of_resource(scope, ACTIVITY, resource)[:-MOST_ACTIVITIES]:
        store.current().delete(scope, ACTIVITY, old["ActivityId"])


def _bounded(target: Mapping[str, Any], capacity: int) -> int:
    return int(min(max(capacity, target["MinCapacity"]), target["MaxCapacity"]))


def _suspended(target: Mapping[str, Any], what: str) -> bool:
    return bool(target.get("SuspendedState", {}).get(what, False))


# ---- target tracking -------------------------------------------------------------------------------------------------


def _by_tracking(scope: Scope, resource: str, target: Record, current: int) -> Proposal | None:
    """More instances if any policy wants more; fewer if all want fewer."""
    policies = [
        policy["TargetTrackingScalingPolicyConfiguration"] | {"Name": policy["PolicyName"]}
        for policy in scaling.of_resource(scope, POLICY, resource)
        if policy["PolicyType"] == "TargetTrackingScaling"
    ]
    wanted = [(policy, tracked(_points(resource, policy), policy["TargetValue"], current)) for policy in policies]
    wishes = [(policy, _bounded(target, wish)) for policy, wish in wanted if wish is not None]
    if not wishes:
        return None
    policy, most = max(wishes, key=lambda each: each[1])
    cause = f"target tracking by policy {policy['Name']}"
    now = time.time()
    if most > current:
        ready = now >= target.get("_LastOut", 0) + policy.get("ScaleOutCooldown", COOLDOWN_SECONDS)
        return Proposal(most, cause) if ready and not _suspended(target, "DynamicScalingOutSuspended") else None
    if most == current or len(wishes) < len(policies) or any(each.get("DisableScaleIn") for each in policies):
        return None
    last = max(target.get("_LastOut", 0), target.get("_LastIn", 0))
    ready = now >= last + policy.get("ScaleInCooldown", COOLDOWN_SECONDS)
    return Proposal(most, cause) if ready and not _suspended(target, "DynamicScalingInSuspended") else None


def tracked(points: list[float | None], value: float, current: int) -> int | None:
    """The number of instances at which the metric, of an instance, would be `value`: by data points, newest first.

    None where one of the newest is missing, or they are on both sides of the value.
    """
    newest = [point for point in points[:POINTS] if point is not None]
    if len(newest) < POINTS:
        return None
    needed = math.ceil(max(1, current) * (sum(newest) / POINTS) / value - 1e-9)
    if all(point > value for point in newest):
        return max(needed, current + 1)
    if all(point <= IN_SHARE * value for point in newest):
        return min(needed, current)
    return current


def _points(resource: str, policy: Mapping[str, Any]) -> list[float | None]:
    """The newest data points of what a policy tracks."""
    metric = _metric(resource, policy)
    period = alarms.period_of(metric)
    end = (time.time() - alarms.LATE_SECONDS) // period * period
    return [point.value for point in alarms.data_points(metric, end, POINTS)]


def _metric(resource: str, policy: Mapping[str, Any]) -> dict[str, Any]:
    """What a policy tracks, as an alarm names it."""
    if predefined := policy.get("PredefinedMetricSpecification"):
        match = RESOURCE.fullmatch(resource)
        assert match is not None, "only such are registered"
        name, statistic, period = PREDEFINED[predefined["PredefinedMetricType"]]
        dimensions = {"EndpointName": match[1], "VariantName": match[2]}
        about: dict[str, Any] = {"Namespace": REQUESTS, "MetricName": name, "Statistic": statistic, "Period": period}
        return about | {"Dimensions": dimensions}
    customized = policy["CustomizedMetricSpecification"]
    if "Metrics" not in customized:
        return {"Period": 60, "Statistic": "Average", **customized}
    metrics = [dict(query) for query in customized["Metrics"]]
    for query in metrics:
        if "MetricStat" in query:
            query["MetricStat"] = {"Period": 60, **query["MetricStat"]}
    return {"Metrics": metrics}


# ---- step scaling ----------------------------------------------------------------------------------------------------


def _by_alarms(scope: Scope, resource: str, target: Record, current: int) -> Proposal | None:
    """What the alarms that ring and name a step policy call for."""
    policies = {
        policy["PolicyARN"]: policy
        for policy in scaling.of_resource(scope, POLICY, resource)
        if policy["PolicyType"] == "StepScaling"
    }
    if not policies:
        return None
    cloudwatch = client("cloudwatch", scope.account, scope.region)
    for page in cloudwatch.get_paginator("describe_alarms").paginate(StateValue="ALARM", AlarmTypes=["MetricAlarm"]):
        for alarm in page["MetricAlarms"]:
            for arn in policies.keys() & set(alarm.get("AlarmActions", [])):
                policy = policies[arn]
                config = policy["StepScalingPolicyConfiguration"]
                capacity = _bounded(target, stepped(config, _breach(alarm), current))
                last = max(target.get("_LastOut", 0), target.get("_LastIn", 0))
                out = capacity > current
                side = "DynamicScalingOutSuspended" if out else "DynamicScalingInSuspended"
                ready = time.time() >= last + config.get("Cooldown", COOLDOWN_SECONDS)
                if capacity != current and ready and not _suspended(target, side):
                    cause = f"alarm {alarm['AlarmName']} is in ALARM, and triggers policy {policy['PolicyName']}"
                    return Proposal(capacity, cause)
    return None


def _breach(alarm: dict[str, Any]) -> float:
    """By how much an alarm's newest data point is above its threshold."""
    period = alarms.period_of(alarm)
    end = (time.time() - alarms.LATE_SECONDS) // period * period
    points = alarms.data_points(alarm, end, int(alarm["EvaluationPeriods"]) + alarms.EXTRA_PERIODS)
    values = [point.value for point in points if point.value is not None]
    return values[0] - float(alarm["Threshold"]) if values else 0.0


def stepped(config: Mapping[str, Any], breach: float, current: int) -> int:
    """The number of instances after the step whose interval holds `breach`; the same where none does."""
    for step in config["StepAdjustments"]:
        low = step.get("MetricIntervalLowerBound", -math.inf)
        high = step.get("MetricIntervalUpperBound", math.inf)
        if not low <= breach < high and not (breach < 0 and low < breach <= high):
            continue
        change = int(step["ScalingAdjustment"])
        match config["AdjustmentType"]:
            case "ExactCapacity":
                return change
            case "PercentChangeInCapacity":
                exact = current * change / 100
                size = max(math.floor(abs(exact)), 1 if exact else 0, config.get("MinAdjustmentMagnitude", 0))
                return max(0, current + int(math.copysign(size, change)))
            case _:
                return max(0, current + change)
    return current


# ---- the clock -------------------------------------------------------------------------------------------------------


def _by_schedule(scope: Scope, resource: str, target: Record) -> Record:
    """Let scheduled actions that are due change the target's bounds; also one that was due while no server ran."""
    if _suspended(target, "ScheduledScalingSuspended"):
        return target
    now = time.time()
    for action in scaling.of_resource(scope, ACTION, resource):
        since = max(action["_Since"], _seconds(action.get("StartTime"), 0.0))
        due = scaling_schedules.next_time(action["Schedule"], action.get("Timezone", "UTC"), after=since)
        if due is None or due > now or due > _seconds(action.get("EndTime"), math.inf):
            continue
        changes = action.get("ScalableTargetAction", {})
        logger.info("scaling of %s: scheduled action %s: %s", resource, action["ScheduledActionName"], changes)
        store.current().change(scope, ACTION, f"{resource}/{action['ScheduledActionName']}", _Since=now)
        target = store.current().change(scope, TARGET, resource, **changes)
    return target


def _seconds(time: float | str | None, otherwise: float) -> float:
    return otherwise if time is None else seconds(time)
