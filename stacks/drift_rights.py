"""Who may look whether an environment is as it was deployed: CloudFormation looks with the rights of who asks."""

from collections.abc import Iterator

import aws_cdk as cdk
from aws_cdk import aws_iam as iam

from stacks.config import Environment
from stacks.delivery_rights import READS

ABOUT_STACKS = (
    *("cloudformation:DescribeStacks", "cloudformation:DetectStackDrift", "cloudformation:DetectStackResourceDrift"),
    *("cloudformation:DescribeStackResourceDrifts", "cloudformation:ListStackResources"),
)


def drift_statements(stack: cdk.Stack, environment: Environment) -> Iterator[iam.PolicyStatement]:
    """All that detecting drift in the environment's stacks asks for. It reads how things are set, and the names of what
    buckets hold, by which S3 tells that a bucket is there; nothing that is kept."""
    stacks = _arn(stack, f"cloudformation:stack/{environment.resource_name}-*/*", environment)
    yield iam.PolicyStatement(actions=list(ABOUT_STACKS), resources=[stacks])
    # AWS defines it without a resource: a detection's number tells nothing.
    yield iam.PolicyStatement(actions=["cloudformation:DescribeStackDriftDetectionStatus"], resources=["*"])
    by_resource: dict[tuple[tuple[str, ...], bool], set[str]] = {}
    for reads in READS.values():
        by_resource.setdefault((reads.on, reads.tagged), set()).update(reads.actions)
    tags = {f"aws:ResourceTag/{key}": value for key, value in environment.tags.items()}
    for (resources, tagged), actions in by_resource.items():
        yield iam.PolicyStatement(
            actions=sorted(actions),
            resources=[_arn(stack, one, environment) for one in resources],
            conditions={"StringEquals": tags} if tagged else None,
        )


def _arn(stack: cdk.Stack, pattern: str, environment: Environment) -> str:
    """`sqs:{name}-*`, `iam::role/{name}-*`, `s3:::{name}-*` or `*` as an ARN."""
    if pattern == "*":
        return pattern
    service, _, resource = pattern.format(name=environment.resource_name).partition(":")
    if resource.startswith("::"):  # S3: neither region nor account
        return f"arn:{stack.partition}:{service}:{resource}"
    if resource.startswith(":"):
        return f"arn:{stack.partition}:{service}::{stack.account}:{resource[1:]}"
    return f"arn:{stack.partition}:{service}:{environment.region}:{stack.account}:{resource}"
