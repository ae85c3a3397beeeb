"""A fleet: the instances that run one endpoint configuration, each a container of its own.

A request takes an instance (`acquire`) and gives it back (`release`); an instance that has to go takes no new request
and ends when it owes no answer. Instances that die are replaced for as long as the fleet lives.
"""

import logging
import random
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from local_aws import identity, resources, serving_container
from local_aws.errors import SageMakerError
from local_aws.serving_container import Server, ServingError
from local_aws.store import Record, Scope

logger = logging.getLogger("local_aws")

CONFIG = "endpoint-config"
END_GRACE_SECONDS = 30.0  # what SageMaker gives a serving container between SIGTERM and SIGKILL
SHUTDOWN_GRACE_SECONDS = 2.0
DRAIN_SECONDS = 65.0  # the longest real-time answer, and a little
WATCH_SECONDS = 0.5
RESTART_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)  # pauses before a container that died is started again
AT_ONCE = 4  # instances that start at the same time: more would only share the same cores


class Variant(Protocol):
    """One production variant of a fleet, however it runs."""

    name: str
    weight: float
    settings: Mapping[str, Any]

    @property
    def servers(self) -> Sequence[Server]:
        """What runs of it now."""

    def acquire(self, most: int | None = None) -> Server | None:
        """An instance for one request, of those with fewer than `most` outstanding; None where none can take it.

        Raises SageMakerError where the variant refuses it.
        """

    def release(self, server: Server) -> None:
        """Its request is answered."""

    def scale(self, count: int) -> None:
        """Run `count` instances: start what lacks, end what is too many. Raises ServingError: all is as before."""

    def retire(self, grace_seconds: float) -> None:
        """Take no request any more, and end when those taken are answered."""

    def abandon(self) -> None:
        """Start no more: a `scale` that goes on raises ServingError soon."""


class InstanceVariant:
    """A variant on instances that are there all the time: as many as it is told."""

    def __init__(self, scope: Scope, endpoint: str, settings: Mapping[str, Any], cancelled: threading.Event) -> None:
        self.name: str = settings["VariantName"]
        self.weight = float(settings.get("InitialVariantWeight", 1.0))
        self.settings = settings
        self._scope, self._endpoint = scope, endpoint
        self._cancelled = cancelled
        self._ended = threading.Event()
        self._lock = threading.Lock()  # guards the list and every server's `outstanding`
        self._servers: list[Server] = []
        self._scaling = threading.Lock()
        # https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_ProductionVariantRoutingConfig.html
        strategy = settings.get("RoutingConfig", {}).get("RoutingStrategy", "RANDOM")
        self._least_outstanding = strategy == "LEAST_OUTSTANDING_REQUESTS"
        threading.Thread(target=self._watch, name=f"watch {endpoint}/{self.name}", daemon=True).start()

    @property
    def servers(self) -> Sequence[Server]:
        with self._lock:
            return list(self._servers)

    def acquire(self, most: int | None = None) -> Server | None:
        with self._lock:
            if self._ended.is_set():
                return None
            alive = [s for s in self._servers if (most is None or s.outstanding < most) and s.runs()]
            if not alive:
                return None
            if self._least_outstanding or most is not None:
                least = min(server.outstanding for server in alive)
                alive = [server for server in alive if server.outstanding == least]
            server = random.choice(alive)  # noqa: S311
            server.outstanding += 1
            return server

    def release(self, server: Server) -> None:
        with self._lock:
            server.outstanding -= 1

    def scale(self, count: int) -> None:
        with self._scaling:
            lacking = count - len(self.servers)
            if lacking > 0:
                started = self._start(lacking)
                with self._lock:
                    wanted = not (self._ended.is_set() or self._cancelled.is_set())
                    if wanted:
                        self._servers += started
                if not wanted:
                    end_all(started, SHUTDOWN_GRACE_SECONDS)
                    raise ServingError("The endpoint was deleted, or local AWS stopped, meanwhile.")
            elif lacking < 0:
                with self._lock:
                    leaving = sorted(self._servers, key=lambda server: server.outstanding)[:-lacking]
                    self._servers = [server for server in self._servers if server not in leaving]
                self._drain(leaving)
                end_all(leaving, END_GRACE_SECONDS)

    def retire(self, grace_seconds: float) -> None:
        with self._lock:
            self._ended.set()
            leaving, self._servers = self._servers, []
        if grace_seconds >= END_GRACE_SECONDS:
            self._drain(leaving)
        end_all(leaving, grace_seconds)

    def abandon(self) -> None:
        self._ended.set()

    def _start(self, count: int) -> list[Server]:
        """So many new instances, or none. Raises ServingError."""
        with ThreadPoolExecutor(min(count, AT_ONCE), thread_name_prefix=f"start {self._endpoint}") as pool:
            futures = [pool.submit(self._start_one) for _ in range(count)]
        errors = [future.exception() for future in futures]
        if not any(errors):
            return [future.result() for future in futures]
        end_all([future.result() for future in futures if future.exception() is None], SHUTDOWN_GRACE_SECONDS)
        raise next(error for error in errors if error is not None)

    def _start_one(self) -> Server:
        return start_server(self._scope, self._endpoint, self.settings, _Either(self._cancelled, self._ended))

    def _drain(self, servers: Iterable[Server]) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline and not self._cancelled.is_set():
            with self._lock:
                if not any(server.outstanding and server.runs() for server in servers):
                    return
            time.sleep(0.02)

    def _watch(self) -> None:
        """Start again what died: an instance that is lost is replaced."""
        deaths = 0
        stop = _Either(self._cancelled, self._ended)
        while not stop.wait(WATCH_SECONDS):
            for server in self.servers:
                if server.runs():
                    continue
                pause = RESTART_SECONDS[min(deaths, len(RESTART_SECONDS) - 1)]
                deaths += 1
                logger.warning(
                    "endpoint %s: %s died; starting it again in %g s", self._endpoint, server.log_stream, pause
                )
                if stop.wait(pause):
                    return
                self._replace(server)

    def _replace(self, server: Server) -> None:
        try:
            again = self._start_one()
        except ServingError as error:
            logger.warning("endpoint %s: %s", self._endpoint, error)
            return
        with self._lock:
            wanted = server in self._servers and not self._cancelled.is_set()
            if wanted:
                self._servers[self._servers.index(server)] = again
        server.end(grace_seconds=0)
        if not wanted:
            again.end(SHUTDOWN_GRACE_SECONDS)


