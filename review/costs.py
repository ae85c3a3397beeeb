"""What an environment costs a month, and a run of its pipelines at most, read from its templates.

From templates and not from settings: so a second key or a NAT gateway that nobody set is there too. Prices are those of
stacks/prices.json, dated and with sources; what has none, or depends on use, is said and is not 0.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from review.assembly import Json, Stack
from review.pipelines import definitions, steps_of
from review.words import listed, text
from stacks.prices import HOURS_A_MONTH, Price, Unknown, instance_hour, other

Per = Literal["month", "run"]
WEEKS_A_MONTH = HOURS_A_MONTH / (7 * 24)
DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
SPOT_AT_BEST = 0.1
"""Managed spot is "up to 90 %" cheaper: https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html"""
BY_USE = {  # type → what of it is paid by use
    "AWS::S3::Bucket": "buckets, by the gigabyte",
    "AWS::Logs::LogGroup": "log groups, by the gigabyte",
    "AWS::CodeBuild::Project": "projects that build images, by the minute",
    "AWS::Lambda::Function": "functions, by the call",
    "AWS::EC2::FlowLog": "flow logs, by the gigabyte",
    "AWS::ECR::Repository": "repositories of images, by the gigabyte",
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One thing that is paid for, in US dollars. None: not known, and `note` says why."""

    what: str
    per: Per
    low: float | None
    expected: float | None
    most: float | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one environment."""

    lines: Mapping[str, Line]
    """By what a line is about, the same on both sides."""
    by_use: Mapping[str, int]
    """What is paid by use → how many of them there are."""

    def total(self, member: Literal["low", "expected", "most"]) -> float:
        """Dollars a month of the known lines."""
        return sum(getattr(line, member) or 0.0 for line in self.lines.values() if line.per == "month")

    @property
    def unknown(self) -> list[str]:
        """Lines that have no price."""
        return [line.what for line in self.lines.values() if line.most is None]


def cost_of(stacks: Iterable[Stack]) -> Cost:
    """Of one environment's stacks."""
    all_stacks = [*stacks]
    lines: dict[str, Line] = {}
    counted: Counter[str] = Counter()
    by_use: Counter[str] = Counter()
    region = all_stacks[0].region if all_stacks else ""
    for stack in all_stacks:
        for key, line in (*_endpoints(stack), *_notebooks(stack), *_runs(stack)):
            lines[key] = line
        for resource in stack.resources.values():
            type_, properties = resource["Type"], resource.get("Properties", {})
            counted[type_] += _units(type_, properties)
            if type_ in BY_USE:
                by_use[BY_USE[type_]] += 1
    for type_, (name, what, unit) in STANDING.items():
        if counted[type_]:
            price = other(name, region)  # type: ignore[arg-type]
            lines[type_] = _line(f"{counted[type_]} {what}", "month", price, *[counted[type_] * unit] * 3)
    return Cost(lines=lines, by_use=by_use)


STANDING = {  # type → row of prices.json, what it is, units a month of one
    "AWS::EC2::VPCEndpoint": (
        "interface_endpoint_hour",
        "interface endpoints (one counts in each of its zones)",
        HOURS_A_MONTH,
    ),
    "AWS::EC2::NatGateway": ("nat_gateway_hour", "NAT gateways", HOURS_A_MONTH),
    "AWS::KMS::Key": ("kms_key_month", "keys", 1.0),
    "AWS::CloudWatch::Alarm": ("alarm_month", "metrics with alarms", 1.0),
    "AWS::CloudWatch::Dashboard": ("dashboard_month", "dashboards", 1.0),
}


def _units(type_: str, properties: Json) -> int:
    if type_ == "AWS::EC2::VPCEndpoint":
        return len(listed(properties.get("SubnetIds"))) if properties.get("VpcEndpointType") == "Interface" else 0
    if type_ == "AWS::CloudWatch::Alarm":
        return len([one for one in listed(properties.get("Metrics")) if "MetricStat" in one]) or 1
    return 1


def _line(
    what: str, per: Per, price: Price | Unknown, low: float | None, expected: float | None, most: float | None
) -> Line:
    if isinstance(price, Unknown):
        return Line(what=what, per=per, low=None, expected=None, most=None, note=price.reason)

    def dollars(units: float | None) -> float | None:
        return None if units is None else units * price.usd

    return Line(
        what=what, per=per, low=dollars(low), expected=dollars(expected), most=dollars(most), note=price.uncertain or ""
    )


