"""Which instance types SageMaker hosts a model on, and which a transform job takes: fewer than a training job does.

Source: the enumerations ProductionVariantInstanceType and TransformInstanceType of the SageMaker API reference, the
families of stacks/instance_types.py only; a test holds the table equal to botocore's copy of them. Memory: EC2's
DescribeInstanceTypes, as published by Karpenter (aws/karpenter-provider-aws, August 2026, `instance-memory`).
"""

from typing import Literal

from stacks import gpu_generations
from stacks.instance_types import family, vcpus
from stacks.training_types import MACHINES

Use = Literal["endpoint", "transform"]

ENDPOINT_SIZES: dict[str, tuple[str, ...]] = {
    name: tuple(sizes.split())
    for name, sizes in {
        "c4": "large xlarge 2xlarge 4xlarge 8xlarge",
        "c5": "large xlarge 2xlarge 4xlarge 9xlarge 18xlarge",
        "c5d": "large xlarge 2xlarge 4xlarge 9xlarge 18xlarge",
        "c6i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
        "c7i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
        "g4dn": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge",
        "g5": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
        "g6": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
        "g6e": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
        "g7": "2xlarge 4xlarge 8xlarge 12xlarge 24xlarge 48xlarge",
        "g7e": "2xlarge 4xlarge 8xlarge 12xlarge 24xlarge 48xlarge",
        "m4": "xlarge 2xlarge 4xlarge 10xlarge 16xlarge",
        "m5": "large xlarge 2xlarge 4xlarge 12xlarge 24xlarge",
        "m5d": "large xlarge 2xlarge 4xlarge 12xlarge 24xlarge",
        "m6i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
        "m7i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
        "p3": "2xlarge 8xlarge 16xlarge",
        "p4d": "24xlarge",
        "p4de": "24xlarge",
        "p5": "4xlarge 48xlarge",
        "p5e": "48xlarge",
        "p5en": "48xlarge",
        "p6-b200": "48xlarge",
        "p6-b300": "48xlarge",
        "p6e-gb200": "36xlarge",
        "r5": "large xlarge 2xlarge 4xlarge 12xlarge 24xlarge",
        "r5d": "large xlarge 2xlarge 4xlarge 12xlarge 24xlarge",
        "r6i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
        "r7i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
        "t2": "medium large xlarge 2xlarge",
    }.items()
}
TRANSFORM_FAMILIES = frozenset(
    {"c4", "c5", "c6i", "c7i", "g4dn", "g5", "g6", "g6e", "m4", "m5", "m6i", "m7i", "p3", "r6i", "r7i"}
)
NOT_FOR_TRANSFORM = frozenset({"ml.c4.large", "ml.c5.large"})

GIB_PER_VCPU: dict[str, float] = {
    **dict.fromkeys(("c5", "c5d", "c6i", "c7i"), 2.0),
    **dict.fromkeys(("m4", "m5", "m5d", "m6i", "m7i", "g4dn", "g5", "g6", "g7", "t2"), 4.0),
    **dict.fromkeys(("r5", "r5d", "r6i", "r7i", "g6e", "g7e"), 8.0),
    "c4": 1.875,
    "p4d": 12.0,
    "p4de": 12.0,
}
GIB: dict[str, int] = {
    "ml.c4.8xlarge": 60,
    "ml.t2.medium": 4,
    "ml.g7e.12xlarge": 512,
    "ml.g7e.24xlarge": 1024,
    "ml.g7e.48xlarge": 2048,
    "ml.p5.4xlarge": 256,
    "ml.p5.48xlarge": 2048,
    "ml.p5e.48xlarge": 2048,
    "ml.p5en.48xlarge": 2048,
    "ml.p6-b200.48xlarge": 2048,
    "ml.p6-b300.48xlarge": 4096,
}
"""The types whose memory does not follow from their processors."""

BURSTABLE_FAMILIES = frozenset({"t2", "t3"})
"""Application Auto Scaling refuses them: https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling.html"""


def check(instance_type: str, use: Use) -> None:
    """Raises ValueError for a type that SageMaker does not have for this use, with those of its family that it has;
    and for one that it has and whose GPU our image does not run on."""
    name = family(instance_type)
    sizes = [f"ml.{name}.{size}" for size in ENDPOINT_SIZES.get(name, ())]
    if use == "transform":
        sizes = [one for one in sizes if name in TRANSFORM_FAMILIES and one not in NOT_FOR_TRANSFORM]
    if instance_type in sizes:
        gpu_generations.check(instance_type)
        return
    known = f"of {name} it has {', '.join(sizes)}" if sizes else f"it has none of family {name}"
    purpose = "endpoints" if use == "endpoint" else "transform jobs"
    raise ValueError(f"SageMaker has no '{instance_type}' for {purpose}: {known}")


def memory_mb(instance_type: str) -> int:
    """The memory, in MiB, of a type that our image is served on."""
    return int(1024 * (GIB.get(instance_type) or GIB_PER_VCPU[family(instance_type)] * vcpus(instance_type)))


def gpus(instance_type: str) -> int:
    """How many GPUs it has."""
    return MACHINES[instance_type].gpus if instance_type in MACHINES else 0


def scales(instance_type: str) -> bool:
    """Whether Application Auto Scaling may change the number of such instances."""
    return family(instance_type) not in BURSTABLE_FAMILIES
