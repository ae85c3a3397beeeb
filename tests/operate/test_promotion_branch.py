"""The branch of a promotion: a commit beside whatever somebody works on, and a text that a reviewer can decide by."""

import subprocess
from pathlib import Path

import pytest

from environments import DEV, STAGING
from operate import releases
from operate.errors import OperateError
from operate.ledger import release_id
from operate.promotion_branch import Repository, body_of, title_of
from operate.promotion_gates import Gate
from tests.operate.release_pins import pin, promoted


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The pins of a repository in which somebody works."""
    pins = tmp_path / "releases"
    releases.write(pins, "dev", pin(DEV))
    (tmp_path / "README.md").write_text("one\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    (tmp_path / "README.md").write_text("half a thought\n")
    return pins


def test_a_branch_has_the_pin_and_nothing_else_and_the_checkout_stays_as_it_is(folder: Path) -> None:
    before = git(folder, "status", "--porcelain", "--branch")
    name = Repository.of(folder).branch("staging", promoted(), "Promote tiny")
    assert name == f"promote/staging/{release_id(promoted())}"
    assert git(folder, "show", f"{name}:releases/staging.json") == releases.as_text(promoted())
    assert git(folder, "diff", "--stat", "HEAD", name).count("|") == 1
    assert git(folder, "log", "-1", "--format=%s", name) == "Promote tiny\n"
    assert git(folder, "status", "--porcelain", "--branch") == before
    assert not (folder / "staging.json").exists()


def test_a_branch_that_waits_is_told_until_it_is_merged(folder: Path) -> None:
    repository, bytes_ = Repository.of(folder), (promoted()["artifact"]["sha256"], promoted()["image_digest"])
    assert repository.waiting("staging", *bytes_) is None
    name = repository.branch("staging", promoted(), "Promote tiny")
    assert repository.waiting("staging", *bytes_) == name
    assert repository.waiting("prod", *bytes_) is None
    assert repository.waiting("staging", "0" * 64, bytes_[1]) is None
    git(folder, "merge", "-q", "--ff-only", name)
    assert repository.waiting("staging", *bytes_) is None


def test_a_branch_of_that_name_is_not_moved(folder: Path) -> None:
    repository = Repository.of(folder)
    repository.branch("staging", promoted(), "Promote tiny")
    with pytest.raises(OperateError, match="git update-ref failed"):
        repository.branch("staging", promoted(), "Promote tiny once more")


def test_what_is_promoted_is_committed(folder: Path) -> None:
    repository = Repository.of(folder)
    repository.check_committed("dev", pin(DEV))
    repository.check_committed("staging", None)
    with pytest.raises(OperateError, match=r"releases/dev\.json is not the one in HEAD"):
        repository.check_committed("dev", pin(DEV, version=2))
    with pytest.raises(OperateError, match=r"releases/staging\.json is not the one in HEAD"):
        repository.check_committed("staging", promoted())


def test_outside_of_a_repository_there_is_nothing_to_review(tmp_path: Path) -> None:
    with pytest.raises(OperateError, match="is in no git repository with a commit"):
        Repository.of(tmp_path / "releases")


def test_the_text_says_what_changes_on_what_evidence_and_the_way_back() -> None:
    new, old = promoted(2, loss=2.4), promoted(1)
    gates = [
        Gate(name="approved", passed=True, evidence="dev version 2 is Approved"),
        Gate(name="scan", passed=False, evidence="scan COMPLETE: 1 CRITICAL", accepted="not reachable from outside"),
    ]
    assert title_of(new, DEV, STAGING) == "Promote tiny, version 2 of dev, to staging"
    text = body_of(new, old, gates, STAGING, "`make review`")
    assert f"| artefact, SHA-256 | {old['artifact']['sha256']} | {new['artifact']['sha256']} |" in text
    assert "| loss, nats a residue | 2.5000 | 2.4000 |" in text
    assert "- ✓ approved    dev version 2 is Approved" in text
    assert "1 CRITICAL — accepted: not reachable from outside" in text
    assert "amplify rollback --env staging" in text
    assert "### Review\n`make review`\n" in text
    assert "| model package | — | arn:" in body_of(new, None, gates, STAGING, "")


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.com/lab/amplify.git",
        "https://github.com/lab/amplify",
        "https://token@github.com/lab/amplify.git",
        "git@github.com:lab/amplify.git",
        "ssh://git@github.com/lab/amplify.git",
    ],
)
def test_a_reviewer_is_led_to_the_comparison_and_no_secret_of_the_remote_goes_along(folder: Path, remote: str) -> None:
    git(folder, "branch", "-M", "main")
    git(folder, "remote", "add", "origin", remote)
    told = Repository.of(folder).review_of("promote/staging/abc")
    assert told.startswith("https://github.com/lab/amplify/compare/main...promote/staging/abc\n")
    assert "`make review BASE=main HEAD=promote/staging/abc`" in told


def test_without_a_forge_the_command_is_named(folder: Path) -> None:
    git(folder, "branch", "-M", "main")
    assert Repository.of(folder).review_of("b").startswith("`make review BASE=main HEAD=b`")
    git(folder, "remote", "add", "origin", str(folder))
    assert Repository.of(folder).review_of("b").startswith("`make review BASE=main HEAD=b`")
