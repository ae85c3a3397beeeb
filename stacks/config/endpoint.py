"""How an approved model is served: the settings of the endpoint."""

from dataclasses import dataclass

from stacks.config.checks import out_of_range, raise_if_any, unknown_instance_type


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """How an approved model is served, once releases/<env>.json names one."""

    instance_type: str
    """Type of each serving instance."""

    instance_count: int = 1
    """Serving instances. From two on, a release goes out as a canary and is rolled back on alarms."""

    max_latency_ms: int = 5_000
    """Slowest acceptable model latency (99th percentile of five minutes): above it the alarm rings."""

    def __post_init__(self) -> None:
        faults = [
            *unknown_instance_type("instance_type", self.instance_type),
            *out_of_range("instance_count", self.instance_count, 1, 100),
            *out_of_range("max_latency_ms", self.max_latency_ms, 1, 60_000),
        ]
        raise_if_any("endpoint", faults)
