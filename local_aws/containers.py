"""Containers: the processes of jobs and endpoints.

A container is a command in a folder with nothing of the user's environment but what a program needs to run, held by a
`supervisor` so that it ends with the server, however the server ends. Its output goes to a file, and from there to
CloudWatch Logs while it runs.
"""

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

from local_aws.log_shipping import LogShipper
from local_aws.processes import Process, descendants, kill
from local_aws.settings import Settings, current, scrubbed
from local_aws.settings import client_environment as environment_of_clients

logger = logging.getLogger("local_aws")

REPOSITORY = Path(__file__).parent.parent  # where `python -m local_aws` finds this package
LOG_NAME = "container.log"


class Container:
    """A running container. Made by `start`; its methods may be called from any thread."""

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
                env=base_environment() | dict(environment),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        shipper = LogShipper(log_path, start, log_group, log_stream, account, region)
        shipper.start()
        return cls(process, log_path, shipper)

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
        code = self.poll()
        assert code is not None, "it was waited for"
        return code

    def stop(self, grace_seconds: float) -> int:
        """What `docker stop` does: SIGTERM, then SIGKILL of everything after the grace. Returns the exit code."""
        self._tell(f"stop {grace_seconds}\n")
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
        with self._lock:
            assert self._process.stdin is not None, "made with a pipe"
            try:
                self._process.stdin.write(order.encode())
                self._process.stdin.flush()
            except BrokenPipeError:
                pass  # it ended already


def tail(file: Path, lines: int) -> str:
    """The last lines of a text file that may be large."""
    with file.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - 512 * max(lines, 1)))
        return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])


def base_environment() -> dict[str, str]:
    """What every container sees besides what its job gives it."""
    return scrubbed(os.environ) | {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def aws_environment(account: str, region: str) -> dict[str, str]:
    """The AWS_* variables of a container: this server, as `account`, and nothing of the user's."""
    return environment_of_clients(current().endpoint_url, account, region)


def reap(settings: Settings) -> int:
    """Kill what an earlier server of this folder left running. Returns the number of processes killed.

    Supervisors do it by themselves; this is for those that were killed too. A process that merely has the same id
    has another start time, and is left alone.
    """
    killed = 0
    for record in settings.containers.glob("*.json"):
        left = [process for process in map(_process, json.loads(record.read_text())) if process.runs()]
        left += [below for process in left for below in descendants(process.pid)]
        kill(left)
        killed += len(set(left))
        record.unlink(missing_ok=True)
    return killed


def _process(saved: Mapping[str, object]) -> Process:
    return Process(pid=int(str(saved["pid"])), started=str(saved["started"]))
