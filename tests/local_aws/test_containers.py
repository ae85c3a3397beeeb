"""Containers: real processes that see nothing of the user, log where people look, and never outlive their server."""

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from pathlib import Path

import pytest

from local_aws import containers
from local_aws.containers import Container
from local_aws.log_shipping import batches, event_text
from local_aws.processes import Process, wait_until, with_variable
from local_aws.settings import Settings

ROOT = Path(containers.__file__).parent.parent

# Writes its id to `pids` and then those of a child in its group and of one in a session of its own; all three wait.
# With "deaf" they ignore SIGTERM; with "leave" the first one ends at once.
FAMILY = """
import os, signal, subprocess, sys, time
if "deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
below = [subprocess.Popen(sleeper), subprocess.Popen(sleeper, start_new_session=True)]
with open("pids.new", "w") as file: file.write(" ".join(map(str, [os.getpid(), *(b.pid for b in below)])))
os.rename("pids.new", "pids")
if "leave" not in sys.argv: time.sleep(600)
"""


@pytest.fixture
def start(inside, tmp_path):
    """start(code, *arguments): a container that runs a Python text; ended with the test."""
    started = []

    def start(code, *arguments, environment=None):
        container = Container.start(
            [sys.executable, "-c", textwrap.dedent(code), *arguments],
            folder=tmp_path / "folder",
            environment=environment or {},
            log_group="/aws/sagemaker/TrainingJobs",
            log_stream=f"{tmp_path.name}/algo-1-{uuid.uuid4().hex[:6]}",
            account=inside.account,
            region=inside.region,
        )
        started.append(container)
        return container

    yield start
    for container in started:
        container.stop(0)


def family(folder: Path) -> list[Process]:
    assert wait_until((folder / "pids").exists, 20)
    return [Process.of(int(pid)) for pid in (folder / "pids").read_text().split()]


def test_a_command_runs_in_its_folder_and_its_code_is_given_back(start, tmp_path):
    container = start("import os, sys; open('here', 'w').write(os.getcwd()); sys.exit(7)")
    assert container.wait(30) == 7
    assert container.poll() == 7
    assert (tmp_path / "folder" / "here").read_text() == str(tmp_path / "folder")


def test_output_and_errors_are_in_the_log_file(start):
    container = start("import sys; print('to out'); print('to err', file=sys.stderr)")
    container.wait(30)
    assert sorted(container.log_path.read_text().split("\n")) == ["", "to err", "to out"]
    assert container.tail(1) in {"to out", "to err"}


def test_output_reaches_cloudwatch_while_the_command_runs(start, aws, tmp_path):
    container = start("import time; print('first line'); time.sleep(600)")

    def shipped() -> list[str]:
        group = "/aws/sagemaker/TrainingJobs"
        streams = aws("logs").describe_log_streams(logGroupName=group, logStreamNamePrefix=tmp_path.name)["logStreams"]
        return [
            event["message"]
            for stream in streams
            for event in aws("logs").get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
        ]

    def first_is_there() -> bool:
        try:
            return shipped() == ["first line"]
        except aws("logs").exceptions.ResourceNotFoundException:
            return False

    assert wait_until(first_is_there, 20)
    assert container.poll() is None


def test_when_wait_returns_the_last_line_is_in_cloudwatch_whole_or_not(start, aws, tmp_path):
    container = start("import sys; print('one'); sys.stdout.write('two, without an end')")
    container.wait(30)
    logs, group = aws("logs"), "/aws/sagemaker/TrainingJobs"
    (stream,) = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=tmp_path.name)["logStreams"]
    events = logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
    assert [event["message"] for event in events] == ["one", "two, without an end"]


