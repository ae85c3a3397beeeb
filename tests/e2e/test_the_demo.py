"""`amplify demo` itself, on a state that holds much already: interrupted at its worst moment, and run again."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local_aws import server
from local_aws.containers import MARK
from local_aws.processes import Process, descendants, wait_until, with_variable
from tests.e2e.conftest import Project

pytestmark = pytest.mark.e2e

DEMO = [sys.executable, "-m", "operate.cli", "demo", "--quick"]
SECONDS = 400
STACK = "amplify-local-endpoint"


@pytest.fixture
def person(project: Project) -> Project:
    """At a clean clone, and without a proxy: the demo fetches proteomes from the package index as they do packages."""
    environ = {name: value for name, value in project.environ.items() if not name.lower().endswith("_proxy")}
    (project.root / ".git").exists() or git(project.root, "init", "--quiet")
    (project.root / ".git" / "info" / "exclude").write_text("/node_modules\n")
    git(project.root, "add", "--all")
    committer = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    git(project.root, *committer, "commit", "--quiet", "--allow-empty", "--message", "all")
    return dataclasses.replace(project, environ=environ)


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


def status_of_stack(project: Project) -> str:
    stacks = project.aws("cloudformation").describe_stacks()["Stacks"]
    return next((stack["StackStatus"] for stack in stacks if stack["StackName"] == STACK), "")


def test_ctrl_c_while_the_endpoint_is_made_leaves_nothing_running_and_the_same_command_then_succeeds(
    person: Project,
) -> None:
    cloudformation = person.aws("cloudformation")
    cloudformation.delete_stack(StackName=STACK)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=STACK, WaiterConfig={"Delay": 1})
    (person.root / "releases" / "local.json").unlink()

    output = person.root.parent / "demo.log"
    with output.open("wb") as log:
        demo = subprocess.Popen(
            DEMO,
            cwd=person.root,
            env=person.environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
        )
    running = server.status(person.state)
    assert running is not None
    try:
        assert wait_until(
            lambda: demo.poll() is not None or status_of_stack(person) == "CREATE_IN_PROGRESS", SECONDS
        ), output.read_text()
        assert demo.poll() is None, output.read_text()
        below = [Process.of(running.pid), *descendants(running.pid), *descendants(demo.pid)]
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
        assert demo.wait(60) == 130, output.read_text()
    finally:
        demo.kill()
        demo.wait()
    assert not any(process.runs() for process in below)
    assert not with_variable(MARK, str(person.state))
    assert "The demo was interrupted." in output.read_text()

    again = subprocess.run(
        DEMO, cwd=person.root, env=person.environ, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Traceback" not in again.stdout + again.stderr
    assert "scan of cold shock protein CspB (BSU09100): 1,273 single substitutions scored" in again.stdout
    assert "headers begin with a space" in again.stdout
    page = (person.root / "demo-report" / "quick" / "index.html").read_text()
    assert "BSU09100" in page
    assert "quick demo" in page
    assert status_of_stack(person) in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
    assert git(person.root, "status", "--porcelain") == ""
