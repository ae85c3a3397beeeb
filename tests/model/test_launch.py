"""The entry point under the container contract: what runs, how failures are told, what a job's files may look like."""

import json
import os
import subprocess
import sys
from pathlib import Path

import launch
import pytest
import torch.distributed
from amplify_lm import container, distributed
from amplify_lm.container import FAILURE_CHARACTERS, Container, PeerGoneError, Resources
from amplify_lm.settings import SettingsError

MODEL_CODE = Path(__file__).parents[2] / "model_code"


def configure(base: Path, hyperparameters: object = None, resources: object = None) -> Container:
    config = base / "input" / "config"
    config.mkdir(parents=True, exist_ok=True)
    for name, content in (("hyperparameters", hyperparameters), ("resourceconfig", resources)):
        if content is not None:
            (config / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return Container(base)


def run(base: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(MODEL_CODE / "launch.py"), *arguments],
        env=os.environ | {"SAGEMAKER_BASE_DIR": str(base)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "verb '' is unknown; one of prepare, train, evaluate, fetch, drift, serve is wanted"),
        (("trian",), "verb 'trian' is unknown"),
        (("prepare",), "--recipe"),
        (("prepare", "--recipe", "demoo"), "did you mean 'demo'?"),
        (("prepare", "--recipe", "demo", "--overrides", "{"), "overrides is not JSON"),
        (("prepare", "--recipe", "demo", "--overrides", '{"step": 1}'), "unknown key 'step' (did you mean 'steps'?)"),
        (("prepare", "--recipe", "demo", "--speed", "9"), "unrecognized arguments: --speed 9"),
        (("prepare", "--recipe", "demo"), "processing input 'proteins' is missing"),
        (("train",), "hyper-parameters: 'recipe' is missing"),
        (("evaluate",), "processing input 'model' is missing"),
        (("fetch",), "the following arguments are required: --init"),
    ],
)
def test_a_mistake_is_one_message_on_stderr_and_in_the_failure_files(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    told = done.stderr.removeprefix("error: ").strip()
    assert (tmp_path / "output" / "failure").read_text().strip() == told[:FAILURE_CHARACTERS]
    assert (tmp_path / "output" / "message").read_text().strip() == told[:FAILURE_CHARACTERS]


def test_a_users_script_of_channel_code_runs_with_the_bundle_at_hand(tmp_path: Path) -> None:
    configure(tmp_path, {"script": "mine.py"})
    code = tmp_path / "input" / "data" / "code"
    code.mkdir(parents=True)
    (code / "helper.py").write_text("WORD = 'hello'\n")
    (code / "mine.py").write_text(
        "import helper\nfrom amplify_lm.container import Container\n"
        "if __name__ == '__main__':\n    print(helper.WORD, Container.from_environment().base)\n"
    )
    done = run(tmp_path, "train")
    assert done.stdout == f"hello {tmp_path}\n", done.stderr


def test_a_bug_shows_its_stack_trace_and_names_itself_in_the_failure_file(tmp_path: Path) -> None:
    configure(tmp_path, {"script": "mine"})
    code = tmp_path / "input" / "data" / "code"
    code.mkdir(parents=True)
    (code / "mine.py").write_text("{}['lost']\n")
    done = run(tmp_path, "train")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError: 'lost'" in (tmp_path / "output" / "failure").read_text()


@pytest.mark.parametrize("name", ["../train", "/etc/passwd", "a b", "-c"])
def test_a_script_is_named_without_folders(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="the name of one Python file is wanted"):
        launch.find_script(configure(tmp_path, {"script": name}))


def test_a_script_that_does_not_exist_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"script 'tune': no tune\.py in channel 'code' .* or in the bundle"):
        launch.find_script(configure(tmp_path, {"script": "tune"}))


@pytest.mark.parametrize("hyperparameters", [None, {}, {"script": "train"}, {"script": '"train"'}])
def test_the_script_is_train_unless_another_is_named(tmp_path: Path, hyperparameters: object) -> None:
    assert launch.find_script(configure(tmp_path, hyperparameters)) == MODEL_CODE / "train.py"


