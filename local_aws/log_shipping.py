"""A container's output, line by line, from its file to CloudWatch Logs while it runs."""

import contextlib
import contextvars
import logging
import threading
import time
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local_aws.clients import client
from local_aws.errors import SageMakerError

logger = logging.getLogger("local_aws")

EVERY_SECONDS = 0.5
BATCH_EVENTS, BATCH_BYTES, EVENT_BYTES, EVENT_OVERHEAD = 10_000, 1_048_576, 256_000, 26  # limits of PutLogEvents


class LogShipper(threading.Thread):
    """Follows `file` from the byte `start`, until told to `finish`."""

    def __init__(self, file: Path, start: int, group: str, stream: str, account: str, region: str) -> None:
        super().__init__(name=f"logs {stream}", daemon=True)
        self._file, self._start_byte = file, start
        self._group, self._stream = group, stream
        self._account, self._region = account, region
        self._ended = threading.Event()
        self._context = contextvars.copy_context()  # the job's: its role writes its log

    def finish(self, timeout: float = 30) -> None:
        """Ship what is left, the last line whole or not, and end."""
        self._ended.set()
        if self.is_alive():
            self.join(timeout)

    def run(self) -> None:
        try:
            self._context.run(self._ship)
        except (BotoCoreError, ClientError, SageMakerError, OSError) as error:
            # The server is ending, the job's folder is gone, or the job's role may not write: the job itself goes on.
            logger.warning("the log of %s stopped being copied to CloudWatch: %s", self._file, error)

    def _ship(self) -> None:
        self._follow(client("logs", self._account, self._region))

    def _follow(self, logs: Any) -> None:
        _create(logs, self._group, self._stream)
        rest = b""
        with self._file.open("rb") as output:
            output.seek(self._start_byte)
            while True:
                last = self._ended.wait(EVERY_SECONDS)  # asked before reading: what is read after it is all there is
                while chunk := output.read(BATCH_BYTES):
                    *lines, rest = (rest + chunk).split(b"\n")
                    self._put(logs, lines)
                if last:
                    self._put(logs, [rest])
                    return

    def _put(self, logs: Any, lines: list[bytes]) -> None:
        now = round(time.time() * 1000)
        for batch in batches([text for line in lines if (text := event_text(line))]):
            logs.put_log_events(
                logGroupName=self._group,
                logStreamName=self._stream,
                logEvents=[{"timestamp": now, "message": message} for message in batch],
            )


def event_text(line: bytes) -> str:
    """A line as a log event: what a progress bar overwrote is gone, as on a screen; longer than an event is cut."""
    shown = line.rstrip(b"\r").rpartition(b"\r")[2]
    return shown[:EVENT_BYTES].decode(errors="replace")


def batches(messages: list[str]) -> list[list[str]]:
    """Messages in calls that CloudWatch accepts, in order."""
    made: list[list[str]] = []
    size = BATCH_BYTES
    for message in messages:
        cost = len(message.encode()) + EVENT_OVERHEAD
        if not made or size + cost > BATCH_BYTES or len(made[-1]) == BATCH_EVENTS:
            made.append([])
            size = 0
        made[-1].append(message)
        size += cost
    return made


def _create(logs: Any, group: str, stream: str) -> None:
    for create, names in (
        (logs.create_log_group, {"logGroupName": group}),
        (logs.create_log_stream, {"logGroupName": group, "logStreamName": stream}),
    ):
        with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
            create(**names)
