"""A SageMaker Pipeline, and the role it starts its jobs with."""

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from stacks.constructs.service_role import ServiceRole
from stacks.pipeline_steps import Json


class ModelPipeline(Construct):
    """A pipeline that may start its own jobs, hand each its role, read the evaluation, and register into one group.

    `trains`: some of its jobs are training jobs.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        description: str,
        definition: Json,
        trains: bool,
        model_package_group: str,
        job_roles: list[ServiceRole],
        artifact_bucket: s3.IBucket,
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, id)
        self.role = ServiceRole(self, "Role", description=f"Starts the jobs of {name}")
        self.role.read_by_name(artifact_bucket, "runs/*/model/", "runs/*/evaluation/")
        self.role.use_key(key, writes=False, volumes=False)
        for statement in self._statements(model_package_group, job_roles, trains):
            self.role.add_to_policy(statement)

        self.pipeline = sagemaker.CfnPipeline(
            self,
            "Pipeline",
            pipeline_name=name,
            pipeline_description=description,
            role_arn=self.role.role_arn,
            pipeline_definition={"PipelineDefinitionBody": cdk.Stack.of(self).to_json_string(definition)},
        )
        # A run may be started the moment the pipeline exists: its roles must be able to do their work by then.
        self.pipeline.node.add_dependency(*(role.policy for role in (self.role, *job_roles)))

    def _statements(
        self, model_package_group: str, job_roles: list[ServiceRole], trains: bool
    ) -> list[iam.PolicyStatement]:
        def arn(resource: str) -> str:
            stack = cdk.Stack.of(self)
            return f"arn:{stack.partition}:sagemaker:{stack.region}:{stack.account}:{resource}"

        def actions(verbs: str, noun: str) -> list[str]:
            return [f"sagemaker:{verb}{noun}" for verb in verbs.split()]

        # SageMaker names a pipeline's jobs pipelines-<execution>-<step>-<random>.
        kinds = {"ProcessingJob": arn("processing-job/pipelines-*")}
        if trains:
            kinds["TrainingJob"] = arn("training-job/pipelines-*")
        return [
            *(
                iam.PolicyStatement(actions=actions("Create Describe Stop", kind), resources=[jobs])
                for kind, jobs in kinds.items()
            ),
            iam.PolicyStatement(actions=["sagemaker:AddTags"], resources=list(kinds.values())),
            iam.PolicyStatement(
                actions=[*actions("Create Describe", "ModelPackage"), "sagemaker:DescribeModelPackageGroup"],
                resources=[
                    arn(f"model-package-group/{model_package_group}"),
                    arn(f"model-package/{model_package_group}/*"),
                ],
            ),
            iam.PolicyStatement(
                actions=["iam:PassRole"],
                resources=[role.role_arn for role in job_roles],
                conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
            ),
        ]
