"""Roles that identities assume, and how policies of another account name them."""

from collections.abc import Mapping, Sequence

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct, IConstruct

from stacks.config import Environment


class AccountRole(iam.Role):
    """A role of a fixed name, for those of its own account whose policy lets them assume it. Begins with the right to
    nothing; each method adds one thing."""

    def __init__(self, scope: Construct, id: str, *, name: str, description: str) -> None:
        super().__init__(
            scope, id, role_name=name, description=description, assumed_by=iam.AccountPrincipal(cdk.Aws.ACCOUNT_ID)
        )

    @property
    def policy(self) -> IConstruct:
        return self.node.find_child("DefaultPolicy")

    def do(self, *actions: str, on: Sequence[str], where: Mapping[str, object] | None = None) -> None:
        """Exactly these actions on these resources, under these conditions."""
        self.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=list(on), conditions=where))

    def use_key(self, key: kms.IKey, bucket: s3.IBucket, *, writes: bool) -> None:
        """Of what S3 keeps in this bucket and nothing else that the key protects (see PeoplePolicy.use_key)."""
        self.do(
            *(("kms:Decrypt", "kms:GenerateDataKey") if writes else ("kms:Decrypt",)),
            on=[key.key_arn],
            where={
                "StringEquals": {
                    "kms:ViaService": f"s3.{cdk.Stack.of(self).region}.amazonaws.com",
                    "kms:EncryptionContext:aws:s3:arn": bucket.bucket_arn,
                }
            },
        )


def promotion_role_name(environment: Environment) -> str:
    """The one name by which other accounts know who fetches releases for `environment`."""
    return f"{environment.resource_name}-promotion"


def release_role_name(environment: Environment) -> str:
    """Of the role that watches a deployment and keeps the record of releases."""
    return f"{environment.resource_name}-release"


def promotion_statement(
    target: Environment, sid: str, actions: Sequence[str], resources: Sequence[str] | None
) -> iam.PolicyStatement:
    """Lets the promotion role of another account do something here.

    By the account's root and a condition on the role's ARN. A role as the principal would be refused while it does not
    exist, so that two empty accounts waited for each other; and one that is made anew is another to AWS, which would
    lose its access in silence.
    """
    return iam.PolicyStatement(
        sid=f"{sid}{target.name.replace('-', '').capitalize()}",
        principals=[iam.AccountPrincipal(target.account)],
        actions=list(actions),
        resources=None if resources is None else list(resources),
        conditions={"ArnEquals": {"aws:PrincipalArn": promotion_role_arn(target)}},
    )


def promotion_role_arn(target: Environment) -> str:
    return f"arn:{cdk.Aws.PARTITION}:iam::{target.account}:role/{promotion_role_name(target)}"
