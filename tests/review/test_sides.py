"""What is compared, by whom, and what is said of files that no template shows."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from review.synthesis import MOST_REMEMBERED
from review.trees import changed_paths, laid_out, side
from tests.review.histories import commit, git, review
from tests.review.workshop import ROOT, edit


@pytest.mark.parametrize(
    ("path", "area", "says"),
    [
        (".github/workflows/deploy.yml", "broadening", "what deploys and checks runs by it"),
        ("Makefile", "broadening", "what deploys and checks runs by it"),
        ("GNUmakefile", "broadening", "what deploys and checks runs by it"),
        ("package-lock.json", "broadening", "what deploys and checks runs by it"),
        ("requirements-dev.txt", "broadening", "what deploys and checks runs by it"),
        ("docs/CODEOWNERS", "broadening", "what deploys and checks runs by it"),
        ("review/rules.py", "policy", "which judges changes: code of neither side made this page"),
        ("sitecustomize.py", "policy", "nobody has said what such files do"),
    ],
)
def test_what_deploys_and_what_judges_is_reviewed_although_no_template_shows_it(
    repository: Path, tmp_path: Path, path: str, area: str, says: str
) -> None:
    branch = f"other-{path.replace('/', '-')}"
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


def test_what_git_would_leave_out_of_an_archive_is_reviewed(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "attributes", "main")
    (repository / ".gitattributes").write_text("environments.py export-ignore\nstacks export-ignore\n")
    edit(repository / "environments.py", "max_latency_ms=2_000", "max_latency_ms=20_000")
    commit(repository, "Hide it")
    done = review(repository, tmp_path, "--base", "main", "--head", "attributes")
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "review.md").read_text()
    assert "AlarmsLatency: rings at 2,000,000 → 20,000,000 microseconds" in page
    assert ".gitattributes: nobody has said what such files do" in page


def test_files_are_laid_out_as_a_checkout_of_that_side_has_them(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "plain")
    (tmp_path / "words.txt").write_text("caf\u00e9\n", encoding="utf-8")
    commit(tmp_path, "Words")
    git(tmp_path, "switch", "--quiet", "--create", "encoded")
    (tmp_path / ".gitattributes").write_text("words.txt working-tree-encoding=UTF-16LE\n")
    git(tmp_path, "add", ".gitattributes")
    git(tmp_path, "commit", "--quiet", "--message", "Otherwise")
    for lies_there in ("plain", "encoded"):
        git(tmp_path, "switch", "--quiet", "--force", lies_there)
        for branch, encoding in (("plain", "utf-8"), ("encoded", "utf-16-le")):
            with laid_out(tmp_path, side(tmp_path, branch)) as folder:
                assert (folder / "words.txt").read_bytes() == "caf\u00e9\n".encode(encoding)


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
    assert "AlarmsLatency: rings at 2,000,000 → 20,000,000 microseconds" in page
    assert json.loads((tmp_path / "review.json").read_text())["judge"] == "base"


def test_a_review_that_judges_its_own_change_passes_no_gate(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "without-end", "main")
    shutil.copytree(ROOT / "review", repository / "review", ignore=shutil.ignore_patterns("__pycache__"))
    (repository / "review" / "__main__.py").write_text("raise SystemExit('it does not work')\n")
    commit(repository, "A review that does not work")
    git(repository, "switch", "--quiet", "--create", "own-judge")
    shutil.copy(ROOT / "review" / "__main__.py", repository / "review")
    commit(repository, "Mend it")
    with (repository / ".git" / "info" / "exclude").open("a") as ignored:
        ignored.write("node_modules\n")
    (repository / "node_modules").symlink_to(ROOT / "node_modules")
    where = ("--repository", str(repository), "--out", str(tmp_path), "--cache", str(tmp_path / "cache"))
    asked = ("--base", "without-end", "--head", "own-judge", "--gate", "stop", "--areas", "policy")
    done = subprocess.run(
        [sys.executable, "-m", "review", *where, *asked], cwd=repository, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")
    assert "The base's own review did not come to an end: it does not work\n" in done.stdout
    assert "the changed code made this page about itself" in (tmp_path / "review.md").read_text()
    assert json.loads((tmp_path / "review.json").read_text())["judge"] == "head"


def test_a_link_out_of_the_tree_is_said(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "link", "main")
    (repository / ".github").mkdir(exist_ok=True)
    (repository / ".github" / "more").symlink_to("/somewhere/else")
    commit(repository, "Point elsewhere")
    done = review(repository, tmp_path, "--base", "main", "--head", "link", "--gate", "look", "--areas", "policy")
    assert done.returncode == 3
    assert ".github/more: a link or a submodule" in (tmp_path / "review.md").read_text()


def test_sides_without_a_common_commit_are_compared_as_they_are_and_it_is_said(
    repository: Path, tmp_path: Path
) -> None:
    git(repository, "switch", "--quiet", "--orphan", "stranger")
    git(repository, "checkout", "main", "--", ".")
    (repository / "notes.md").write_text("A note.\n")
    commit(repository, "Begin anew")
    done = review(repository, tmp_path, "--base", "main", "--head", "stranger")
    assert (done.returncode, done.stderr) == (0, "")
    assert "git knows of no commit that both sides come from" in (tmp_path / "review.md").read_text()


def test_an_environment_that_leaves_the_app_stays_in_its_account(repository: Path, tmp_path: Path) -> None:
    """Nothing of it is lost, narrowed or cheaper, for CloudFormation is told nothing."""
    git(repository, "switch", "--quiet", "--create", "fewer", "main")
    with (repository / "environments.py").open("a") as settings:
        settings.write('\ndel ENVIRONMENTS["prod"]\n')
    commit(repository, "Take prod away")
    done = review(repository, tmp_path, "--base", "main", "--head", "fewer")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads((tmp_path / "review.json").read_text())
    about = [one for one in told["remarks"] if one["environment"] == "prod"]
    assert [one["rule"] for one in about] == ["change.stack_removed"]
    assert "the whole environment leaves the app" in about[0]["what"]
    assert "it stays as it is and costs until somebody does" in about[0]["what"]
    assert "prod" not in told["costs"]
    assert not [one for one in told["changes"] if one["environment"] == "prod"]
    assert told["areas"] | {"destructive": ""} == dict.fromkeys(told["areas"], "ok") | {"destructive": ""}


def test_what_was_remembered_longest_ago_is_forgotten(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "remembered", "main")
    edit(repository / "environments.py", "max_latency_ms=2_000", "max_latency_ms=20_000")
    commit(repository, "Later")
    cache = tmp_path / "cache"
    for number in range(60):
        (cache / f"{number:016}-old").mkdir(parents=True)
        (cache / f"{number:016}-old" / "facts.json").write_text("{}")
        os.utime(cache / f"{number:016}-old" / "facts.json", (number, number))
    for name, changed in (("synth-left", 0), ("synth-of-another", time.time())):
        (cache / name).mkdir()
        os.utime(cache / name, (changed, changed))
    done = review(repository, tmp_path, "--base", "main", "--head", "remembered", "--cache", str(cache))
    assert (done.returncode, done.stderr) == (0, "")
    left = {one.name for one in cache.iterdir()}
    assert len(left) == MOST_REMEMBERED + 1
    assert f"{59:016}-old" in left
    assert f"{0:016}-old" not in left
    assert "synth-left" not in left
    assert "synth-of-another" in left


def test_a_ref_is_no_command_of_make_nor_of_the_shell(tmp_path: Path) -> None:
    for ref in ("$(shell touch by-make)", "$(touch by-shell)", "`touch by-quote`", '"; touch by-end; "'):
        made = ("-f", ROOT / "Makefile", "-C", ROOT, "-o", ".venv/.ready", "-o", "node_modules/.ready", "review")
        done = subprocess.run(
            ["make", *made, f"BASE={ref.replace('touch ', f'touch {tmp_path}/')}", f"OUT={tmp_path}/out"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "there is no commit" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_other_prices_are_said(repository: Path, tmp_path: Path) -> None:
    git(repository, "switch", "--quiet", "--create", "prices", "main")
    path = repository / "stacks" / "prices.json"
    table = json.loads(path.read_text())
    table["instance_hour"]["prices"]["ml.g5.xlarge"]["usd"] = 0.01
    path.write_text(json.dumps(table))
    commit(repository, "Cheaper")
    done = review(repository, tmp_path, "--base", "main", "--head", "prices", "--gate", "look", "--areas", "cost")
    assert done.returncode == 3
    page = (tmp_path / "review.md").read_text()
    assert re.search(r"with neither side's: .*ml\.g5\.xlarge\.usd [\d.]+ → 0\.01", page)