# ---- endpoints -------------------------------------------------------------------------------------------------------


def _endpoints(stack: Stack) -> Iterator[tuple[str, Line]]:
    targets = [*stack.of_type("AWS::ApplicationAutoScaling::ScalableTarget").values()]
    open_hours, closes = _open_hours(stack)
    night = 0.0
    for target in targets:
        open_hours, night = _scheduled(target) or (open_hours, night)
    for id_, config in stack.of_type("AWS::SageMaker::EndpointConfig").items():
        for member, role in (("ProductionVariants", ""), ("ShadowProductionVariants", "shadow ")):
            for variant in listed(config.get(member)):
                name = f"{id_} {role}{text(variant.get('VariantName'))}"
                serverless = variant.get("ServerlessConfig")
                if isinstance(serverless, dict):
                    yield name, _serverless(serverless)
                    continue
                scaled = _instances_of(variant, targets) if not role else None
                count = variant.get("InitialInstanceCount")
                managed = variant.get("ManagedInstanceScaling") or {}
                low, high = scaled or (managed.get("MinInstanceCount", count), managed.get("MaxInstanceCount", count))
                low, high = float(low or 0), float(high if high is not None else low or 0)
                at_night = 0.0 if closes else night
                least = low * open_hours + min(low, at_night) * (HOURS_A_MONTH - open_hours)
                most = high * (open_hours if closes else HOURS_A_MONTH)
                type_ = str(variant.get("InstanceType"))
                fleet = f"{low:g}" if low == high else f"{low:g}–{high:g}"
                hours = "" if open_hours == HOURS_A_MONTH else f", {open_hours:.0f} hours a month"
                what = f"{role}endpoint: {fleet} × {type_}{hours}"
                yield name, _line(what, "month", instance_hour(type_, stack.region), least, (least + most) / 2, most)


def _instances_of(variant: Json, targets: list[Json]) -> tuple[float, float] | None:
    """Minimum and maximum of the scaling that this variant is under. Copies of a component may be an instance each."""
    name = text(variant.get("VariantName"))
    for target in targets:
        resource = text(target.get("ResourceId"))
        if resource.endswith(f"/variant/{name}") or resource.startswith("inference-component/"):
            return float(target.get("MinCapacity", 0)), float(target.get("MaxCapacity", 0))
    return None


def _serverless(config: Json) -> Line:
    if config.get("ProvisionedConcurrency"):
        reason = "stacks/prices.json has no row for provisioned concurrency"
        return Line(what="provisioned concurrency", per="month", low=None, expected=None, most=None, note=reason)
    return Line(
        what="serverless endpoint, paid by request", per="month", low=0.0, expected=None, most=None, note="by use"
    )


def _open_hours(stack: Stack) -> tuple[float, bool]:
    """Hours a month that the endpoint is there by its schedules, and whether it is deleted meanwhile."""
    times: dict[str, tuple[float, set[int]]] = {}
    for schedule in stack.of_type("AWS::Scheduler::Schedule").values():
        action = text(schedule.get("Target", {}).get("Arn", "")).rsplit(":", 1)[-1]
        found = re.fullmatch(r"cron\((\d+) (\d+) \? \* ([\w,-]+) \*\)", str(schedule.get("ScheduleExpression")))
        if found and schedule.get("State", "ENABLED") == "ENABLED":
            times[action] = (int(found[2]) + int(found[1]) / 60, _weekdays(found[3]))
    if "createEndpoint" in times and "deleteEndpoint" in times:
        opens, days = times["createEndpoint"]
        closes, _ = times["deleteEndpoint"]
        return max(closes - opens, 0.0) * len(days) * WEEKS_A_MONTH, True
    return HOURS_A_MONTH, False


