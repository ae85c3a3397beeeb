"""Permissions boundaries: they grant nothing, and what they refuse is refused in AWS's words."""

import uuid

import pytest
from botocore.exceptions import ClientError

from local_aws import users
from tests.local_aws.small_images import make_bucket
from tests.local_aws.strict.conftest import ACCOUNT, allow, document

BUCKET = "strict-boundaries"


@pytest.fixture
def boundary(strict):
    """boundary(statements…): the ARN of a managed policy."""

    def make(*statements):
        name = f"boundary-{uuid.uuid4().hex[:8]}"
        return strict.admin("iam").create_policy(PolicyName=name, PolicyDocument=document(*statements))["Policy"]["Arn"]

    return make


@pytest.fixture
def bounded(strict, boundary):
    """bounded(statements, bounds): the clients of a user, and its ARN."""

    def make(statements, bounds):
        name, iam = f"user-{uuid.uuid4().hex[:8]}", strict.admin("iam")
        iam.create_user(UserName=name, PermissionsBoundary=boundary(*bounds))
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=document(*statements))
        return strict.clients(users.credentials(strict.running.folder, name)), f"arn:aws:iam::{ACCOUNT}:user/{name}"

    return make


def refusal(call, **members):
    with pytest.raises(ClientError) as error:
        call(**members)
    assert error.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException", "AuthorizationError")
    return error.value.response["Error"]["Message"]


EVERYTHING = allow("*", "*")
READS = {"s3": ("list_buckets", "s3:ListAllMyBuckets"), "logs": ("describe_log_groups", "logs:DescribeLogGroups")}
READS |= {"sagemaker": ("list_models", "sagemaker:ListModels"), "sns": ("list_topics", "sns:ListTopics")}


@pytest.mark.parametrize("service", READS)
def test_what_the_boundary_lacks_is_refused_and_the_boundary_is_named(bounded, service):
    operation, action = READS[service]
    clients, arn = bounded([EVERYTHING], [allow("sqs:*", "*")])
    clients("sqs").list_queues()
    said = refusal(getattr(clients(service), operation))
    assert said.startswith(f"User: {arn} is not authorized to perform: {action}")
    assert said.endswith(f"because no permissions boundary allows the {action} action")
    clients, _ = bounded([allow("sqs:*", "*")], [EVERYTHING])
    said = refusal(getattr(clients(service), operation))
    assert said.endswith(f"because no identity-based policy allows the {action} action"), "a boundary grants nothing"


def test_where_both_lack_it_the_policies_are_named(bounded):
    clients, _ = bounded([allow("sqs:*", "*")], [allow("sqs:*", "*")])
    assert "no identity-based policy allows" in refusal(clients("s3").list_buckets)


def test_one_refusal_says_nothing_about_the_next(bounded, strict):
    clients, _ = bounded([EVERYTHING], [allow("sqs:*", "*")])
    assert "no permissions boundary allows" in refusal(clients("s3").list_buckets)
    assert "no identity-based policy allows" in refusal(strict.user()("s3").list_buckets)


def test_a_bucket_may_be_open_to_whom_only_the_boundary_stops(bounded, strict):
    """A statement of a bucket that names the very user: AWS lets it go beyond the boundary."""
    make_bucket(strict.admin, BUCKET)
    strict.admin("s3").put_object(Bucket=BUCKET, Key="a", Body=b"a")
    clients, arn = bounded([EVERYTHING], [allow("sqs:*", "*")])
    assert "no permissions boundary allows" in refusal(clients("s3").get_object, Bucket=BUCKET, Key="a")
    opened = allow("s3:GetObject", f"arn:aws:s3:::{BUCKET}/*") | {"Principal": {"AWS": arn}}
    strict.admin("s3").put_bucket_policy(Bucket=BUCKET, Policy=document(opened))
    assert clients("s3").get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"a"
