"""What an environment costs in a month while nobody does anything: what stands there, at its price by the hour.

Runs of the pipeline, requests to a serverless endpoint, storage and traffic come on top: they are bought one by one.
Machines of a warm pool that wait for the next run are of what stands there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stacks.config.capacity import WarmPool
from stacks.config.endpoint import Async, Batch, InferenceComponents, RealTime, Serverless, WorkingHours
from stacks.config.training import Training
from stacks.prices import HOURS_A_MONTH, Price, Unknown, as_of, instance_hour, other

if TYPE_CHECKING:  # Environment asks for its own cost
    from stacks.config.environment import Environment

MOST_ALARM_METRICS = 40
"""More than the alarms of any environment look at, those of its scaling included: a test counts."""

DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
WEEKS_A_MONTH = HOURS_A_MONTH / (7 * 24)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that stands there: units for a month, at least and at most, and the price of one."""

    what: str
    low_units: float
    most_units: float
    price: Price | Unknown

    @property
    def low(self) -> float | None:
        """US dollars a month at least; None where the price is unknown."""
        return self.low_units * self.price.usd if isinstance(self.price, Price) else None

    @property
    def expected(self) -> float | None:
        """Half-way between the two: how much a fleet scales is known only once people ask. None: unknown price."""
        return None if self.low is None or self.most is None else (self.low + self.most) / 2

    @property
    def most(self) -> float | None:
        """US dollars a month at most; None where the price is unknown."""
        return self.most_units * self.price.usd if isinstance(self.price, Price) else None

    def __str__(self) -> str:
        if isinstance(self.price, Unknown):
            return f"{self.what}: unknown ({self.price.reason})"
        mark = " (uncertain)" if self.price.uncertain else ""
        return f"{self.what} {self.most:,.2f}{mark}"


@dataclass(frozen=True, kw_only=True)
class MonthlyCost:
    """The lines, and their sums in US dollars."""

    lines: tuple[Line, ...]

    @property
    def unknown(self) -> tuple[Line, ...]:
        """Lines without a price. They are not in the sums."""
        return tuple(line for line in self.lines if isinstance(line.price, Unknown))

    @property
    def low(self) -> float:
        """The least that the known lines come to."""
        return sum(line.low or 0.0 for line in self.lines)

    @property
    def expected(self) -> float:
        """What the known lines are expected to come to."""
        return sum(line.expected or 0.0 for line in self.lines)

    @property
    def most(self) -> float:
        """The most that the known lines come to."""
        return sum(line.most or 0.0 for line in self.lines)


def monthly_cost(environment: Environment) -> MonthlyCost:
    """What stands in an environment once everything in it is deployed."""
    return MonthlyCost(lines=tuple(_lines(environment)))


def ceiling_faults(environment: Environment, ceiling: float) -> Iterable[str]:
    """What is wrong with an environment that may cost `ceiling` US dollars a month at most."""
    cost = monthly_cost(environment)
    for reason in dict.fromkeys(line.price.reason for line in cost.unknown if isinstance(line.price, Unknown)):
        of = " + ".join(line.what for line in cost.unknown if line.price == Unknown(reason=reason))
        yield f"monthly_ceiling_usd is {ceiling:g}, and the price of {of} is unknown ({reason}): so is what it bounds"
    if cost.most > ceiling:
        lines = " + ".join(str(line) for line in cost.lines if line.most)
        yield (
            f"monthly_ceiling_usd is {ceiling:g}, but what stands there can cost {cost.most:,.2f} a month: {lines} "
            f"(on demand, prices of {as_of()}); give fewer or smaller instances, working hours, or a higher ceiling"
        )


