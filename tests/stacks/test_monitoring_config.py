"""Settings of monitoring and cost: what cannot work is refused, and what stands there adds up."""

import json
from dataclasses import replace
from typing import Any

import pytest

from environments import DEV, ENVIRONMENTS, LOCAL, PROD
from stacks import prices
from stacks.config import (
    Async,
    Batch,
    Capture,
    Drift,
    Environment,
    InferenceComponents,
    Monitoring,
    RealTime,
    Serverless,
    SettingsError,
    Shadow,
    WarmPool,
    WorkingHours,
)
from stacks.config.monthly_cost import HOURS_A_MONTH, hours_a_month, monthly_cost
from stacks.instance_types import family
from stacks.prices import Price, Unknown

CAPTURING = RealTime(instance_type="ml.g5.xlarge", capture=Capture(percent=10))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"every_hours": 0}, "every_hours is 0: give a whole number from 1 to 672"),
        ({"every_hours": 1.5}, "every_hours is 1.5: give a whole number"),
        ({"instance_type": "m5"}, "instance_type: 'm5' is not an instance type we know"),
        ({"max_length_shift": 0}, "max_length_shift is 0: give a number above 0, at most 1"),
        ({"max_residue_divergence": 2}, "max_residue_divergence is 2: give a number above 0, at most 1"),
        ({"max_unknown_increase": True}, "max_unknown_increase is True: give a number"),
        ({"max_loss_increase": "0.2"}, "max_loss_increase is '0.2': give a number above 0, at most 10"),
        ({"max_loss_increase": float("nan")}, "max_loss_increase is nan: give a number"),
    ],
)
def test_a_drift_job_that_cannot_work_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        Drift(**changed).check()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"alarm_emails": ("nobody",)}, "alarm_emails is 'nobody': give an address such as on-call@example.org"),
        ({"alarm_emails": "a@example.org"}, "alarm_emails is 'a@example.org': give a tuple of addresses"),
        ({"alarm_emails": ("a@example.org",) * 2}, "give each once"),
        ({"monthly_budget_usd": 0}, "monthly_budget_usd is 0: give a whole number from 1"),
        ({"drift": 24}, "drift is 24: give Drift"),
    ],
)
def test_monitoring_that_cannot_work_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        Monitoring(**changed).check()
    assert message in str(error.value)


def test_all_faults_of_monitoring_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        Monitoring(alarm_emails=("x",), monthly_budget_usd=-1).check()
    assert "alarm_emails" in str(error.value)
    assert "monthly_budget_usd" in str(error.value)


WITHOUT_METRICS = replace(PROD.network, interface_endpoints=("logs",)) if PROD.network else None


