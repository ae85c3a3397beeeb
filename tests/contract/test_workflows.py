"""GitHub's workflows: what they call exists, whom they trust is pinned, and only text crosses from pull requests."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from operate.promotion_branch import Repository

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.name: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
CALL = re.compile(r"\bmake (?:--silent |-[fC] \S+ )*([\w./-]+)")
MAY_DEPLOY = {"deploy.yml", "deploy-environment.yml", "nightly.yml", "drift-environment.yml", "promote.yml"}


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
    called = {target for step in steps(name) for target in re.findall(CALL, step.get("run", ""))}
    for target in called:
        assert re.search(rf"^{re.escape(target)}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_begins_with_no_right_and_only_deliveries_get_a_token(name: str) -> None:
    workflow = read(name)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        writes = job["permissions"].get("contents", "read") != "read"
        assert not writes or "id-token" not in job["permissions"], "who acts in an account cannot write here"
        assert not writes or name == "promote.yml"
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
    assert may_write == ["promote.yml", "review-comment.yml"]
    uses = [step.get("uses", "").split("@")[0] for step in steps("review-comment.yml")]
    assert uses == ["actions/download-artifact", ""]
    script = steps("review-comment.yml")[1]["run"]
    assert not re.search(r"\$\{\{|\bmake |subprocess|exec\(|eval\(", script), (
        "what people wrote is not to be part of it"
    )


def promotion(tmp_path: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run the script that opens a promotion's pull request, on a branch that changes these files; `git push` and `gh`
    say what they were told."""
    clone, carried, tools = tmp_path / "clone", tmp_path / "carried", tmp_path / "tools"
    (clone / "releases").mkdir(parents=True)
    (clone / "releases" / "dev.json").write_text("{}")
    git(clone, "init", "-q", "-b", "main")
    git(clone, "add", ".")
    git(clone, "commit", "-q", "-m", "one")
    name = changed.pop("branch", f"promote/staging/{'a' * 12}")
    git(clone, "checkout", "-q", "-b", name)
    for file, content in changed.items():
        (clone / file.replace("__", "/")).with_suffix(".json").write_text(content)
    git(clone, "add", ".")
    git(clone, "commit", "-q", "-m", "Promote tiny")
    git(clone, "checkout", "-q", "main")
    Repository.of(clone / "releases").carry(name, carried)
    git(clone, "branch", "-q", "-D", name)
    (carried / "title").write_text("Promote $(touch hacked) `touch hacked`")
    tools.mkdir()
    (tools / "gh").write_text('#!/bin/bash\nprintf "%s\\n" "gh $*"\n')
    real = shutil.which("git")
    (tools / "git").write_text(f'#!/bin/bash\n[ "$1" = push ] && {{ echo "git $*"; exit; }}\nexec {real} "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    [step] = [one for one in read("promote.yml")["jobs"]["propose"]["steps"] if "run" in one]
    given = {"TARGET": "staging", "CARRIED": str(carried), "BASE": "main", "GH_TOKEN": "t"}
    given |= {"GITHUB_REPOSITORY": "lab/amplify", "PATH": f"{tools}:{os.environ['PATH']}"}
    script = ["bash", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(script, cwd=clone, env=given, capture_output=True, text=True, check=False)


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_promotion_becomes_a_branch_with_a_pull_request(tmp_path: Path) -> None:
    done = promotion(tmp_path, releases__staging="{}")
    assert done.returncode == 0, done.stderr
    pushed, opened = done.stdout.splitlines()
    assert pushed.endswith(f"@github.com/lab/amplify FETCH_HEAD:refs/heads/promote/staging/{'a' * 12}")
    assert opened.startswith(f"gh pr create --base main --head promote/staging/{'a' * 12} --title Promote $(touch")
    assert not (tmp_path / "clone" / "hacked").exists()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"releases__staging": "{}", "app": "evil"}, "more than a pin is changed"),
        ({"releases__prod": "{}"}, "more than a pin is changed: releases/prod.json"),
        ({"releases__staging": "{}", "branch": "main2"}, "no branch of a promotion: main2"),
        ({"releases__staging": "{}", "branch": f"promote/prod/{'a' * 12}"}, "no branch of a promotion"),
    ],
)
def test_what_is_carried_to_the_job_that_may_write_is_one_pin(
    tmp_path: Path, changed: dict[str, str], told: str
) -> None:
    done = promotion(tmp_path, **changed)
    assert done.returncode == 1
    assert told in done.stdout
    assert "git push" not in done.stdout


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