def _lines(environment: Environment) -> Iterable[Line]:
    region = environment.region
    yield from _endpoint(environment, region)
    network = environment.network
    if network is not None:
        count = len(network.interface_endpoints) * len(network.availability_zones) * HOURS_A_MONTH
        what = f"{len(network.interface_endpoints)} interface endpoints in {len(network.availability_zones)} zones"
        yield Line(what=what, low_units=count, most_units=count, price=other("interface_endpoint_hour", region))
    yield Line(what="key", low_units=1, most_units=1, price=other("kms_key_month", region))
    yield Line(what="alarms", low_units=1, most_units=MOST_ALARM_METRICS, price=other("alarm_month", region))
    yield from _warm_pool(environment.training, region)
    workbench = environment.workbench
    if workbench is not None:  # nobody has to use it, and nothing keeps anybody from using it day and night
        price, what = instance_hour(workbench.instance_type, region), f"workbench on {workbench.instance_type}"
        yield Line(what=what, low_units=0, most_units=HOURS_A_MONTH, price=price)
    drift = environment.monitoring.drift
    if drift is not None:
        runs = HOURS_A_MONTH / drift.every_hours
        price = instance_hour(drift.instance_type, region)
        what = f"{runs:.0f} drift jobs on {drift.instance_type}, at most an hour each"
        yield Line(what=what, low_units=runs / 6, most_units=runs, price=price)


def _warm_pool(training: Training | None, region: str) -> Iterable[Line]:
    """Machines that wait for the next run: none where nobody trains, and all month long where every run comes just
    before the wait of the one before ends. At the dearest type that a run may name; one without a price is that."""
    if training is None or not isinstance(training.capacity, WarmPool):
        return
    prices = {given: instance_hour(given, region) for given in training.instance_types}
    given = max(prices, key=lambda one: _usd(prices[one]))
    most = training.most_instances * HOURS_A_MONTH
    yield Line(what=f"warm pool, {most:,.0f} hours of {given}", low_units=0, most_units=most, price=prices[given])


def _usd(price: Price | Unknown) -> float:
    return price.usd if isinstance(price, Price) else float("inf")


def _endpoint(environment: Environment, region: str) -> Iterable[Line]:
    match environment.endpoint:
        case RealTime() as settings:
            low, high = _fleet(settings.min_instances, settings.max_instances, settings.working_hours, gone=True)
            yield _instances(settings.instance_type, low, high, region)
            if settings.shadow is not None:
                shadow = settings.shadow.instance_count * HOURS_A_MONTH
                yield _instances(settings.shadow.instance_type, shadow, shadow, region, role="shadow ")
        case Async() as settings:
            hours = _fleet(settings.min_instances, settings.max_instances, settings.working_hours)
            yield _instances(settings.instance_type, *hours, region)
        case InferenceComponents() as settings:
            yield _instances(
                settings.instance_type,
                *_fleet(settings.min_copies, settings.max_copies, settings.working_hours),
                region,
            )
        case Serverless(provisioned_concurrency=int()):
            reason = "stacks/prices.json has no row for provisioned concurrency: add one, or give none"
            yield Line(what="provisioned concurrency", low_units=1, most_units=1, price=Unknown(reason=reason))
        case Serverless() | Batch():
            return  # nothing stands there


def _fleet(low: int, high: int, hours: WorkingHours | None, *, gone: bool = False) -> tuple[float, float]:
    """Instance hours of a month, at least and at most. `gone`: a fleet of one size is not there outside of its hours.

    A fleet that scales may be at its largest day and night: what people ask decides.
    """
    open_ = HOURS_A_MONTH if hours is None else hours_a_month(hours)
    if gone and hours is not None and low == high:
        return low * open_, high * open_
    at_night = 1 if gone else 0  # a real-time fleet that scales keeps one
    closed = HOURS_A_MONTH - open_
    return low * open_ + (min(low, at_night) * closed if hours else 0.0), high * HOURS_A_MONTH


def hours_a_month(hours: WorkingHours) -> float:
    """How long an endpoint is there in an average month."""

    def clock(text: str) -> float:
        hour, minute = text.split(":")
        return int(hour) + int(minute) / 60

    return _days(hours.days) * (clock(hours.end) - clock(hours.start)) * WEEKS_A_MONTH


def _days(text: str) -> int:
    """How many days of the week MON-FRI or MON,WED,FRI are."""
    if "-" not in text:
        return len(set(text.split(",")))
    first, last = (DAYS.index(day) for day in text.split("-"))
    return (last - first) % len(DAYS) + 1


def _instances(instance_type: str, low: float, high: float, region: str, role: str = "") -> Line:
    what = f"{role}endpoint, {high:,.0f} hours of {instance_type}"
    return Line(what=what, low_units=low, most_units=high, price=instance_hour(instance_type, region))
