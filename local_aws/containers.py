"""Containers: the processes of jobs and endpoints.

A container is a command in a folder with nothing of the user's environment but what a program needs to run, held by a
`supervisor` so that it ends with the server, however the server ends. Its output goes to a file, and from there to
CloudWatch Logs while it runs.
"""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from local_aws import identity
from local_aws.log_shipping import LogShipper
from local_aws.processes import Process, descendants, kill, wait_until, with_variable
from local_aws.settings import Settings, administrator, current, scrubbed
from local_aws.settings import client_environment as environment_of_clients

logger = logging.getLogger("local_aws")

REPOSITORY = Path(__file__).parent.parent  # where `python -m local_aws` finds this package
LOG_NAME = "container.log"
MARK = "LOCAL_AWS_CONTAINER"  # in the environment of everything that a container starts: its record's path
HUB = "HF_"  # variables of the Hugging Face Hub, its token among them


class Container:
    """A running container. Made by `start`; its methods may be called from any thread. It ends with this object."""

    def __init__(self, process: subprocess.Popen[bytes], log_path: Path, shipper: LogShipper) -> None:
        self._process = process
        self._shipper = shipper
        self._lock = threading.Lock()
        self.log_path = log_path

    @classmethod
    def start(
        cls,
        command: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        log_group: str,
        log_stream: str,
        account: str,
        region: str,
    ) -> Self:
        """Start `command` in `folder` (made where missing), its output in `folder/container.log` and in CloudWatch.

        `environment` is added to what every container gets; a command that cannot be started ends with code 127 and
        says so in its log.
        """
        settings = current()
        folder.mkdir(parents=True, exist_ok=True)
        settings.containers.mkdir(parents=True, exist_ok=True)
        record = settings.containers / f"{uuid.uuid4().hex}.json"
        log_path = folder / LOG_NAME
        with log_path.open("ab") as log:
            start = log.tell()
            process = subprocess.Popen(
                [sys.executable, "-m", "local_aws.supervisor", str(record), str(folder), *command],
                cwd=REPOSITORY,
                env=base_environment() | dict(environment) | {MARK: str(record)},
                stdin=subprocess.PIPE,
                bufsize=0,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        shipper = LogShipper(log_path, start, log_group, log_stream, account, region)
        shipper.start()
        return cls(process, log_path, shipper)

    @property
    def pid(self) -> int:
        """The process below which all of it runs."""
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, or None while it runs: 128 + the number of the signal that ended it, 127 if it never began."""
        code = self._process.poll()
        return None if code is None else (code if code >= 0 else 128 - code)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it ended and its last line reached CloudWatch. Raises TimeoutError."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the container of {self.log_path.parent} still runs after {timeout} s") from None
        self._shipper.finish()
        self._close_pipe()
        code = self.poll()
        assert code is not None, "it was waited for"
        return code

    def ask_to_stop(self, grace_seconds: float) -> None:
        """SIGTERM now, SIGKILL of everything after the grace, at once without any; does not wait for either."""
        self._tell(f"stop {grace_seconds}\n")

    def stop(self, grace_seconds: float) -> int:
        """What `docker stop` does: SIGTERM, then SIGKILL of everything after the grace. Returns the exit code."""
        self.ask_to_stop(grace_seconds)
        try:
            return self.wait(grace_seconds + 10)
        except TimeoutError:
            logger.error("the supervisor %s did not end; killing it and all below it", self._process.pid)
            kill([*descendants(self._process.pid), Process.of(self._process.pid)])
            return self.wait()

    def tail(self, lines: int) -> str:
        """The last lines of its output."""
        return tail(self.log_path, lines)

    def _tell(self, order: str) -> None:
        assert self._process.stdin is not None, "made with a pipe"
        with self._lock, contextlib.suppress(BrokenPipeError):  # it may have ended already
            if not self._process.stdin.closed:
                self._process.stdin.write(order.encode())

    def _close_pipe(self) -> None:
        assert self._process.stdin is not None, "made with a pipe"
        with self._lock:
            self._process.stdin.close()


def tail(file: Path, lines: int) -> str:
    """The last lines of a text file, which may be large, and so may its lines."""
    with file.open("rb") as stream:
        start = end = stream.seek(0, os.SEEK_END)
        text = b""
        while start > 0 and text.count(b"\n") <= lines:
            start = max(0, start - 65_536)
            stream.seek(start)
            text = stream.read(end - start)
    return "\n".join(text.decode(errors="replace").splitlines()[-lines:])


def base_environment() -> dict[str, str]:
    """What every container sees besides what its job gives it."""
    inherited = {name: value for name, value in scrubbed(os.environ).items() if not name.startswith(HUB)}
    return inherited | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def aws_environment(account: str, region: str, *, credentials: bool = True) -> dict[str, str]:
    """What a container knows of the world outside: this server, as `account`'s administrator or, in strict mode, as the
    role that is acted in (`identity`); nothing of the user's AWS; and the Hub.

    A container without a network gets no `credentials`, of either: it cannot reach them, and so it cannot here.
    """
    ours = current()
    # In strict mode nobody is the administrator by mistake: without a role there are no credentials.
    who = administrator(ours, account) if credentials and not ours.strict else None
    variables = environment_of_clients(ours.endpoint_url, region, who, ours.certificate if ours.strict else None)
    if not credentials:
        return variables
    hub = {name: value for name, value in os.environ.items() if name.startswith(HUB)}
    return variables | identity.container_variables() | hub


def reap(settings: Settings, patience: float = 3.0) -> int:
    """See to it that nothing runs that an earlier server of this folder started. Returns how many had to be killed.

    Supervisors end by themselves, with all they hold, when their server does: they get some `patience`. The rest is for
    supervisors that were killed too: what their commands started belongs to nobody then, and is known by `MARK`.
    A process that merely has the same id has another start time: it is left alone.
    """
    records = list(settings.containers.glob("*.json"))
    recorded = [process for record in records for process in _recorded(record)]
    recorded += with_variable(MARK, f"{settings.containers}/")
    wait_until(lambda: not any(process.runs() for process in recorded), patience)
    left = [process for process in recorded if process.runs()]
    left = list({*left, *(below for process in left for below in descendants(process.pid))})
    kill(left)
    wait_until(lambda: not any(process.runs() for process in left), patience)
    for record in records:
        record.unlink(missing_ok=True)
    return len(left)


def _recorded(record: Path) -> list[Process]:
    try:
        return [Process(pid=int(saved["pid"]), started=saved["started"]) for saved in json.loads(record.read_text())]
    except FileNotFoundError:  # its supervisor ended just now
        return []
