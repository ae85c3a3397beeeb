"""What keeps the service safe, type by type: alarms, roll-back, capture, capacity, isolation of what runs."""

from collections.abc import Iterator

from review.assembly import Json
from review.property_checks import Check, Said, get, lost, number, turned
from review.words import and_so, listed, quoted, short, text


def _alarm(before: Json, after: Json) -> Iterator[Said]:
    if actions := [one for one in listed(before.get("AlarmActions")) if one not in listed(after.get("AlarmActions"))]:
        yield "alarm.silent", f"no longer tells {and_so([short(text(one)) for one in actions])}"
    if before.get("ActionsEnabled", True) and after.get("ActionsEnabled", True) is False:
        yield "alarm.silent", "its actions are off"
    measured = (
        "Namespace",
        "MetricName",
        "Statistic",
        "ExtendedStatistic",
        "Metrics",
        "Dimensions",
        "ComparisonOperator",
    )
    if changed := [name for name in measured if before.get(name) != after.get(name)]:
        yield "alarm.other_metric", f"it looks at something else than before ({and_so(changed)})"
        return
    was, now = before.get("Threshold"), after.get("Threshold")
    if isinstance(was, int | float) and isinstance(now, int | float) and was != now:
        upwards = str(after.get("ComparisonOperator", "")).startswith("Greater")
        yield (
            ("alarm.later" if (now > was) == upwards else "alarm.changed"),
            f"rings at {was:,.10g} → {now:,.10g}{unit_of(after)}",
        )
    waits = [_seconds_of_an_alarm(side) for side in (before, after)]
    if waits[0] != waits[1]:
        rule = "alarm.later" if waits[1] > waits[0] else "alarm.changed"
        yield rule, f"rings after {waits[0] / 60:g} → {waits[1] / 60:g} minutes"
    was, now = before.get("TreatMissingData", "missing"), after.get("TreatMissingData", "missing")
    if was != now:
        yield (
            ("alarm.later" if was == "breaching" or now == "ignore" else "alarm.changed"),
            f"no data is taken as {was} → {now}",
        )


_IN_MICROSECONDS = ("ModelLatency", "OverheadLatency", "ModelSetupTime", "ModelLoadingWaitTime")
"""https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html"""


def unit_of(alarm: Json) -> str:
    """What its threshold counts, where SageMaker's own metric says it."""
    return " microseconds" if alarm.get("MetricName") in _IN_MICROSECONDS else ""


def _seconds_of_an_alarm(alarm: Json) -> float:
    """How long it must be bad before it rings."""
    periods = alarm.get("DatapointsToAlarm", alarm.get("EvaluationPeriods", 1))
    stats = [one["MetricStat"].get("Period", 60) for one in listed(alarm.get("Metrics")) if "MetricStat" in one]
    return float(alarm.get("Period", max(stats, default=60)) * periods)


def _deployment(before: Json, after: Json) -> Iterator[Said]:
    path = "DeploymentConfig.AutoRollbackConfiguration.Alarms"
    was, now = ({text(one.get("AlarmName")) for one in listed(get(side, path))} for side in (before, after))
    if lost := sorted(was - now):
        yield (
            "rollback.alarm_removed",
            f"a deployment is no longer rolled back on {and_so([short(one) for one in lost])}"
            + ("; on no alarm at all" if not now else ""),
        )
    old, new = (
        {name: get(side, f"DeploymentConfig.{name}") for name in ("BlueGreenUpdatePolicy", "RollingUpdatePolicy")}
        for side in (before, after)
    )
    if any(old.values()) and not any(new.values()):
        yield "rollback.all_at_once", "all traffic moves to the new fleet at once: the deployment policy is gone"
    routing = "DeploymentConfig.BlueGreenUpdatePolicy.TrafficRoutingConfiguration"
    kinds = get(before, f"{routing}.Type"), get(after, f"{routing}.Type")
    if kinds[0] not in (None, "ALL_AT_ONCE") and kinds[1] == "ALL_AT_ONCE":
        yield "rollback.all_at_once", f"traffic moves {kinds[0]} → ALL_AT_ONCE"
    yield from number(
        f"{routing}.WaitIntervalInSeconds", "rollback.shorter", worse="lower", says="alarms are watched", unit=" s"
    )(before, after)
    yield from number(f"{routing}.CanarySize.Value", "rollback.shorter", worse="higher", says="first share of traffic")(
        before, after
    )
    waits = "DeploymentConfig.BlueGreenUpdatePolicy.TerminationWaitInSeconds"
    yield from number(waits, "rollback.shorter", worse="lower", says="the old fleet is kept", unit=" s")(before, after)


