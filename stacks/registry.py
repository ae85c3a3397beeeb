"""Where models are registered and their images kept: one model package group, one image repository."""

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from stacks.config import Environment
from stacks.constructs.account_role import promotion_statement


class RegistryStack(cdk.Stack):
    """State, retained like the buckets: a release names a package of the group and an image of the repository."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        key: kms.IKey,
        targets: Sequence[Environment] = (),
        **kwargs: Any,
    ) -> None:
        """`targets`: the environments whose promotion roles fetch releases from here."""
        super().__init__(scope, id, description="AMPLIFY: registered models and their images", **kwargs)

        self.model_package_group = sagemaker.CfnModelPackageGroup(
            self,
            "ModelPackageGroup",
            model_package_group_name=environment.resource_name,
            model_package_group_description="AMPLIFY models, each with its recipe, data, evaluation and image",
        )
        self.model_package_group.apply_removal_policy(cdk.RemovalPolicy.RETAIN)

        self.repository = ecr.Repository(
            self,
            "Repository",
            repository_name=environment.resource_name,
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            image_scan_on_push=True,
            encryption=ecr.RepositoryEncryption.KMS,
            encryption_key=key,
            # Only untagged images (layers of broken pushes) expire: a count of tagged ones would one day take the image
            # that a release from last year still names.
            lifecycle_rules=[ecr.LifecycleRule(tag_status=ecr.TagStatus.UNTAGGED, max_image_age=cdk.Duration.days(14))],
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )

        if targets:
            self._let_fetch_releases(targets)

        # Spelt out, not taken from the resource: all of it is known, and the reader of a diff sees the image at once.
        self.repository_uri = f"{self.account}.dkr.ecr.{self.region}.{self.url_suffix}/{environment.resource_name}"

        self.export_value(self.repository.repository_arn)  # always, as in storage.py

        cdk.CfnOutput(self, "ModelPackageGroupName", value=environment.resource_name)
        cdk.CfnOutput(self, "RepositoryUri", value=self.repository_uri)

    def _let_fetch_releases(self, targets: Sequence[Environment]) -> None:
        """The image of a release, what its scan found, and whether its package is approved still."""
        images = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:DescribeImages"]
        packages = self.format_arn(
            service="sagemaker",
            resource="model-package",
            resource_name=f"{self.model_package_group.model_package_group_name}/*",
        )
        statements = []
        for target in targets:
            self.repository.add_to_resource_policy(
                promotion_statement(target, "ImagesAreFetchedFor", [*images, "ecr:DescribeImageScanFindings"], None)
            )
            statements.append(
                promotion_statement(target, "ApprovalIsReadFor", ["sagemaker:DescribeModelPackage"], [packages])
            )
        document = iam.PolicyDocument(statements=statements)
        self.model_package_group.model_package_group_policy = document
