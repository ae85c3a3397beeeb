"""What people may do here, apart from asking the endpoint (which is `InvokePolicy` of the endpoint stack).

Nobody who trains can approve, nobody who approves can deploy, unless a role is named for both; and none of them can
hand a role to a service, read another's prefix, or change a policy.
"""

from typing import Any

import aws_cdk as cdk
from constructs import Construct

from stacks.config import Environment
from stacks.constructs.account_role import release_role_name
from stacks.constructs.people_policy import PeoplePolicy
from stacks.drift_rights import drift_statements
from stacks.registry import RegistryStack
from stacks.storage import StorageStack

LAID_DOWN = ("proteins/", "heldout/", "weights/")
BOOTSTRAP_ROLES = ("deploy", "file-publishing", "lookup")  # of the CDK; there are no image assets to publish
LOG_GROUPS = ("/aws/sagemaker/ProcessingJobs", "/aws/sagemaker/TrainingJobs")


class PeopleStack(cdk.Stack):
    """Policies only."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        storage: StorageStack,
        registry: RegistryStack,
        image_build_arn: str | None,
        recorded: bool = False,
        **kwargs: Any,
    ) -> None:
        """`recorded`: the environment takes part in promotion, and its release role watches what is deployed."""
        super().__init__(
            scope, id, description="AMPLIFY: what trainers, approvers, deployers and auditors may", **kwargs
        )
        self._name, self._storage, self._registry = environment.resource_name, storage, registry
        self._release_role = release_role_name(environment) if recorded else None
        people = environment.people
        self.trainer: PeoplePolicy | None = None
        if image_build_arn is not None:
            self.trainer = self._policy("trainer", "Bring proteins, run pipelines and follow them", people.trainers)
            self._let_train(self.trainer, image_build_arn)
            self.export_value(self.trainer.managed_policy_arn)  # always, as in storage.py: a workbench has it
        self._let_approve(self._policy("approver", "Read what runs made, approve or reject models", people.approvers))
        self._let_deploy(
            self._policy("deployer", "Deploy by the roles of the CDK's bootstrap", people.deployers), image_build_arn
        )
        self._let_audit(
            self._policy("auditor", "See how everything is set, scored and logged", people.auditors), image_build_arn
        )
        # A policy of its own, for auditors too: both together are longer than IAM takes.
        drift = self._policy("drift", "Look whether everything is as it was deployed", people.auditors)
        drift.add_statements(*drift_statements(self, environment))

    def _policy(self, kind: str, does: str, roles: tuple[str, ...]) -> PeoplePolicy:
        return PeoplePolicy(self, kind, resource_name=self._name, does=does, roles=roles)

    def _let_train(self, policy: PeoplePolicy, image_build_arn: str) -> None:
        data, artifacts = self._storage.data_bucket, self._storage.artifact_bucket
        objects = [data.arn_for_objects(f"{prefix}*") for prefix in LAID_DOWN]
        # What is deleted leaves its old version, which nobody here can delete.
        policy.do("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", on=objects)
        policy.list(data, *LAID_DOWN)
        policy.read(artifacts, "runs/*/evaluation/", "images/")
        policy.list(artifacts, "runs/", "images/")
        policy.use_key(self._storage.key, data, artifacts, writes=True)

        # No iam:PassRole: a run's jobs have the roles that the pipeline's definition names.
        pipelines = [policy.arn("sagemaker", f"pipeline/{self._name}{end}") for end in ("", "-register")]
        runs = [f"{pipeline}/execution/*" for pipeline in pipelines]
        policy.do(
            "sagemaker:StartPipelineExecution",
            *("sagemaker:DescribePipeline", "sagemaker:ListPipelineExecutions"),
            on=pipelines,
        )
        policy.do("sagemaker:StopPipelineExecution", "sagemaker:RetryPipelineExecution", on=runs)
        self._let_follow_runs(policy, runs)
        self._let_read_the_registry(policy)
        # Not StartBuild: its request may bring another buildspec, another image, other variables. Whoever starts builds
        # runs what they like as the build, and by the image that it pushes as every job: that is a deployer's right.
        policy.do("codebuild:ListBuildsForProject", "codebuild:BatchGetBuilds", on=[image_build_arn])
        self._let_read_outputs(policy)

    def _let_approve(self, policy: PeoplePolicy) -> None:
        artifacts = self._storage.artifact_bucket
        policy.read(
            artifacts, "runs/*/model/", "runs/*/evaluation/", "images/"
        )  # a release names the bytes that were read
        policy.list(artifacts, "images/")  # without it, what is not kept would look like what may not be read
        policy.use_key(self._storage.key, artifacts)
        self._let_read_the_registry(policy)
        packages = [policy.arn("sagemaker", f"model-package/{self._name}/*")]
        policy.do("sagemaker:UpdateModelPackage", on=packages)
        pipelines = [policy.arn("sagemaker", f"pipeline/{self._name}{end}") for end in ("", "-register")]
        policy.do("sagemaker:ListPipelineExecutions", on=pipelines)
        self._let_follow_runs(policy, [f"{pipeline}/execution/*" for pipeline in pipelines])
        self._let_read_outputs(policy)

    def _let_deploy(self, policy: PeoplePolicy, image_build_arn: str | None) -> None:
        """No change of its own: what is deployed is what the CDK's roles and the execution role of CloudFormation may.
        What `amplify deploy` looks at is read: whether the release is registered, and what the endpoint then serves.
        """
        roles = [f"cdk-hnb659fds-{role}-role-{self.account}-{self.region}" for role in BOOTSTRAP_ROLES]
        roles += [self._release_role] if self._release_role is not None else []
        policy.do("sts:AssumeRole", on=[f"arn:{self.partition}:iam::{self.account}:role/{role}" for role in roles])
        if self._release_role is None:  # else that role reads what is released; here its version has to do
            listed = {"StringLike": {"s3:prefix": ["runs/*/model/*"]}}
            policy.do("s3:ListBucketVersions", on=[self._storage.artifact_bucket.bucket_arn], where=listed)
        policy.do("sagemaker:DescribeModelPackage", on=[policy.arn("sagemaker", f"model-package/{self._name}/*")])
        if image_build_arn is not None:
            artifacts = self._storage.artifact_bucket
            policy.do(
                *("codebuild:ListBuildsForProject", "codebuild:BatchGetBuilds", "codebuild:StartBuild"),
                on=[image_build_arn],
            )
            policy.do("ecr:DescribeImages", on=[self._registry.repository.repository_arn])
            policy.read(artifacts, "images/")
            policy.list(artifacts, "images/")  # without it, what is not kept would look like what may not be read
            policy.use_key(self._storage.key, artifacts)
        self._let_see_what_is_served(policy)
        self._let_read_outputs(policy)

    def _let_audit(self, policy: PeoplePolicy, image_build_arn: str | None) -> None:
        name, artifacts, key = self._name, self._storage.artifact_bucket, self._storage.key
        policy.read(artifacts, "runs/*/evaluation/", "images/", "drift/")
        policy.list(artifacts, "runs/", "images/", "drift/")
        policy.use_key(key, artifacts)  # not the data bucket, whose objects are under the same key
        policy.do(
            *("s3:GetBucketPolicy", "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration"),
            *("s3:GetBucketVersioning", "s3:GetBucketLogging", "s3:GetBucketPublicAccessBlock"),
            on=[bucket.bucket_arn for bucket in self._storage.buckets],
        )
        policy.do("kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListGrants", on=[key.key_arn])
        pipelines = [policy.arn("sagemaker", f"pipeline/{name}{end}") for end in ("", "-register", "-drift")]
        policy.do("sagemaker:DescribePipeline", "sagemaker:ListPipelineExecutions", on=pipelines)
        self._let_follow_runs(policy, [f"{pipeline}/execution/*" for pipeline in pipelines])
        self._let_read_the_registry(policy)
        self._let_see_what_is_served(policy)
        policy.do("sagemaker:DescribeNotebookInstance", on=[policy.arn("sagemaker", f"notebook-instance/{name}")])
        policy.do("sagemaker:DescribeTransformJob", on=[policy.arn("sagemaker", f"transform-job/{name}-*")])
        if image_build_arn is not None:
            policy.do("codebuild:ListBuildsForProject", "codebuild:BatchGetBuilds", on=[image_build_arn])
        policy.do(
            "logs:DescribeLogStreams",
            *("logs:GetLogEvents", "logs:FilterLogEvents"),
            on=[
                policy.arn("logs", f"log-group:{group}:*")
                for group in (f"/aws/sagemaker/Endpoints/{name}", f"{name}-*")
            ],
        )
        policy.do(
            "cloudwatch:DescribeAlarms",
            "cloudwatch:DescribeAlarmHistory",
            on=[policy.arn("cloudwatch", f"alarm:{name}-*")],
        )
        policy.do(
            *("iam:GetRole", "iam:GetRolePolicy", "iam:ListRolePolicies", "iam:ListAttachedRolePolicies"),
            on=[f"arn:{self.partition}:iam::{self.account}:role/{name}-*"],
        )
        policy.do(
            *("iam:GetPolicy", "iam:GetPolicyVersion", "iam:ListPolicyVersions"),
            on=[f"arn:{self.partition}:iam::{self.account}:policy/{name}-*"],
        )
        policy.do(
            *("cloudformation:GetTemplate", "cloudformation:DescribeStackEvents"),
            "cloudformation:DescribeStackResources",
            on=[policy.arn("cloudformation", f"stack/{name}-*/*")],
        )
        policy.do(
            "servicequotas:ListServiceQuotas", on=["*"]
        )  # AWS defines it without a resource; for `amplify doctor`
        self._let_read_outputs(policy)

    def _let_follow_runs(self, policy: PeoplePolicy, runs: list[str]) -> None:
        policy.do(
            *("sagemaker:DescribePipelineExecution", "sagemaker:ListPipelineExecutionSteps"),
            *("sagemaker:DescribePipelineDefinitionForExecution", "sagemaker:ListPipelineParametersForExecution"),
            on=runs,
        )
        for kind, action in (("training", "DescribeTrainingJob"), ("processing", "DescribeProcessingJob")):
            policy.do(f"sagemaker:{action}", on=[policy.arn("sagemaker", f"{kind}-job/pipelines-*")])
        policy.do(
            *("logs:DescribeLogStreams", "logs:GetLogEvents", "logs:FilterLogEvents"),
            on=[policy.arn("logs", f"log-group:{group}:*") for group in LOG_GROUPS],
        )

    def _let_read_the_registry(self, policy: PeoplePolicy) -> None:
        policy.do("sagemaker:ListModelPackages", on=["*"])  # AWS defines it without a resource
        policy.do("sagemaker:DescribeModelPackage", on=[policy.arn("sagemaker", f"model-package/{self._name}/*")])
        policy.do("ecr:DescribeImages", "ecr:DescribeImageScanFindings", on=[self._registry.repository.repository_arn])

    def _let_see_what_is_served(self, policy: PeoplePolicy) -> None:
        """From the endpoint to its package. CloudFormation makes up the names of configurations and models, which do
        not begin with anything of ours."""
        name = self._name
        policy.do("sagemaker:DescribeEndpoint", on=[policy.arn("sagemaker", f"endpoint/{name}")])
        policy.do("sagemaker:DescribeInferenceComponent", on=[policy.arn("sagemaker", f"inference-component/{name}")])
        policy.do("sagemaker:DescribeEndpointConfig", on=[policy.arn("sagemaker", "endpoint-config/*")])
        policy.do("sagemaker:DescribeModel", on=[policy.arn("sagemaker", "model/*")])

    def _let_read_outputs(self, policy: PeoplePolicy) -> None:
        """By which the `amplify` command finds everything."""
        policy.do(
            "cloudformation:DescribeStacks",
            "cloudformation:ListStackResources",
            on=[policy.arn("cloudformation", f"stack/{self._name}-*/*")],
        )
