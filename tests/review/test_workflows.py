"""Workflows that come to do more without anybody's yes."""

import re

import pytest

from review.workflows import workflow_remarks

BEFORE = """
name: deploy
on:
  push:
    branches: [main]
permissions: {}
jobs:
  test:
    steps: [{run: make test}]
  assembly:
    needs: test
  deploy:
    needs: [assembly]
    if: ${{ !failure() && fromJSON(needs.assembly.outputs.targets).prod }}
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
        (BEFORE.replace("    branches: [main]\n", ""), "workflow.trigger"),
        (BEFORE.replace("[main]", "[main, 'try/*']"), "workflow.trigger"),
        (BEFORE.replace("    needs: test\n", ""), "workflow.order_lost"),
        (BEFORE.replace("    needs: [assembly]\n", "    needs: test\n"), "workflow.order_lost"),
        (re.sub(r"    if: .*\n", "", BEFORE), "workflow.condition_lost"),
        (BEFORE.replace("!failure()", "always()"), "workflow.condition_lost"),
        (BEFORE.replace("run: make test", "run: make test, continue-on-error: true"), "workflow.failure_ignored"),
        (BEFORE.replace("  test:\n", "  test:\n    continue-on-error: true\n"), "workflow.failure_ignored"),
        (BEFORE.replace("run: make test", "uses: a/b@v4"), "workflow.not_pinned"),
        (BEFORE.replace("run: make test", "uses: 'docker://alpine:3'"), "workflow.not_pinned"),
        (BEFORE + "  called:\n    uses: a/b/.github/workflows/c.yml@main\n", "workflow.not_pinned"),
        (BEFORE.replace("on:\n  push:\n    branches: [main]", "on: [push, issue_comment]"), "workflow.trigger"),
        (BEFORE + "    permissions: {id-token: write}\n", "workflow.unbound"),
        (BEFORE + "  other:\n    permissions: write-all\n    environment: prod\n", "workflow.writes_all"),
        (BEFORE.replace("permissions: {}", "permissions: write-all"), "workflow.unbound"),
        ("a: [", "workflow.unreadable"),
        ("- a list", "workflow.unreadable"),
        ("[" * 5_000, "workflow.unreadable"),
        ("at: 2026-99-99", "workflow.unreadable"),
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
        BEFORE.replace("steps: []", f"steps: [{{uses: a/b@{'0' * 40}}}]"),
        BEFORE.replace("    needs: [assembly]\n", "    needs: [assembly, test]\n"),
        BEFORE.replace("[main]", "main"),
        BEFORE + "  called:\n    uses: ./.github/workflows/other.yml\n    permissions: {id-token: write}\n",
    ],
)
def test_what_waits_for_the_same_people_is_not(after: str) -> None:
    assert rules(after) == []


def test_a_new_workflow_that_takes_roles_waits_for_an_environment() -> None:
    assert rules(BEFORE, before="") == []
    assert rules(BEFORE.replace("    environment: prod\n", ""), before="") == ["workflow.unbound"]


def test_another_condition_and_other_inputs_of_what_deploys_are_to_be_read() -> None:
    assert rules(BEFORE.replace(").prod", ").dev")) == ["workflow.condition"]
    called = BEFORE + "  called:\n    uses: ./a.yml\n    permissions: {id-token: write}\n    with: {environment: dev}\n"
    assert rules(called.replace("environment: dev", "environment: prod"), called) == ["workflow.given"]
