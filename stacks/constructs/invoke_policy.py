"""The right to ask one endpoint, given to the roles that the settings name and to nobody else."""

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.config.people import role_name
from stacks.vpc_config import VpcConfig


class InvokePolicy(iam.ManagedPolicy):
    """One policy of a fixed name, so that a permission set of IAM Identity Center can name it too.

    It starts with the right to nothing; each method adds one way of asking.
    """

    def __init__(self, scope: Construct, id: str, *, endpoint_name: str, invokers: Sequence[str]) -> None:
        super().__init__(
            scope,
            id,
            managed_policy_name=f"{endpoint_name}-invoke",
            description=f"Ask {endpoint_name}",  # a changed description would replace the policy, whose name is taken
            roles=[
                iam.Role.from_role_name(scope, f"Invoker{number}", role_name(invoker))
                for number, invoker in enumerate(invokers)
            ],
        )
        self._name = endpoint_name
        # By which the `amplify` command finds what it asks: the stacks' outputs.
        stacks = cdk.Stack.of(self).format_arn(
            service="cloudformation", resource="stack", resource_name=f"{endpoint_name}-*/*"
        )
        self._allow(["cloudformation:DescribeStacks"], [stacks])

    def ask(self) -> None:
        """Answers at once, whole or as a stream."""
        actions = ["sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointWithResponseStream"]
        self._allow(actions, [self._arn("endpoint", self._name)])

    def ask_component(self) -> None:
        """The same of the inference component that has the endpoint's name."""
        actions = ["sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointWithResponseStream"]
        arns = [self._arn("endpoint", self._name), self._arn("inference-component", self._name)]
        self._allow(actions, arns)

    def ask_later(self, bucket: s3.IBucket, key: kms.IKey, *, puts: str, gets: Sequence[str]) -> None:
        """By an object below `puts`; the answer is one below `gets`."""
        self._allow(["sagemaker:InvokeEndpointAsync"], [self._arn("endpoint", self._name)])
        self.exchange(bucket, key, puts=puts, gets=gets)

    def run_jobs(self, model_arn: str) -> None:
        """Transform jobs of this model, under names that begin with the endpoint's."""
        jobs = [self._arn("transform-job", f"{self._name}-*")]
        self._allow(["sagemaker:CreateTransformJob"], jobs, {"ArnEquals": {"sagemaker:ModelArn": model_arn}})
        self._allow(["sagemaker:AddTags", "sagemaker:DescribeTransformJob", "sagemaker:StopTransformJob"], jobs)
        self._read_log("/aws/sagemaker/TransformJobs")

    def make_models_of_packages(self, role_arn: str, vpc: VpcConfig | None, *, like: str) -> None:
        """Models for jobs, under names of their own and under this role only; SageMaker takes approved packages alone.
        Where they run is read from the model whose ARN is `like`.

        Isolated, for then the container meets neither the role's credentials nor a network; and in the network of the
        environment where it has one.
        """
        models = [self._arn("model", f"{self._name}-batch-*")]
        conditions: dict[str, object] = {"Bool": {"sagemaker:NetworkIsolation": "true"}}
        if vpc is not None:
            inside = {"sagemaker:VpcSubnets": list(vpc.subnets), "sagemaker:VpcSecurityGroupIds": [vpc.security_group]}
            # ForAllValues alone is true of a request that names none.
            conditions |= {"ForAllValues:StringEquals": inside, "Null": dict.fromkeys(inside, "false")}
        self._allow(["sagemaker:CreateModel"], models, conditions)
        self._allow(["sagemaker:DeleteModel"], models)
        self._allow(["sagemaker:DescribeModel"], [like])
        self._allow(["iam:PassRole"], [role_arn], {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}})
        jobs = [self._arn("transform-job", f"{self._name}-*")]
        self._allow(["sagemaker:CreateTransformJob"], jobs, {"ArnLike": {"sagemaker:ModelArn": models}})
        self._allow(["sagemaker:DescribeModelPackage"], [self._arn("model-package", f"{self._name}/*")])
        self._allow(["sagemaker:ListModelPackages"], ["*"])  # AWS defines it without a resource

    def exchange(self, bucket: s3.IBucket, key: kms.IKey, *, puts: str, gets: Sequence[str]) -> None:
        """Put objects below one prefix of the bucket, list and get those below others."""
        self._allow(["s3:PutObject", "s3:AbortMultipartUpload"], [bucket.arn_for_objects(f"{puts}*")])
        self._allow(["s3:GetObject"], [bucket.arn_for_objects(f"{prefix}*") for prefix in gets])
        listed = [f"{prefix}*" for prefix in gets]
        self._allow(["s3:ListBucket"], [bucket.bucket_arn], {"StringLike": {"s3:prefix": listed}})
        # Of what S3 keeps in this bucket, and nothing else that the key protects: see PeoplePolicy.use_key.
        through = f"s3.{cdk.Stack.of(self).region}.amazonaws.com"
        of_the_bucket = {"kms:ViaService": through, "kms:EncryptionContext:aws:s3:arn": bucket.bucket_arn}
        self._allow(["kms:Decrypt", "kms:GenerateDataKey"], [key.key_arn], {"StringEquals": of_the_bucket})

    def _read_log(self, group: str) -> None:
        """What jobs of ours wrote into a group that every job of the account has a stream in."""
        stack = cdk.Stack.of(self)
        arn = f"arn:{stack.partition}:logs:{stack.region}:{stack.account}:log-group:{group}"
        self._allow(["logs:DescribeLogStreams"], [f"{arn}:*"])
        self._allow(["logs:GetLogEvents"], [f"{arn}:log-stream:{self._name}-*"])

    def _arn(self, resource: str, name: str) -> str:
        return cdk.Stack.of(self).format_arn(service="sagemaker", resource=resource, resource_name=name)

    def _allow(self, actions: list[str], resources: list[str], conditions: dict[str, object] | None = None) -> None:
        self.add_statements(iam.PolicyStatement(actions=actions, resources=resources, conditions=conditions))
