"""Buckets no one reads by accident: TLS only, no public access, versioned, encrypted, kept by a deployment."""

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

ENCRYPTION = "s3:x-amz-server-side-encryption"
NAMED_KEY = f"{ENCRYPTION}-aws-kms-key-id"
CUSTOMERS_KEY = f"{ENCRYPTION}-customer-algorithm"


class PrivateBucket(s3.Bucket):
    """A bucket for data and models, under the environment's key, its accesses logged.

    Writers that ask for no encryption have that key; writers that ask for another one, or for none of KMS, are refused.
    `tells_events`: EventBridge hears of every object that comes and goes. `whose_writers_name_the_key`: the objects
    whose writers, where they ask for KMS at all, have to say which key (S3 would take the account's own, aws/s3).
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        key: kms.IKey,
        access_logs: s3.IBucket,
        lifecycle_rules: list[s3.LifecycleRule],
        tells_events: bool = False,
        whose_writers_name_the_key: Sequence[str] = ("*",),
    ) -> None:
        super().__init__(
            scope,
            id,
            encryption=s3.BucketEncryption.KMS,
            encryption_key=key,
            bucket_key_enabled=True,  # one KMS call per bucket and while, not one per object: shards are many
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            versioned=True,
            server_access_logs_bucket=access_logs,
            server_access_logs_prefix=f"{id}/",
            lifecycle_rules=lifecycle_rules,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        other, another = {"StringNotEquals": {ENCRYPTION: "aws:kms"}}, {"StringNotEquals": {NAMED_KEY: key.key_arn}}
        unnamed = {"StringEquals": {ENCRYPTION: "aws:kms"}, "Null": {NAMED_KEY: "true"}}
        self._refuse("OtherEncryptionIsRefused", other | _given(ENCRYPTION))
        self._refuse("OtherKeysAreRefused", another | _given(NAMED_KEY))
        self._refuse("CustomersKeysAreRefused", _given(CUSTOMERS_KEY))
        self._refuse("UnnamedKeysAreRefused", unnamed, whose_writers_name_the_key)
        if tells_events:
            # The CDK's own `event_bridge_enabled` runs a function during the deployment; CloudFormation needs none.
            bucket = self.node.default_child
            assert isinstance(bucket, s3.CfnBucket)
            bucket.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
                event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
            )

    def _refuse(self, sid: str, conditions: Mapping[str, Mapping[str, str]], objects: Sequence[str] = ("*",)) -> None:
        """Writes of these objects that fulfil all conditions. Parts of an upload have no headers: S3 judges its
        beginning."""
        self.add_to_resource_policy(
            iam.PolicyStatement(
                sid=sid,
                effect=iam.Effect.DENY,
                principals=[iam.AnyPrincipal()],
                actions=["s3:PutObject"],
                resources=[self.arn_for_objects(one) for one in objects],
                conditions=conditions,
            )
        )


def _given(key: str) -> dict[str, dict[str, str]]:
    """The request has it: a condition that says what a value is not holds for requests without one, too."""
    return {"Null": {key: "false"}}


class AccessLogBucket(s3.Bucket):
    """Where the other buckets' access logs go. S3 delivers logs to a bucket under SSE-S3 only, not under KMS."""

    def __init__(self, scope: Construct, id: str, *, keep: cdk.Duration) -> None:
        super().__init__(
            scope,
            id,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            versioned=True,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="expire",
                    expiration=keep,
                    noncurrent_version_expiration=cdk.Duration.days(1),
                    abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
                )
            ],
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
