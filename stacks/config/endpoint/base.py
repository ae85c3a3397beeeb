"""What the settings of every endpoint mode share: who may call it, and the refusal of what belongs to another mode."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from stacks.config.checks import out_of_range, unknown_instance_type
from stacks.config.endpoint.modes import Feature, Mode, permits, refusal
from stacks.config.people import role_faults
from stacks.config.settings import Settings
from stacks.hosting_types import Use, check, scales

MOST_INSTANCES = 100

SERVER_REQUESTS = 256
"""What the server in the container has under way at most: 429 to more. `MAX_REQUESTS` of model_code/serve.py."""

SERVER_QUEUE_TOKENS = 8_388_608
"""What its queue holds, in tokens of model passes. `ServeSettings.queue_tokens` of model_code/serve.py."""

LARGEST_SCAN_TOKENS = 4_194_304
"""The work of one masked-marginal scan of the longest protein, 2048 passes of 2048. `LARGEST_SCAN_TOKENS` there."""

SERVER_BODY_MB = 6
"""The largest body it reads, in every mode. `MAX_BODY_BYTES` of model_code/amplify_lm/uploads.py."""

# Settings that are the use of a feature: given to a mode without it, the answer is the table's.
_FEATURE_OF_A_SETTING: dict[str, Feature] = {
    "instance_type": "gpu",
    "deployment": "canary",
    "capture": "capture",
    "shadow": "shadow",
}


@dataclass(frozen=True, kw_only=True)
class EndpointSettings(Settings):
    """The settings that all modes have. `mode` is the word of the table in modes.py."""

    mode: ClassVar[Mode]

    invokers: tuple[str, ...] = ()
    """Roles of this account that may call the endpoint, by name or ARN. Nobody else is given the right."""

    @property
    def instance_types(self) -> tuple[str, ...]:
        """Every type that the endpoint may have instances of."""
        return ()

    @property
    def most_instances(self) -> int:
        """Instances in service at once at most, old fleets that are being replaced not counted."""
        return 0

    @classmethod
    def _stranger(cls, name: str, known: list[str]) -> str:
        """A setting of another mode, with the reason why this one does not have it."""
        feature = _FEATURE_OF_A_SETTING.get(name)
        if feature is not None and not permits(cls.mode, feature):
            return f"{name} is no setting of mode {cls.mode}: {refusal(cls.mode, feature)}"
        return f"{name} is no setting of mode {cls.mode}: it has {', '.join(known)}"

    def _common_faults(self) -> Iterable[str]:
        yield from role_faults("invokers", self.invokers, "amplify-<env>-invoke")


def type_faults(instance_type: object, use: Use) -> Iterable[str]:
    """A type that SageMaker does not have for this use."""
    yield from unknown_instance_type("instance_type", instance_type, lambda given: check(given, use))


def latency_faults(max_latency_ms: object) -> Iterable[str]:
    """A latency that no request can reach: SageMaker gives up after a minute."""
    yield from out_of_range("max_latency_ms", max_latency_ms, 1, 60_000)


def size_faults(noun: str, low: int, high: int, *, least: int) -> Iterable[str]:
    """Bounds of a fleet: `noun` is instances or copies, and the fields min_<noun>, max_<noun>."""
    faults = [
        *out_of_range(f"min_{noun}", low, least, MOST_INSTANCES),
        *out_of_range(f"max_{noun}", high, 1, MOST_INSTANCES),
    ]
    yield from faults
    if not faults and low > high:
        yield f"min_{noun} is {low} and max_{noun} is {high}: give a max_{noun} of at least {low}"


def scaling_faults(instance_type: str, low: int, high: int) -> Iterable[str]:
    """A fleet that scales, of a type that cannot."""
    if low < high and not scales(instance_type):
        yield (
            f"instance_type is {instance_type}, which Application Auto Scaling refuses to scale (burstable): "
            f"give another type, or as many instances at most as at least, {low} to {high} now"
        )


def queue_faults(field: str, concurrent: int, largest_request_tokens: int) -> Iterable[str]:
    """More requests at once than the server in the container queues: it would answer 429, and they would be lost."""
    faults = [
        *out_of_range(field, concurrent, 1, SERVER_REQUESTS),
        *out_of_range("largest_request_tokens", largest_request_tokens, 1, SERVER_QUEUE_TOKENS),
    ]
    yield from faults
    if not faults and concurrent * largest_request_tokens > SERVER_QUEUE_TOKENS:
        yield (
            f"{field} is {concurrent} and largest_request_tokens {largest_request_tokens}, together "
            f"{concurrent * largest_request_tokens}: the server's queue holds {SERVER_QUEUE_TOKENS} tokens; "
            f"give {field} at most {SERVER_QUEUE_TOKENS // largest_request_tokens}"
        )
