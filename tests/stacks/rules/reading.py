"""What rules read a template by."""

from collections.abc import Iterator
from typing import Any

from tests.stacks.iam import is_boundary
from tests.stacks.synthesis import Template, resources


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def allowing(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of an identity policy that allows something. A boundary's do not: see delivery.py."""
    for type_ in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
        for id_, policy in resources(template, type_).items():
            if type_ == "AWS::IAM::ManagedPolicy" and is_boundary(id_):
                continue
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
                if statement["Effect"] == "Allow":
                    yield id_, statement


def variants(template: Template) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every variant, shadows too: (id of its configuration, the configuration's properties, the variant)."""
    for id_, config in resources(template, "AWS::SageMaker::EndpointConfig").items():
        for field in ("ProductionVariants", "ShadowProductionVariants"):
            for variant in config["Properties"].get(field, []):
                yield id_, config["Properties"], variant


def resource_policies(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of a policy on a resource."""
    for type_, field in (
        ("AWS::S3::BucketPolicy", "PolicyDocument"),
        ("AWS::KMS::Key", "KeyPolicy"),
        ("AWS::ECR::Repository", "RepositoryPolicyText"),
        ("AWS::SageMaker::ModelPackageGroup", "ModelPackageGroupPolicy"),
        ("AWS::SNS::TopicPolicy", "PolicyDocument"),
        ("AWS::SQS::QueuePolicy", "PolicyDocument"),
    ):
        for id_, resource in resources(template, type_).items():
            for statement in resource["Properties"].get(field, {}).get("Statement", []):
                yield id_, statement