def _variants(before: Json, after: Json) -> Iterator[Said]:
    for member, role in (("ProductionVariants", ""), ("ShadowProductionVariants", "shadow ")):
        old = {text(one.get("VariantName")): one for one in listed(before.get(member))}
        new = {text(one.get("VariantName")): one for one in listed(after.get(member))}
        for name in sorted(old.keys() | new.keys()):
            was, now = old.get(name, {}), new.get(name, {})
            if not was or not now:
                yield "endpoint.variant", f"{role}variant {name} {'is new' if now else 'is gone'}"
                continue
            for path in (
                "InstanceType",
                "InitialInstanceCount",
                "ServerlessConfig",
                "ModelName",
                "ManagedInstanceScaling",
            ):
                if was.get(path) != now.get(path):
                    yield "endpoint.capacity", f"{role}{path}: {quoted(was.get(path))} → {quoted(now.get(path))}"
            for path in sorted(
                (was.keys() | now.keys()) - {"InstanceType", "InitialInstanceCount", "ServerlessConfig", "ModelName"}
            ):
                if was.get(path) != now.get(path) and path != "ManagedInstanceScaling":
                    yield "endpoint.changed", f"{role}{path}: {quoted(was.get(path))} → {quoted(now.get(path))}"


def _capture(before: Json, after: Json) -> Iterator[Said]:
    def percent(properties: Json) -> float:
        config = properties.get("DataCaptureConfig") or {}
        return float(config.get("InitialSamplingPercentage", 0)) if config.get("EnableCapture") else 0.0

    was, now = percent(before), percent(after)
    if now < was:
        yield "capture.less", f"requests kept: {was:g} % → {f'{now:g} %' if now else 'none: drift is no longer seen'}"
    elif now > was:
        yield "capture.more", f"requests kept: {was:g} % → {now:g} %"
    places = get(before, "DataCaptureConfig.DestinationS3Uri"), get(after, "DataCaptureConfig.DestinationS3Uri")
    if None not in places and places[0] != places[1]:
        yield "capture.elsewhere", f"requests are kept in {quoted(places[0])} → {quoted(places[1])}"


def _scaling(before: Json, after: Json) -> Iterator[Said]:
    for name, what in (("MinCapacity", "at least"), ("MaxCapacity", "at most")):
        was, now = before.get(name), after.get(name)
        if was != now:
            fewer = (now or 0) < (was or 0)
            yield ("endpoint.smaller" if fewer else "endpoint.capacity"), f"{what} {was} → {now} instances"
    if before.get("ScheduledActions") != after.get("ScheduledActions"):
        times = [len(listed(side.get("ScheduledActions"))) for side in (before, after)]
        yield "endpoint.schedule", f"the hours of its scaling have changed ({times[0]} → {times[1]} actions)"


def _target(before: Json, after: Json) -> Iterator[Said]:
    path = "TargetTrackingScalingPolicyConfiguration"
    for name in sorted({*get(before, path, {}), *get(after, path, {})}):
        was, now = get(before, f"{path}.{name}"), get(after, f"{path}.{name}")
        if was != now:
            yield "endpoint.capacity", f"{name} {quoted(was)} → {quoted(now)}"


def _budget(before: Json, after: Json) -> Iterator[Said]:
    was, now = get(before, "Budget.BudgetLimit.Amount"), get(after, "Budget.BudgetLimit.Amount")
    if was is not None and (now is None or float(now) > float(was)):
        yield "budget.raised", f"the budget warns at {was} → {now} US dollars"
    if len(listed(before.get("NotificationsWithSubscribers"))) > len(listed(after.get("NotificationsWithSubscribers"))):
        yield "alarm.silent", "fewer of the budget's warnings reach anybody"


SERVICE_CHECKS: dict[str, tuple[Check, ...]] = {
    "AWS::SageMaker::Model": (
        turned("EnableNetworkIsolation", True, "exposure.isolation_off"),
        lost("VpcConfig", "exposure.left_vpc", "runs outside of the private network"),
    ),
    "AWS::SageMaker::NotebookInstance": (
        turned("DirectInternetAccess", "Disabled", "exposure.way_out"),
        turned("RootAccess", "Disabled", "exposure.isolation_off"),
        lost("SubnetId", "exposure.left_vpc", "runs outside of the private network"),
        lost("LifecycleConfigName", "cost.never_stops", "no longer stops when idle"),
    ),
    "AWS::SageMaker::EndpointConfig": (
        _variants,
        _capture,
        turned("EnableNetworkIsolation", True, "exposure.isolation_off"),
    ),
    "AWS::SageMaker::Endpoint": (
        _deployment,
        turned("RetainAllVariantProperties", True, "endpoint.smaller", says="a deployment keeps the scaled fleet"),
    ),
    "AWS::ApplicationAutoScaling::ScalableTarget": (_scaling,),
    "AWS::ApplicationAutoScaling::ScalingPolicy": (_target,),
    "AWS::CloudWatch::Alarm": (_alarm,),
    "AWS::Budgets::Budget": (_budget,),
    "AWS::Lambda::Url": (turned("AuthType", "AWS_IAM", "exposure.way_out"),),
    "AWS::CodeBuild::Project": (
        turned("Environment.PrivilegedMode", False, "exposure.isolation_off", otherwise=False),
        number("TimeoutInMinutes", "pipeline.longer", worse="higher", unit=" min"),
    ),
    "AWS::Scheduler::Schedule": (turned("State", "ENABLED", "endpoint.schedule", otherwise="ENABLED"),),
}
