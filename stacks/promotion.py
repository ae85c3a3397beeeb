"""Who moves releases: the role that fetches them from another account, and the one that keeps their record.

Both are assumed, for the minutes that it takes, by those who have the policy `amplify-<env>-promoter`. The first writes
nothing but copies into this environment; the second writes nothing but records, and asks the endpoint.
"""

from typing import Any

import aws_cdk as cdk
from constructs import Construct

from stacks.config import Environment
from stacks.config.promotion import Neighbours
from stacks.constructs.account_role import AccountRole, promotion_role_name, release_role_name
from stacks.constructs.people_policy import PeoplePolicy
from stacks.registry import RegistryStack
from stacks.storage import StorageStack

RELEASES = "releases/"  # of the artifact bucket: copies of artefacts, golden answers, the record
MODELS = "runs/*/model/"
PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:DescribeImages", "ecr:DescribeImageScanFindings")
PUSH = (
    *("ecr:BatchCheckLayerAvailability", "ecr:InitiateLayerUpload", "ecr:UploadLayerPart"),
    *("ecr:CompleteLayerUpload", "ecr:PutImage", "ecr:BatchGetImage", "ecr:DescribeImages"),
)


class PromotionStack(cdk.Stack):
    """Roles and a policy. No state: what they write is in the artifact bucket and in Parameter Store."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        neighbours: Neighbours,
        storage: StorageStack,
        registry: RegistryStack,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, description="AMPLIFY: who promotes and records releases", **kwargs)
        self._environment, self._storage, self._registry = environment, storage, registry
        self._name = environment.resource_name
        roles = [self._release_role(made_here=neighbours.source is None)]
        if neighbours.source is not None:
            roles.append(self._promotion_role(neighbours.source))
        promoter = PeoplePolicy(
            self,
            "promoter",
            resource_name=self._name,
            does="Promote releases, watch their deployment, keep their record",
            roles=environment.people.promoters,
        )
        promoter.do("sts:AssumeRole", on=[role.role_arn for role in roles])
        for role, key in zip(roles, ("ReleaseRoleArn", "PromotionRoleArn"), strict=False):
            cdk.CfnOutput(self, key, value=role.role_arn)

    def _promotion_role(self, source: Environment) -> AccountRole:
        role = AccountRole(
            self,
            "PromotionRole",
            name=promotion_role_name(self._environment),
            description=f"Copies releases of {source.name} into {self._environment.name}",
        )
        self._let_fetch(role, source)
        self._let_keep(role)
        self._let_read_stacks(role)
        return role

    def _let_fetch(self, role: AccountRole, source: Environment) -> None:
        """From the other account, as far as its own policies say the same.

        Bucket and key have generated names there: the account bounds them, and the start of the bucket's name.
        """
        bucket = f"arn:{self.partition}:s3:::{source.resource_name}-storage-artifactbucket*"
        there: dict[str, object] = {"StringEquals": {"aws:ResourceAccount": source.account}}
        role.do(
            *("s3:GetObject", "s3:GetObjectVersion"),
            on=[f"{bucket}/{prefix}*" for prefix in (RELEASES, MODELS, "images/", "drift/")],
            where=there,
        )
        listed: dict[str, object] = {"StringLike": {"s3:prefix": ["drift/*"]}}
        role.do("s3:ListBucket", on=[bucket], where=there | listed)
        via_s3 = {"kms:ViaService": f"s3.{source.region}.amazonaws.com", "aws:ResourceAccount": source.account}
        keys = f"arn:{self.partition}:kms:{source.region}:{source.account}:key/*"
        role.do("kms:Decrypt", on=[keys], where={"StringEquals": via_s3})
        role.do(*PULL, on=[self._arn("ecr", f"repository/{source.resource_name}", source)])
        packages = self._arn("sagemaker", f"model-package/{source.resource_name}/*", source)
        role.do("sagemaker:DescribeModelPackage", on=[packages])

    def _let_keep(self, role: AccountRole) -> None:
        bucket, repository = self._storage.artifact_bucket, self._registry.repository
        role.do(
            *("s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"),
            *("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
            on=[bucket.arn_for_objects(f"{RELEASES}*")],
        )
        role.do("s3:ListBucketMultipartUploads", on=[bucket.bucket_arn])
        self._let_list_releases(role)
        role.use_key(self._storage.key, bucket, writes=True)
        role.do(*PUSH, on=[repository.repository_arn])
        group = self._arn("sagemaker", f"model-package-group/{self._name}")
        packages = self._arn("sagemaker", f"model-package/{self._name}/*")
        role.do("sagemaker:CreateModelPackage", on=[group, packages])
        role.do("sagemaker:DescribeModelPackage", on=[packages])
        role.do("sagemaker:ListModelPackages", on=["*"])  # AWS defines no resource for it

    def _release_role(self, *, made_here: bool) -> AccountRole:
        role = AccountRole(
            self,
            "ReleaseRole",
            name=release_role_name(self._environment),
            description=f"Watches deployments of {self._environment.name} and keeps the record of its releases",
        )
        bucket = self._storage.artifact_bucket
        role.do("s3:GetObject", "s3:PutObject", on=[bucket.arn_for_objects(f"{RELEASES}*")])
        if made_here:
            role.do("s3:GetObject", on=[bucket.arn_for_objects(f"{MODELS}*")])  # a release made here lies there
        self._let_list_releases(role)
        role.use_key(self._storage.key, bucket, writes=True)
        role.do("ssm:GetParameter", "ssm:PutParameter", on=[self._arn("ssm", f"parameter/amplify/{self._name}/*")])
        role.do("ecr:DescribeImages", on=[self._registry.repository.repository_arn])
        role.do("sagemaker:DescribeModelPackage", on=[self._arn("sagemaker", f"model-package/{self._name}/*")])
        endpoint = self._arn("sagemaker", f"endpoint/{self._name}")
        made = [self._arn("sagemaker", f"{kind}/*") for kind in ("endpoint-config", "model")]  # named by CloudFormation
        role.do("sagemaker:DescribeEndpoint", on=[endpoint])
        role.do("sagemaker:DescribeEndpointConfig", "sagemaker:DescribeModel", on=made)
        namespace = {"StringEquals": {"cloudwatch:namespace": self._environment.metric_namespace}}
        role.do("cloudwatch:PutMetricData", on=["*"], where=namespace)
        self._let_read_stacks(role)
        return role

    def _let_list_releases(self, role: AccountRole) -> None:
        listed = {"StringLike": {"s3:prefix": [f"{RELEASES}*"]}}
        role.do("s3:ListBucket", on=[self._storage.artifact_bucket.bucket_arn], where=listed)

    def _let_read_stacks(self, role: AccountRole) -> None:
        stacks = self._arn("cloudformation", f"stack/{self._name}-*/*")
        role.do("cloudformation:DescribeStacks", "cloudformation:ListStackResources", on=[stacks])

    def _arn(self, service: str, resource: str, of: Environment | None = None) -> str:
        region, account = (self.region, self.account) if of is None else (of.region, of.account)
        return f"arn:{self.partition}:{service}:{region}:{account}:{resource}"
