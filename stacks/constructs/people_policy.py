"""What one kind of person may do: a managed policy of a fixed name, given to the roles that the settings name."""

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from stacks.config.people import role_name


class PeoplePolicy(iam.ManagedPolicy):
    """Begins with the right to nothing; each method adds one thing.

    Its fixed name, `<resource_name>-<kind>`, is what a permission set of IAM Identity Center names.
    """

    def __init__(self, scope: Construct, kind: str, *, resource_name: str, does: str, roles: Sequence[str]) -> None:
        super().__init__(
            scope,
            f"{kind.capitalize()}Policy",
            managed_policy_name=f"{resource_name}-{kind}",
            description=does,  # a changed description would replace the policy, whose name is taken
            roles=[
                iam.Role.from_role_name(scope, f"{kind.capitalize()}{number}", role_name(role))
                for number, role in enumerate(roles)
            ],
        )

    def arn(self, service: str, resource: str) -> str:
        """Of something in this account and region."""
        stack = cdk.Stack.of(self)
        return f"arn:{stack.partition}:{service}:{stack.region}:{stack.account}:{resource}"

    def do(self, *actions: str, on: Sequence[str], where: Mapping[str, object] | None = None) -> None:
        """Exactly these actions on these resources, under these conditions."""
        self.add_statements(iam.PolicyStatement(actions=list(actions), resources=list(on), conditions=where))

    def read(self, bucket: s3.IBucket, *prefixes: str) -> None:
        """Objects below the prefixes."""
        self.do("s3:GetObject", on=[bucket.arn_for_objects(f"{prefix}*") for prefix in prefixes])

    def list(self, bucket: s3.IBucket, *prefixes: str) -> None:
        """The names of objects below the prefixes."""
        listed = {"StringLike": {"s3:prefix": [f"{prefix}*" for prefix in prefixes]}}
        self.do("s3:ListBucket", on=[bucket.bucket_arn], where=listed)

    def use_key(self, key: kms.IKey, *buckets: s3.IBucket, writes: bool = False) -> None:
        """Of what S3 keeps in these buckets and nothing else that the key protects.

        S3 names the bucket, not the object, as the encryption context, where the bucket has a bucket key, as ours do:
        https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
        """
        self.do(
            *(("kms:Decrypt", "kms:GenerateDataKey") if writes else ("kms:Decrypt",)),
            on=[key.key_arn],
            where={
                "StringEquals": {
                    "kms:ViaService": f"s3.{cdk.Stack.of(self).region}.amazonaws.com",
                    "kms:EncryptionContext:aws:s3:arn": [bucket.bucket_arn for bucket in buckets],
                }
            },
        )
