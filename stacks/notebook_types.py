"""The types of notebook instances: InstanceType of CreateNotebookInstance in SageMaker's API, November 2026.

Without Inferentia, Trainium and p2, which our code does not run on. A test holds the table to botocore's enumeration.
"""

from stacks.instance_types import family

NOTEBOOK_SIZES: dict[str, tuple[str, ...]] = {
    name: tuple(sizes.split())
    for name, sizes in {
        "c4": "xlarge 2xlarge 4xlarge 8xlarge",
        "c5": "xlarge 2xlarge 4xlarge 9xlarge 18xlarge",
        "c5d": "xlarge 2xlarge 4xlarge 9xlarge 18xlarge",
        "c6i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
        "c6id": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
        "c7i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
        "g4dn": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge",
        "g5": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
        "g6": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
        "g6e": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
        "g7e": "2xlarge 4xlarge 8xlarge 12xlarge 24xlarge 48xlarge",
        "m4": "xlarge 2xlarge 4xlarge 10xlarge 16xlarge",
        "m5": "xlarge 2xlarge 4xlarge 12xlarge 24xlarge",
        "m5d": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge",
        "m6i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
        "m6id": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
        "m7i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
        "p3": "2xlarge 8xlarge 16xlarge",
        "p3dn": "24xlarge",
        "p4d": "24xlarge",
        "p4de": "24xlarge",
        "p5": "4xlarge 48xlarge",
        "p5en": "48xlarge",
        "p6-b200": "48xlarge",
        "r5": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge",
        "r6i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
        "r6id": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 32xlarge",
        "r7i": "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge",
        "t2": "medium large xlarge 2xlarge",
        "t3": "medium large xlarge 2xlarge",
    }.items()
}


def check(instance_type: str) -> None:
    """Raises ValueError for a type that SageMaker has no notebooks of, with those of its family that it has."""
    name = family(instance_type)
    sizes = [f"ml.{name}.{size}" for size in NOTEBOOK_SIZES.get(name, ())]
    if instance_type not in sizes:
        known = f"of {name} it has {', '.join(sizes)}" if sizes else f"it has none of family {name}"
        raise ValueError(f"SageMaker has no '{instance_type}' for notebooks: {known}")
