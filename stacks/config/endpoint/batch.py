"""No endpoint, but transform jobs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from stacks.config.checks import out_of_range, raise_if_any
from stacks.config.endpoint.base import (
    LARGEST_SCAN_TOKENS,
    MOST_INSTANCES,
    SERVER_BODY_MB,
    EndpointSettings,
    queue_faults,
    type_faults,
)
from stacks.config.endpoint.modes import Mode

MOST_TRANSFORM_MB = 100  # CreateTransformJob: MaxPayloadInMB times MaxConcurrentTransforms


@dataclass(frozen=True, kw_only=True)
class Batch(EndpointSettings):
    """No endpoint: the model waits for transform jobs, which people start; instances exist while one runs."""

    mode: ClassVar[Mode] = "batch"

    instance_type: str
    """Type of a job's instances."""

    instance_count: int = 1
    """Instances of a job; input files are shared out among them."""

    concurrent_requests: int = 2
    """Requests that a job hands to an instance at once."""

    largest_request_tokens: int = LARGEST_SCAN_TOKENS
    """As for asynchronous endpoints: the work of the largest request, in tokens of model passes."""

    max_payload_mb: int = 6
    """Largest body of a request: at most the 6 that the server reads."""

    def __post_init__(self) -> None:
        faults = [*self._faults()]
        raise_if_any(self._where(), faults or [*self._faults_between_fields()])

    @property
    def instance_types(self) -> tuple[str, ...]:
        return (self.instance_type,)

    @property
    def most_instances(self) -> int:
        return self.instance_count

    def _faults(self) -> Iterable[str]:
        yield from self._common_faults()
        yield from type_faults(self.instance_type, "transform")
        yield from out_of_range("instance_count", self.instance_count, 1, MOST_INSTANCES)
        yield from out_of_range("max_payload_mb", self.max_payload_mb, 1, SERVER_BODY_MB)
        yield from queue_faults("concurrent_requests", self.concurrent_requests, self.largest_request_tokens)

    def _faults_between_fields(self) -> Iterable[str]:
        if self.max_payload_mb * self.concurrent_requests > MOST_TRANSFORM_MB:
            yield (
                f"max_payload_mb is {self.max_payload_mb} and concurrent_requests {self.concurrent_requests}: "
                f"SageMaker takes a product of at most {MOST_TRANSFORM_MB}"
            )
