"""Costs read from templates, held against those that the settings themselves reckon with."""

import pytest

from environments import ENVIRONMENTS
from review.assembly import Stack, normalised
from review.cost_changes import cost_remarks
from review.costs import cost_of
from stacks.config.monthly_cost import monthly_cost
from tests.stacks.synthesis import VARIANTS, templates, variants


def stacks(name: str, environment: str) -> list[Stack]:
    settings = ENVIRONMENTS[environment]
    return [
        Stack(
            id=id_.replace(name, environment, 1),
            name=id_,
            account=settings.account,
            region=settings.region,
            termination_protection=True,
            template=normalised(template),
            raw=template,
        )
        for id_, template in (templates() | variants()).items()
        if id_.startswith(f"{name}/")
    ]


@pytest.mark.parametrize("name", [name for name in (*ENVIRONMENTS, *VARIANTS) if name != "local"])
def test_the_templates_cost_what_the_settings_say(name: str) -> None:
    """But for alarms and the dashboard, which the settings only bound, and drift jobs, whose schedule is not read."""
    settings = VARIANTS.get(name) or ENVIRONMENTS[name]
    read, reckoned = cost_of(stacks(name, settings.name)), monthly_cost(settings)
    small = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::Dashboard")
    kept = [line for key, line in read.lines.items() if line.per == "month" and key not in small]
    told = [line for line in reckoned.lines if line.what != "alarms" and "drift" not in line.what]
    assert sum(line.most or 0 for line in kept) == pytest.approx(sum(line.most or 0 for line in told), rel=1e-6)
    assert sum(line.low or 0 for line in kept) == pytest.approx(sum(line.low or 0 for line in told), rel=1e-6)
    alarms = read.lines["AWS::CloudWatch::Alarm"].most or 0.0
    assert alarms <= next(line.most or 0.0 for line in reckoned.lines if line.what == "alarms")


def test_a_run_costs_at_most_its_dearest_machine_for_its_whole_time() -> None:
    line = next(line for key, line in cost_of(stacks("dev", "dev")).lines.items() if key.endswith(" Train"))
    assert line.per == "run"
    assert line.expected == pytest.approx(48 * 1.408)
    assert line.low == pytest.approx(48 * 1.408 / 10)  # spot
    assert line.most == pytest.approx(48 * 25.25)
    assert "before the cut of June 2025" in line.note


def test_what_has_no_price_is_said_and_is_not_nothing() -> None:
    before = cost_of(stacks("prod", "prod"))
    foreign = [
        Stack(**(vars(stack) | {"region": "eu-central-1"}))
        for stack in stacks("prod", "prod")  # no prices of it here
    ]
    after = cost_of(foreign)
    assert all(line.most is None for line in after.lines.values())
    assert len(after.unknown) == len(after.lines) > 0
    said = [remark for remark in cost_remarks("prod", before, after, (None, None)) if remark.rule == "cost.unknown"]
    assert any("has the prices of us-east-1, none of eu-central-1" in remark.what for remark in said)


def test_the_ceiling_is_flagged_when_it_is_passed_raised_or_gone() -> None:
    cost = cost_of(stacks("prod", "prod"))

    def rules(old: float | None, new: float | None) -> list[str]:
        return [remark.rule for remark in cost_remarks("prod", cost, cost, (old, new))]

    assert rules(4_500, 4_500) == []
    assert rules(4_500, 5_000) == ["cost.ceiling_raised"]
    assert rules(4_500, None) == ["cost.ceiling_raised"]
    assert rules(9_000, 1_000) == ["cost.over_ceiling"]
