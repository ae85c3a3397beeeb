"""The job that may write to pull requests, given pages of every kind, against a server that answers as GitHub's API."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from tests.stacks.synthesis import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "review-comment.yml").read_text(encoding="utf-8"))
STEP = WORKFLOW["jobs"]["comment"]["steps"][1]
PACKAGES = re.findall(r"packages=\((.*)\)", (ROOT / ".github" / "workflows" / "review.yml").read_text("utf-8"))[
    0
].split()
MARK = "<!-- amplify review -->"
SHA = "c0ffee" * 6 + "c0ff"


@dataclass
class GitHub:
    """Its pull requests, comments and files, as this job asks for them."""

    url: str
    pulls: list[dict[str, Any]]
    comments: list[dict[str, Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=lambda: ["model_code/serve.py"])
    moved: dict[str, str] = field(default_factory=dict)
    """File → where it was."""

    def answer(self, method: str, target: str, body: Any) -> Any:
        path, query = urlsplit(target).path, {key: one[0] for key, one in parse_qs(urlsplit(target).query).items()}
        begin = (int(query.get("page", 1)) - 1) * 100
        if method == "GET" and path == "/repos/o/r/pulls":
            assert query["state"] == "open"
            found = [one for one in self.pulls if one["head"]["label"] == query["head"]]
        elif method == "GET" and (file := re.fullmatch(r"/repos/o/r/pulls/(\d+)/files", path)):
            assert int(file[1]) in [one["number"] for one in self.pulls]
            found = [{"filename": name} for name in self.files]
            found += [{"filename": now, "previous_filename": was} for now, was in self.moved.items()]
        elif method == "GET" and re.fullmatch(r"/repos/o/r/issues/\d+/comments", path):
            found = self.comments
        elif method == "POST" and (issue := re.fullmatch(r"/repos/o/r/issues/(\d+)/comments", path)):
            self.comments.append(comment(len(self.comments) + 1, body["body"]) | {"issue": int(issue[1])})
            return self.comments[-1]
        elif method == "PATCH" and (one := re.fullmatch(r"/repos/o/r/issues/comments/(\d+)", path)):
            [mine] = [each for each in self.comments if each["id"] == int(one[1])]
            mine["body"] = body["body"]
            return mine
        else:
            raise AssertionError((method, target))
        return found[begin : begin + 100]


def comment(id_: int, body: str, user: str = "github-actions[bot]") -> dict[str, Any]:
    return {"id": id_, "user": {"login": user}, "body": body}


def pull(
    number: int, *, sha: str = SHA, repository: str | None = "fork/r", label: str = "fork:topic"
) -> dict[str, Any]:
    repo = {"full_name": repository} if repository else None
    return {"number": number, "head": {"sha": sha, "repo": repo, "label": label}}


@pytest.fixture(name="github")
def api_of_github() -> Iterator[GitHub]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            assert self.headers["Authorization"] == "Bearer the-token"
            answer = json.dumps(github.answer(self.command, self.path, json.loads(self.rfile.read(length) or "null")))
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer.encode())))
            self.end_headers()
            self.wfile.write(answer.encode())

        do_POST = do_PATCH = do_GET  # noqa: N815 - the library's names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    github = GitHub(url=f"http://127.0.0.1:{server.server_port}", pulls=[pull(7)])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield github
    server.shutdown()
    thread.join()
    server.server_close()


def run(
    github: GitHub, folder: Path, *, number: str = "7", page: str | None = "# Review\n\nverdict ok", **changed: str
) -> "subprocess.CompletedProcess[str]":
    """The step as GitHub runs it: `python` on the script, with the variables that the workflow names."""
    (folder / "number").write_text(number, encoding="utf-8")
    if page is not None:
        (folder / "review.md").write_text(page, encoding="utf-8")
    given = {
        "GITHUB_TOKEN": "the-token",
        "REPORT": str(folder),
        "CONCLUSION": "success",
        "HEAD_BRANCH": "topic",
        "HEAD_OWNER": "fork",
        "HEAD_REPOSITORY": "fork/r",
        "HEAD_SHA": SHA,
        "RUN_URL": "https://github.com/o/r/actions/runs/1",
    }
    assert set(given) == set(STEP["env"])
    runner = {"GITHUB_API_URL": github.url, "GITHUB_REPOSITORY": "o/r", "PATH": os.environ["PATH"]}
    script = folder.parent / "script.py"
    script.write_text(STEP["run"], encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(script)], env=given | runner | changed, capture_output=True, text=True, check=False
    )


@pytest.fixture(name="folder")
def folder_of_the_report(tmp_path: Path) -> Path:
    folder = tmp_path / "review-report"
    folder.mkdir()
    return folder


def test_a_page_becomes_one_comment_that_is_written_anew(github: GitHub, folder: Path) -> None:
    github.comments = [comment(1, "Looks good"), comment(2, f"{MARK}\nforged", user="mallory")]
    assert run(github, folder).returncode == 0
    assert run(github, folder, page="# Review\n\nverdict stop").returncode == 0
    assert [one["id"] for one in github.comments] == [1, 2, 3]
    mine = github.comments[2]
    assert mine["issue"] == 7
    assert mine["body"].startswith(f"{MARK}\n<sub>{SHA} · [made](")
    assert mine["body"].endswith("\n\n# Review\n\nverdict stop")
    assert SHA in mine["body"]
    assert "WARNING" not in mine["body"]
    assert github.comments[1]["body"] == f"{MARK}\nforged"


def test_a_comment_far_down_is_found(github: GitHub, folder: Path) -> None:
    github.comments = [*(comment(one, "talk", user="people") for one in range(1, 151)), comment(151, f"{MARK}\nold")]
    assert run(github, folder).returncode == 0
    assert len(github.comments) == 151
    assert "verdict ok" in github.comments[150]["body"]


@pytest.mark.parametrize(
    "pulls",
    [
        [pull(8)],  # the report says another's number
        [pull(7, sha="0" * 40)],  # there is a newer head
        [pull(7, repository="other/r")],  # another fork's branch of that name
        [pull(7, repository=None)],  # the fork is gone
        [pull(7, label="o:topic"), pull(8)],
        [],
    ],
)
def test_a_page_that_is_not_of_this_head_is_not_posted(
    github: GitHub, folder: Path, pulls: list[dict[str, Any]]
) -> None:
    github.pulls = pulls
    done = run(github, folder)
    assert (done.returncode, github.comments) == (0, [])
    assert "no comment" in done.stdout


@pytest.mark.parametrize("number", ["", "seven", "7/../../../issues/1", "7\n8", "-7", "0", "9" * 40])
def test_a_report_that_names_no_pull_request_is_refused(github: GitHub, folder: Path, number: str) -> None:
    done = run(github, folder, number=number)
    assert (done.returncode, github.comments) == (1, [])
    assert "the report names no pull request" in done.stderr


def test_nobody_is_called_and_no_second_mark_is_made(github: GitHub, folder: Path) -> None:
    run(github, folder, page=f"@everyone look {MARK} here")
    body = github.comments[0]["body"]
    assert "@everyone" not in body
    assert body.count(MARK) == 1


def test_a_page_that_is_too_long_is_cut_and_says_so(github: GitHub, folder: Path) -> None:
    assert run(github, folder, page="é@" * 100_000).returncode == 0
    assert len(github.comments[0]["body"]) < 65_536
    assert "the whole page is an artefact of the run" in github.comments[0]["body"]


def test_bytes_that_are_no_text_are_no_obstacle(github: GitHub, folder: Path) -> None:
    (folder / "review.md").write_bytes(b"page \xff\xfe end")
    assert run(github, folder, page=None).returncode == 0
    assert "page" in github.comments[0]["body"]


def test_where_there_is_no_page_the_comment_says_so(github: GitHub, folder: Path) -> None:
    assert run(github, folder, page=None, CONCLUSION="failure").returncode == 0
    assert "ended with failure and made no page" in github.comments[0]["body"]


def test_a_link_out_of_the_report_is_not_followed(github: GitHub, folder: Path) -> None:
    secret = folder.parent / "secret"
    secret.write_text("the runner's own")
    (folder / "review.md").symlink_to(secret)
    assert run(github, folder, page=None).returncode == 0
    assert "the runner's own" not in github.comments[0]["body"]


@pytest.mark.parametrize(
    "file",
    [
        *("review/verdict.py", "Makefile", "GNUmakefile", ".github/workflows/review.yml", "package-lock.json"),
        *(".npmrc", ".gitattributes", "sitecustomize.py", "json.py", "stacks.py"),
    ],
)
def test_a_change_of_what_makes_the_page_is_said_above_it(github: GitHub, folder: Path, file: str) -> None:
    github.files = [*(f"docs/{one}.md" for one in range(120)), file]
    assert run(github, folder).returncode == 0
    assert "changes what makes or carries this page" in github.comments[0]["body"].split("# Review")[0]


def test_a_file_that_is_moved_is_known_by_both_its_names(github: GitHub, folder: Path) -> None:
    github.files, github.moved = [], {"docs/rules.md": "review/rules.py"}
    assert run(github, folder).returncode == 0
    assert "changes what makes or carries this page" in github.comments[0]["body"].split("# Review")[0]


def test_more_files_than_github_lists_may_be_anything(github: GitHub, folder: Path) -> None:
    github.files = [f"docs/{number}.md" for number in range(3_000)]
    assert run(github, folder).returncode == 0
    assert "changes what makes or carries this page" in github.comments[0]["body"].split("# Review")[0]


def test_whether_code_of_the_pull_request_ran_is_said_above_the_page(github: GitHub, folder: Path) -> None:
    github.files = ["docs/a.md", "releases/prod.json", "README.md"]
    assert run(github, folder).returncode == 0
    assert "without running any code of the pull request" in github.comments[0]["body"].split("# Review")[0]
    github.files = ["docs/a.md", "stacks/storage.py"]
    assert run(github, folder).returncode == 0
    above = github.comments[0]["body"].split("# Review")[0]
    assert "[!NOTE]\n> Code of this pull request ran while the page was made" in above
    assert "WARNING" not in above


@pytest.mark.parametrize("file", PACKAGES)
def test_who_judged_is_said_above_the_page(github: GitHub, folder: Path, file: str) -> None:
    github.files = ["stacks/storage.py", "docs/requirements.txt"]
    assert run(github, folder).returncode == 0
    assert "by the base's review" in github.comments[0]["body"].split("# Review")[0]
    github.files.append(file)
    assert run(github, folder).returncode == 0
    above = github.comments[0]["body"].split("# Review")[0]
    assert "by the pull request's own review, as it brings other packages" in above
    assert "WARNING" in above


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("[here](https://evil.example)", "[here]\\(https:\u200b//evil.example)"),
        ("![](//evil.example/seen.png)", "![]\\(//evil.example/seen.png)"),
        ("[here][x]\n\n[x]: //evil.example", "[here]\\[x]\n\n[x]\\: //evil.example"),
        ('<img src="//evil.example">', '&lt;img src="//evil.example">'),
        ("<!-- the rest is nobody's", "&lt;!-- the rest is nobody's"),
        ("www.evil.example", "www\u200b.evil.example"),
    ],
)
def test_a_page_leads_nowhere_and_hides_nothing(github: GitHub, folder: Path, written: str, shown: str) -> None:
    assert run(github, folder, page=f"# Review\n\n{written}").returncode == 0
    assert github.comments[0]["body"].endswith(f"# Review\n\n{shown}")


def test_what_a_page_is_made_of_stays(github: GitHub, folder: Path) -> None:
    page = (
        "# Review\n\n| [cost](#cost) | `a` |\n\n<details><summary>all 2</summary>\n\n- \\[b\\] &lt;c&gt;\n\n</details>"
    )
    assert run(github, folder, page=page).returncode == 0
    assert github.comments[0]["body"].endswith(page)


def test_a_page_that_is_too_long_is_cut_between_lines_and_folds_are_closed(github: GitHub, folder: Path) -> None:
    page = "# Review\n\n<details><summary>all</summary>\n\n" + "- a line that is rather long\n" * 4_000
    assert run(github, folder, page=page).returncode == 0
    body = github.comments[0]["body"]
    assert len(body) < 65_536
    assert body.endswith(
        "- a line that is rather long\n\n</details>\n\n… and more: the whole page is an artefact of the run."
    )


def test_nobody_is_called_by_an_entity_either(github: GitHub, folder: Path) -> None:
    page = "# Review\n\n&#64;ada &commat;ada &#x40;ada &lt;b&gt; R&D"
    assert run(github, folder, page=page).returncode == 0
    body = github.comments[0]["body"]
    assert body.endswith("&amp;#64;ada &amp;commat;ada &amp;#x40;ada &lt;b&gt; R&amp;D")


def test_a_branch_of_any_name_is_asked_for_as_it_is(github: GitHub, folder: Path) -> None:
    name = "a&state=closed#/ü"
    github.pulls = [pull(7, label=f"fork:{name}")]
    assert run(github, folder, HEAD_BRANCH=name).returncode == 0
    assert len(github.comments) == 1
