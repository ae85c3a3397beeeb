"""Local AWS from outside: start it, stop it, ask for it. The folder is its name; one server a folder.

    running = server.start(Path(".local"))
    environment = server.client_environment(Path(".local"))   # all that boto3 or the CDK command line needs
    server.stop(Path(".local"))

Safe to call from several processes at once, and after any crash: the truth is the lock that a living server holds and
the identity (process id and start time) in `server.json`, not that the file exists.
"""

import contextlib
import fcntl
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local_aws import settings, tls
from local_aws.containers import REPOSITORY, reap, tail
from local_aws.processes import Process, wait_until
from local_aws.settings import HOST, WHO_PATH, Credentials, Settings

START_SECONDS, STOP_SECONDS = 90.0, 10.0
PORTS = range(20_000, 32_000)  # below those that systems give to outgoing connections, so that ours stays free

_started: list[subprocess.Popen[bytes]] = []  # of this process; forgetting one while it runs is a ResourceWarning


class LocalAwsError(RuntimeError):
    """Local AWS cannot do what was asked; the message says what to do about it."""


@dataclass(frozen=True, kw_only=True)
class LocalAws:
    """A running local AWS."""

    folder: Path
    endpoint_url: str
    pid: int
    port: int
    account: str
    region: str
    strict: bool

    @property
    def settings(self) -> Settings:
        return Settings(
            folder=self.folder, port=self.port, account=self.account, region=self.region, strict=self.strict
        )


def start(folder: Path, *, strict: bool | None = None) -> LocalAws:
    """Start local AWS with its state in `folder`, or find that it runs; ready to answer when this returns.

    `strict` holds every call to IAM, over https (docs/decisions/local-aws.md); None is as the folder was last time, and
    not strict at first. It listens on the port it had before, where that is free. Raises LocalAwsError with the end of
    the server's log where it does not start, and where it runs in the other mode.
    """
    folder = folder.resolve()
    _make(folder)
    with _one_at_a_time(folder):
        if running := status(folder):
            if strict not in (None, running.strict):
                mode = "strict" if running.strict else "fast"
                raise LocalAwsError(f"local AWS runs in {folder} already, in {mode} mode: stop it first")
            _wait_until_ready(running, None)
            return running
        saved = _saved(folder) or {}
        strict = bool(saved.get("strict")) if strict is None else strict
        ours = Settings(folder=folder, port=_port(folder), strict=strict)
        with ours.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "local_aws", "serve", "--folder", str(folder), "--port", str(ours.port)]
                + ["--strict"] * ours.strict,
                cwd=REPOSITORY,
                env=settings.scrubbed(os.environ) | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is not for it
            )
        _started.append(process)
        running = LocalAws(
            folder=folder,
            endpoint_url=ours.endpoint_url,
            pid=process.pid,
            port=ours.port,
            account=ours.account,
            region=ours.region,
            strict=ours.strict,
        )
        _wait_until_ready(running, process)
        return running


def stop(folder: Path) -> bool:
    """Stop local AWS and all that it started. Returns whether it ran. Its state stays in `folder`."""
    folder = folder.resolve()
    if not folder.is_dir():
        return False
    with _one_at_a_time(folder):
        saved = _saved(folder)
        if saved is None:
            return False
        process = _process(saved)
        ran = process.signal(signal.SIGTERM)
        if ran and not wait_until(lambda: not process.runs(), STOP_SECONDS):
            process.signal(signal.SIGKILL)
            wait_until(lambda: not process.runs(), STOP_SECONDS)
        reap(Settings(folder=folder, port=int(str(saved["port"]))))
        _started[:] = [child for child in _started if child.poll() is None]  # buries the dead, too
        return ran


def status(folder: Path) -> LocalAws | None:
    """The local AWS that runs with its state in `folder`, if one does."""
    folder = folder.resolve()
    saved = _saved(folder)
    if saved is None or not _process(saved).runs():
        return None
    return LocalAws(
        folder=folder,
        endpoint_url=str(saved["endpoint_url"]),
        pid=int(str(saved["pid"])),
        port=int(str(saved["port"])),
        account=str(saved["account"]),
        region=str(saved["region"]),
        strict=saved.get("strict") is True,
    )


def client_environment(folder: Path, credentials: Credentials | None = None) -> dict[str, str]:
    """The whole of what an AWS client needs to use this local AWS and no other. Give it in place of the user's AWS_*.

    As the administrator who may do all, or as whoever has the `credentials` (`users.credentials` makes an IAM user's).
    Raises LocalAwsError where it does not run.
    """
    running = status(folder)
    if running is None:
        raise LocalAwsError(f"local AWS does not run in {folder}: start it with `python -m local_aws up`")
    ours = running.settings
    return settings.client_environment(
        running.endpoint_url,
        running.region,
        credentials or settings.administrator(ours),
        ours.certificate if ours.strict else None,
    )


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalAwsError(f"{folder} cannot hold local AWS's state: {error.strerror}; name another folder") from error


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Two that start or stop the same local AWS at once do so one after the other."""
    with (folder / "command.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _saved(folder: Path) -> dict[str, object] | None:
    """What `server.json` says; None where there is none. Raises LocalAwsError where it is not one of ours."""
    path = folder / "server.json"
    try:
        saved = json.loads(path.read_text())
        if not isinstance(saved, dict):
            raise TypeError("not an object")
        Process(pid=int(saved["pid"]), started=str(saved["started"]))
        Settings(folder=folder, port=int(saved["port"]), account=saved["account"], region=saved["region"])
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise LocalAwsError(
            f"{path} was not written by local AWS ({error!r}): another program's folder? Name another one"
        ) from error
    return saved


def _process(saved: dict[str, object]) -> Process:
    return Process(pid=int(str(saved["pid"])), started=str(saved["started"]))


def _port(folder: Path) -> int:
    """The port of the last time, so that what people noted stays true; another where a program has taken it."""
    saved = _saved(folder)
    last_time = [int(str(saved["port"]))] if saved else []
    for port in [*last_time, *random.sample(PORTS, 100)]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise LocalAwsError(f"no port is free on {HOST}")


def _wait_until_ready(running: LocalAws, process: subprocess.Popen[bytes] | None) -> None:
    """Raises LocalAwsError where it ends, does not answer in time, or answers as somebody else."""

    def over() -> bool:
        return (process is not None and process.poll() is not None) or _answers_as_ours(running)

    in_time = wait_until(over, START_SECONDS)
    log = running.folder / "server.log"
    if process is not None and process.poll() is not None:
        raise LocalAwsError(f"local AWS ended at once (code {process.poll()}). The end of {log}:\n{tail(log, 15)}")
    if not in_time:
        raise LocalAwsError(
            f"local AWS (process {running.pid}) does not answer on port {running.port} after {START_SECONDS:g} s. "
            f"Stop it with `python -m local_aws down --folder {running.folder}`. The end of {log}:\n{tail(log, 15)}"
        )


def _answers_as_ours(running: LocalAws) -> bool:
    try:
        with contextlib.closing(_connection(running)) as connection:
            connection.request("GET", WHO_PATH)
            response = connection.getresponse()
            return response.status == 200 and json.loads(response.read()).get("folder") == str(running.folder)
    except (OSError, http.client.HTTPException, ValueError):
        return False


def _connection(running: LocalAws) -> http.client.HTTPConnection:
    """http.client knows no proxies. Raises OSError before the server has made its certificate."""
    if not running.strict:
        return http.client.HTTPConnection(HOST, running.port, timeout=5)
    trusted = tls.context(running.settings.certificate)
    return http.client.HTTPSConnection(HOST, running.port, timeout=5, context=trusted)
