"""The CDK command line as a subprocess: its reasons are found, its processes are ended."""

import dataclasses
import os
import time
from pathlib import Path

import pytest

from operate import cdk
from operate.aws import Aws
from operate.cdk import Cdk
from operate.errors import OperateError
from operate.settings import environment_named


@pytest.fixture
def with_cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A Cdk whose command line is a shell script of the test's."""

    def make(script: str) -> Cdk:
        cli = tmp_path / "cdk"
        cli.write_text(f"#!/bin/sh\n{script}\n")
        cli.chmod(0o755)
        monkeypatch.setattr(cdk, "CLI", cli)
        aws = Aws(environment=environment_named("local"), environ={"PATH": os.environ["PATH"], "MARK": "ours"})
        return Cdk(aws=aws, releases=tmp_path / "releases", assembly=tmp_path / "cdk.out", log=tmp_path / "cdk.log")

    return make


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("Nothing was synthesised. training: recipe is 5", "training: recipe is 5"),
        (
            "amplify-local-training | 3/9 | 8:00:00 | CREATE_FAILED | AWS::SageMaker::Pipeline | P bad\nError: no",
            "CREATE_FAILED | AWS::SageMaker::Pipeline | P bad",
        ),
        ("‣ AggregateError: \namplify-local-storage: fail: no such key", "amplify-local-storage: fail: no such key"),
    ],
)
def test_the_message_of_a_failed_deployment_holds_the_reason(with_cli, printed: str, reason: str) -> None:
    failing = with_cli(f"cat <<'END'\n{printed}\nEND\nexit 1")
    with pytest.raises(OperateError) as caught:
        failing.deploy("local/*", lambda line: None)
    assert caught.value.message == f"`cdk deploy` failed (exit code 1): {reason}"
    assert str(failing.log) in caught.value.todo
    assert printed.splitlines()[0] in caught.value.log_tail


def test_a_command_line_that_hangs_is_ended_with_all_that_it_started(with_cli, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cdk, "DEPLOY_LIMIT_S", 1)
    hanging = with_cli(f"sleep 300 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(OperateError, match="took longer than 1 s"):
        hanging.deploy("local/*", lambda line: None)
    child = int((tmp_path / "child").read_text())
    assert ended(child)


def test_the_latest_line_is_shown_while_it_works(with_cli) -> None:
    shown: list[str] = []
    with_cli("echo 'CREATE_COMPLETE | Key'; sleep 1").deploy("local/*", shown.append)
    assert "CREATE_COMPLETE | Key" in shown


def test_it_gets_the_environment_of_its_aws_and_not_the_processs_own(with_cli, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    with_cli(f"env > {tmp_path}/env").deploy("local/*", lambda line: None)
    variables = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert variables["MARK"] == "ours"
    assert "AWS_PROFILE" not in variables


def test_neither_local_aws_nor_a_synthesis_sees_the_settings_of_the_persons_home(
    with_cli, monkeypatch, tmp_path: Path
) -> None:
    printing = with_cli(f"echo $HOME >> {tmp_path}/homes; echo $JSII_RUNTIME_PACKAGE_CACHE_ROOT >> {tmp_path}/caches")
    theirs = {**printing.aws.environ, "HOME": "/home/them"}
    local = dataclasses.replace(printing, aws=dataclasses.replace(printing.aws, environ=theirs))
    far = dataclasses.replace(local, aws=dataclasses.replace(local.aws, environment=environment_named("dev")))
    for one in (local, far):
        one.synth(lambda line: None)
        one.deploy("*", lambda line: None)
    ours = str(tmp_path / "home")
    assert (tmp_path / "homes").read_text().split() == [ours, ours, ours, "/home/them"]
    assert (tmp_path / "caches").read_text().split()[0].startswith("/home/them/")


def test_a_deployment_to_local_aws_ends_when_local_aws_does(with_cli, tmp_path: Path) -> None:
    waiting = with_cli("sleep 300")
    gone = dataclasses.replace(waiting, aws=dataclasses.replace(waiting.aws, state=tmp_path / "no-server"))
    begun = time.monotonic()
    with pytest.raises(OperateError, match="Local AWS ended while `cdk deploy` ran") as caught:
        gone.deploy("local/*", lambda line: None)
    assert time.monotonic() - begun < 30
    assert "amplify up" in caught.value.todo


def ended(pid: int) -> bool:
    for _ in range(50):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
            os.kill(pid, 0)
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.1)
    return False
