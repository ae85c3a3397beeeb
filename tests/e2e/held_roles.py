"""Which roles of the templates strict runs hold to their statements, and which they cannot."""

import re
from collections.abc import Iterator

from tests.e2e.conftest import ROOT
from tests.stacks.synthesis import Template, resources

PAGE = ROOT / "docs" / "real-account.md"
BEGINS, ENDS = "<!-- roles that strict mode does not hold -->\n", "<!-- their end -->\n"

# Setting (tests/e2e/strict_settings.py) → the roles whose every statement is taken out there, `<stack>/<role>`.
HELD: dict[str, tuple[str, ...]] = {
    "realtime": (
        *("training/PrepareRole", "training/TrainRole", "training/EvaluateRole", "training/FetchRole"),
        *("training/TrainingPipelineRole", "training/RegistrationPipelineRole"),
        *("training/ImageBuildRole", "training/ImageBuildStarterRole"),
        *("training/TriggersStarterRole", "training/TriggersScheduleRole"),
        *("training/RunWatchWatcherRole", "training/RunWatchScheduleRole"),
        *("endpoint/Role", "endpoint/HoursRole"),
        *("monitoring/DriftRole", "monitoring/DriftPipelineRole", "monitoring/DriftScheduleRole"),
    ),
    "async": ("endpoint/Role",),
    "serverless": ("endpoint/Role",),
    "batch": ("endpoint/Role", "endpoint/PackagesRole"),
}


def not_held() -> dict[str, str]:
    """Role, as `roles_of` names it → why strict mode does not hold it: the table of docs/real-account.md."""
    table = PAGE.read_text(encoding="utf-8").split(BEGINS)[1].split(ENDS)[0]
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \| (.+) \|$", table, re.MULTILINE)
    return {role: why for roles, why in rows for role in re.findall(r"`([^`]+)`", roles)}


def held() -> set[str]:
    """The roles that strict runs hold, as `roles_of` names them."""
    return {named(setting, role) for setting, roles in HELD.items() for role in roles}


def named(mode: str, role: str) -> str:
    """`endpoint/Role (async)`: what a role of an endpoint may depends on its mode. `realtime` is not said."""
    return f"{role} ({mode})" if role.startswith("endpoint/") and mode != "realtime" else role


def roles_of(stack: str, template: Template) -> Iterator[str]:
    """The names of a template's roles, whatever the environment: `training/TrainRole`, `delivery/DeployRole`."""
    whose, _, kind = stack.partition("/")
    for id_ in resources(template, "AWS::IAM::Role"):
        role = id_[:-8]
        if whose == "modes":
            yield named(kind, f"endpoint/{role}")
        elif whose == "delivery":
            yield f"delivery/{role.removeprefix(kind.capitalize())}"
        else:
            yield f"{kind}/{role}"


def kind_of(role: str) -> str:
    """What a role, `<stack>/<role>`, works for, as tests/data/iam/service_calls.json has it."""
    kinds = {
        "StarterRole": "function",
        "WatcherRole": "function",
        "ImageBuildRole": "build",
        "ScheduleRole": "schedule",
        "HoursRole": "schedule",
        "PipelineRole": "pipeline",
        "endpoint/Role": "endpoint",
        "endpoint/PackagesRole": "endpoint",
    }
    return next((kind for end, kind in kinds.items() if role.endswith(end)), "job")
