"""Workflows that come to do more without anybody's yes."""

import pytest

from review.workflows import workflow_remarks

BEFORE = """
name: deploy
on:
  push:
permissions: {}
jobs:
  deploy:
    environment: prod
    permissions:
      id-token: write
    steps: []
  look:
    runs-on: ubuntu-24.04
"""


def rules(after: str, before: str = BEFORE) -> list[str]:
    path = ".github/workflows/deploy.yml"
    return [one.rule for one in workflow_remarks({path: before} if before else {}, {path: after})]


@pytest.mark.parametrize(
    ("after", "rule"),
    [
        (BEFORE.replace("    environment: prod\n", ""), "workflow.approval_lost"),
        (BEFORE.replace("environment: prod", "environment: other"), "workflow.approval_lost"),
        (BEFORE.replace("environment: prod", "environment: {name: }"), "workflow.approval_lost"),
        (BEFORE.replace("  push:", "  pull_request_target:"), "workflow.trigger"),
        (BEFORE.replace("on:\n  push:", "on: [push, issue_comment]"), "workflow.trigger"),
        (BEFORE + "    permissions: {id-token: write}\n", "workflow.unbound"),
        (BEFORE + "  other:\n    permissions: write-all\n    environment: prod\n", "workflow.writes_all"),
        (BEFORE.replace("permissions: {}", "permissions: write-all"), "workflow.unbound"),
        ("a: [", "workflow.unreadable"),
        ("- a list", "workflow.unreadable"),
    ],
)
def test_what_waits_for_nobody_any_more_is_a_stop(after: str, rule: str) -> None:
    assert after != BEFORE
    assert rule in rules(after)


@pytest.mark.parametrize(
    "after",
    [
        BEFORE,
        BEFORE.replace("environment: prod", "environment: {name: prod, url: x}"),
        BEFORE.replace("  look:", "  see:"),
        BEFORE.replace("steps: []", "steps: [{run: make deploy}]"),
        BEFORE + "  called:\n    uses: ./.github/workflows/other.yml\n    permissions: {id-token: write}\n",
    ],
)
def test_what_waits_for_the_same_people_is_not(after: str) -> None:
    assert rules(after) == []


def test_a_new_workflow_that_takes_roles_waits_for_an_environment() -> None:
    assert rules(BEFORE, before="") == []
    assert rules(BEFORE.replace("    environment: prod\n", ""), before="") == ["workflow.unbound"]
