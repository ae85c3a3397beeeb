"""No endpoint, but transform jobs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from stacks.config.checks import out_of_range
from stacks.config.endpoint.base import (
    LARGEST_SCAN_TOKENS,
    MOST_INSTANCES,
    SERVER_BODY_MB,
    EndpointSettings,
    queue_faults,
    type_faults,
)
from stacks.config.endpoint.modes import Mode
from stacks.config.settings import Rule
from stacks.instance_types import has_gpu, has_local_disk

MOST_TRANSFORM_MB = 100  # CreateTransformJob: MaxPayloadInMB times MaxConcurrentTransforms
GPU_TRANSFORM_AMI = "al2-ami-sagemaker-batch-gpu-535"
"""The machine image with the newest driver that transform jobs have; without a name they get one of driver 470.
https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_TransformResources.html"""


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

    named_packages: bool = False
    """Whether a job may run any other approved package of the group, `amplify batch --package <version>`. The invokers
    may then make models of packages, isolated ones under one role, which reads the model of every run."""

    @property
    def instance_types(self) -> tuple[str, ...]:
        return (self.instance_type,)

    @property
    def machine_image(self) -> str | None:
        """What a job's instances run, `TransformAmiVersion`; None where it is left to SageMaker."""
        return GPU_TRANSFORM_AMI if has_gpu(self.instance_type) else None

    @property
    def volume_takes_key(self) -> bool:
        """Whether a job names a key for its volumes: SageMaker refuses one where the type has disks of its own."""
        return not has_local_disk(self.instance_type)

    @property
    def most_instances(self) -> int:
        return self.instance_count

    def _faults(self) -> Iterable[str]:
        yield from self._common_faults()
        yield from type_faults(self.instance_type, "transform")
        yield from out_of_range("instance_count", self.instance_count, 1, MOST_INSTANCES)
        yield from out_of_range("max_payload_mb", self.max_payload_mb, 1, SERVER_BODY_MB)
        yield from queue_faults("concurrent_requests", self.concurrent_requests, self.largest_request_tokens)

    def _rules(self) -> Iterable[Rule]:
        yield ("max_payload_mb", "concurrent_requests"), self._transform_faults()

    def _transform_faults(self) -> Iterable[str]:
        if self.max_payload_mb * self.concurrent_requests > MOST_TRANSFORM_MB:
            yield (
                f"max_payload_mb is {self.max_payload_mb} and concurrent_requests {self.concurrent_requests}: "
                f"SageMaker takes a product of at most {MOST_TRANSFORM_MB}"
            )
