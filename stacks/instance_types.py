"""What the templates must know about SageMaker's instance types: whether they hold a GPU, and local disks.

The disks decide encryption. Instances with local NVMe encrypt it in hardware, with a key that dies with the instance,
and SageMaker *refuses* a KMS key for their volume (`VolumeKmsKeyId` of a job, `KmsKeyId` of an endpoint configuration).
Every other type must have one. Source: the notes on those two fields in the API reference (ResourceConfig,
ProcessingClusterConfig, CreateEndpointConfig).
"""

import re

GPU_FAMILIES_WITHOUT_LOCAL_DISK = frozenset({"p3"})
GPU_FAMILIES_WITH_LOCAL_DISK = frozenset(
    {
        "g4dn",
        "g5",
        "g6",
        "g6e",
        "g7",
        "g7e",
        "p3dn",
        "p4d",
        "p4de",
        "p5",
        "p5e",
        "p5en",
        "p6-b200",
        "p6-b300",
        "p6e-gb200",
    }
)
CPU_FAMILIES_WITHOUT_LOCAL_DISK = frozenset(
    {"t2", "t3", "m4", "m5", "m6i", "m7i", "c4", "c5", "c5n", "c6i", "c7i", "r5", "r6i", "r7i"}
)
CPU_FAMILIES_WITH_LOCAL_DISK = frozenset({"m5d", "m6id", "c5d", "c6id", "r5d", "r6id"})

GPU_FAMILIES = GPU_FAMILIES_WITHOUT_LOCAL_DISK | GPU_FAMILIES_WITH_LOCAL_DISK
FAMILIES_WITH_LOCAL_DISK = GPU_FAMILIES_WITH_LOCAL_DISK | CPU_FAMILIES_WITH_LOCAL_DISK
FAMILIES = GPU_FAMILIES | FAMILIES_WITH_LOCAL_DISK | CPU_FAMILIES_WITHOUT_LOCAL_DISK


def family(instance_type: str) -> str:
    """`ml.g5.xlarge` → `g5`. Raises ValueError for a name that is no SageMaker type or of an unknown family."""
    match = re.fullmatch(r"ml\.([a-z0-9-]+)\.[a-z0-9-]+", instance_type)
    if match is None or match[1] not in FAMILIES:
        raise ValueError(
            f"'{instance_type}' is not an instance type we know: give ml.<family>.<size> with one of the families "
            f"{', '.join(sorted(FAMILIES))}, or add the family to stacks/instance_types.py"
        )
    return match[1]


def has_gpu(instance_type: str) -> bool:
    """Whether the type carries an NVIDIA GPU."""
    return family(instance_type) in GPU_FAMILIES


def has_local_disk(instance_type: str) -> bool:
    """Whether the type carries local NVMe, so that SageMaker refuses a KMS key for its volume."""
    return family(instance_type) in FAMILIES_WITH_LOCAL_DISK


def vcpus(instance_type: str) -> int:
    """How many virtual processors the type has: two below xlarge, four for each x of the others.

    Source: the sizes of https://aws.amazon.com/ec2/instance-types/; c4.8xlarge is the one family member with more.
    """
    name, size = family(instance_type), instance_type.rpartition(".")[2]
    if (name, size) == ("c4", "8xlarge"):
        return 36
    if size in ("medium", "large"):
        return 2
    count = re.fullmatch(r"(\d*)xlarge", size)
    if count is None:
        raise ValueError(f"'{instance_type}' is of size '{size}': give medium, large or <number>xlarge")
    return 4 * int(count[1] or 1)