class Fleet:
    """The variants of one endpoint configuration. It begins empty: `scale` brings its instances."""

    def __init__(self, config: str, variants: Sequence[Variant]) -> None:
        self.config = config
        self.variants = {variant.name: variant for variant in variants}

    def scale(self, counts: Mapping[str, int]) -> None:
        """Run so many instances of each variant that `counts` names. Raises ServingError."""
        for name, count in counts.items():
            self.variants[name].scale(count)

    def counts(self) -> dict[str, int]:
        return {name: len(variant.servers) for name, variant in self.variants.items()}

    def acquire(self, variant: str | None, most: int | None = None) -> tuple[Variant, Server] | None:
        """An instance for one request, by the variants' weights or by name; None where none can take it now."""
        left = [each for each in self.variants.values() if variant in (None, each.name)]
        while left:
            weights = [each.weight for each in left]
            [chosen] = random.choices(left, weights if any(weights) else None)  # noqa: S311
            server = chosen.acquire(most)
            if server is not None:
                return chosen, server
            left.remove(chosen)
        return None

    def retire(self, grace_seconds: float = END_GRACE_SECONDS) -> None:
        """End all instances; with the usual grace, after their last answer."""
        _all_at_once([(variant.retire, grace_seconds) for variant in self.variants.values()])

    def abandon(self) -> None:
        """Start no more instances: it will be retired."""
        for variant in self.variants.values():
            variant.abandon()


class _Either(threading.Event):
    """Set when one of two events is: a wait that has two reasons to end."""

    def __init__(self, one: threading.Event, other: threading.Event) -> None:
        super().__init__()
        self._events = (one, other)

    def is_set(self) -> bool:
        return any(event.is_set() for event in self._events)

    def wait(self, timeout: float | None = None) -> bool:
        deadline = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while not self.is_set() and (left := deadline - time.monotonic()) > 0:
            self._events[0].wait(min(0.05, left))
        return self.is_set()


def config_of(scope: Scope, name: str) -> Record:
    """An endpoint configuration. Raises ServingError where it was deleted meanwhile."""
    try:
        return resources.find(scope, CONFIG, "endpoint configuration", name)
    except SageMakerError as error:
        raise ServingError(str(error)) from error


def start_server(scope: Scope, endpoint: str, settings: Mapping[str, Any], cancelled: threading.Event) -> Server:
    """One healthy instance of a production variant. Raises ServingError."""
    try:
        model = resources.find(scope, "model", "model", settings["ModelName"])
        container = resources.container_of(scope, model)
        place = serving_container.place_of_instance(scope, endpoint, settings["VariantName"])
        with identity.acting_as(model.get("ExecutionRoleArn")):
            isolated = model["EnableNetworkIsolation"]
            return serving_container.start(scope, place, settings, container, isolated, cancelled)
    except SageMakerError as error:  # the model or its role is gone, or its package is no longer approved
        raise ServingError(str(error)) from error


def end_all(servers: Iterable[Server], grace_seconds: float) -> None:
    """All at once, so that it takes as long as the slowest."""
    _all_at_once([(server.end, grace_seconds) for server in servers])


def _all_at_once(calls: Sequence[tuple[Any, float]]) -> None:
    threads = [threading.Thread(target=call, args=[argument], daemon=True) for call, argument in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
