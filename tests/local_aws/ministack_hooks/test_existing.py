import json

import pytest

from local_aws.ministack_hooks import existing
from local_aws.ministack_hooks.requests import request_scope
from tests.local_aws.ministack_hooks.calls import call_cloudformation, request, template

TYPE = "AWS::ECR::Repository"


@pytest.fixture(autouse=True)
def own_tables(monkeypatch):
    monkeypatch.setattr(existing.changesets, "_IMPORT_LOOKUPS", dict(existing.changesets._IMPORT_LOOKUPS))
    monkeypatch.setattr(existing.drift, "_DRIFT_READERS", dict(existing.drift._DRIFT_READERS))


def cloudformation(app, action, **parameters):
    answer = request(
        app,
        "cloudformation",
        f"/?{'&'.join(f'{key}={value}' for key, value in {'Action': action, **parameters}.items())}",
    )
    return answer.text


def make_repository(app, name):
    headers = {"x-amz-target": "AmazonEC2ContainerRegistry_V20150921.CreateRepository"}
    answer = request(app, "ecr", "/", json.dumps({"repositoryName": name}).encode(), **headers)
    assert answer.status_code == 200


def test_a_change_set_imports_what_is_there_and_refuses_what_is_not(ministack):
    existing.let_import(TYPE, "RepositoryName", existing.repository)
    make_repository(ministack, "kept")
    body = json.loads(template(TYPE, RepositoryName="kept"))
    body["Resources"]["Thing"]["DeletionPolicy"] = "Retain"
    given = {
        "StackName": "adopts",
        "ChangeSetName": "import",
        "ChangeSetType": "IMPORT",
        "TemplateBody": json.dumps(body),
        "ResourcesToImport.member.1.ResourceType": TYPE,
        "ResourcesToImport.member.1.LogicalResourceId": "Thing",
        "ResourcesToImport.member.1.ResourceIdentifier.entry.1.key": "RepositoryName",
        "ResourcesToImport.member.1.ResourceIdentifier.entry.1.value": "kept",
    }
    call_cloudformation(ministack, "CreateChangeSet", review_is_an_end=True, **given)
    found = call_cloudformation(ministack, "ExecuteChangeSet", StackName="adopts", ChangeSetName="import")
    assert "IMPORT_COMPLETE" in found

    value = "ResourcesToImport.member.1.ResourceIdentifier.entry.1.value"
    call_cloudformation(
        ministack, "CreateChangeSet", review_is_an_end=True, **(given | {"StackName": "fails", value: "missing"})
    )
    told = cloudformation(ministack, "DescribeChangeSet", StackName="fails", ChangeSetName="import")
    assert "FAILED" in told
    assert "missing" in told
    call_cloudformation(ministack, "DeleteStack", StackName="fails")  # it would be in review for good


def test_a_stack_does_not_take_a_repository_that_is_there_for_its_own(ministack):
    existing.refuse_second_repositories()
    make_repository(ministack, "taken")
    made = call_cloudformation(
        ministack, "CreateStack", StackName="second", TemplateBody=template(TYPE, RepositoryName="taken")
    )
    assert "ROLLBACK_COMPLETE" in made
    with request_scope("222222222222", "eu-west-1"):
        assert existing.repository("taken")


def test_a_managed_policy_for_a_role_that_is_not_there_is_refused(ministack):
    existing.attach_to_those_who_are_there()
    allow = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [allow]}

    def body(*roles):
        return template("AWS::IAM::ManagedPolicy", PolicyDocument=document, Roles=roles)

    made = call_cloudformation(ministack, "CreateStack", StackName="strangers", TemplateBody=body("nobody"))
    assert "ROLLBACK_COMPLETE" in made
    call_cloudformation(ministack, "CreateStack", StackName="no-strangers", TemplateBody=body())
    told = call_cloudformation(ministack, "UpdateStack", StackName="no-strangers", TemplateBody=body("nobody"))
    assert "UPDATE_ROLLBACK_COMPLETE" in told
    found = cloudformation(ministack, "DescribeStackEvents", StackName="no-strangers")
    assert "The role with name nobody cannot be found" in found


def test_drift_is_what_our_reader_says_beside_ministacks_own(ministack):
    now = {"LifecycleConfiguration": "as it was"}
    existing.compare("AWS::S3::Bucket", lambda _id, _properties: now, ["LifecycleConfiguration"])
    body = template("AWS::S3::Bucket", BucketName="drifts", LifecycleConfiguration="as it was")
    call_cloudformation(ministack, "CreateStack", StackName="drifting", TemplateBody=body)

    def detected():
        cloudformation(ministack, "DetectStackDrift", StackName="drifting")
        return cloudformation(ministack, "DescribeStackResourceDrifts", StackName="drifting")

    assert "IN_SYNC" in detected()
    now["LifecycleConfiguration"] = "changed by hand"
    assert "/LifecycleConfiguration" in detected()


def test_the_tables_that_readers_look_into_are_there(ministack):
    with request_scope("222222222222", "eu-west-1"):
        assert existing.bucket_policy("none") is None
        assert existing.bucket_configuration("none", "encryption") == b""
        assert existing.key("none") is None
        assert existing.inline_policy("none", "none") is None
        assert existing.managed_policy("none") is None
        assert existing.topic_policy("none") is None
        assert existing.metric_alarm("none") is None
