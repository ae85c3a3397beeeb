"""The whole way, as `make review` goes it: from git refs to the page, the JSON and the exit code."""

import json
from pathlib import Path

import pytest

from tests.review.histories import commit, git, review
from tests.review.workshop import ROOT, edit

DOCSTRING = '"""State. Retained when the stack goes; termination-protected where the environment says so."""'


def test_a_change_of_comments_is_three_lines(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "comment", "main")
    edit(repository / "stacks" / "storage.py", DOCSTRING, f"{DOCSTRING}\n\n    # Three buckets, a key, a topic.")
    head = commit(repository, "Say it")
    done = review(repository, tmp_path, "--base", "main", "--head", "comment", "--gate", "look")
    assert (done.returncode, done.stderr) == (0, "")
    lines = (tmp_path / "review.md").read_text().splitlines()
    assert lines[0] == "# Infrastructure review: 🟢 ok"
    assert lines[1].endswith(
        f"→ `comment {head[:8]}`, judged by a review of neither side: nothing that is deployed changes."
    )
    assert lines[2:] == ["Compared: every template of local, dev, staging, prod, delivery."]


def test_a_change_of_documents_synthesises_nothing(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "documents", "main")
    (repository / "notes.md").write_text("A note.\n")
    done = review(repository, tmp_path, "--base", "main")  # the working tree, not committed
    assert (done.returncode, done.stderr) == (0, "")
    assert "No file that a template is made of has changed." in (tmp_path / "review.md").read_text()
    assert json.loads((tmp_path / "review.json").read_text())["environments"] == []
    (repository / "notes.md").unlink()


def test_only_what_is_touched_is_synthesised_and_only_once(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "latency", "main")
    edit(repository / "environments.py", "max_latency_ms=2_000", "max_latency_ms=20_000")
    commit(repository, "Wait longer")
    done = review(repository, tmp_path, "--base", "main", "--head", "latency", "--gate", "look")
    assert (done.returncode, done.stderr) == (3, "")
    assert "The gate is look, the verdict look: not passed." in done.stdout
    told = json.loads((tmp_path / "review.json").read_text())
    assert told["environments"] == ["prod"]
    assert told["verdict"] == told["areas"]["safeguards"] == "look"
    assert {"environment": "prod", "setting": "endpoint.max_latency_ms", "before": "2000", "after": "20000"} in told[
        "settings"
    ]
    page = (tmp_path / "review.md").read_text()
    assert "no release is pinned: endpoints are those of a stand-in model" in page
    assert "AlarmsLatency: rings at 2,000,000 → 20,000,000 microseconds" in page

    cache = repository.parent / "cache"
    there = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    again = review(repository, tmp_path, "--base", "main", "--head", "latency", "--gate", "stop")
    assert again.returncode == 0  # it is not that bad
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == there
    elsewhere = review(
        repository, tmp_path, "--base", "main", "--head", "latency", "--gate", "look", "--areas", "cost,destructive"
    )
    assert elsewhere.returncode == 0


def test_whom_the_accounts_trust_is_part_of_the_review(repository: Path, tmp_path: Path) -> None:
    """It is set beside the environments, and none of them differs."""
    git(repository, "switch", "--quiet", "--create", "trust", "main")
    edit(repository / "environments.py", "DELIVERY: Delivery | None = None", 'DELIVERY = Delivery(repository="a/b")')
    commit(repository, "Trust")
    done = review(repository, tmp_path, "--base", "main", "--head", "trust")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads((tmp_path / "review.json").read_text())
    assert "delivery" in told["environments"]
    assert {"delivery/dev", "delivery/staging", "delivery/prod"} == set(told["new_stacks"])
    assert any("repo:a/b:environment:prod" in one["what"] for one in told["remarks"] if one["area"] == "broadening")
    assert told["verdict"] == "stop"
    assert "stand-in repository" not in (tmp_path / "review.md").read_text()


def test_other_packages_are_said_to_be_out_of_sight(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "packages", "main")
    (repository / "requirements.txt").write_text("aws-cdk-lib==3.0.0\n")
    commit(repository, "Newer")
    done = review(repository, tmp_path, "--base", "main", "--head", "packages", "--gate", "look", "--areas", "policy")
    assert done.returncode == 3
    assert "both sides were synthesised with what is installed here" in (tmp_path / "review.md").read_text()


def test_the_first_release_is_a_new_stack_and_no_stand_in(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "release", "main")
    pin = (ROOT / "tests" / "stacks" / "releases" / "prod.json").read_text()
    (repository / "releases" / "prod.json").write_text(pin)
    commit(repository, "Release")
    done = review(repository, tmp_path, "--base", "main", "--head", "release")
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "review.md").read_text()
    assert "stand-in" not in page
    assert "none → model 7 (demo), loss 2.7, approved by release.manager@\u200bexample.org" in page
    assert "**prod · endpoint**\n- new stack," in page
    assert json.loads((tmp_path / "review.json").read_text())["environments"] == ["prod"]


@pytest.mark.parametrize("which", ["base", "head"])
def test_a_side_that_cannot_be_synthesised_is_named_with_its_own_words(
    repository: Path, tmp_path: Path, which: str
) -> None:
    git(repository, "switch", "--quiet", "--create", f"broken-{which}", "main")
    edit(repository / "environments.py", 'cidr="10.30.0.0/20"', 'cidr="10.30.0.0/32"')
    edit(repository / "environments.py", "monthly_budget_usd=1_000", "monthly_budget_usd=0")
    commit(repository, "Break it")
    git(repository, "switch", "--quiet", "--create", f"mended-{which}")
    git(repository, "revert", "--no-edit", "HEAD")
    refs = ("main", "broken-head") if which == "head" else ("broken-base", "mended-base")
    done = review(repository, tmp_path, "--base", refs[0], "--head", refs[1])
    assert done.returncode == 1
    page = (tmp_path / "review.md").read_text()
    assert page.startswith("# Infrastructure review: 🔴 stop\n")
    assert f"{which} broken-{which} cannot be synthesised: SettingsError" in page
    assert "\n- prod.network.cidr is '10.30.0.0/32', a size that" in page
    assert "\n- dev.monitoring.monthly\\_budget\\_usd is 0: give" in page
    assert json.loads((tmp_path / "review.json").read_text())["refusal"]
    assert "Traceback" not in done.stdout + done.stderr


def test_a_ref_that_is_not_there_is_one_message(repository: Path, tmp_path: Path) -> None:
    done = review(repository, tmp_path, "--base", "no-such-branch")
    assert done.returncode == 1
    assert done.stderr == "There is no review: there is no commit 'no-such-branch'\n"
    assert review(repository, tmp_path, "--base", "main", "--areas", "weather").returncode == 2
