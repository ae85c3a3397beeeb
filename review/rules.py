"""The verdict: which kind of change is fine, which wants a look, which should stop a merge. Change this file in a pull
request of its own: it decides what all others are held to.

ok: said, and nobody has to act. look: a reviewer reads its section before approving. stop: not without a reason in the
pull request and a second pair of eyes.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "look", "stop"]
Area = Literal["destructive", "broadening", "exposure", "safeguards", "cost", "policy", "promotion"]

LEVELS: tuple[Level, ...] = ("ok", "look", "stop")
AREAS: dict[Area, str] = {
    "destructive": "Data and endpoints that are lost, replaced, or kept for less time",
    "broadening": "Roles and people that may do more",
    "exposure": "Strangers and networks that reach more; encryption and isolation",
    "safeguards": "Gates, alarms, roll-back, capture, capacity",
    "cost": "What it costs",
    "policy": "Findings of cdk-nag, cfn-lint and our own pack that are new",
    "promotion": "Models that are released",
}
ON_A_LAPTOP = ("local",)
"""Environments that are a folder on somebody's machine: nothing there is worse than `look`."""


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Dearer by at least so many US dollars, and by at least this factor."""

    usd: float
    times: float


COST_LOOK = {"cost.month": Bound(usd=25, times=1.05), "cost.run": Bound(usd=25, times=1.1)}
COST_STOP = {"cost.month": Bound(usd=1_000, times=1.5), "cost.run": Bound(usd=1_000, times=3)}

RULES: dict[str, tuple[Area, Level]] = {
    # ---- destructive
    "change.data_removed": ("destructive", "stop"),
    "change.data_replaced": ("destructive", "stop"),
    "change.endpoint_interrupted": ("destructive", "stop"),
    "change.name_taken": ("destructive", "stop"),
    "change.elsewhere": ("destructive", "stop"),
    "change.network_replaced": ("destructive", "stop"),
    "change.network_removed": ("destructive", "stop"),
    "change.conditional": ("destructive", "stop"),
    "data.key_orphaned": ("destructive", "stop"),
    "change.records_lost": ("destructive", "look"),
    "change.replaced": ("destructive", "look"),
    "change.removed": ("destructive", "look"),
    "change.stack_removed": ("destructive", "look"),
    "change.export_removed": ("destructive", "look"),
    "data.deletion_policy": ("destructive", "stop"),
    "data.deletion_policy_minor": ("destructive", "look"),
    "data.termination_protection": ("destructive", "stop"),
    "data.versioning": ("destructive", "stop"),
    "data.retention": ("destructive", "look"),
    "data.kept_longer": ("destructive", "ok"),
    # ---- broadening: identities of the account
    "permissions.delivery": ("broadening", "look"),
    "workflow.approval_lost": ("broadening", "stop"),
    "workflow.trigger": ("broadening", "stop"),
    "workflow.unbound": ("broadening", "stop"),
    "workflow.unreadable": ("broadening", "stop"),
    "workflow.writes_all": ("broadening", "stop"),
    "workflow.order_lost": ("broadening", "stop"),
    "workflow.condition_lost": ("broadening", "stop"),
    "workflow.failure_ignored": ("broadening", "stop"),
    "workflow.not_pinned": ("broadening", "stop"),
    "workflow.condition": ("broadening", "look"),
    "workflow.given": ("broadening", "look"),
    "permissions.every_action": ("broadening", "stop"),
    "permissions.every_resource": ("broadening", "stop"),
    "permissions.all_but": ("broadening", "stop"),
    "permissions.administrator": ("broadening", "stop"),
    "permissions.deployer": ("broadening", "stop"),
    "permissions.condition_lost": ("broadening", "stop"),
    "permissions.deny_lost": ("broadening", "stop"),
    "permissions.boundary_lost": ("broadening", "stop"),
    "permissions.other_account": ("broadening", "stop"),
    "permissions.unreadable": ("broadening", "stop"),
    "permissions.privileged": ("broadening", "look"),
    "permissions.condition_weakened": ("broadening", "look"),
    "permissions.other_role": ("broadening", "look"),
    "permissions.acts": ("broadening", "look"),
    "permissions.managed_policy": ("broadening", "look"),
    "permissions.given_to_more": ("broadening", "look"),
    "permissions.session_longer": ("broadening", "look"),
    "permissions.denied": ("broadening", "look"),
    "permissions.new": ("broadening", "look"),
    "permissions.new_identity": ("broadening", "look"),
    "permissions.narrowed": ("broadening", "ok"),
    "trust.anybody": ("broadening", "stop"),
    "trust.bound_anybody": ("broadening", "stop"),
    "trust.other_account": ("broadening", "stop"),
    "trust.deny_lost": ("broadening", "stop"),
    "trust.condition_lost": ("broadening", "stop"),
    "trust.more_of_a_provider": ("broadening", "stop"),
    "trust.condition_weakened": ("broadening", "look"),
    "trust.new_principal": ("broadening", "look"),
    "trust.denied": ("broadening", "look"),
    "trust.of_new_role": ("broadening", "ok"),
    # ---- exposure
    "exposure.anybody": ("exposure", "stop"),
    "exposure.other_account": ("exposure", "stop"),
    "exposure.condition_lost": ("exposure", "stop"),
    "exposure.deny_lost": ("exposure", "stop"),
    "exposure.endpoint_policy": ("exposure", "stop"),
    "exposure.any_address": ("exposure", "stop"),
    "exposure.way_out": ("exposure", "stop"),
    "exposure.public_access": ("exposure", "stop"),
    "exposure.isolation_off": ("exposure", "stop"),
    "exposure.left_vpc": ("exposure", "stop"),
    "data.key_dropped": ("exposure", "stop"),
    "data.tags_move": ("exposure", "stop"),
    "exposure.copied": ("exposure", "stop"),
    "exposure.stranger": ("exposure", "stop"),
    "exposure.secret": ("exposure", "stop"),
    "exposure.locked_out": ("exposure", "stop"),
    "change.unseen": ("exposure", "stop"),
    "change.unknown_type": ("exposure", "look"),
    "exposure.elsewhere": ("exposure", "look"),
    "exposure.denied": ("exposure", "look"),
    "exposure.others_let_in": ("exposure", "look"),
    "exposure.bound_anybody": ("exposure", "look"),
    "exposure.condition_weakened": ("exposure", "look"),
    "exposure.new_grant": ("exposure", "look"),
    "exposure.new_policy": ("exposure", "look"),
    "data.key_changed": ("exposure", "look"),
    "data.records": ("exposure", "look"),
    "network.reach": ("exposure", "look"),
    "network.default_group": ("exposure", "look"),
    "network.moved": ("exposure", "look"),
    "network.less": ("exposure", "ok"),
    # ---- safeguards
    "gate.removed": ("safeguards", "stop"),
    "gate.loosened": ("safeguards", "stop"),
    "gate.rewired": ("safeguards", "stop"),
    "gate.approval": ("safeguards", "stop"),
    "gate.unbound": ("safeguards", "stop"),
    "rollback.alarm_removed": ("safeguards", "stop"),
    "rollback.all_at_once": ("safeguards", "stop"),
    "pipeline.image_not_pinned": ("safeguards", "stop"),
    "gate.changed": ("safeguards", "look"),
    "gate.tightened": ("safeguards", "ok"),
    "rollback.shorter": ("safeguards", "look"),
    "alarm.removed": ("safeguards", "look"),
    "alarm.silent": ("safeguards", "look"),
    "alarm.other_metric": ("safeguards", "look"),
    "alarm.later": ("safeguards", "look"),
    "alarm.changed": ("safeguards", "ok"),
    "budget.raised": ("safeguards", "look"),
    "capture.less": ("safeguards", "look"),
    "capture.elsewhere": ("safeguards", "look"),
    "capture.more": ("safeguards", "look"),
    "endpoint.smaller": ("safeguards", "look"),
    "endpoint.variant": ("safeguards", "look"),
    "endpoint.capacity": ("safeguards", "look"),
    "endpoint.schedule": ("safeguards", "look"),
    "endpoint.changed": ("safeguards", "look"),
    "pipeline.checkpoints_lost": ("safeguards", "look"),
    "pipeline.limit_lost": ("safeguards", "look"),
    "change.unjudged": ("safeguards", "look"),
    "change.parameter": ("safeguards", "look"),
    "pipeline.unjudged": ("safeguards", "look"),
    "pipeline.changed": ("safeguards", "ok"),
    # ---- cost
    "cost.month_much": ("cost", "stop"),
    "cost.run_much": ("cost", "stop"),
    "cost.over_ceiling": ("cost", "stop"),
    "cost.month": ("cost", "look"),
    "cost.run": ("cost", "look"),
    "cost.unknown": ("cost", "look"),
    "cost.prices": ("cost", "look"),
    "cost.ceiling_raised": ("cost", "look"),
    "cost.never_stops": ("cost", "look"),
    "pipeline.spot_off": ("cost", "look"),
    "pipeline.machine": ("cost", "look"),
    "pipeline.longer": ("cost", "look"),
    # ---- policy
    "policy.refused": ("policy", "stop"),
    "policy.error": ("policy", "stop"),
    "policy.unexplained": ("policy", "stop"),
    "policy.app": ("policy", "stop"),
    "policy.takes_a_place": ("policy", "stop"),
    "policy.judges_itself": ("policy", "stop"),
    "policy.any_finding": ("policy", "stop"),
    "policy.packages": ("policy", "look"),
    "policy.strange_file": ("policy", "look"),
    "policy.link": ("policy", "look"),
    "policy.two_histories": ("policy", "look"),
    "policy.command": ("policy", "ok"),
    "policy.judge": ("policy", "look"),
    "policy.new_reason": ("policy", "look"),
    "policy.warning": ("policy", "look"),
    "policy.explained": ("policy", "ok"),
    "policy.resolved": ("policy", "ok"),
    # ---- promotion
    "promotion.unproven": ("promotion", "stop"),
    "promotion.way": ("promotion", "stop"),
    "promotion.far_worse": ("promotion", "stop"),
    "promotion.foreign": ("promotion", "stop"),
    "promotion.unpinned": ("promotion", "stop"),
    "promotion.gate": ("promotion", "look"),
    "promotion.worse": ("promotion", "look"),
    "promotion.other_code": ("promotion", "look"),
    "promotion.stranger": ("promotion", "look"),
    "promotion.withdrawn": ("promotion", "look"),
    "promotion.released": ("promotion", "look"),
}


def area(rule: str) -> Area:
    """Where a remark is counted."""
    return RULES[rule][0]


def level(rule: str, environment: str) -> Level:
    """How much a remark weighs."""
    weight = RULES[rule][1]
    return "look" if weight == "stop" and environment in ON_A_LAPTOP else weight


def worst(levels: "list[Level]") -> Level:
    """The heaviest of them; ok where there is none."""
    return max(levels, key=LEVELS.index, default="ok")
