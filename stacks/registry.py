"""Where models are registered and their images kept: one model package group, one image repository."""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from stacks.config import Environment


class RegistryStack(cdk.Stack):
    """State, retained like the buckets: a release names a package of the group and an image of the repository."""

    def __init__(self, scope: Construct, id: str, *, environment: Environment, key: kms.IKey, **kwargs: Any) -> None:
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

        # Spelt out, not taken from the resource: all of it is known, and the reader of a diff sees the image at once.
        self.repository_uri = f"{self.account}.dkr.ecr.{self.region}.{self.url_suffix}/{environment.resource_name}"

        self.export_value(self.repository.repository_arn)  # always, as in storage.py

        cdk.CfnOutput(self, "ModelPackageGroupName", value=environment.resource_name)
        cdk.CfnOutput(self, "RepositoryUri", value=self.repository_uri)