def test_a_container_sees_nothing_of_the_users_aws_and_proxies(start, monkeypatch):
    for name in (
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_CA_BUNDLE",
        "AWS_ENDPOINT_URL_S3",
        "HTTPS_PROXY",
        "http_proxy",
    ):
        monkeypatch.setenv(name, "the user's")
    monkeypatch.setenv("PYTHONPATH", "/the/users")
    container = start(
        "import json, os; print(json.dumps(dict(os.environ)))",
        environment={"SAGEMAKER_BASE_DIR": "/somewhere", **containers.aws_environment("123456789012", "us-east-1")},
    )
    container.wait(30)
    seen = json.loads(container.tail(1))
    assert "the user's" not in seen.values()
    assert "PYTHONPATH" not in seen
    assert seen["SAGEMAKER_BASE_DIR"] == "/somewhere"
    assert seen["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
    assert seen["AWS_ACCESS_KEY_ID"] == "123456789012"
    assert seen["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize("network", [True, False])
def test_only_a_container_with_a_network_gets_what_opens_the_hub(start, monkeypatch, network):
    monkeypatch.setenv("HF_TOKEN", "the user's own")
    given = containers.aws_environment("123456789012", "us-east-1", credentials=network)
    container = start("import os; print(os.environ.get('HF_TOKEN'))", environment=given)
    container.wait(30)
    assert container.tail(1) == ("the user's own" if network else "None")


def test_a_command_that_does_not_exist_ends_with_127_and_says_so(start, inside, tmp_path):
    container = Container.start(
        ["/no/such/program"],
        folder=tmp_path,
        environment={},
        log_group="g",
        log_stream="s",
        account=inside.account,
        region=inside.region,
    )
    assert container.wait(30) == 127
    assert "cannot start /no/such/program" in container.tail(3)


def test_a_command_ended_by_a_signal_has_the_code_that_docker_gives(start):
    assert start("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)").wait(30) == 128 + signal.SIGSEGV


def test_stop_lets_the_command_save_and_end_by_itself(start, tmp_path):
    container = start("""
        import signal, sys, time
        def save(*_):
            open("saved", "w").write("checkpoint"); sys.exit(0)
        signal.signal(signal.SIGTERM, save)
        open("ready", "w"); time.sleep(600)
    """)
    assert wait_until((tmp_path / "folder" / "ready").exists, 20)
    assert container.stop(30) == 0
    assert (tmp_path / "folder" / "saved").read_text() == "checkpoint"


def test_stop_kills_what_does_not_listen_with_all_it_started(start, tmp_path):
    container = start(FAMILY, "deaf")
    processes = family(tmp_path / "folder")
    assert container.stop(0.3) == 128 + signal.SIGKILL
    assert not any(process.runs() for process in processes)


def test_a_later_stop_may_be_in_a_greater_hurry(start, tmp_path):
    container = start(FAMILY, "deaf")
    processes = family(tmp_path / "folder")
    patient = threading.Thread(target=container.stop, args=[600])
    patient.start()
    assert container.stop(0.2) == 128 + signal.SIGKILL
    patient.join(10)
    assert not patient.is_alive()
    assert not any(process.runs() for process in processes)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its orphans in other sessions")
def test_what_a_command_leaves_running_ends_with_it(start, tmp_path):
    container = start(FAMILY, "leave")
    assert container.wait(30) == 0
    left = (tmp_path / "folder" / "pids").read_text().split()
    assert not any(Path(f"/proc/{pid}").exists() for pid in left)


def test_waiting_for_a_command_that_goes_on_is_a_timeout(start, tmp_path):
    container = start("import time; time.sleep(600)")
    with pytest.raises(TimeoutError, match="still runs"):
        container.wait(0.1)


def test_a_container_may_be_stopped_after_it_ended(start):
    container = start("pass")
    container.wait(30)
    assert container.stop(5) == 0


# ---- the server dies -------------------------------------------------------------------------------------------------

# A server process as far as containers are concerned: it starts one, and waits.
SERVER = """
import sys, time
from pathlib import Path
from local_aws import settings
from local_aws.containers import Container
folder, work, port, family = sys.argv[1:]
settings.configure(settings.Settings(folder=Path(folder), port=int(port)))
Container.start([sys.executable, "-c", family, "deaf"], folder=Path(work), environment={},
                log_group="g", log_stream="s", account="123456789012", region="us-east-1")
time.sleep(600)
"""


@pytest.fixture
def doomed(tmp_path, local_aws):
    """(a server with a container, the container's processes, the server's settings)"""
    ours = Settings(folder=tmp_path / "local", port=local_aws.port)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(ours.folder), str(tmp_path / "work"), str(ours.port), FAMILY], cwd=ROOT
    )
    try:
        yield process, family(tmp_path / "work"), ours
    finally:
        process.kill()
        process.wait()
        containers.reap(ours)
        assert not with_variable(containers.MARK, f"{ours.containers}/")


def test_kill_9_of_the_server_leaves_no_process_behind(doomed):
    process, processes, ours = doomed
    process.kill()
    assert wait_until(lambda: not any(member.runs() for member in processes), 10)
    assert wait_until(lambda: not list(ours.containers.glob("*.json")), 10)


def test_a_later_server_ends_what_outlived_a_killed_server_and_its_supervisor(doomed):
    process, (command, *_), ours = doomed
    (record,) = ours.containers.glob("*.json")
    supervisor = Process(**json.loads(record.read_text())[0])
    supervisor.signal(signal.SIGSTOP)  # it cannot see that its server dies
    process.kill()
    time.sleep(0.2)
    assert command.runs()
    assert containers.reap(ours, patience=0.2) >= 2
    assert not command.runs()
    assert not supervisor.runs()
    assert not list(ours.containers.glob("*.json"))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere its command is left to the next server")
def test_kill_9_of_the_supervisor_ends_its_command_too(doomed):
    _, (command, *below), ours = doomed
    (record,) = ours.containers.glob("*.json")
    Process(**json.loads(record.read_text())[0]).signal(signal.SIGKILL)
    assert wait_until(lambda: not command.runs(), 10)
    assert all(process.runs() for process in below)  # nobody is left who knows of them
    assert containers.reap(ours, patience=0.1) == len(below)
    assert not any(process.runs() for process in below)


def test_a_process_that_only_has_the_id_of_a_container_is_left_alone(tmp_path):
    ours = Settings(folder=tmp_path, port=1)
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        ours.containers.mkdir()
        (ours.containers / "old.json").write_text(json.dumps([{"pid": bystander.pid, "started": "another time"}]))
        assert containers.reap(ours, patience=0.1) == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


# ---- log events ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "event"),
    [(b"plain", "plain"), (b"10%\r50%\r100%", "100%"), (b"windows\r", "windows"), (b"\xff\xfe", "��"), (b"", "")],
)
def test_a_line_becomes_the_event_that_a_person_would_have_seen(line, event):
    assert event_text(line) == event


def test_batches_hold_no_more_than_cloudwatch_takes_and_lose_nothing():
    messages = ["x" * 200_000] * 7 + ["short"] * 10_001
    made = batches(messages)
    assert list(itertools.chain(*made)) == messages
    assert all(len(batch) <= 10_000 and sum(len(m) + 26 for m in batch) <= 1_048_576 for batch in made)


def test_containers_are_for_the_server_only():
    code = "from local_aws.settings import current; current()"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "python -m local_aws up" in ended.stderr