@pytest.mark.parametrize(
    ("environment", "changed", "message"),
    [
        (PROD, {}, "the endpoint keeps none: give it capture=Capture(percent=…)"),
        (
            PROD,
            {"endpoint": replace(CAPTURING, capture=Capture(percent=5, what="Output"))},
            "the endpoint keeps none",
        ),
        (PROD, {"endpoint": Async(instance_type="ml.g5.xlarge")}, "mode async has none: requests and answers lie"),
        (PROD, {"endpoint": CAPTURING, "network": WITHOUT_METRICS}, "add monitoring to network.interface_endpoints"),
        (
            LOCAL,
            {
                "endpoint": replace(CAPTURING, instance_type="ml.m5.xlarge"),
                "monitoring": Monitoring(drift=Drift(instance_type="ml.g5.xlarge")),
            },
            "monitoring.drift.instance_type is ml.g5.xlarge, which has a GPU, but the models made here carry the image",
        ),
        (PROD, {"monitoring": None}, "monitoring is None: give Monitoring"),
    ],
)
def test_a_drift_job_that_does_not_fit_its_environment_is_refused(
    environment: Environment, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as error:
        replace(
            environment, **({"monitoring": Monitoring(drift=Drift()), "monthly_ceiling_usd": None} | changed)
        ).check()
    assert message in str(error.value)


def test_a_drift_job_beside_an_endpoint_that_captures_is_taken() -> None:
    taken = replace(PROD, endpoint=CAPTURING, monitoring=Monitoring(drift=Drift()))
    assert [line.what for line in monthly_cost(taken).lines][
        -1
    ] == "30 drift jobs on ml.m5.xlarge, at most an hour each"


# ---- prices ----------------------------------------------------------------------------------------------------------


def test_every_row_of_the_table_has_a_price_and_a_source() -> None:
    table = json.loads(prices.TABLE.read_text(encoding="utf-8"))
    assert (table["format"], table["currency"]) == (1, "USD")
    rows = {**table["instance_hour"]["prices"], **table["other"]}
    for name, row in rows.items():
        assert row["usd"] > 0, name
        assert row["source"] in table["sources"], name
        assert set(row) <= {"usd", "source", "uncertain", "per"}, name
    for name in table["instance_hour"]["prices"]:
        assert family(name)


def test_a_price_says_its_source_and_whether_it_is_uncertain() -> None:
    known, doubtful = (prices.instance_hour(name, "us-east-1") for name in ("ml.g5.xlarge", "ml.p4d.24xlarge"))
    assert isinstance(known, Price)
    assert (known.usd, known.uncertain) == (1.408, None)
    assert known.source.startswith("https://")
    assert isinstance(doubtful, Price)
    assert doubtful.uncertain


@pytest.mark.parametrize(
    ("instance_type", "region", "reason"),
    [
        ("ml.r7i.large", "us-east-1", "has no row ml.r7i.large: add it, with its source"),
        ("ml.g5.xlarge", "eu-central-1", "has the prices of us-east-1, none of eu-central-1"),
    ],
)
def test_a_price_that_is_not_there_is_unknown_and_never_0(instance_type: str, region: str, reason: str) -> None:
    found = prices.instance_hour(instance_type, region)
    assert isinstance(found, Unknown)
    assert reason in found.reason


# ---- what stands there -----------------------------------------------------------------------------------------------


def usd(endpoint: Any) -> tuple[float, float]:
    cost = monthly_cost(replace(DEV, training=None, endpoint=endpoint, monthly_ceiling_usd=None))
    endpoints = [line for line in cost.lines if "endpoint" in line.what or "concurrency" in line.what]
    return sum(line.low or 0 for line in endpoints), sum(line.most or 0 for line in endpoints)


HOURS = WorkingHours(start="08:00", end="18:00", days="MON-FRI")
G5 = 1.408


@pytest.mark.parametrize(
    ("endpoint", "low", "most"),
    [
        (RealTime(instance_type="ml.g5.xlarge"), 730, 730),
        (RealTime(instance_type="ml.g5.xlarge", min_instances=2, max_instances=5), 2 * 730, 5 * 730),
        (RealTime(instance_type="ml.g5.xlarge", working_hours=HOURS), 217.26, 217.26),
        (
            RealTime(instance_type="ml.g5.xlarge", min_instances=2, max_instances=3, working_hours=HOURS),
            730 + 217.26,
            3 * 730,
        ),
        (
            RealTime(instance_type="ml.g5.xlarge", shadow=Shadow(instance_type="ml.g5.xlarge")),
            2 * 730,
            2 * 730,
        ),
        (Async(instance_type="ml.g5.xlarge", max_instances=3), 0, 3 * 730),
        (Async(instance_type="ml.g5.xlarge", min_instances=1, max_instances=3, working_hours=HOURS), 217.26, 3 * 730),
        (InferenceComponents(instance_type="ml.g5.xlarge", max_copies=2), 0, 2 * 730),
        (Serverless(memory_mb=2048), 0, 0),
        (Batch(instance_type="ml.g5.xlarge"), 0, 0),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, float | int) else "",
)
def test_an_endpoint_costs_its_instances_by_the_hour(endpoint: Any, low: float, most: float) -> None:
    assert usd(endpoint) == pytest.approx((low * G5, most * G5), rel=1e-4)


def test_the_network_costs_each_endpoint_in_each_zone() -> None:
    [line] = [line for line in monthly_cost(PROD).lines if "interface" in line.what]
    assert line.most == pytest.approx(8 * 3 * 730 * 0.01)
    assert line.low == line.expected == line.most


def test_a_warm_pool_can_wait_all_month_long_on_the_dearest_type_that_a_run_may_name() -> None:
    assert DEV.training is not None
    types = ("ml.g5.xlarge", "ml.g5.12xlarge")
    training = replace(
        DEV.training, capacity=WarmPool(keep_alive_minutes=30), instance_types=types, max_instance_count=2
    )
    pooled = replace(DEV, training=training, monthly_ceiling_usd=None)
    [line] = [line for line in monthly_cost(pooled).lines if "warm pool" in line.what]
    dearest = prices.instance_hour("ml.g5.12xlarge", "us-east-1")
    assert isinstance(dearest, Price)
    assert (line.low, line.most) == (0, pytest.approx(2 * 730 * dearest.usd))
    assert line.what == "warm pool, 1,460 hours of ml.g5.12xlarge"
    [fault] = replace(pooled, monthly_ceiling_usd=750).faults
    assert "+ warm pool, 1,460 hours of ml.g5.12xlarge" in fault
    unknown = replace(training, instance_types=("ml.g5.xlarge", "ml.p4de.24xlarge"))
    assert isinstance(prices.instance_hour("ml.p4de.24xlarge", "us-east-1"), Unknown)
    assert "the price of warm pool" in str(replace(pooled, training=unknown, monthly_ceiling_usd=750).faults)
    assert not [line for line in monthly_cost(DEV).lines if "warm pool" in line.what]


def test_days_and_hours_are_those_of_the_setting() -> None:
    assert hours_a_month(WorkingHours(start="00:00", end="12:00", days="MON-SUN")) == pytest.approx(HOURS_A_MONTH / 2)
    assert hours_a_month(WorkingHours(start="00:00", end="12:00", days="SAT-MON")) == pytest.approx(
        hours_a_month(WorkingHours(start="06:30", end="18:30", days="SAT,SUN,MON"))
    )


def test_an_environment_dearer_than_its_ceiling_is_refused_with_the_lines_that_add_up() -> None:
    with pytest.raises(SettingsError) as error:
        replace(PROD, monthly_ceiling_usd=1_000).check()
    message = str(error.value)
    assert "monthly_ceiling_usd is 1000, but what stands there can cost 4,291.56 a month" in message
    assert (
        "endpoint, 2,920 hours of ml.g5.xlarge 4,111.36 + 8 interface endpoints in 3 zones 175.20 + key 1.00" in message
    )
    parts = [
        float(part.rsplit(" ", 1)[1].replace(",", "")) for part in message.split(": ")[1].split(" (on")[0].split(" + ")
    ]
    assert sum(parts) == pytest.approx(4_291.56)


def test_an_unknown_price_under_a_ceiling_is_refused_with_what_to_add_and_without_one_is_no_fault() -> None:
    endpoint = RealTime(instance_type="ml.r7i.large")
    with pytest.raises(SettingsError, match=r"the price of .*has no row ml\.r7i\.large: add it, with its source"):
        replace(DEV, training=None, endpoint=endpoint, monthly_ceiling_usd=10_000).check()
    serverless = Serverless(memory_mb=2048, provisioned_concurrency=1)
    with pytest.raises(SettingsError, match="price of provisioned concurrency is unknown"):
        replace(DEV, training=None, endpoint=serverless, monthly_ceiling_usd=10_000).check()
    cost = monthly_cost(replace(DEV, training=None, endpoint=endpoint, monthly_ceiling_usd=None))
    assert len(cost.unknown) == 1
    assert "unknown" in str(cost.unknown[0])
    assert (cost.unknown[0].low, cost.unknown[0].expected, cost.unknown[0].most) == (None, None, None)


@pytest.mark.parametrize("ceiling", [0, -1, True, "100", float("nan")])
def test_a_ceiling_is_dollars_above_nothing(ceiling: Any) -> None:
    with pytest.raises(SettingsError, match="give US dollars above 0, or None"):
        replace(PROD, monthly_ceiling_usd=ceiling).check()


def test_an_uncertain_price_says_so_in_its_line() -> None:
    cost = monthly_cost(replace(DEV, endpoint=RealTime(instance_type="ml.p4d.24xlarge"), monthly_ceiling_usd=None))
    assert str(cost.lines[0]).endswith("(uncertain)")


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=lambda each: each.name)
def test_what_may_stand_there_is_within_the_budget_of_the_account(environment: Environment) -> None:
    budget = environment.monitoring.monthly_budget_usd
    assert budget is None or monthly_cost(environment).most <= budget