def _scheduled(target: Json) -> tuple[float, float] | None:
    """Hours a month at the larger of two sizes, and the smaller one."""
    times: list[tuple[float, float, set[int]]] = []
    for action in listed(target.get("ScheduledActions")):
        found = re.fullmatch(r"cron\((\d+) (\d+) \? \* ([\w,-]+) \*\)", str(action.get("Schedule")))
        if found:
            size = float(action.get("ScalableTargetAction", {}).get("MinCapacity", 0))
            times.append((size, int(found[2]) + int(found[1]) / 60, _weekdays(found[3])))
    if len(times) != 2 or times[0][0] == times[1][0]:
        return None
    (night, closes, _), (_, opens, days) = sorted(times, key=lambda one: one[0])
    return max(closes - opens, 0.0) * len(days) * WEEKS_A_MONTH, night


def _weekdays(written: str) -> set[int]:
    if "-" in written:
        first, last = (DAYS.index(day) for day in written.split("-"))
        return {(first + step) % 7 for step in range((last - first) % 7 + 1)}
    return {DAYS.index(day) for day in written.split(",")} if written not in ("*", "?") else set(range(7))


def _notebooks(stack: Stack) -> Iterator[tuple[str, Line]]:
    for id_, notebook in stack.of_type("AWS::SageMaker::NotebookInstance").items():
        type_ = str(notebook.get("InstanceType"))
        line = _line(
            f"notebook on {type_}, if never stopped",
            "month",
            instance_hour(type_, stack.region),
            0.0,
            None,
            HOURS_A_MONTH,
        )
        yield id_, line


# ---- runs of pipelines -----------------------------------------------------------------------------------------------


def _runs(stack: Stack) -> Iterator[tuple[str, Line]]:
    """Each job of a run, for as long as it may take: how long it does take nobody knows from a template."""
    for id_, definition in definitions(stack).items():
        parameters = {one["Name"]: one for one in listed(definition.get("Parameters"))}
        pipeline = text(stack.resources[id_]["Properties"].get("PipelineName", id_))
        for name, step in steps_of(definition).items():
            if step.get("Type") in ("Training", "Processing"):
                yield f"{id_} {name}", _job(f"{pipeline} · {name}", step.get("Arguments", {}), parameters, stack.region)


def _job(what: str, arguments: Json, parameters: Mapping[str, Json], region: str) -> Line:
    machines = arguments.get("ResourceConfig") or arguments.get("ProcessingResources", {}).get("ClusterConfig", {})
    preferences = [one.get("InstanceType") for one in listed(machines.get("InstancePreferences"))]
    types = preferences or _possible(machines.get("InstanceType"), parameters)
    count = _possible(machines.get("InstanceCount", 1), parameters)[0]
    hours = arguments.get("StoppingCondition", {}).get("MaxRuntimeInSeconds")
    spot = arguments.get("EnableManagedSpotTraining") is True
    if not isinstance(hours, int) or not isinstance(count, int):
        return Line(
            what=what,
            per="run",
            low=None,
            expected=None,
            most=None,
            note="it has no time limit, or no count of machines",
        )
    hours = hours / 3600
    priced = {str(type_): instance_hour(str(type_), region) for type_ in types}
    unknown = [price for price in priced.values() if isinstance(price, Unknown)]
    if unknown:
        return Line(
            what=f"{what}: {count} × {types[0]}", per="run", low=None, expected=None, most=None, note=unknown[0].reason
        )
    usd = {type_: price.usd for type_, price in priced.items() if isinstance(price, Price)}
    default, dearest = str(types[0]), max(usd, key=lambda type_: usd[type_])
    said = f"{what}: at most {hours:g} h of {count} × {default}" + (f", or of {dearest}" if dearest != default else "")
    note = "spot: down to a tenth" if spot else ""
    uncertain = [price.uncertain for price in priced.values() if isinstance(price, Price) and price.uncertain]
    return Line(
        what=said + (" (spot)" if spot else ""),
        per="run",
        low=usd[default] * hours * count * SPOT_AT_BEST if spot else None,
        expected=usd[default] * hours * count,
        most=usd[dearest] * hours * count,
        note="; ".join([note, *uncertain]).strip("; "),
    )


def _possible(value: Any, parameters: Mapping[str, Json]) -> list[Any]:
    """The values that a member may have, the default first."""
    if isinstance(value, dict) and str(value.get("Get", "")).startswith("Parameters."):
        parameter = parameters.get(value["Get"].removeprefix("Parameters."), {})
        default = parameter.get("DefaultValue")
        return [default, *[one for one in listed(parameter.get("EnumValues")) if one != default]]
    return [value]
