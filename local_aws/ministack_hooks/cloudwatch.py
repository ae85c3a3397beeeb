"""Metrics and alarms."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ministack.core import responses
from ministack.services import cloudwatch
from ministack.services.cloudformation import provisioners

from local_aws.ministack_hooks.cloudformation import Properties
from local_aws.ministack_hooks.requests import request_scope

Alarm = dict[str, Any]  # as DescribeAlarms shows it
Point = dict[str, Any]  # of a metric: its Timestamp in seconds, its Unit, its value or values


def evaluate_alarms_with(evaluate: Callable[[Alarm], None]) -> None:
    """Let `evaluate` decide about an alarm's state whenever ministack would: it pools metrics of all dimensions, and
    knows neither DatapointsToAlarm nor TreatMissingData."""
    cloudwatch._evaluate_alarm = evaluate


def evaluate_all_alarms() -> None:
    """Evaluate every metric alarm, each for its own account and region. On the event loop: requests change alarms."""
    for account, region in {key[:2] for key in list(cloudwatch._alarms._data)}:
        with request_scope(account, region):
            cloudwatch._evaluate_all_alarms()


def keep_metric_math() -> None:
    """Let alarms have `Metrics`, with expressions: ministack's API drops them, and its CloudFormation refuses them."""
    put, record = cloudwatch._put_metric_alarm, provisioners._cw_metric_alarm_record

    def of_math(alarm: Alarm, metrics: list[dict[str, Any]]) -> None:
        for name in ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Period", "Dimensions", "Unit"):
            alarm.pop(name, None)
        alarm["Metrics"] = metrics

    def _put_metric_alarm(params: Any, data: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Any:
        answer = put(params, data, is_cbor, is_json)
        alarm = cloudwatch._alarms.get(data.get("AlarmName", ""))
        if data.get("Metrics") and alarm is not None:
            of_math(alarm, data["Metrics"])
        return answer

    def _cw_metric_alarm_record(name: str, properties: Properties) -> Alarm:
        if not properties.get("Metrics"):
            return dict(record(name, properties))
        rest = {key: value for key, value in properties.items() if key != "Metrics"}
        alarm = dict(record(name, rest | {"MetricName": "-", "Namespace": "-"}))
        of_math(alarm, properties["Metrics"])
        return alarm

    cloudwatch._put_metric_alarm = _put_metric_alarm
    provisioners._cw_metric_alarm_record = _cw_metric_alarm_record


def metric_points(namespace: str, name: str, dimensions: Mapping[str, str]) -> list[Point]:
    """What was published of one metric, in the account and region of this code; oldest first, roughly."""
    return list(cloudwatch._metrics.get((namespace, name, cloudwatch._dims_key(dict(dimensions))), []))


def statistic(points: list[Point], name: str) -> float | None:
    """`Average`, `Sum`, `p99`, … over points; None where there are none, or no such percentile."""
    stats = cloudwatch._calc_stats(points)
    value = cloudwatch._stat_value(stats, name, points) if stats else None
    return None if value is None else float(value)


def set_alarm_state(alarm: Alarm, state: str, reason: str) -> None:
    """Bring an alarm into another state: its history, its actions, and the composite alarms that name it."""
    before = alarm["StateValue"]
    alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=datetime.now(UTC).timestamp())
    cloudwatch._record_history(alarm["AlarmName"], before, state, reason)
    cloudwatch._dispatch_alarm_actions(alarm, before, state, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def thin_metrics(older_than: float, keep: Callable[[list[Point]], list[Point]]) -> None:
    """Replace every metric's points before `older_than` (a time) by those that `keep` returns of them."""
    for key, points in list(cloudwatch._metrics._data.items()):
        if points and points[0]["Timestamp"] < older_than:
            old = [point for point in points if point["Timestamp"] < older_than]
            kept = keep(old)
            if len(kept) < len(old):
                cloudwatch._metrics._data[key] = [*kept, *(p for p in points if p["Timestamp"] >= older_than)]


def copy_metrics_quickly() -> None:
    """Copy points, which never change, by reference when state is saved. An endpoint makes thousands a day, and copying
    each of them would hold up every request meanwhile."""
    rest = cloudwatch.get_state

    def get_state() -> dict[str, Any]:
        metrics, copied = cloudwatch._metrics, responses.AccountRegionScopedDict()
        copied._data = {key: list(points) for key, points in list(metrics._data.items())}
        cloudwatch._metrics = responses.AccountRegionScopedDict()
        try:
            return {**rest(), "metrics": copied}
        finally:
            cloudwatch._metrics = metrics

    cloudwatch.get_state = get_state
