"""Resource types, and how they are provisioned."""

import re
import threading

from local_aws.ministack_hooks import cloudformation, requests
from tests.local_aws.ministack_hooks.calls import call_cloudformation, request, template

FORM = {"content-type": "application/x-www-form-urlencoded"}


def test_cloudformation_refuses_a_type_until_it_is_added_and_then_creates_updates_and_deletes_it(ministack):
    calls = []

    def create(logical, properties, stack):
        calls.append(("create", logical, properties, stack, requests.account(), requests.region()))
        return cloudformation.physical_name(stack, logical), {"Arn": "arn"}

    def update(physical, old, new, stack, logical):
        calls.append(("update", old, new, logical))
        return physical, {"Arn": "arn"}

    def delete(physical, properties):
        calls.append(("delete", physical))

    stack = {"StackName": "hooks", "TemplateBody": template("AWS::SageMaker::Hook", A="1")}
    call_cloudformation(ministack, "CreateStack", **stack)
    assert calls == []
    cloudformation.add_resource_type("AWS::SageMaker::Hook", create=create, update=update, delete=delete)
    cloudformation.run_in_threads()
    assert "CREATE_COMPLETE" in call_cloudformation(ministack, "CreateStack", **stack)
    call_cloudformation(
        ministack, "UpdateStack", StackName="hooks", TemplateBody=template("AWS::SageMaker::Hook", A="2")
    )
    call_cloudformation(ministack, "DeleteStack", StackName="hooks")
    assert [call[0] for call in calls] == ["create", "update", "delete"]
    assert calls[0][1:] == ("Thing", {"A": "1"}, "hooks", "222222222222", "eu-west-1")
    assert calls[1][1:] == ({"A": "1"}, {"A": "2"}, "Thing")
    assert calls[2][1].startswith("hooks-Thing-")


def test_our_types_are_provisioned_beside_the_event_loop(ministack):
    threads = []

    def create(logical, properties, stack):
        threads.append(threading.current_thread())
        return "id", {}

    cloudformation.add_resource_type(
        "AWS::SageMaker::Hook", create=create, update=lambda *_: ("id", {}), delete=lambda *_: None
    )
    cloudformation.run_in_threads()
    call_cloudformation(ministack, "CreateStack", StackName="threads", TemplateBody=template("AWS::SageMaker::Hook"))
    assert threads
    assert threads[0] is not threading.main_thread()


def test_a_generated_name_is_stable_and_fits():
    name = cloudformation.physical_name("amplify-local-endpoint", "Model" * 20)
    assert name == cloudformation.physical_name("amplify-local-endpoint", "Model" * 20)
    assert name != cloudformation.physical_name("amplify-local-endpoint", "Other")
    assert len(name) <= 63


def test_buckets_of_stacks_pass_through_our_hands(ministack):
    applied, deleted = [], []
    cloudformation.wrap_bucket(
        lambda name, old, new: applied.append((name, old, new)), lambda name, _: deleted.append(name)
    )
    for version in ("1", "2"):
        call_cloudformation(
            ministack,
            "CreateStack" if version == "1" else "UpdateStack",
            StackName="bucket",
            TemplateBody=template("AWS::S3::Bucket", BucketName="hook-bucket", Tags=[{"Key": "v", "Value": version}]),
        )
    call_cloudformation(ministack, "DeleteStack", StackName="bucket")
    assert [(name, bool(old), new["Tags"][0]["Value"]) for name, old, new in applied] == [
        ("hook-bucket", False, "1"),
        ("hook-bucket", True, "2"),
    ]
    assert deleted == ["hook-bucket"]


BOUNDARY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
NOBODY = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}


def role(ministack, action, **properties):
    more = {"Capabilities.member.1": "CAPABILITY_NAMED_IAM"} if action != "DeleteStack" else {}
    body = template("AWS::IAM::Role", RoleName="hook-role", AssumeRolePolicyDocument=NOBODY, **properties)
    return call_cloudformation(ministack, action, StackName="role", TemplateBody=body, **more)


def boundary_of(ministack):
    answer = request(ministack, "iam", "/", b"Action=GetRole&RoleName=hook-role&Version=2010-05-08", **FORM).text
    found = re.search(r"<PermissionsBoundaryArn>(.*?)</PermissionsBoundaryArn>", answer)
    return found[1] if found else None


def test_a_role_of_a_stack_gets_the_boundary_of_its_template_and_loses_it_with_it(ministack):
    assert "CREATE_COMPLETE" in role(ministack, "CreateStack", PermissionsBoundary=BOUNDARY)
    assert boundary_of(ministack) is None, "ministack does it itself now: bound_roles can go"
    role(ministack, "DeleteStack")

    cloudformation.bound_roles()
    assert "CREATE_COMPLETE" in role(ministack, "CreateStack", PermissionsBoundary=BOUNDARY)
    assert boundary_of(ministack) == BOUNDARY
    role(ministack, "UpdateStack", PermissionsBoundary=BOUNDARY, Description="the same")
    assert boundary_of(ministack) == BOUNDARY
    role(ministack, "UpdateStack")
    assert boundary_of(ministack) is None
    role(ministack, "UpdateStack", PermissionsBoundary=BOUNDARY)
    assert boundary_of(ministack) == BOUNDARY
    role(ministack, "DeleteStack")


def test_a_boundary_that_is_not_there_fails_the_stack_and_leaves_no_role(ministack):
    cloudformation.bound_roles()
    nothing = "arn:aws:iam::222222222222:policy/nothing"
    assert "ROLLBACK_COMPLETE" in role(ministack, "CreateStack", PermissionsBoundary=nothing)
    answer = request(ministack, "iam", "/", b"Action=GetRole&RoleName=hook-role&Version=2010-05-08", **FORM).text
    assert "NoSuchEntity" in answer
