"""CloudFormation in strict mode: it provisions under the role that it is handed, and hands on no role unasked."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError

from local_aws.processes import wait_until
from tests.local_aws.strict.conftest import ACCOUNT, TRUSTS_SAGEMAKER, allow

TRUSTS_CLOUDFORMATION = TRUSTS_SAGEMAKER | {"Principal": {"Service": "cloudformation.amazonaws.com"}, "Condition": {}}
TRUSTS_LAMBDA = TRUSTS_SAGEMAKER | {"Principal": {"Service": "lambda.amazonaws.com"}, "Condition": {}}
GROUPS = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:model-package-group/stack-*"
PASSES = {"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}}


def template(**resources):
    return json.dumps({"Resources": resources})


def group():
    return {
        "Type": "AWS::SageMaker::ModelPackageGroup",
        "Properties": {"ModelPackageGroupName": f"stack-{uuid.uuid4().hex[:8]}"},
    }


def deploy(clients, body, role=None):
    """The stack's status and the reasons of what failed."""
    cloudformation, name = clients("cloudformation"), f"stack-{uuid.uuid4().hex[:8]}"
    cloudformation.create_stack(StackName=name, TemplateBody=body, **({"RoleARN": role} if role else {}))

    def status():
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]

    assert wait_until(lambda: not status().endswith("IN_PROGRESS"), 60)
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    return status(), " ".join(event.get("ResourceStatusReason", "") for event in events)


@pytest.fixture(scope="module")
def exec_role(strict):
    return strict.role(allow("sagemaker:*ModelPackageGroup*", GROUPS), trust=TRUSTS_CLOUDFORMATION)


def test_a_stack_is_provisioned_by_the_role_that_it_was_handed_not_by_whoever_asks(strict, exec_role):
    deployer = strict.user(allow("cloudformation:*", "*"), allow("iam:PassRole", exec_role, **PASSES))
    assert deploy(deployer, template(G=group()), exec_role)[0] == "CREATE_COMPLETE"
    made = [call for call in strict.calls_of(exec_role) if call["action"] == "sagemaker:CreateModelPackageGroup"]
    assert made[-1]["allowed"]
    model = {"Type": "AWS::SageMaker::Pipeline", "Properties": {"PipelineName": "p", "RoleArn": exec_role}}
    model["Properties"]["PipelineDefinition"] = {"PipelineDefinitionBody": "{}"}
    status, reasons = deploy(deployer, template(P=model), exec_role)
    assert status == "ROLLBACK_COMPLETE"
    assert "is not authorized to perform: sagemaker:CreatePipeline" in reasons


def test_without_a_role_the_callers_own_rights_count(strict):
    status, reasons = deploy(strict.user(allow("cloudformation:*", "*")), template(G=group()))
    assert status == "ROLLBACK_COMPLETE"
    assert ":user/" in reasons
    assert "sagemaker:CreateModelPackageGroup" in reasons


def test_a_stack_keeps_the_role_it_was_made_with(strict, exec_role):
    deployer = strict.user(allow("cloudformation:*", "*"), allow("iam:PassRole", exec_role, **PASSES))
    cloudformation, name = deployer("cloudformation"), f"stack-{uuid.uuid4().hex[:8]}"
    cloudformation.create_stack(StackName=name, TemplateBody=template(G=group()), RoleARN=exec_role)

    def status():
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]

    assert wait_until(lambda: status() == "CREATE_COMPLETE", 30)
    cloudformation.update_stack(StackName=name, TemplateBody=template(G=group()))  # names no role
    assert wait_until(lambda: status() in ("UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"), 30)
    assert status() == "UPDATE_COMPLETE"


def test_a_new_stack_of_an_old_name_does_not_inherit_the_role(strict, exec_role):
    cloudformation, name = strict.admin("cloudformation"), f"stack-{uuid.uuid4().hex[:8]}"

    def status():
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]

    def create(clients, **role):
        clients("cloudformation").create_stack(StackName=name, TemplateBody=template(G=group()), **role)
        assert wait_until(lambda: status().endswith(("_COMPLETE", "_FAILED")), 30)

    create(strict.admin, RoleARN=exec_role)
    assert status() == "CREATE_COMPLETE"
    cloudformation.delete_stack(StackName=name)
    assert wait_until(lambda: name not in str(cloudformation.describe_stacks()["Stacks"]), 30)
    create(strict.user(allow("cloudformation:*", "*")))
    assert status() == "ROLLBACK_COMPLETE"


