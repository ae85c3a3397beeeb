"""An endpoint without instances."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from stacks.config.checks import out_of_range
from stacks.config.endpoint.base import EndpointSettings, latency_faults
from stacks.config.endpoint.modes import Mode

MEMORY_MB = (1024, 2048, 3072, 4096, 5120, 6144)  # API reference, ProductionVariantServerlessConfig
MOST_CONCURRENCY = 200


@dataclass(frozen=True, kw_only=True)
class Serverless(EndpointSettings):
    """CPUs that exist while they answer: no fleet, no network of ours, no isolation, 60 seconds and 4 MB a request."""

    mode: ClassVar[Mode] = "serverless"

    memory_mb: int
    """Memory of the container, in steps of 1024; its CPUs grow with it."""

    max_concurrency: int = 5
    """Requests at once at most; more are refused."""

    provisioned_concurrency: int | None = None
    """Containers that are kept warm, and paid for. None: the first request after a pause waits for one to start."""

    max_latency_ms: int = 5_000
    """Slowest acceptable model latency (99th percentile of five minutes): above it the alarm rings."""

    def _faults(self) -> Iterable[str]:
        yield from self._common_faults()
        yield from latency_faults(self.max_latency_ms)
        if self.memory_mb not in MEMORY_MB or isinstance(self.memory_mb, bool):
            yield f"memory_mb is {self.memory_mb!r}: give one of {', '.join(map(str, MEMORY_MB))}"
        faults = [*out_of_range("max_concurrency", self.max_concurrency, 1, MOST_CONCURRENCY)]
        yield from faults
        if self.provisioned_concurrency is not None and not faults:
            yield from out_of_range("provisioned_concurrency", self.provisioned_concurrency, 1, self.max_concurrency)
