"""The identity of one job, endpoint, build or function: with the right to nothing, and each method adds one thing.

The wildcards that AWS itself forces are explained below; every other `*` ends a prefix that only this environment
writes.
"""

import hashlib

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct, DependencyGroup, IDependable

from stacks.vpc_config import VpcConfig

SAGEMAKER = "sagemaker.amazonaws.com"
CODEBUILD = "codebuild.amazonaws.com"
SCHEDULER = "scheduler.amazonaws.com"
LAMBDA = "lambda.amazonaws.com"


class ServiceRole(iam.Role):
    """A role that one service of AWS, SageMaker unless said, and only on behalf of this account, can assume."""

    def __init__(self, scope: Construct, id: str, *, description: str, service: str = SAGEMAKER) -> None:
        # Lambda says nothing about whose function it is when it takes a role, and takes none of another account.
        whose = {} if service == LAMBDA else {"StringEquals": {"aws:SourceAccount": cdk.Stack.of(scope).account}}
        super().__init__(scope, id, description=description, assumed_by=iam.ServicePrincipal(service, conditions=whose))
        self._of_releases: list[iam.Policy] = []

    @property
    def policy(self) -> IDependable:
        """What the role may do. CloudFormation makes it beside the role's users unless they depend on it."""
        return DependencyGroup(self.node.find_child("DefaultPolicy"), *self._of_releases)

    def read(self, bucket: s3.IBucket, *prefixes: str) -> None:
        """Objects below the prefixes, and the list of them."""
        self.read_by_name(bucket, *prefixes)
        self._allow(
            ["s3:ListBucket"], [bucket.bucket_arn], {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}}
        )

    def read_by_name(self, bucket: s3.IBucket, *prefixes: str) -> None:
        """Objects below the prefixes, whose names it knows: no list."""
        self._allow(["s3:GetObject"], [bucket.arn_for_objects(f"{prefix}*") for prefix in prefixes])

    def read_object(self, bucket: s3.IBucket, key: str) -> None:
        """Exactly one object."""
        self._allow(["s3:GetObject"], [bucket.arn_for_objects(key)])

    def read_released(self, bucket: s3.IBucket, key: str) -> None:
        """Exactly one object, the released model, by a policy of this release.

        CloudFormation makes the next one before it changes the endpoint, and takes this one away when all is done: an
        update that is rolled back starts instances of the old model, which have to read it still.
        """
        release = hashlib.sha256(key.encode()).hexdigest()[:8]
        statement = iam.PolicyStatement(actions=["s3:GetObject"], resources=[bucket.arn_for_objects(key)])
        self._of_releases.append(iam.Policy(self, f"Model{release}", statements=[statement], roles=[self]))

    def read_input(self, bucket: s3.IBucket, key: str) -> None:
        """Exactly one object, as the input of a job: SageMaker lists what begins with its name before it fetches it."""
        self.read_object(bucket, key)
        self._allow(["s3:ListBucket"], [bucket.bucket_arn], {"StringEquals": {"s3:prefix": key}})

    def write(self, bucket: s3.IBucket, *prefixes: str) -> None:
        """New objects below the prefixes. No deletion: what a run made stays until its life-cycle rule."""
        objects = [bucket.arn_for_objects(f"{prefix}*") for prefix in prefixes]
        self._allow(["s3:PutObject", "s3:AbortMultipartUpload"], objects)

    def publish(self, *topics: sns.ITopic) -> None:
        """Notifications to these topics. `use_key` with writes, where they are encrypted."""
        self._allow(["sns:Publish"], [topic.topic_arn for topic in topics])

    def use_key(self, key: kms.IKey, *, writes: bool, volumes: bool) -> None:
        """Read what the key protects; with `writes` protect new objects; with `volumes` attach encrypted disks."""
        key.grant(self, "kms:Decrypt")
        if writes:
            key.grant(self, "kms:GenerateDataKey", "kms:Encrypt")
        if volumes:
            self.attach_volumes(key)

    def attach_volumes(self, key: kms.IKey) -> None:
        """Disks under the key, which the service attaches by a grant: nothing else that the key protects."""
        key.grant(self, "kms:DescribeKey")
        self._allow(["kms:CreateGrant"], [key.key_arn], {"Bool": {"kms:GrantIsForAWSResource": "true"}})

    def run_as_container(self, repository: ecr.IRepository, *, log_group: str, metric_namespace: str) -> None:
        """Pull the image of this repository, write the log, publish the metrics that SageMaker reads from it."""
        self.pull(repository)
        self.write_log(log_group)
        # cloudwatch:PutMetricData has no resource: the namespace condition is what bounds it.
        self._allow(["cloudwatch:PutMetricData"], ["*"], {"StringEquals": {"cloudwatch:namespace": metric_namespace}})

    def write_log(self, log_group: str) -> None:
        """Into a log group that SageMaker names, and that the first who writes there makes."""
        stack = cdk.Stack.of(self)
        # The end `:*` is part of a log group's ARN in every policy but for tags; without it nothing matches:
        # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_LogGroup.html
        group = f"arn:{stack.partition}:logs:{stack.region}:{stack.account}:log-group:{log_group}:*"
        writes = ["logs:CreateLogGroup", "logs:DescribeLogStreams", "logs:CreateLogStream", "logs:PutLogEvents"]
        self._allow(writes, [group])

    def put_metrics(self, namespace: str) -> None:
        """Publish metrics of its own in one namespace."""
        self._allow(["cloudwatch:PutMetricData"], ["*"], {"StringEquals": {"cloudwatch:namespace": namespace}})

    def pull(self, repository: ecr.IRepository) -> None:
        """Images of this repository."""
        repository.grant_pull(self)  # ecr:GetAuthorizationToken has no resource to name: AWS defines it for * only

    def log_to(self, log_group: logs.ILogGroup) -> None:
        """Write into one log group that a stack made."""
        # A log group's ARN ends in `:*`, which stands for its streams.
        self._allow(["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn])

    def do(self, *actions: str, on: str) -> None:
        """Exactly these actions, on exactly this resource."""
        self._allow(list(actions), [on])

    def join(self, vpc: VpcConfig) -> None:
        """Have network interfaces in these subnets and this security group. SageMaker makes them as the role.

        The actions: https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html, what CreateTrainingJob,
        CreateProcessingJob and CreateModel need in a private VPC. What they can be bound to: the Service Authorization
        Reference of Amazon EC2.
        """

        def arn(resource: str) -> str:
            stack = cdk.Stack.of(self)
            return f"arn:{stack.partition}:ec2:{stack.region}:{stack.account}:{resource}"

        subnets = [arn(f"subnet/{subnet}") for subnet in vpc.subnets]
        interfaces = [arn("network-interface/*")]  # each is named by EC2 when it is made; the subnets are exact
        group = arn(f"security-group/{vpc.security_group}")
        self._allow(["ec2:CreateNetworkInterface"], [*subnets, group, *interfaces])
        self._allow(
            ["ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface"],
            interfaces,
            {"ArnEquals": {"ec2:Subnet": subnets}},
        )
        # Taking a permission back opens nothing, and a clean-up must not fail for a key that may not be there.
        self._allow(["ec2:DeleteNetworkInterfacePermission"], interfaces)
        self._allow(  # AWS defines these without a resource
            [
                *("ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups"),
                *("ec2:DescribeSubnets", "ec2:DescribeVpcs"),
            ],
            ["*"],
        )

    def _allow(self, actions: list[str], resources: list[str], conditions: dict[str, object] | None = None) -> None:
        self.add_to_policy(iam.PolicyStatement(actions=actions, resources=resources, conditions=conditions))
