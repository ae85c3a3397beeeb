"""Serverless variants: no instance while nobody asks; one container a concurrent request, started when it is needed.

A container that was idle for a while ends, so the next request waits for a cold start, as on AWS. `MaxConcurrency` is
held: one request more is throttled.
https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints.html
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from local_aws.errors import SageMakerError
from local_aws.fleet import END_GRACE_SECONDS, SHUTDOWN_GRACE_SECONDS, end_all
from local_aws.serving_container import Server, ServingError

logger = logging.getLogger("local_aws")

IDLE_SECONDS = 120.0  # AWS does not say; minutes, people measure
REAP_SECONDS = 0.5
MOST_BYTES = 4 * 1024 * 1024  # of a request's and of an answer's body
DRAIN_SECONDS = 65.0


class ServerlessVariant:
    """A variant whose containers come with the requests. `start` makes a healthy one; it raises ServingError."""

    def __init__(
        self, settings: Mapping[str, Any], start: Callable[[], Server], cancelled: threading.Event, name: str
    ) -> None:
        self.name: str = settings["VariantName"]
        self.weight = float(settings.get("InitialVariantWeight", 1.0))
        self.settings = settings
        config = settings["ServerlessConfig"]
        self._most: int = config["MaxConcurrency"]
        self._warm: int = config.get("ProvisionedConcurrency", 0)
        self._start_one = start
        self._cancelled = cancelled
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._servers: dict[Server, float] = {}  # since when each is idle
        self._starting = 0
        threading.Thread(target=self._reap, name=f"reap {name}", daemon=True).start()

    @property
    def servers(self) -> Sequence[Server]:
        with self._lock:
            return list(self._servers)

    def acquire(self, most: int | None = None) -> Server | None:  # noqa: ARG002 (one request a container, always)
        with self._lock:
            if self._ended.is_set():
                return None
            self._forget_the_dead()
            for server in self._servers:
                if server.outstanding == 0:
                    server.outstanding = 1
                    return server
            if len(self._servers) + self._starting >= self._most:
                raise SageMakerError(
                    "ThrottlingException", f"Rate exceeded: {self._most} requests are being answered.", status=429
                )
            self._starting += 1
        try:
            server = self._start_one()
        except ServingError as error:
            raise SageMakerError("ServiceUnavailable", f"The container does not start: {error}", status=503) from error
        finally:
            with self._lock:
                self._starting -= 1
        with self._lock:
            server.outstanding = 1
            self._servers[server] = time.monotonic()
        return server

    def release(self, server: Server) -> None:
        with self._lock:
            server.outstanding = 0
            if server in self._servers:
                self._servers[server] = time.monotonic()

    def scale(self, count: int) -> None:  # noqa: ARG002 (it has no number of instances)
        """Show that the container comes up, which is what AWS's CreateEndpoint does; and start the provisioned ones."""
        while len(self.servers) < max(1, self._warm):
            server = self._start_one()
            with self._lock:
                self._servers[server] = time.monotonic()

    def retire(self, grace_seconds: float) -> None:
        self._ended.set()
        deadline = time.monotonic() + (DRAIN_SECONDS if grace_seconds >= END_GRACE_SECONDS else 0)
        while time.monotonic() < deadline and any(server.outstanding and server.runs() for server in self.servers):
            time.sleep(0.02)
        with self._lock:
            leaving, self._servers = list(self._servers), {}
        end_all(leaving, grace_seconds)

    def abandon(self) -> None:
        self._ended.set()

    def _forget_the_dead(self) -> None:
        self._servers = {server: since for server, since in self._servers.items() if server.runs()}

    def _reap(self) -> None:
        while not self._ended.wait(REAP_SECONDS) and not self._cancelled.is_set():
            with self._lock:
                self._forget_the_dead()
                limit = time.monotonic() - IDLE_SECONDS
                idle = [each for each, since in self._servers.items() if each.outstanding == 0 and since < limit]
                leaving = idle[: max(0, len(self._servers) - self._warm)]
                for server in leaving:
                    del self._servers[server]
            end_all(leaving, SHUTDOWN_GRACE_SECONDS)
