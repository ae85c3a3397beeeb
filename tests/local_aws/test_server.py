"""The life of a local AWS: started, found, killed, started again, stopped."""

import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from local_aws import server
from local_aws.processes import Process, descendants

ROOT = Path(server.__file__).parent.parent


def port_is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_started_server_answers_and_says_where_it_is(own_folder):
    running = server.start(own_folder)
    assert server.status(own_folder) == running
    saved = json.loads((own_folder / "server.json").read_text())
    assert {name: saved[name] for name in ("endpoint_url", "pid", "port", "account", "region")} == {
        "endpoint_url": f"http://127.0.0.1:{running.port}",
        "pid": running.pid,
        "port": running.port,
        "account": "123456789012",
        "region": "us-east-1",
    }


def test_starting_twice_finds_the_same_server(own_folder):
    assert server.start(own_folder) == server.start(own_folder)


def test_two_who_start_it_at_once_get_one_server(own_folder):
    started = []
    threads = [threading.Thread(target=lambda: started.append(server.start(own_folder))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 4
    assert len({running.pid for running in started}) == 1


def test_a_stopped_server_leaves_no_process_and_no_port(own_folder):
    running = server.start(own_folder)
    family = [Process.of(running.pid), *descendants(running.pid)]
    assert server.stop(own_folder) is True
    assert not any(process.runs() for process in family)
    assert not port_is_open(running.port)
    assert server.status(own_folder) is None


def test_stopping_what_does_not_run_says_so(own_folder):
    assert server.stop(own_folder) is False
    server.start(own_folder)
    server.stop(own_folder)
    assert server.stop(own_folder) is False


def test_the_port_of_the_last_time_is_taken_again(own_folder):
    first = server.start(own_folder)
    server.stop(own_folder)
    assert server.start(own_folder).port == first.port


def test_another_port_is_taken_where_a_program_has_that_of_the_last_time(own_folder):
    first = server.start(own_folder)
    server.stop(own_folder)
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", first.port))
        squatter.listen()
        assert server.start(own_folder).port != first.port


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's table of sockets in /proc")
def test_it_listens_on_the_loopback_address_only(own_folder):
    running = server.start(own_folder)
    listening = set()
    inodes = {
        str(link.readlink()).removeprefix("socket:[").rstrip("]") for link in Path(f"/proc/{running.pid}/fd").iterdir()
    }
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.add(fields[1])
    assert listening == {f"0100007F:{running.port:04X}"}


def test_a_killed_server_is_not_taken_for_a_living_one(own_folder, kill_9):
    first = server.start(own_folder)
    kill_9(first)
    assert server.status(own_folder) is None
    second = server.start(own_folder)
    assert second.pid != first.pid
    assert second.port == first.port


def test_a_process_that_got_the_id_of_a_dead_server_is_left_alone(own_folder, kill_9):
    kill_9(server.start(own_folder))
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        record = own_folder / "server.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "pid": bystander.pid}))
        assert server.status(own_folder) is None
        assert server.stop(own_folder) is False
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_server_that_does_not_end_is_killed(own_folder, monkeypatch):
    monkeypatch.setattr(server, "STOP_SECONDS", 1.0)
    running = server.start(own_folder)
    process = Process.of(running.pid)
    process.signal(signal.SIGSTOP)  # deaf to SIGTERM
    assert server.stop(own_folder) is True
    assert not process.runs()
    assert not port_is_open(running.port)


def test_a_folder_with_a_foreign_server_json_is_refused(tmp_path):
    (tmp_path / "server.json").write_text('{"name": "some other program"}')
    with pytest.raises(server.LocalAwsError, match=r"server\.json was not written by local AWS"):
        server.start(tmp_path)
    assert json.loads((tmp_path / "server.json").read_text()) == {"name": "some other program"}


def test_a_second_server_process_for_the_same_folder_ends_and_does_no_harm(own_folder):
    running = server.start(own_folder)
    before = (own_folder / "server.json").read_text()
    second = subprocess.run(
        [sys.executable, "-m", "local_aws", "serve", "--folder", str(own_folder), "--port", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 3
    assert "another server holds" in second.stdout
    assert (own_folder / "server.json").read_text() == before
    assert server.status(own_folder) == running


def test_a_folder_that_cannot_be_made_is_refused_with_the_reason(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(server.LocalAwsError, match="cannot hold local AWS's state"):
        server.start(tmp_path / "file" / "local")


def test_a_server_that_cannot_start_shows_the_end_of_its_log(own_folder):
    own_folder.mkdir()
    (own_folder / "tmp").write_text("a file where a folder must be")
    with pytest.raises(server.LocalAwsError, match=r"(?s)ended at once.*server\.log.*FileExistsError"):
        server.start(own_folder)


def test_the_client_environment_is_asked_of_a_running_server_only(own_folder):
    with pytest.raises(server.LocalAwsError, match="python -m local_aws up"):
        server.client_environment(own_folder)


def test_people_start_ask_and_stop_it_by_command(own_folder):
    def command(*words):
        return subprocess.run(
            [sys.executable, "-m", "local_aws", *words, "--folder", str(own_folder)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    assert command("status").returncode == 1
    up = command("up")
    running = server.status(own_folder)
    assert running is not None
    assert running.endpoint_url in up.stdout
    assert f"export AWS_ENDPOINT_URL={running.endpoint_url}\n" in command("env").stdout
    assert command("status").returncode == 0
    assert "has ended" in command("down").stdout
    assert "No local AWS runs" in command("down").stdout
    assert "does not run" in command("env").stderr