def test_a_role_is_handed_to_cloudformation_by_those_only_who_may_pass_it(strict, exec_role):
    with pytest.raises(ClientError) as refused:
        deploy(strict.user(allow("cloudformation:*", "*")), template(G=group()), exec_role)
    assert refused.value.response["Error"]["Code"] == "AccessDenied"
    assert f"iam:PassRole on resource: {exec_role}" in refused.value.response["Error"]["Message"]


def test_a_role_that_does_not_trust_cloudformation_is_refused(strict):
    with pytest.raises(ClientError, match="cannot be assumed"):
        deploy(strict.admin, template(G=group()), strict.role())


def test_a_condition_may_join_a_list_as_the_cdks_own_template_does(strict):
    def body(given):
        joined = {"Fn::Join": ["", {"Ref": "Policies"}]}
        return json.dumps(
            {
                "Parameters": {"Policies": {"Type": "CommaDelimitedList", "Default": given}},
                "Conditions": {"HasPolicies": {"Fn::Not": [{"Fn::Equals": ["", joined]}]}},
                "Resources": {"Always": group(), "Sometimes": {**group(), "Condition": "HasPolicies"}},
                "Outputs": {"Has": {"Value": {"Fn::If": ["HasPolicies", "yes", "no"]}}},
            }
        )

    cloudformation = strict.admin("cloudformation")
    for given, has in (("", "no"), ("a, b", "yes")):
        name = f"stack-{uuid.uuid4().hex[:8]}"
        cloudformation.create_stack(StackName=name, TemplateBody=body(given))

        def stack(name=name):
            return cloudformation.describe_stacks(StackName=name)["Stacks"][0]

        assert wait_until(lambda stack=stack: stack()["StackStatus"] == "CREATE_COMPLETE", 30)
        assert [output["OutputValue"] for output in stack()["Outputs"]] == [has]


# ---- functions -------------------------------------------------------------------------------------------------------

CODE = """
import boto3
def handler(event, context):
    arn = boto3.client("sts").get_caller_identity()["Arn"]
    try:
        boto3.client("s3").list_buckets()
        return [arn, "may"]
    except Exception as error:
        return [arn, str(error)]
"""


def function(role):
    return {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "FunctionName": f"f-{uuid.uuid4().hex[:8]}",
            "Runtime": "python3.12",
            "Handler": "index.handler",
            "Role": role,
            "Code": {"ZipFile": CODE},
        },
    }


def test_a_functions_role_has_to_be_passed_to_lambda(strict):
    lambda_role = strict.role(trust=TRUSTS_LAMBDA)
    exec_role = strict.role(allow("lambda:*", "*"), trust=TRUSTS_CLOUDFORMATION)
    status, reasons = deploy(strict.admin, template(F=function(lambda_role)), exec_role)
    assert status == "ROLLBACK_COMPLETE"
    assert f"iam:PassRole on resource: {lambda_role}" in reasons


def test_a_function_runs_as_its_role(strict):
    lambda_role, made = strict.role(allow("s3:GetObject", "*"), trust=TRUSTS_LAMBDA), None
    made = function(lambda_role)
    assert deploy(strict.admin, template(F=made))[0] == "CREATE_COMPLETE"
    name = made["Properties"]["FunctionName"]
    answer = json.loads(strict.admin("lambda").invoke(FunctionName=name)["Payload"].read())
    assert answer[0] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{lambda_role.rpartition('/')[2]}/{name}"
    assert "s3:ListAllMyBuckets" in answer[1]


def test_a_function_whose_role_does_not_trust_lambda_does_not_run(strict):
    made = function(strict.role())
    assert deploy(strict.admin, template(F=made))[0] == "CREATE_COMPLETE"
    answer = strict.admin("lambda").invoke(FunctionName=made["Properties"]["FunctionName"])
    assert "cannot be assumed by Lambda" in answer["Payload"].read().decode()


ANSWERS = """
import json, urllib.request
def handler(event, context):
    members = ("StackId", "RequestId", "LogicalResourceId")
    body = {"Status": "SUCCESS", "PhysicalResourceId": "it", **{member: event[member] for member in members}}
    request = urllib.request.Request(event["ResponseURL"], json.dumps(body).encode(), method="PUT")
    urllib.request.urlopen(request, timeout=20).close()
"""


def test_a_function_answers_cloudformation_as_over_any_https(strict):
    made = function(strict.role(trust=TRUSTS_LAMBDA))
    made["Properties"]["Code"] = {"ZipFile": ANSWERS}
    thing = {
        "Type": "Custom::Thing",
        "Properties": {"ServiceToken": {"Fn::GetAtt": ["F", "Arn"]}, "ServiceTimeout": 30},
    }
    status, reasons = deploy(strict.admin, template(F=made, T=thing))
    assert status == "CREATE_COMPLETE", reasons
