"""What must survive everything else: the key, the buckets of proteins and models, and the topic that alarms ring on."""

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.config import Environment
from stacks.constructs.account_role import promotion_statement
from stacks.constructs.private_bucket import AccessLogBucket, PrivateBucket

ALARMS, BUDGETS = "cloudwatch.amazonaws.com", "budgets.amazonaws.com"


class StorageStack(cdk.Stack):
    """State. Retained when the stack goes; termination-protected where the environment says so."""

    def __init__(self, scope: Construct, id: str, *, targets: Sequence[Environment] = (), **kwargs: Any) -> None:
        """`targets`: the environments whose promotion roles fetch releases from here."""
        super().__init__(scope, id, description="AMPLIFY: proteins, models, their key, and the alarm topic", **kwargs)

        self.key = kms.Key(
            self,
            "Key",
            description="Proteins, models, job volumes and alarms of this environment",
            enable_key_rotation=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        self._let_publishers_use_the_key()
        self._let_log_groups_use_the_key()
        self._let_events_use_the_key()

        name = self.stack_name.removesuffix("-storage")
        access_logs = AccessLogBucket(self, "AccessLogBucket", keep=cdk.Duration.days(365))
        self.data_bucket = PrivateBucket(
            self,
            "DataBucket",
            key=self.key,
            access_logs=access_logs,
            lifecycle_rules=[_keep_old_versions(cdk.Duration.days(90))],
            tells_events=True,
        )
        self.artifact_bucket = PrivateBucket(
            self,
            "ArtifactBucket",
            key=self.key,
            access_logs=access_logs,
            lifecycle_rules=[
                _keep_old_versions(cdk.Duration.days(90)),
                # Checkpoints are large, replaced many times a run, and of no use once the run has its model; a month is
                # time to retry one. Captured requests, and those of a queue or a job, are people's sequences: nobody
                # hoards them. A job's answers are kept, as a run's are: somebody paid for them.
                *(_passing(prefix) for prefix in ("checkpoints", "captured", "async", f"transform/{name}/input")),
            ],
            # All but checkpoints: no document says under which key SageMaker's own agent puts those.
            whose_writers_name_the_key=[
                f"{one}/*" for one in ("async", "captured", "drift", "images", "releases", "runs", "transform")
            ],
        )
        for target in targets:
            self._let_fetch_releases(target)
        self.buckets = [self.data_bucket, self.artifact_bucket]  # what jobs and endpoints read and write
        self.alarm_topic = sns.Topic(self, "AlarmTopic", master_key=self.key, enforce_ssl=True)
        self._let_them_publish()

        # Exported whether or not a stack of today reads them: the CDK would otherwise add an export when the endpoint
        # stack appears, and take it back (which CloudFormation refuses while it is read) when its release goes.
        for value in (
            self.key.key_arn,
            self.data_bucket.bucket_name,
            self.data_bucket.bucket_arn,
            self.artifact_bucket.bucket_name,
            self.artifact_bucket.bucket_arn,
            self.alarm_topic.topic_arn,
        ):
            self.export_value(value)

        cdk.CfnOutput(self, "DataBucketName", value=self.data_bucket.bucket_name)
        cdk.CfnOutput(self, "ArtifactBucketName", value=self.artifact_bucket.bucket_name)
        cdk.CfnOutput(self, "KeyArn", value=self.key.key_arn)
        cdk.CfnOutput(self, "AlarmTopicArn", value=self.alarm_topic.topic_arn)

    def _let_fetch_releases(self, target: Environment) -> None:
        """Artefacts, golden answers, and what is kept of images and of drift; no proteins, no checkpoints."""
        bucket = self.artifact_bucket
        prefixes = ("releases/", "runs/*/model/", "images/", "drift/")
        objects = [bucket.arn_for_objects(f"{prefix}*") for prefix in prefixes]
        bucket.add_to_resource_policy(
            promotion_statement(target, "ReleasesAreFetchedFor", ["s3:GetObject", "s3:GetObjectVersion"], objects)
        )
        lists = promotion_statement(target, "DriftIsLookedUpFor", ["s3:ListBucket"], [bucket.bucket_arn])
        lists.add_condition("StringLike", {"s3:prefix": ["drift/*"]})
        bucket.add_to_resource_policy(lists)
        reads = promotion_statement(target, "ReleasesAreReadFor", ["kms:Decrypt"], ["*"])
        reads.add_condition("StringEquals", {"kms:ViaService": f"s3.{self.region}.amazonaws.com"})
        self.key.add_to_resource_policy(reads)

    def _let_publishers_use_the_key(self) -> None:
        """Services publish to an encrypted topic as themselves: without this an alarm silently rings for nobody."""
        for sid, service in (("AlarmsPublish", ALARMS), ("BudgetsPublish", BUDGETS)):
            self.key.add_to_resource_policy(
                iam.PolicyStatement(
                    sid=f"{sid}ToTheEncryptedTopic",
                    principals=[iam.ServicePrincipal(service)],
                    actions=["kms:Decrypt", "kms:GenerateDataKey*"],
                    resources=["*"],
                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},
                )
            )

    def _let_them_publish(self) -> None:
        """A topic's policy, once it has one, is the whole of what a service may do there: the one that SNS gives a
        topic, which lets everything of the account publish, is gone with the first statement of ours."""
        for sid, service in (("AlarmsPublish", ALARMS), ("BudgetsPublish", BUDGETS)):
            self.alarm_topic.add_to_resource_policy(
                iam.PolicyStatement(
                    sid=sid,
                    principals=[iam.ServicePrincipal(service)],
                    actions=["sns:Publish"],
                    resources=[self.alarm_topic.topic_arn],
                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},
                )
            )

    def _let_log_groups_use_the_key(self) -> None:
        """CloudWatch Logs encrypts as itself: for log groups that stacks of this environment make, and no others.

        Named by the start of their generated names, `amplify-<env>-<stack>-…`: here, before any of them exists.
        """
        groups = self.format_arn(
            service="logs",
            resource="log-group",
            resource_name=f"{self.stack_name.removesuffix('-storage')}-*",
            arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME,
        )
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="LogGroupsOfThisEnvironmentAreEncrypted",
                principals=[iam.ServicePrincipal(f"logs.{self.region}.amazonaws.com")],
                actions=["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
                resources=["*"],
                conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
            )
        )

    def _let_events_use_the_key(self) -> None:
        """EventBridge puts what it cannot deliver into an encrypted dead-letter queue, as itself."""
        self.key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="EventsReachTheEncryptedDeadLetterQueue",
                principals=[iam.ServicePrincipal("events.amazonaws.com")],
                actions=["kms:Decrypt", "kms:GenerateDataKey*"],
                resources=["*"],
                conditions={"StringEquals": {"aws:SourceAccount": self.account}},
            )
        )


def _passing(prefix: str) -> s3.LifecycleRule:
    """What is of use for a month."""
    return s3.LifecycleRule(
        id=prefix.replace("/", "-"),
        prefix=f"{prefix}/",
        expiration=cdk.Duration.days(30),
        noncurrent_version_expiration=cdk.Duration.days(1),
        abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
    )


def _keep_old_versions(for_time: cdk.Duration) -> s3.LifecycleRule:
    return s3.LifecycleRule(
        id="old-versions",
        noncurrent_version_expiration=for_time,
        expired_object_delete_marker=True,
        abort_incomplete_multipart_upload_after=cdk.Duration.days(7),
    )
