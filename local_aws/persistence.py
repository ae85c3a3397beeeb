"""State that survives `kill -9`: everything that changed is on the disk a moment later.

ministack writes its tables only when it is stopped gently. Here a thread writes those that changed, each file whole or
not at all. The bytes of S3 objects go to the disk by themselves, as they come.
"""

import hashlib
import logging
import threading
from pathlib import Path

from local_aws import lifecycle
from local_aws.files import write_whole
from local_aws.ministack_patches import encode, state_of_services

logger = logging.getLogger("local_aws")

EVERY_SECONDS = 1.0


class Saver(threading.Thread):
    """Writes changed tables to `folder` until `finish`ed. `save` may be called at any time, from any thread."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="saver", daemon=True)
        self._folder = folder
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._written: dict[str, bytes] = {}  # service -> digest of what its file holds

    def run(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            self.save()

    def finish(self) -> None:
        """The last save."""
        self._ended.set()
        self.save()

    def save(self) -> None:
        with self._lock:
            for service, state in state_of_services().items():
                self._save_service(service, state)
            lifecycle.call(lifecycle.on_save)

    def _save_service(self, service: str, state: object) -> None:
        try:
            tables = state() if callable(state) else None
            text = None if tables is None else encode(service, tables)
        except RuntimeError as error:  # "dictionary changed size during iteration": a request came between
            logger.debug("%s is busy and will be saved with the next turn: %s", service, error)
            return
        except Exception:
            logger.exception("the state of %s cannot be saved", service)
            return
        if text is None:
            return
        digest = hashlib.blake2b(text.encode()).digest()
        if self._written.get(service) != digest:
            write_whole(self._folder / f"{service}.json", text)
            self._written[service] = digest
