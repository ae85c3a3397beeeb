"""Which GPUs run our image for GPUs, and on which machine images: CUDA 13 on x86.

Compute capabilities: https://developer.nvidia.com/cuda-gpus. GPUs of the families: the pages of
https://aws.amazon.com/ec2/instance-types/#Accelerated_Computing. What CUDA 13 needs, 7.5 or newer and driver 580:
https://docs.nvidia.com/datacenter/tesla/drivers/cuda-toolkit-driver-and-architecture-matrix.html.
Drivers of machine images: InferenceAmiVersion of ProductionVariant and TransformAmiVersion of TransformResources in
SageMaker's API reference; https://docs.aws.amazon.com/sagemaker/latest/dg/inference-gpu-drivers.html.
"""

from dataclasses import dataclass

from stacks.instance_types import GPU_FAMILIES, family

LEAST_CAPABILITY = (7, 5)
"""Of CUDA 13, with which model_code/Dockerfile's base for GPUs is built."""

LEAST_DRIVER = 580
"""Of CUDA 13. An older one of a data-centre GPU may do by the compatibility package in the image: see DRIVERS."""


@dataclass(frozen=True)
class Gpu:
    """The GPU of a family, and the processors beside it."""

    name: str
    capability: tuple[int, int]
    host: str = "x86_64"


GPUS: dict[str, Gpu] = {
    "p3": Gpu("V100", (7, 0)),
    "p3dn": Gpu("V100", (7, 0)),
    "g4dn": Gpu("T4", (7, 5)),
    "p4d": Gpu("A100", (8, 0)),
    "p4de": Gpu("A100", (8, 0)),
    "g5": Gpu("A10G", (8, 6)),
    "g6": Gpu("L4", (8, 9)),
    "g6e": Gpu("L40S", (8, 9)),
    "p5": Gpu("H100", (9, 0)),
    "p5e": Gpu("H200", (9, 0)),
    "p5en": Gpu("H200", (9, 0)),
    "p6-b200": Gpu("B200", (10, 0)),
    "p6-b300": Gpu("B300", (10, 3)),
    "p6e-gb200": Gpu("GB200", (10, 0), "arm64"),
    "g7": Gpu("RTX PRO 4500 Blackwell", (12, 0)),
    "g7e": Gpu("RTX PRO 6000 Blackwell", (12, 0)),
}

DRIVERS: dict[str, int] = {
    "al2-ami-sagemaker-inference-gpu-2": 535,
    "al2-ami-sagemaker-inference-gpu-2-1": 535,
    "al2-ami-sagemaker-inference-gpu-3-1": 550,
    "al2023-ami-sagemaker-inference-gpu-4-1": 580,
    "al2-ami-sagemaker-batch-gpu-470": 470,
    "al2-ami-sagemaker-batch-gpu-535": 535,
}
"""NVIDIA's driver on each machine image that SageMaker offers for inference. Transform jobs have none with 580."""


def check(instance_type: str) -> None:
    """Raises ValueError for a type whose GPU, or whose processors, cannot run our image. One without GPU can."""
    name = family(instance_type)
    if name not in GPU_FAMILIES:
        return
    gpu = GPUS[name]
    if gpu.capability < LEAST_CAPABILITY:
        found, wanted = (".".join(map(str, version)) for version in (gpu.capability, LEAST_CAPABILITY))
        raise ValueError(
            f"'{instance_type}' has {gpu.name} GPUs of compute capability {found}, and CUDA 13 of our image wants "
            f"{wanted}: give a newer family, such as g4dn, g5 or g6"
        )
    if gpu.host != "x86_64":
        raise ValueError(f"'{instance_type}' has {gpu.host} processors, and our image is for x86_64: give another type")
