"""CloudWatch alarms as CloudWatch evaluates them: by dimensions, M of N, missing data, metric math, and the clock.

Evaluated are periods that are over, on the clock's boundaries: a burst of a second makes one breaching data point and
not two. As on AWS an alarm is looked at once a minute, or once a period where that is shorter; in between a state that
somebody set by SetAlarmState stays.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

import asyncio
import logging
import operator
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from local_aws import metric_math
from local_aws.metric_values import merged
from local_aws.ministack_hooks import cloudwatch
from local_aws.ministack_hooks.cloudwatch import Alarm, Point, metric_points, statistic

logger = logging.getLogger("local_aws")

CLOCK_SECONDS = 0.5
LATE_SECONDS = 1.5  # that a data point may arrive after the end of its period: endpoints publish once a second
LONGEST_STEP = 60.0  # between two evaluations of an alarm
EXTRA_PERIODS = 2  # CloudWatch looks at more periods than it evaluates, to find enough data points
FULL_RESOLUTION_SECONDS = 600.0  # that data points finer than a minute are kept; CloudWatch keeps them three hours
THIN_EVERY_SECONDS = 60.0
MOST_VALUES_A_MINUTE = 25

COMPARISONS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}


@dataclass(frozen=True)
class DataPoint:
    """A metric's value in one period; None where nothing was published."""

    start: float
    value: float | None


def install() -> None:
    cloudwatch.evaluate_alarms_with(_evaluate)
    cloudwatch.keep_metric_math()
    cloudwatch.copy_metrics_quickly()


class Clock(threading.Thread):
    """Has alarms evaluated as time passes, on the server's event loop: two requests never change one at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="alarms", daemon=True)
        self._loop = loop

    def run(self) -> None:
        thinned = time.monotonic()
        while True:
            time.sleep(CLOCK_SECONDS)
            try:
                asyncio.run_coroutine_threadsafe(_on_loop(cloudwatch.evaluate_all_alarms), self._loop).result()
                if time.monotonic() > thinned + THIN_EVERY_SECONDS:
                    thinned = time.monotonic()
                    asyncio.run_coroutine_threadsafe(_on_loop(_thin), self._loop).result()
            except Exception:
                logger.exception("alarms could not be evaluated; trying again")


async def _on_loop(work: Callable[[], None]) -> None:
    work()


# ---- one alarm -------------------------------------------------------------------------------------------------------

_evaluated: dict[str, tuple[float, Any]] = {}  # by ARN: the boundary up to which, and the configuration that was


def _evaluate(alarm: Alarm) -> None:
    """Bring an alarm to the state that its metrics call for, once for each boundary and configuration."""
    comparison = COMPARISONS.get(alarm["ComparisonOperator"])
    if comparison is None:
        return  # of anomaly detection, which is not emulated: it stays as it is
    period = period_of(alarm)
    step = min(period, LONGEST_STEP)
    end = (time.time() - LATE_SECONDS) // step * step
    seen = (end, alarm.get("AlarmConfigurationUpdatedTimestamp"))
    if _evaluated.get(alarm["AlarmArn"]) == seen:
        return
    _evaluated[alarm["AlarmArn"]] = seen
    count = int(alarm.get("EvaluationPeriods") or 1)
    try:
        points = data_points(alarm, end, count + EXTRA_PERIODS)
    except metric_math.MathError as error:
        logger.warning("alarm %s: %s", alarm["AlarmName"], error)
        return
    threshold = float(alarm["Threshold"])
    breaching = [None if point.value is None else comparison[0](point.value, threshold) for point in points]
    needed = int(alarm.get("DatapointsToAlarm") or count)
    state = verdict(breaching, count, needed, alarm.get("TreatMissingData") or "missing")
    if state is not None and state != alarm["StateValue"]:
        cloudwatch.set_alarm_state(alarm, state, _reason(alarm, state, points, breaching, needed))


def verdict(breaching: list[bool | None], count: int, needed: int, treatment: str) -> str | None:
    """The state that `needed` breaching of `count` data points call for; None where the alarm keeps the one it has.

    `breaching` is newest first and longer than `count`; None is a period without data. `treatment` is one of breaching,
    notBreaching, ignore, missing. Where there are `count` data points, however old, missing ones play no part.
    """
    real = [each for each in breaching if each is not None]
    missing = max(0, count - len(real))
    votes = sum(real[:count]) + (missing if treatment == "breaching" else 0)
    if votes >= needed:
        return "ALARM"
    if missing == 0 or treatment in ("breaching", "notBreaching") or not all(real):
        return "OK"
    if treatment == "ignore":
        return None
    if not real:
        return "INSUFFICIENT_DATA"
    # All there is breaches, and it is less than is needed: an alarm once the oldest is as old as if it had been enough.
    oldest = max(age for age, each in enumerate(breaching, 1) if each)
    return "ALARM" if oldest >= needed else None


def data_points(alarm: Alarm, end: float, count: int) -> list[DataPoint]:
    """The alarm's metric in the `count` periods before `end`, newest first. Raises MathError."""
    period = period_of(alarm)
    starts = [end - number * period for number in range(1, count + 1)]
    if not alarm.get("Metrics"):
        stat = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
        values = _values(alarm, stat, period, starts)
        return [DataPoint(start, values[start]) for start in starts]
    of_metric = {
        query["Id"]: _values(
            {**query["MetricStat"]["Metric"], "Unit": query["MetricStat"].get("Unit")},
            query["MetricStat"]["Stat"],
            float(query["MetricStat"]["Period"]),
            starts,
        )
        for query in alarm["Metrics"]
        if "MetricStat" in query
    }
    return [
        DataPoint(start, _math(alarm["Metrics"], {name: values[start] for name, values in of_metric.items()}))
        for start in starts
    ]


