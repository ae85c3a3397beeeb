"""What the roles of deliveries may: tables. tests/stacks/test_delivery.py holds them to the templates, both ways."""

from collections.abc import Mapping
from dataclasses import dataclass

BOUNDED: Mapping[str, tuple[str, ...]] = {
    "cloudformation": ("DescribeStacks", "ListStackResources"),
    "cloudwatch": ("PutMetricData",),
    "codebuild": ("BatchGetBuilds", "ListBuildsForProject", "StartBuild"),
    "ec2": (
        *("CreateNetworkInterface", "CreateNetworkInterfacePermission"),
        *("DeleteNetworkInterface", "DeleteNetworkInterfacePermission"),
        *("DescribeDhcpOptions", "DescribeNetworkInterfaces", "DescribeSecurityGroups"),
        *("DescribeSubnets", "DescribeVpcs"),
        # The CDK's function that closes the default security group of a network.
        *("AuthorizeSecurityGroupEgress", "AuthorizeSecurityGroupIngress"),
        *("RevokeSecurityGroupEgress", "RevokeSecurityGroupIngress"),
    ),
    "ecr": (
        *("BatchCheckLayerAvailability", "BatchGetImage", "GetAuthorizationToken", "GetDownloadUrlForLayer"),
        *("CompleteLayerUpload", "InitiateLayerUpload", "PutImage", "UploadLayerPart"),
        *("DescribeImages", "DescribeImageScanFindings"),
    ),
    "kms": ("CreateGrant", "Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey"),
    "lambda": ("InvokeFunction",),
    "logs": (
        *("CreateLogGroup", "CreateLogStream", "PutLogEvents"),
        *("DescribeLogStreams", "FilterLogEvents", "GetLogEvents"),
    ),
    "s3": (
        *("AbortMultipartUpload", "DeleteObject", "GetObject", "GetObjectVersion", "ListBucket", "PutObject"),
        *("ListBucketMultipartUploads", "ListMultipartUploadParts"),
    ),
    "sagemaker": (
        *("AddTags", "CreateModelPackage", "CreateProcessingJob", "CreateTrainingJob", "CreateTransformJob"),
        *("CreateEndpoint", "DeleteEndpoint"),  # by the hour
        *("DescribeEndpoint", "DescribeEndpointConfig"),
        *("DescribeModel", "DescribeModelPackage", "DescribeModelPackageGroup", "DescribePipeline"),
        *("DescribePipelineDefinitionForExecution", "DescribePipelineExecution"),
        *("DescribeProcessingJob", "DescribeTrainingJob", "DescribeTransformJob"),
        *("InvokeEndpoint", "InvokeEndpointAsync", "InvokeEndpointWithResponseStream"),
        *("ListModelPackages", "ListPipelineExecutionSteps", "ListPipelineExecutions"),
        "ListPipelineParametersForExecution",
        *("RetryPipelineExecution", "StartPipelineExecution", "StopPipelineExecution"),
        *("StopNotebookInstance", "StopProcessingJob", "StopTrainingJob", "StopTransformJob"),
    ),
    "sns": ("Publish",),
    "sqs": ("SendMessage",),
    "ssm": ("GetParameter", "PutParameter"),
}
"""What roles of our templates do at most, all together. Not in it: IAM, but for one action (stacks/delivery.py)."""

BOUNDED_MODELS = ("CreateModel", "DeleteModel")
"""Of SageMaker, and only of models under our names: those that a notebook makes of packages, for transform jobs."""


@dataclass(frozen=True, kw_only=True)
class Reads:
    """What CloudFormation asks for, with the rights of who wants to know, to find drift of one type."""

    actions: tuple[str, ...]
    on: tuple[str, ...] = ("*",)
    """What they are asked of: service and resource of an ARN, or service, `:` and resource where it has no region.
    `{name}` is the environment's one fixed name; `*` is for actions that AWS defines without a resource."""
    tagged: bool = False
    """Only of what has the environment's tag, since nothing in its ARN tells whose it is."""


def _of_sagemaker(describe: str, resource: str, *more: str) -> Reads:
    return Reads(actions=(f"sagemaker:{describe}", "sagemaker:ListTags", *more), on=(f"sagemaker:{resource}",))


