"""SageMaker's instance types for training jobs: GPUs, local disk, EFA (the network that several machines need).

Types: TrainingInstanceType of the API (a test holds the table to botocore's). Left out is what our images cannot run
on: Trainium (no NVIDIA GPU), p2 and p3 (CUDA 13 has no Kepler and no Volta any more), p6e-gb200 (Arm); and the CPU
families m8i, c8i, r8i and -flex, which nobody has asked for yet.
GPUs, disks and EFA: EC2's DescribeInstanceTypes, as published by Karpenter (aws/karpenter-provider-aws, August 2026,
`instance-local-nvme`, `nvidia.com/gpu`, `vpc.amazonaws.com/efa`).
Training plans: ReservedCapacityInstanceType. Processing jobs take the same types but for the families named below.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """What one instance of a type has."""

    gpus: int = 0
    local_disk_gb: int | None = None
    """SageMaker uses this disk and attaches no other. None: the type has none, and gets a volume."""
    efa: bool = False


def _family(name: str, **sizes: tuple[int, int, bool]) -> Iterator[tuple[str, Machine]]:
    """GPUs, GB and EFA by size; an underscore stands before a size that begins with a digit."""
    for size, (gpus, disk_gb, efa) in sizes.items():
        yield f"ml.{name}.{size.lstrip('_')}", Machine(gpus, disk_gb or None, efa)


def _without_disk(names: str, sizes: str, *, efa: str = "") -> Iterator[tuple[str, Machine]]:
    """CPU families that have the same sizes, and those of the sizes that have EFA."""
    for name in names.split():
        for size in sizes.split():
            yield f"ml.{name}.{size}", Machine(efa=size in efa.split())


MACHINES: dict[str, Machine] = dict(
    [
        *_family(
            "g4dn",
            xlarge=(1, 125, False),
            _2xlarge=(1, 225, False),
            _4xlarge=(1, 225, False),
            _8xlarge=(1, 900, True),
            _12xlarge=(4, 900, True),
            _16xlarge=(1, 900, True),
        ),
        *_family(
            "g5",
            xlarge=(1, 250, False),
            _2xlarge=(1, 450, False),
            _4xlarge=(1, 600, False),
            _8xlarge=(1, 900, True),
            _12xlarge=(4, 3800, True),
            _16xlarge=(1, 1900, True),
            _24xlarge=(4, 3800, True),
            _48xlarge=(8, 7600, True),
        ),
        *_family(
            "g6",
            xlarge=(1, 250, False),
            _2xlarge=(1, 450, False),
            _4xlarge=(1, 600, False),
            _8xlarge=(1, 900, True),
            _12xlarge=(4, 3760, True),
            _16xlarge=(1, 1880, True),
            _24xlarge=(4, 3760, True),
            _48xlarge=(8, 7520, True),
        ),
        *_family(
            "g6e",
            xlarge=(1, 250, False),
            _2xlarge=(1, 450, False),
            _4xlarge=(1, 600, False),
            _8xlarge=(1, 900, True),
            _12xlarge=(4, 3800, True),
            _16xlarge=(1, 1900, True),
            _24xlarge=(4, 3800, True),
            _48xlarge=(8, 7600, True),
        ),
        *_family(
            "g7",
            _2xlarge=(1, 440, False),
            _4xlarge=(1, 875, False),
            _8xlarge=(1, 930, True),
            _12xlarge=(2, 1900, True),
            _24xlarge=(4, 3800, True),
            _48xlarge=(8, 7600, True),
        ),
        *_family(
            "g7e",
            _2xlarge=(1, 1900, False),
            _4xlarge=(1, 1900, False),
            _8xlarge=(1, 1900, True),
            _12xlarge=(2, 3800, True),
            _24xlarge=(4, 7600, True),
            _48xlarge=(8, 15200, True),
        ),
        *_family("p4d", _24xlarge=(8, 8000, True)),
        *_family("p4de", _24xlarge=(8, 8000, True)),
        *_family("p5", _4xlarge=(1, 3800, True), _48xlarge=(8, 30400, True)),
        *_family("p5e", _48xlarge=(8, 30400, True)),
        *_family("p5en", _48xlarge=(8, 30400, True)),
        *_family("p6-b200", _48xlarge=(8, 30400, True)),
        *_family("p6-b300", _48xlarge=(8, 30400, True)),
        *_family(
            "r5d",
            large=(0, 75, False),
            xlarge=(0, 150, False),
            _2xlarge=(0, 300, False),
            _4xlarge=(0, 600, False),
            _8xlarge=(0, 1200, False),
            _12xlarge=(0, 1800, False),
            _16xlarge=(0, 2400, False),
            _24xlarge=(0, 3600, False),
        ),
        *_without_disk("t3", "medium large xlarge 2xlarge"),
        *_without_disk("m4", "xlarge 2xlarge 4xlarge 10xlarge 16xlarge"),
        *_without_disk("c4", "xlarge 2xlarge 4xlarge 8xlarge"),
        *_without_disk("m5", "large xlarge 2xlarge 4xlarge 12xlarge 24xlarge"),
        *_without_disk("c5", "xlarge 2xlarge 4xlarge 9xlarge 18xlarge"),
        *_without_disk("c5n", "xlarge 2xlarge 4xlarge 9xlarge 18xlarge", efa="9xlarge 18xlarge"),
        *_without_disk("r5", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge"),
        *_without_disk(
            "m6i r6i", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge", efa="32xlarge"
        ),
        *_without_disk("c6i", "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge", efa="32xlarge"),
        *_without_disk(
            "m7i c7i r7i", "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge", efa="48xlarge"
        ),
    ]
)

NOT_FOR_PROCESSING = frozenset({"p4d", "p4de", "p5e", "p5en", "p6-b200", "p6-b300", "c5n"})
NOT_FOR_PROCESSING_TYPES = frozenset({"ml.p5.48xlarge"})

IN_TRAINING_PLANS = frozenset(
    {
        "ml.p4d.24xlarge",
        "ml.p4de.24xlarge",
        "ml.p5.4xlarge",
        "ml.p5.48xlarge",
        "ml.p5e.48xlarge",
        "ml.p5en.48xlarge",
        "ml.p6-b200.48xlarge",
        "ml.p6-b300.48xlarge",
    }
)


def machine(instance_type: str) -> Machine:
    """What an instance of a training type has. Raises ValueError for a type that no training job of ours runs on."""
    if instance_type not in MACHINES:
        raise ValueError(
            f"'{instance_type}' is not an instance type we know for training: give ml.<family>.<size> such as "
            "ml.g5.xlarge, or add the type to stacks/training_types.py"
        )
    return MACHINES[instance_type]


def processing_machine(instance_type: str) -> Machine:
    """The same for processing jobs. Raises ValueError for a type that none of ours runs on."""
    found = machine(instance_type)
    if not takes_processing(instance_type):
        raise ValueError(f"'{instance_type}' takes no processing jobs: give another type, such as ml.g5.xlarge")
    return found


def takes_processing(instance_type: str) -> bool:
    """Whether SageMaker runs processing jobs on a type that it trains on."""
    return instance_type not in NOT_FOR_PROCESSING_TYPES and instance_type.split(".")[1] not in NOT_FOR_PROCESSING