def test_hyperparameters_read_the_same_encoded_once_or_twice(tmp_path: Path) -> None:
    once = {"recipe": "demo", "overrides": '{"steps": 5}', "script": "train"}
    twice = {name: json.dumps(value) for name, value in once.items()}
    assert configure(tmp_path / "a", once).hyperparameters() == once
    assert configure(tmp_path / "b", twice).hyperparameters() == once


def test_a_configuration_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"hyperparameters\.json is not JSON"):
        configure(tmp_path, "{").hyperparameters()


def test_the_machines_of_a_job_are_read_from_its_resource_configuration(tmp_path: Path) -> None:
    hosts = {"current_host": "algo-2", "hosts": ["algo-1", "algo-2"], "network_interface_name": "eth0"}
    resources = configure(tmp_path, resources=hosts).resources()
    assert resources == Resources("algo-2", ("algo-1", "algo-2"), "eth0")
    assert resources.node_rank == 1


def test_a_host_that_is_not_among_the_hosts_is_refused(tmp_path: Path) -> None:
    box = configure(tmp_path, resources={"current_host": "algo-3", "hosts": ["algo-1"]})
    with pytest.raises(SettingsError, match=r"current_host 'algo-3' is not among hosts \['algo-1'\]"):
        box.resources()


def test_several_hosts_meet_at_the_first_one() -> None:
    resources = Resources("algo-2", ("algo-1", "algo-2"), None)
    command = launch.torchrun_command(Path("train.py"), resources, per_host=8)
    assert "--nnodes=2" in command
    assert "--node-rank=1" in command
    assert "--master-addr=algo-1" in command
    assert "--nproc-per-node=8" in command
    assert command[-1] == "train.py"


def test_torchrun_carries_a_failure_to_the_exit_code_and_keeps_the_first_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both processes of one host fail on a channel that is missing; the job's reason is theirs, not torchrun's."""
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    box = configure(tmp_path, {"recipe": "tiny"})
    command = launch.torchrun_command(MODEL_CODE / "train.py", Resources("here", ("here",), None), per_host=2)
    with pytest.raises(ChildProcessError, match="a training process failed"):
        launch.run_torchrun(box, command, network_interface=None)
    assert "channel 'train' is missing" in (tmp_path / "output" / "failure").read_text()


def test_hosts_meet_at_one_port_unless_they_are_told_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = configure(tmp_path, resources={"current_host": "a", "hosts": ["a", "b"]})
    monkeypatch.delenv("MASTER_PORT", raising=False)
    assert "--master-port=7777" in launch.torchrun_command(Path("train.py"), box.resources(), per_host=1)
    monkeypatch.setenv("MASTER_PORT", "12345")
    assert "--master-port=12345" in launch.torchrun_command(Path("train.py"), box.resources(), per_host=1)
    monkeypatch.setenv("MASTER_PORT", "70000")
    with pytest.raises(SettingsError, match="MASTER_PORT is '70000'; a port from 1 to 65535 is wanted"):
        box.resources()


def test_processes_have_the_time_that_sagemaker_gives_to_save_a_checkpoint() -> None:
    command = launch.torchrun_command(Path("train.py"), Resources("a", ("a",), None), per_host=2)
    [timeout] = [int(part.split("=")[1]) for part in command if part.startswith("--shutdown-timeout=")]
    assert 60 < timeout < 120


def test_a_process_whose_peer_is_gone_leaves_the_report_to_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))

    def main(_: Container) -> None:
        raise PeerGoneError("process 0 of 2: another process of the run is gone")

    assert container.run(main) == 1
    assert "another process of the run is gone" in capsys.readouterr().err
    assert not (tmp_path / "output" / "failure").exists()


def test_a_failure_of_the_process_group_is_told_apart_from_one_of_the_code() -> None:
    assert distributed.tells_of_a_peer(
        RuntimeError("[/pytorch/third_party/gloo/gloo/x.cc:1] Connection closed by peer")
    )
    assert distributed.tells_of_a_peer(torch.distributed.DistNetworkError("timed out"))
    assert not distributed.tells_of_a_peer(RuntimeError("shapes cannot be multiplied"))