READS: Mapping[str, Reads] = {
    "AWS::ApplicationAutoScaling::ScalableTarget": Reads(
        actions=(
            *("application-autoscaling:DescribeScalableTargets", "application-autoscaling:DescribeScheduledActions"),
            "application-autoscaling:ListTagsForResource",
        )
    ),
    "AWS::ApplicationAutoScaling::ScalingPolicy": Reads(actions=("application-autoscaling:DescribeScalingPolicies",)),
    "AWS::Budgets::Budget": Reads(
        actions=("budgets:ViewBudget", "budgets:ListTagsForResource"), on=("budgets::budget/{name}",)
    ),
    "AWS::CloudWatch::Alarm": Reads(
        actions=("cloudwatch:DescribeAlarms", "cloudwatch:ListTagsForResource"), on=("cloudwatch:alarm:{name}-*",)
    ),
    "AWS::CloudWatch::Dashboard": Reads(
        actions=("cloudwatch:GetDashboard", "cloudwatch:ListTagsForResource"), on=("cloudwatch::dashboard/{name}",)
    ),
    # No schema says what is read of it. CloudFormation makes up its name, which does not begin with the stack's.
    "AWS::CodeBuild::Project": Reads(actions=("codebuild:BatchGetProjects",), on=("codebuild:project/*",)),
    "AWS::EC2::FlowLog": Reads(actions=("ec2:DescribeFlowLogs",)),
    "AWS::EC2::RouteTable": Reads(actions=("ec2:DescribeRouteTables",)),
    "AWS::EC2::SecurityGroup": Reads(actions=("ec2:DescribeSecurityGroups",)),
    "AWS::EC2::SecurityGroupEgress": Reads(actions=("ec2:DescribeSecurityGroupRules",)),
    "AWS::EC2::SecurityGroupIngress": Reads(actions=("ec2:DescribeSecurityGroups", "ec2:DescribeSecurityGroupRules")),
    "AWS::EC2::Subnet": Reads(actions=("ec2:DescribeSubnets", "ec2:DescribeNetworkAcls")),
    "AWS::EC2::SubnetRouteTableAssociation": Reads(actions=("ec2:DescribeRouteTables",)),
    "AWS::EC2::VPC": Reads(
        actions=(
            *("ec2:DescribeNetworkAcls", "ec2:DescribeSecurityGroups", "ec2:DescribeVpcAttribute"),
            *("ec2:DescribeVpcEncryptionControls", "ec2:DescribeVpcs"),
        )
    ),
    "AWS::EC2::VPCEndpoint": Reads(
        actions=("ec2:DescribeVpcEndpoints", "ec2:DescribeSubnets", "ec2:DescribeSecurityGroups", "ec2:DescribeVpcs")
    ),
    "AWS::ECR::Repository": Reads(
        actions=(
            *("ecr:DescribeRepositories", "ecr:GetLifecyclePolicy", "ecr:GetRepositoryPolicy"),
            "ecr:ListTagsForResource",
        ),
        on=("ecr:repository/{name}",),
    ),
    "AWS::Events::Rule": Reads(
        actions=("events:DescribeRule", "events:ListTargetsByRule", "events:ListTagsForResource"),
        on=("events:rule/{name}-*",),
    ),
    "AWS::IAM::ManagedPolicy": Reads(
        actions=("iam:GetPolicy", "iam:ListEntitiesForPolicy", "iam:GetPolicyVersion"), on=("iam::policy/{name}-*",)
    ),
    "AWS::IAM::Role": Reads(
        actions=("iam:GetRole", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:GetRolePolicy"),
        on=("iam::role/{name}-*",),
    ),
    "AWS::KMS::Key": Reads(
        actions=("kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListResourceTags"),
        on=("kms:key/*",),
        tagged=True,
    ),
    "AWS::Lambda::EventInvokeConfig": Reads(
        actions=("lambda:GetFunctionEventInvokeConfig",), on=("lambda:function:{name}-*",)
    ),
    "AWS::Lambda::Function": Reads(
        actions=(
            *("lambda:GetFunction", "lambda:GetFunctionCodeSigningConfig", "lambda:GetFunctionRecursionConfig"),
            *("lambda:GetRuntimeManagementConfig", "lambda:GetFunctionScalingConfig"),
        ),
        on=("lambda:function:{name}-*",),
    ),
    "AWS::Lambda::Permission": Reads(actions=("lambda:GetPolicy",), on=("lambda:function:{name}-*",)),
    "AWS::Logs::LogGroup": Reads(
        actions=(
            *("logs:DescribeLogGroups", "logs:ListTagsForResource", "logs:GetDataProtectionPolicy"),
            *("logs:DescribeIndexPolicies", "logs:DescribeResourcePolicies"),
        ),
        on=("*",),
    ),
    "AWS::S3::Bucket": Reads(
        actions=(
            *("s3:GetAccelerateConfiguration", "s3:GetAnalyticsConfiguration", "s3:GetBucketAbac", "s3:GetBucketCORS"),
            *("s3:GetBucketLogging", "s3:GetBucketMetadataTableConfiguration", "s3:GetBucketNotification"),
            *("s3:GetBucketObjectLockConfiguration", "s3:GetBucketOwnershipControls", "s3:GetBucketPublicAccessBlock"),
            *("s3:GetBucketTagging", "s3:GetBucketVersioning", "s3:GetBucketWebsite", "s3:GetEncryptionConfiguration"),
            *("s3:GetIntelligentTieringConfiguration", "s3:GetInventoryConfiguration", "s3:GetLifecycleConfiguration"),
            *("s3:GetMetricsConfiguration", "s3:GetReplicationConfiguration", "s3:ListTagsForResource"),
            "s3:ListBucket",  # by which S3 answers whether there is a bucket; it tells the names of objects too
        ),
        on=("s3:::{name}-*",),
    ),
    "AWS::S3::BucketPolicy": Reads(actions=("s3:GetBucketPolicy",), on=("s3:::{name}-*",)),
    "AWS::SNS::Subscription": Reads(actions=("sns:GetSubscriptionAttributes",), on=("sns:{name}-*",)),
    "AWS::SNS::Topic": Reads(
        actions=(
            *("sns:GetTopicAttributes", "sns:ListTagsForResource", "sns:ListSubscriptionsByTopic"),
            "sns:GetDataProtectionPolicy",
        ),
        on=("sns:{name}-*",),
    ),
    "AWS::SQS::Queue": Reads(actions=("sqs:GetQueueAttributes", "sqs:ListQueueTags"), on=("sqs:{name}-*",)),
    # Names that CloudFormation makes up begin with the logical id there, not with the stack's name.
    "AWS::SageMaker::Endpoint": _of_sagemaker("DescribeEndpoint", "endpoint/{name}"),
    "AWS::SageMaker::EndpointConfig": _of_sagemaker("DescribeEndpointConfig", "endpoint-config/*"),
    "AWS::SageMaker::InferenceComponent": _of_sagemaker("DescribeInferenceComponent", "inference-component/{name}"),
    "AWS::SageMaker::Model": _of_sagemaker("DescribeModel", "model/*"),
    "AWS::SageMaker::ModelPackageGroup": _of_sagemaker(
        "DescribeModelPackageGroup", "model-package-group/{name}", "sagemaker:GetModelPackageGroupPolicy"
    ),
    "AWS::SageMaker::NotebookInstance": _of_sagemaker("DescribeNotebookInstance", "notebook-instance/{name}"),
    "AWS::SageMaker::NotebookInstanceLifecycleConfig": _of_sagemaker(
        "DescribeNotebookInstanceLifecycleConfig", "notebook-instance-lifecycle-config/*"
    ),
    "AWS::SageMaker::Pipeline": _of_sagemaker("DescribePipeline", "pipeline/{name}*"),
    "AWS::Scheduler::Schedule": Reads(actions=("scheduler:GetSchedule",), on=("scheduler:schedule/*/{name}-*",)),
    "AWS::Scheduler::ScheduleGroup": Reads(
        actions=("scheduler:GetScheduleGroup", "scheduler:ListTagsForResource"), on=("scheduler:schedule-group/*",)
    ),
}
"""By type. The actions are those of the `read` handler in CloudFormation's schema of the type, as cfn-lint has it; what
is left out of them, and why, is in the test."""

NO_DRIFT: Mapping[str, str] = {
    "AWS::IAM::Policy": "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-iam-policy.html",
    "AWS::SNS::TopicPolicy": "no read handler in its schema",
    "AWS::SQS::QueuePolicy": "no read handler in its schema",
    "Custom::ImageBuild": "custom resources have no drift",
    "Custom::VpcRestrictDefaultSG": "custom resources have no drift",
}
"""Types that CloudFormation cannot look at, and where that is said. What somebody changes of these, nothing finds."""
