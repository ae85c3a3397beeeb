"""The whole way, as `make review` goes it: from git refs to the page, the JSON and the exit code."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from review.trees import changed_paths, side
from tests.review.workshop import ROOT, edit, tree

DOCSTRING = '"""State. Retained when the stack goes; termination-protected where the environment says so."""'
GIT = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(repository), *GIT, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(repository: Path, message: str) -> str:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", message)
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own with everything that is deployed, and no release anywhere."""
    folder = tmp_path_factory.mktemp("repository")
    with tree() as source:
        shutil.copytree(source, folder, dirs_exist_ok=True)
    for pin in (folder / "releases").glob("*.json"):
        pin.unlink()
    (folder / "releases" / "README.md").write_text("pins\n")
    (folder / ".gitignore").write_text("__pycache__/\n")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, "base")
    return folder


def review(repository: Path, out: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Without any AWS: what the person has of it must be of no use."""
    environ = os.environ | {"AWS_PROFILE": "nobody", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    cache = repository.parent / "cache"
    where = ["--repository", str(repository), "--out", str(out), "--cache", str(cache)]
    return subprocess.run(
        [sys.executable, "-m", "review", *where, *arguments], cwd=ROOT, env=environ, capture_output=True, text=True
    )


def test_a_change_of_comments_is_three_lines(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "comment", "main")
    edit(repository / "stacks" / "storage.py", DOCSTRING, f"{DOCSTRING}\n\n    # Three buckets, a key, a topic.")
    head = commit(repository, "Say it")
    done = review(repository, tmp_path, "--base", "main", "--head", "comment", "--gate", "look")
    assert (done.returncode, done.stderr) == (0, "")
    lines = (tmp_path / "review.md").read_text().splitlines()
    assert lines[0] == "# Infrastructure review: 🟢 ok"
    assert lines[1].endswith(f"→ `comment {head[:8]}`: nothing that is deployed changes.")
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
    assert "no release is pinned in prod: their endpoints are those of a stand-in model" in page
    assert "AlarmsLatency: rings at 2e+06 → 2e+07" in page

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


@pytest.mark.parametrize(
    ("path", "area", "says"),
    [
        (".github/workflows/deploy.yml", "broadening", "what runs there has the rights to deploy"),
        ("Makefile", "broadening", "what runs there has the rights to deploy"),
        ("package-lock.json", "broadening", "what runs there has the rights to deploy"),
        ("review/rules.py", "policy", "which judges changes: the changed code made this page about itself"),
        ("sitecustomize.py", "policy", "nobody has said what such files do"),
    ],
)
def test_what_deploys_and_what_judges_is_reviewed_although_no_template_shows_it(
    repository: Path, tmp_path: Path, path: str, area: str, says: str
) -> None:
    branch = f"other-{Path(path).stem}"
    git(repository, "switch", "--quiet", "--create", branch, "main")
    (repository / path).parent.mkdir(parents=True, exist_ok=True)
    (repository / path).write_text("another\n")
    commit(repository, "Otherwise")
    done = review(repository, tmp_path, "--base", "main", "--head", branch, "--gate", "look", "--areas", area)
    assert done.returncode == 3
    assert says in (tmp_path / "review.md").read_text()


def test_a_name_that_is_not_ascii_is_a_name(repository: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "names", "main")
    (repository / "stacks" / "\u00fcbung.py").write_text("DAYS = 1\n")
    commit(repository, "Exercise")
    assert changed_paths(repository, side(repository, "main"), side(repository, "names")) == ["stacks/\u00fcbung.py"]


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


def test_what_git_would_leave_out_of_an_archive_is_reviewed(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "attributes", "main")
    (repository / ".gitattributes").write_text("environments.py export-ignore\nstacks export-ignore\n")
    edit(repository / "environments.py", "max_latency_ms=2_000", "max_latency_ms=20_000")
    commit(repository, "Hide it")
    done = review(repository, tmp_path, "--base", "main", "--head", "attributes")
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "review.md").read_text()
    assert "AlarmsLatency: rings at 2e+06 → 2e+07" in page
    assert ".gitattributes: nobody has said what such files do" in page


def test_what_the_program_itself_adds_is_reviewed_and_another_program_is_a_stop(
    repository: Path, tmp_path: Path
) -> None:
    """Not a function of it: what `cdk synth` runs."""
    git(repository, "switch", "--quiet", "--create", "program", "main")
    added = (
        "    from aws_cdk import aws_s3 as s3\n\n"
        '    where = cdk.Environment(account="111111111111", region="us-east-1")\n'
        '    s3.Bucket(cdk.Stack(cdk.Stage(app, "more", env=where), "door"), "Open")\n'
    )
    edit(repository / "app.py", "    app.synth()\n", f"{added}    app.synth()\n")
    commit(repository, "Add a door")
    done = review(repository, tmp_path, "--base", "main", "--head", "program")
    assert (done.returncode, done.stderr) == (0, "")
    assert "more/door" in json.loads((tmp_path / "review.json").read_text())["new_stacks"]
    git(repository, "switch", "--quiet", "--create", "command", "main")
    settings = json.loads((repository / "cdk.json").read_text())
    settings |= {"app": "python other.py", "context": settings["context"] | {"releases": "elsewhere"}}
    (repository / "cdk.json").write_text(json.dumps(settings))
    shutil.copytree(repository / "releases", repository / "elsewhere")
    commit(repository, "Run another")
    done = review(repository, tmp_path, "--base", "main", "--head", "command", "--gate", "stop", "--areas", "policy")
    assert done.returncode == 3
    page = (tmp_path / "review.md").read_text()
    assert "cdk.json: app is python other.py, and was .venv/bin/python app.py" in page
    assert "cdk.json: context.releases is elsewhere, and was nothing" in page


def test_what_came_to_the_base_meanwhile_is_not_shown_as_undone(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "went-on", "main")
    parted_at = git(repository, "rev-parse", "--short=8", "HEAD")
    edit(repository / "environments.py", "max_latency_ms=2_000", "max_latency_ms=1_000")
    commit(repository, "Meanwhile")
    git(repository, "switch", "--quiet", "--create", "older", "main")
    (repository / "notes.md").write_text("A note.\n")
    commit(repository, "Note")
    done = review(repository, tmp_path, "--base", "went-on", "--head", "older")
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "review.md").read_text()
    assert f"`went-on at {parted_at}` →" in page
    assert "No file that a template is made of has changed." in page


def test_whoever_changes_the_rules_is_judged_by_those_before(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "with-rules", "main")
    shutil.copytree(ROOT / "review", repository / "review", ignore=shutil.ignore_patterns("__pycache__"))
    commit(repository, "The review")
    git(repository, "switch", "--quiet", "--create", "loosened", "with-rules")
    edit(
        repository / "review" / "rules.py",
        '"alarm.later": ("safeguards", "look")',
        '"alarm.later": ("safeguards", "ok")',
    )
    edit(repository / "review" / "page.py", "# Infrastructure review: {MARKS[verdict]}", "# All is well")
    edit(repository / "environments.py", "max_latency_ms=2_000", "max_latency_ms=20_000")
    commit(repository, "Loosen")
    done = review(repository, tmp_path, "--base", "with-rules", "--head", "loosened", "--gate", "look")
    assert (done.returncode, done.stderr) == (3, "")
    assert "The gate is look, the verdict look: not passed." in done.stdout
    page = (tmp_path / "review.md").read_text()
    assert page.startswith("# Infrastructure review: 🟡 look\n")
    assert "review/page.py and review/rules.py changed, which judges changes: the base's code made this page" in page
    assert "AlarmsLatency: rings at 2e+06 → 2e+07" in page


def test_other_prices_are_said(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "prices", "main")
    path = repository / "stacks" / "prices.json"
    table = json.loads(path.read_text())
    table["instance_hour"]["prices"]["ml.g5.xlarge"]["usd"] = 0.01
    path.write_text(json.dumps(table))
    commit(repository, "Cheaper")
    done = review(repository, tmp_path, "--base", "main", "--head", "prices", "--gate", "look", "--areas", "cost")
    assert done.returncode == 3
    assert re.search(r"ml\.g5\.xlarge\.usd [\d.]+ → 0\.01", (tmp_path / "review.md").read_text())
