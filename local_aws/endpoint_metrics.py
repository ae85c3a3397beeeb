"""What SageMaker publishes about endpoints in CloudWatch: of requests as they come, of instances by the clock.

By endpoint and variant, as on AWS; of requests also by the endpoint configuration, so that an alarm can watch the new
fleet of a deployment alone. Nothing here is on a request's path.
https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
"""

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import psutil

from local_aws import endpoint_life, store
from local_aws.clients import client
from local_aws.metric_values import merged
from local_aws.serving_container import Server
from local_aws.store import Scope

logger = logging.getLogger("local_aws")

REQUESTS, INSTANCES = "AWS/SageMaker", "/aws/sagemaker/Endpoints"
FLUSH_SECONDS = 1.0
GAUGE_SECONDS = 10.0  # AWS's period of ConcurrentRequestsPerModel
INSTANCE_SECONDS = 60.0  # where MetricsConfig names no MetricPublishFrequencyInSeconds
FIRST_INSTANCE_SECONDS = 5.0
HIGH_RESOLUTION = {"ConcurrentRequestsPerModel"}
MOST_VALUES = 25  # of one second's latencies: each is kept for ten minutes, and a busy hour has 3,600 seconds
MOST_DATA = 1000  # of one PutMetricData

Datum = dict[str, Any]
Published = tuple[Scope, str, Datum]  # account and region, namespace, datum
Servers = dict[tuple[Scope, str, str], list[Server]]  # by account and region, endpoint, variant


@dataclass
class _Second:
    """What was answered in one second, of one variant."""

    requests: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    per_instance: Counter[float] = field(default_factory=Counter)
    latencies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class Key:
    """Whom a request went to."""

    scope: Scope
    endpoint: str
    variant: str
    config: str


# Others that publish by the clock; each returns what there is to say now.
sources: list[Callable[[], Iterable[Published]]] = []

_lock = threading.Lock()
_seconds: dict[tuple[Key, int], _Second] = {}
_waiting: list[Published] = []


def count(
    key: Key, status: int, model_seconds: float, overhead_seconds: float | None = None, instances: int | None = None
) -> None:
    """An answer of a container, or that there was none (a status of 500 or more). An asynchronous request has neither
    overhead nor `instances`: AWS publishes less of those."""
    with _lock:
        second = _seconds.setdefault((key, int(time.time())), _Second())
        second.requests += 1
        second.errors["Invocation4XXErrors"] += 400 <= status < 500
        second.errors["Invocation5XXErrors"] += status >= 500
        second.errors["InvocationModelErrors"] += status >= 400
        second.latencies["ModelLatency"].append(model_seconds * 1e6)
        if overhead_seconds is not None:
            second.latencies["OverheadLatency"].append(overhead_seconds * 1e6)
        if instances is not None:
            second.per_instance[1 / max(1, instances)] += 1


def publish(published: Iterable[Published]) -> None:
    """Have others' data sent with the next."""
    with _lock:
        _waiting.extend(published)


def start() -> None:
    sources.append(_Gauges().look)
    threading.Thread(target=_run, name="endpoint metrics", daemon=True).start()


def datum(name: str, values: Counter[float], unit: str, at: float, **dimensions: str) -> Datum:
    """A MetricDatum of several values, each as often as it was seen."""
    return {
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
        "Timestamp": at,
        "Values": list(values),
        "Counts": [float(number) for number in values.values()],
        "Unit": unit,
        "StorageResolution": 1 if name in HIGH_RESOLUTION else 60,
    }


def _run() -> None:
    while True:
        time.sleep(FLUSH_SECONDS)
        try:
            _send([*_of_requests(), *(published for source in sources for published in source())])
        except Exception:
            logger.exception("metrics of endpoints cannot be stored")


def _send(published: list[Published]) -> None:
    batches: dict[tuple[Scope, str], list[Datum]] = defaultdict(list)
    for scope, namespace, each in published:
        batches[scope, namespace].append(each)
    for (scope, namespace), data in batches.items():
        cloudwatch = client("cloudwatch", scope.account, scope.region)
        for start in range(0, len(data), MOST_DATA):
            cloudwatch.put_metric_data(Namespace=namespace, MetricData=data[start : start + MOST_DATA])


def _of_requests() -> Iterable[Published]:
    global _seconds
    with _lock:
        seconds, _seconds = _seconds, {}
        yield from _waiting
        _waiting.clear()
    for (key, at), second in seconds.items():
        about = {"EndpointName": key.endpoint, "VariantName": key.variant}
        for dimensions in (about, {**about, "EndpointConfigName": key.config}):
            for each in _of_second(second, at, dimensions):
                yield key.scope, REQUESTS, each


