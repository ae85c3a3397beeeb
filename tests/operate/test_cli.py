"""The command as a person runs it: exit codes and messages, never a stack trace."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def amplify(tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = {
        **os.environ,
        "AMPLIFY_LOCAL_DIR": str(tmp_path / "state"),
        "AMPLIFY_RELEASES_DIR": str(tmp_path / "pins"),
    }
    return subprocess.run(
        [sys.executable, "-m", "operate.cli", *arguments], env=environ, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["status", "--env", "prd"], 1, "There is no environment 'prd'"),
        (["deploy"], 1, "Local AWS is not running"),
        (["runs"], 1, "Local AWS is not running"),
        (["train", "--set", "steps"], 1, "--set 'steps' is no setting"),
        (["train", "--set", "a=" + "x" * 300], 1, "SageMaker hands 256 to a job"),
        (
            ["train", "--env", "prod", "--init", "hf:a/b@c"],
            1,
            "network without a way to the Hub: they cannot fetch hf:",
        ),
        (["train", "--env", "prod", "--init", "hf:a/b@c"], 1, "`amplify register hf:a/b@c --env prod --watch`"),
        (["perplexity", "nosuch.fasta"], 1, "nosuch.fasta cannot be read"),
        (["embed", "pyproject.toml"], 1, "FASTA begins with '>'"),
        (["image"], 1, "Local AWS is not running"),
        (["data", "ready", "--env", "prod"], 1, "In environment prod no run begins when proteins are ready"),
        (["nosuch"], 2, "No such command 'nosuch'"),
        (["review", "--base", "no-such-ref"], 1, "There is no review: there is no commit 'no-such-ref'"),
        (["review", "--base", "HEAD", "--areas", "weather"], 2, "--areas holds weather"),
        (["train", "--instance-count", "0"], 2, "instance-count"),
        (["train", "--instance-count", "3"], 1, "--instance-count 3 is more than local allows"),
        (["train", "--instance-type", "ml.p5.48xlarge"], 1, "Give one of ml.m5.xlarge, ml.m5.2xlarge"),
        (["train", "--env", "prod"], 1, "No models are made in prod"),
    ],
)
def test_a_failure_is_one_message_and_an_exit_code(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = amplify(tmp_path, *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_down_and_status_are_calm_where_nothing_ever_ran(tmp_path: Path) -> None:
    assert "was not running" in amplify(tmp_path, "down").stdout
    assert json.loads(amplify(tmp_path, "status", "--json").stdout) == {"running": False}


def test_doctor_names_what_is_missing_and_how_to_mend_it(tmp_path: Path) -> None:
    environ = {**os.environ, "AMPLIFY_LOCAL_DIR": str(tmp_path / "state"), "PATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "operate.cli", "doctor", "--json"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    [node] = [one for one in json.loads(done.stdout) if one["what"].startswith("Node")]
    assert (node["found"], node["good"]) == ("missing", False)
    assert "nodejs.org" in node["todo"]
    assert done.returncode == 1


def test_an_unforeseen_failure_is_kept_in_a_file_and_named(tmp_path: Path) -> None:
    (tmp_path / "pins").mkdir()
    blocked = tmp_path / "state"
    blocked.mkdir()
    (blocked / "server.json").mkdir()  # a folder where a file belongs: nobody wrote a message for this
    done = amplify(tmp_path, "status")
    assert done.returncode == 1
    assert "amplify itself failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in (blocked / "amplify-errors.log").read_text()
