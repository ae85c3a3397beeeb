"""State that survives `kill -9`: everything that was answered is on the disk a moment later.

ministack writes its tables only when it is stopped gently. Here a thread writes those that changed, all of them or
none: a stack's record and the role that it made are in two files, and must not be of two moments. The bytes of S3
objects go to the disk by themselves, as they come.
"""

import asyncio
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local_aws.files import write_whole
from local_aws.ministack_hooks.services import encode, state_of_services

logger = logging.getLogger("local_aws")

LEAST_PAUSE, BUSY_PAUSE, IDLE_PAUSE = 0.1, 1.0, 5.0  # seconds between two saves: after a request, and without one
SHARE = 10  # saving takes one part in ten of the time: 3 ms for small tables, 0.1 s for 10,000 lines of logs
ATTEMPTS = 10
TOGETHER = ".together"  # a file of what the tables' files are about to hold; there while they are being written


class Saver(threading.Thread):
    """Writes changed tables to `folder` until `finish`ed; soon after `something_changed`, and now and then without.

    Tables are copied on the server's event `loop`, between two requests: copied beside a stream of requests they would
    hardly ever stand still. They are written by this thread.
    """

    def __init__(self, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="saver", daemon=True)
        self._folder = folder
        self._loop = loop
        self._ended = threading.Event()
        self._wake = threading.Event()
        self._copying, self._writing = threading.Lock(), threading.Lock()
        self._newest_copy, self._newest_written = 0, 0
        self._written: dict[str, bytes] = {}  # service -> digest of what its file holds

    def run(self) -> None:
        while not self._ended.is_set():
            self._wake.wait(IDLE_PAUSE)
            self._wake.clear()
            began = time.monotonic()
            try:
                self._save(*asyncio.run_coroutine_threadsafe(self._copied_on_loop(), self._loop).result())
            except Exception:
                logger.exception("the state cannot be saved; trying again")
            # A machine that is busy with other things makes saving slow: what was answered must not wait long for that.
            self._ended.wait(min(BUSY_PAUSE, max(LEAST_PAUSE, SHARE * (time.monotonic() - began))))

    def something_changed(self) -> None:
        """A request that may have changed something was answered."""
        self._wake.set()

    def save_now(self) -> None:
        """Write everything before this returns. On the event loop only."""
        self._save(*self._copied())

    def finish(self) -> None:
        """The last save, at once, on whatever thread ends the server."""
        self._ended.set()
        self._save(*self._copied())

    async def _copied_on_loop(self) -> tuple[int, dict[str, Any]]:
        return self._copied()

    def _copied(self) -> tuple[int, dict[str, Any]]:
        """All tables, and which copy of them this is."""
        with self._copying:
            self._newest_copy += 1
            return self._newest_copy, _copies()

    def _save(self, number: int, tables: dict[str, Any]) -> None:
        with self._writing:
            if number < self._newest_written:
                return  # `save_now` was quicker: a stack that it wrote as being deleted must not become complete again
            self._newest_written = number
            changed: dict[str, str] = {}
            digests: dict[str, bytes] = {}
            for service, table in tables.items():
                try:
                    text = encode(service, table)
                except Exception:  # the others are saved all the same
                    logger.exception("the state of %s cannot be saved; trying again", service)
                    continue
                digests[service] = hashlib.blake2b(text.encode()).digest()
                if self._written.get(service) != digests[service]:
                    changed[service] = text
            _write_together(self._folder, changed)
            self._written |= digests


def complete(folder: Path) -> None:
    """Before the tables are read: finish the writing in which an earlier server was killed."""
    together = folder / TOGETHER
    if together.exists():
        _write_each(folder, json.loads(together.read_text()))
        together.unlink()


def _write_together(folder: Path, texts: dict[str, str]) -> None:
    """Once the first file is written, all will be, if need be by the next server."""
    if len(texts) > 1:
        write_whole(folder / TOGETHER, json.dumps(texts))
    _write_each(folder, texts)
    (folder / TOGETHER).unlink(missing_ok=True)


def _write_each(folder: Path, texts: dict[str, str]) -> None:
    for service, text in texts.items():
        write_whole(folder / f"{service}.json", text)


def _copies() -> dict[str, Any]:
    """A copy of each service's tables."""
    found = {service: _copy(service, state) for service, state in state_of_services().items()}
    return {service: table for service, table in found.items() if table is not None}


def _copy(service: str, state: Callable[[], Any]) -> Any:
    """One service's tables; None where there are none, or where they cannot be copied now."""
    for attempt in range(ATTEMPTS):
        try:
            return state()
        except RuntimeError:  # "dictionary changed size during iteration": by a thread of ministack's
            time.sleep(0.001 * attempt)
        except Exception:
            logger.exception("the state of %s cannot be saved", service)
            return None
    logger.warning("%s is too busy to be saved; trying again", service)
    return None
