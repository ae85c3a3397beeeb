"""GitHub's workflows: what they call exists, whom they trust is pinned, and only text crosses from pull requests."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.name: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
MAY_DEPLOY = {"deploy.yml", "deploy-environment.yml", "nightly.yml", "drift-environment.yml"}


def read(name: str) -> dict[str, Any]:
    found = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in read(name)["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned_by_its_digest(name: str) -> None:
    used = [step["uses"] for step in steps(name) if "uses" in step]
    used += [job["uses"] for job in read(name)["jobs"].values() if "uses" in job]
    for one in used:
        assert PINNED.fullmatch(one) or (one.startswith("./") and (ROOT / one).is_file()), one


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_target_that_is_called_exists(name: str) -> None:
    called = {
        target for step in steps(name) for target in re.findall(r"\bmake (?:--silent )?([\w./-]+)", step.get("run", ""))
    }
    for target in called:
        assert re.search(rf"^{re.escape(target)}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_begins_with_no_right_and_only_deliveries_get_a_token(name: str) -> None:
    workflow = read(name)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"].get("contents", "read") == "read"
        assert "id-token" not in job["permissions"] or name in MAY_DEPLOY
        assert "timeout-minutes" in job or "uses" in job


def test_what_runs_code_of_a_pull_request_has_neither_secret_nor_token() -> None:
    for name in WORKFLOWS:
        triggers = read(name)[True]  # YAML's `on`
        if "pull_request" in triggers:
            assert "secrets" not in WORKFLOWS[name].read_text(encoding="utf-8")
            for job in read(name)["jobs"].values():
                assert job["permissions"] == {"contents": "read"}
        assert "pull_request_target" not in triggers


def test_what_may_comment_runs_nothing_of_a_pull_request() -> None:
    may_write = [name for name in WORKFLOWS if "pull-requests: write" in WORKFLOWS[name].read_text(encoding="utf-8")]
    assert may_write == ["review-comment.yml"]
    uses = [step.get("uses", "").split("@")[0] for step in steps(may_write[0])]
    assert uses == ["actions/download-artifact", ""]
    script = steps(may_write[0])[1]["run"]
    assert not re.search(r"\$\{\{|\bmake |subprocess|exec\(|eval\(", script), (
        "what people wrote is not to be part of it"
    )


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_checkout_leaves_no_credentials_and_packages_are_installed_before_there_are_any(name: str) -> None:
    for job in read(name)["jobs"].values():
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
        done = [step.get("run", step.get("uses", "")) for step in job.get("steps", [])]
        signed_in = [at for at, one in enumerate(done) if one.startswith("aws-actions/")]
        installed = [at for at, one in enumerate(done) if one in ("make setup", "make node_modules/.ready")]
        assert not signed_in or min(installed, default=len(done)) < signed_in[0]


def test_one_assembly_goes_to_dev_then_staging_then_prod() -> None:
    jobs = read("deploy.yml")["jobs"]
    order = {name: jobs[name]["needs"] for name in ("dev", "staging", "prod")}
    assert order == {"dev": ["assembly"], "staging": ["assembly", "dev"], "prod": ["assembly", "staging"]}
    assert jobs["assembly"]["needs"] == "test"
    assert not any("make synth" in step.get("run", "") for step in steps("deploy-environment.yml"))