def period_of(alarm: Alarm) -> float:
    """The seconds of one data point."""
    periods = [query["MetricStat"]["Period"] for query in alarm.get("Metrics") or [] if "MetricStat" in query]
    return float(periods[0] if periods else alarm.get("Period") or 60)


def _math(queries: list[dict[str, Any]], values: dict[str, float | None]) -> float | None:
    """The value that the alarm watches: that of the one query whose data is returned, expressions in their order."""
    known, left = dict(values), [query for query in queries if "Expression" in query]
    while left:
        ready = [query for query in left if not _names(left) & _words(query["Expression"])]
        if not ready:
            raise metric_math.MathError(f"the expressions {', '.join(sorted(_names(left)))} refer to each other")
        for query in ready:
            known[query["Id"]] = metric_math.evaluate(query["Expression"], known)
        left = [query for query in left if query not in ready]
    returned = [query["Id"] for query in queries if str(query.get("ReturnData", True)).lower() != "false"]
    if len(returned) != 1:
        raise metric_math.MathError(f"one of the metrics must have ReturnData true; {len(returned)} have")
    return known[returned[0]]


def _names(queries: Iterable[dict[str, Any]]) -> set[str]:
    return {query["Id"] for query in queries}


def _words(expression: str) -> set[str]:
    return set("".join(letter if letter.isalnum() or letter == "_" else " " for letter in expression).split())


def _values(metric: dict[str, Any], stat: str, period: float, starts: list[float]) -> dict[float, float | None]:
    """A metric's statistic in each period, by the period's start."""
    dimensions = metric.get("Dimensions") or []
    if not isinstance(dimensions, dict):
        dimensions = {each["Name"]: each["Value"] for each in dimensions}
    unit = metric.get("Unit")
    within: dict[float, list[Point]] = {start: [] for start in starts}
    first, last = starts[-1], starts[0] + period
    for point in metric_points(metric["Namespace"], metric["MetricName"], dimensions):
        at = float(point["Timestamp"])
        if first <= at < last and unit in (None, point.get("Unit")):
            within[first + (at - first) // period * period].append(point)
    return {start: statistic(points, stat) for start, points in within.items()}


def _reason(alarm: Alarm, state: str, points: list[DataPoint], breaching: list[bool | None], needed: int) -> str:
    if state == "INSUFFICIENT_DATA":
        return "Insufficient Data: no data points were published in the periods that are evaluated."
    wanted = state == "ALARM"
    shown = [
        f"{point.value} ({datetime.fromtimestamp(point.start, UTC):%d/%m/%y %H:%M:%S})"
        for point, breaches in zip(points, breaching, strict=True)
        if breaches is wanted
    ]
    words = COMPARISONS[alarm["ComparisonOperator"]][1]
    were = "were" if wanted else "were not"
    return (
        f"Threshold Crossed: {len(shown)} of the last {len(points)} datapoints [{', '.join(shown)}] {were} {words} the "
        f"threshold ({float(alarm['Threshold'])}); {needed} are needed for ALARM, missing data is "
        f"{alarm.get('TreatMissingData') or 'missing'}."
    )


def _thin() -> None:
    cloudwatch.thin_metrics(time.time() - FULL_RESOLUTION_SECONDS, one_a_minute)


def one_a_minute(points: list[Point]) -> list[Point]:
    """A minute's values as a few: number and sum stay the same, percentiles nearly so."""
    thinned = [point for point in points if "_stat" in point]  # a set of statistics that somebody published
    minutes: dict[tuple[float, str], list[Point]] = {}
    for point in points:
        if "_stat" not in point:
            minutes.setdefault((point["Timestamp"] // 60 * 60, point["Unit"]), []).append(point)
    for (start, _), minute in minutes.items():
        values: Counter[float] = Counter()
        for point in minute:
            values[float(point["Value"])] += int(point.get("Count", 1))
        kept = merged(values, MOST_VALUES_A_MINUTE).items()
        thinned += [{**minute[0], "Timestamp": start, "Value": value, "Count": float(count)} for value, count in kept]
    return sorted(thinned, key=lambda point: float(point["Timestamp"]))