def _of_second(second: _Second, at: int, dimensions: dict[str, str]) -> Iterable[Datum]:
    if second.per_instance:
        yield datum("Invocations", Counter({1.0: second.requests}), "Count", at, **dimensions)
        yield datum("InvocationsPerInstance", second.per_instance, "Count", at, **dimensions)
    for name, errors in second.errors.items():
        # A 0 for each request without one, so that the average is the share.
        values = Counter({1.0: errors, 0.0: second.requests - errors})
        yield datum(name, +values, "Count", at, **dimensions)
    for name, latencies in second.latencies.items():
        yield datum(name, merged(Counter(latencies), MOST_VALUES), "Microseconds", at, **dimensions)


class _Gauges:
    """What is looked at by the clock: the requests that instances are at, and what their processes use."""

    def __init__(self) -> None:
        self._next: dict[tuple[Scope, str, str], float] = {}
        self._cpu: dict[Server, tuple[float, float]] = {}  # when, and the CPU seconds until then
        self._concurrent: dict[tuple[tuple[Scope, str, str], int], Counter[float]] = defaultdict(Counter)

    def look(self) -> Iterable[Published]:
        found: list[Published] = []
        seen: set[Server] = set()
        by_variant: Servers = defaultdict(list)
        plain: set[tuple[Scope, str, str]] = set()
        for scope, endpoint, fleet in endpoint_life.running():
            config = store.current().get(scope, endpoint_life.CONFIG, fleet.config) or {}
            for variant in fleet.variants.values():
                key = (scope, endpoint, variant.name)
                by_variant[key] += variant.servers
                if "AsyncInferenceConfig" not in config and "ServerlessConfig" not in variant.settings:
                    plain.add(key)
                if "ServerlessConfig" not in variant.settings:
                    found += self._instances(key, variant.servers, config.get("MetricsConfig", {}))
            seen.update(server for servers in by_variant.values() for server in servers)
        found += self._concurrency(plain, by_variant)
        self._cpu = {server: at for server, at in self._cpu.items() if server in seen}
        return found

    def _concurrency(self, keys: set[tuple[Scope, str, str]], servers: Servers) -> Iterable[Published]:
        """Looks at every second's requests; once a period is over, all that was seen in it is one datum."""
        period = int(time.time() // GAUGE_SECONDS * GAUGE_SECONDS)
        for (key, start), seen in list(self._concurrent.items()):
            if start < period:
                del self._concurrent[key, start]
                scope, endpoint, variant = key
                about = {"EndpointName": endpoint, "VariantName": variant}
                yield scope, REQUESTS, datum("ConcurrentRequestsPerModel", seen, "Count", start, **about)
        for key in keys:
            for server in servers[key]:
                self._concurrent[key, period][float(server.outstanding)] += 1

    def _instances(
        self, key: tuple[Scope, str, str], servers: Iterable[Server], config: dict[str, Any]
    ) -> Iterable[Published]:
        every = float(config.get("MetricPublishFrequencyInSeconds", INSTANCE_SECONDS))
        if not self._due(key, every):
            for server in servers:
                if server not in self._cpu and (used := usage(server)):
                    self._cpu[server] = (time.monotonic(), used[0])
            return
        scope, endpoint, variant = key
        values: dict[str, Counter[float]] = defaultdict(Counter)
        for server in servers:
            if used := usage(server):
                now = time.monotonic()
                before, seconds = self._cpu.get(server, (now - every, 0.0))
                self._cpu[server] = (now, used[0])
                values["CPUUtilization"][round(100 * max(0.0, used[0] - seconds) / max(now - before, 0.1), 3)] += 1
                values["MemoryUtilization"][round(used[1], 3)] += 1
        for name, counted in values.items():
            each = datum(name, counted, "Percent", time.time(), EndpointName=endpoint, VariantName=variant)
            yield scope, INSTANCES, each

    def _due(self, key: tuple[Scope, str, str], every: float) -> bool:
        now = time.monotonic()
        due = now >= self._next.setdefault(key, now + FIRST_INSTANCE_SECONDS)
        if due:
            self._next[key] = now + every
        return due


def usage(server: Server) -> tuple[float, float] | None:
    """(CPU seconds so far, percent of the machine's memory) of an instance's processes; None where it has ended."""
    try:
        root = psutil.Process(server.container.pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        return None
    seconds = memory = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
            seconds += times.user + times.system
            memory += process.memory_percent()
        except psutil.Error:  # it ended just now
            continue
    return seconds, memory
