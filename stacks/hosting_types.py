"""Which instance types SageMaker hosts a model on, and which a transform job takes: fewer than a training job does.

Source: the enumerations ProductionVariantInstanceType and TransformInstanceType of the SageMaker API reference, the
families of stacks/instance_types.py only; a test holds the table equal to botocore's copy of them.
"""

from typing import Literal

from stacks import gpu_generations
from stacks.instance_types import family

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


def scales(instance_type: str) -> bool:
    """Whether Application Auto Scaling may change the number of such instances."""
    return family(instance_type) not in BURSTABLE_FAMILIES
