"""Who may call SageMaker in strict mode: whose signature holds, and what policies say of actions and roles."""

import time
import uuid

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from local_aws.processes import wait_until
from local_aws.settings import Credentials
from tests.local_aws.strict.conftest import ACCOUNT, TRUSTS_SAGEMAKER, allow, document

SAGEMAKER = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}"
PASSES_TO_SAGEMAKER = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}


def refused(call, *arguments, **members):
    """(code, message) of a call that must be refused."""
    with pytest.raises(ClientError) as error:
        call(*arguments, **members)
    return error.value.response["Error"]["Code"], error.value.response["Error"]["Message"]


def training_job(role, name=None, **more):
    return {
        "TrainingJobName": name or f"mine-{uuid.uuid4().hex[:8]}",
        "RoleArn": role,
        "AlgorithmSpecification": {
            "TrainingImage": f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/none:cpu-{'0' * 64}",
            "TrainingInputMode": "File",
        },
        "OutputDataConfig": {"S3OutputPath": "s3://nowhere/"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    } | more


# ---- signatures ------------------------------------------------------------------------------------------------------


def test_a_wrong_secret_is_refused_of_a_user_and_of_the_account_itself(strict):
    strict.admin("iam").create_user(UserName="forged")
    key = strict.admin("iam").create_access_key(UserName="forged")["AccessKey"]["AccessKeyId"]
    for access_key in (key, ACCOUNT, "test"):
        forged = strict.clients(Credentials(access_key=access_key, secret_key="guessed"))
        assert refused(forged("sagemaker").list_models)[0] == "InvalidSignatureException"
        assert refused(forged("s3").list_buckets)[0] == "SignatureDoesNotMatch"


def test_a_request_without_a_signature_is_nobodys(strict):
    running = strict.running
    unsigned = boto3.client(
        "sagemaker",
        region_name="us-east-1",
        endpoint_url=running.endpoint_url,
        verify=str(running.settings.certificate),
        config=Config(signature_version=UNSIGNED, proxies={}),
    )
    assert refused(unsigned.list_models)[0] == "MissingAuthenticationTokenException"


def test_a_key_that_nobody_has_is_refused(strict):
    stranger = strict.clients(Credentials(access_key="AKIAIOSFODNN7EXAMPLE", secret_key="x"))
    assert refused(stranger("sagemaker").list_models)[0] == "UnrecognizedClientException"


def session_of(strict, role, seconds=900):
    # DurationSeconds has a lower end that a test cannot wait for.
    sts = strict.admin("sts", parameter_validation=False)
    made = sts.assume_role(RoleArn=role, RoleSessionName="test", DurationSeconds=seconds)["Credentials"]
    return Credentials(access_key=made["AccessKeyId"], secret_key=made["SecretAccessKey"], token=made["SessionToken"])


@pytest.fixture
def lister(strict):
    """A role of this account's people that may list models."""
    people = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    return strict.role(allow("sagemaker:ListModels", "*"), trust=people)


def test_a_session_ends_when_its_time_is_over(strict, lister):
    clients = strict.clients(session_of(strict, lister, seconds=2))
    assert clients("sagemaker").list_models()["Models"] is not None
    time.sleep(2)  # what is waited for is time itself
    assert refused(clients("sagemaker").list_models)[0] == "ExpiredTokenException"


def test_a_session_with_another_token_is_refused(strict, lister):
    session = session_of(strict, lister)
    other = Credentials(access_key=session.access_key, secret_key=session.secret_key, token="another")
    assert refused(strict.clients(other)("sagemaker").list_models)[0] in ("InvalidToken", "UnrecognizedClientException")


def test_the_session_of_a_role_that_is_deleted_may_nothing_also_when_the_role_is_made_again(strict, lister):
    clients, name = strict.clients(session_of(strict, lister)), lister.rpartition("/")[2]
    clients("sagemaker").list_models()
    strict.admin("iam").delete_role_policy(RoleName=name, PolicyName="all")
    strict.admin("iam").delete_role(RoleName=name)
    assert refused(clients("sagemaker").list_models)[0] == "UnrecognizedClientException"
    strict.role(allow("sagemaker:ListModels", "*"), name=name)
    assert refused(clients("sagemaker").list_models)[0] == "UnrecognizedClientException"


# ---- actions and resources -------------------------------------------------------------------------------------------


def test_who_may_nothing_is_told_what_policy_lacks(strict):
    code, message = refused(strict.user()("sagemaker").list_models)
    assert code == "AccessDeniedException"
    assert "is not authorized to perform: sagemaker:ListModels on resource: *" in message
    assert message.endswith("because no identity-based policy allows the sagemaker:ListModels action")


def test_a_name_outside_the_allowed_one_is_refused(strict):
    clients = strict.user(allow("sagemaker:DescribeModelPackageGroup", f"{SAGEMAKER}:model-package-group/mine"))
    strict.admin("sagemaker").create_model_package_group(ModelPackageGroupName="mine")
    strict.admin("sagemaker").create_model_package_group(ModelPackageGroupName="yours")
    clients("sagemaker").describe_model_package_group(ModelPackageGroupName="mine")
    code, message = refused(clients("sagemaker").describe_model_package_group, ModelPackageGroupName="yours")
    assert (code, f"{SAGEMAKER}:model-package-group/yours" in message) == ("AccessDeniedException", True)


def test_an_explicit_deny_wins(strict):
    deny = allow("sagemaker:ListModels", "*") | {"Effect": "Deny"}
    clients = strict.user(allow("sagemaker:*", "*"), deny)
    clients("sagemaker").list_endpoints()
    assert "explicit deny" in refused(clients("sagemaker").list_models)[1]


def test_an_endpoint_is_asked_by_those_only_who_were_granted_it(strict):
    clients = strict.user(allow("sagemaker:InvokeEndpoint", f"{SAGEMAKER}:endpoint/mine"))
    code, message = refused(clients("sagemaker-runtime").invoke_endpoint, EndpointName="yours", Body=b"{}")
    assert (code, f"{SAGEMAKER}:endpoint/yours" in message) == ("AccessDeniedException", True)
    # The granted one is not there: whoever may ask is told so.
    assert (
        refused(clients("sagemaker-runtime").invoke_endpoint, EndpointName="mine", Body=b"{}")[0] == "ValidationError"
    )


def test_whoever_may_not_is_not_told_whether_the_request_was_right(strict):
    code, _ = refused(strict.user()("sagemaker", parameter_validation=False).create_model, ModelName="-")
    assert code == "AccessDeniedException"


def test_tags_in_a_request_need_the_right_to_tag(strict):
    groups = f"{SAGEMAKER}:model-package-group/tagged-*"
    request = {"ModelPackageGroupName": "tagged-1", "Tags": [{"Key": "team", "Value": "a"}]}
    without = strict.user(allow("sagemaker:CreateModelPackageGroup", groups))
    assert "sagemaker:AddTags" in refused(without("sagemaker").create_model_package_group, **request)[1]
    of_the_team = {"StringEquals": {"aws:RequestTag/team": "a"}}
    clients = strict.user(
        allow(["sagemaker:CreateModelPackageGroup", "sagemaker:AddTags"], groups, **of_the_team),
    )
    other = {**request, "Tags": [{"Key": "team", "Value": "b"}]}
    assert refused(clients("sagemaker").create_model_package_group, **other)[0] == "AccessDeniedException"
    clients("sagemaker").create_model_package_group(**request)


def test_conditions_of_sagemaker_bound_a_request(strict):
    role = strict.role()
    small = {"ForAllValues:StringLike": {"sagemaker:InstanceTypes": ["ml.m5.*"]}}
    isolated = {"Bool": {"sagemaker:NetworkIsolation": "true"}}
    clients = strict.user(
        allow("sagemaker:CreateTrainingJob", "*", **small, **isolated),
        allow("iam:PassRole", role, **PASSES_TO_SAGEMAKER),
    )
    large = {"InstanceType": "ml.p5.48xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1}
    create = clients("sagemaker").create_training_job
    assert refused(create, **training_job(role))[0] == "AccessDeniedException"  # not isolated
    dear = training_job(role, EnableNetworkIsolation=True, ResourceConfig=large)
    assert refused(create, **dear)[0] == "AccessDeniedException"
    create(**training_job(role, EnableNetworkIsolation=True))


@pytest.mark.parametrize(
    ("condition", "override"),
    [
        ({"Null": {"codebuild:source.buildspec": "false"}}, {"buildspecOverride": "version: 0.2"}),
        ({"Null": {"codebuild:serviceRole": "false"}}, {"serviceRoleOverride": f"arn:aws:iam::{ACCOUNT}:role/x"}),
        ({"StringNotLike": {"codebuild:environment.image": "aws/*"}}, {"imageOverride": "public.ecr.aws/mine"}),
        ({"Bool": {"codebuild:environment.privilegedMode": "true"}}, {"privilegedModeOverride": True}),
        (
            {"ForAnyValue:StringEquals": {"codebuild:environment.environmentVariables.name": ["BUNDLE"]}},
            {"environmentVariablesOverride": [{"name": "A", "value": "1"}, {"name": "BUNDLE", "value": "s3://x"}]},
        ),
    ],
    ids=["buildspec", "role", "image", "privileged", "variables"],
)
def test_conditions_of_codebuild_bound_what_a_request_changes_of_a_build(strict, condition, override):
    projects = f"arn:aws:codebuild:us-east-1:{ACCOUNT}:project/*"
    denied = allow("codebuild:StartBuild", projects, **condition) | {"Effect": "Deny"}
    somebody = strict.user(allow("codebuild:StartBuild", projects), denied)("codebuild")
    code, message = refused(somebody.start_build, projectName="none", **override)
    assert (code, "with an explicit deny" in message) == ("AccessDeniedException", True)
    if "StringNotLike" not in condition:  # which a request without the key fulfils
        assert refused(somebody.start_build, projectName="none")[0] == "ResourceNotFoundException"
    anybody = strict.user(allow("codebuild:StartBuild", projects))("codebuild")
    assert refused(anybody.start_build, projectName="none", **override)[0] == "NotEmulated"


def test_scaling_is_changed_by_those_only_who_may(strict):
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/e/variant/v",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    nobody = strict.user()("application-autoscaling")
    code, message = refused(nobody.register_scalable_target, **target, MinCapacity=1, MaxCapacity=2)
    assert (code, "application-autoscaling:RegisterScalableTarget" in message) == ("AccessDeniedException", True)
    dimension = {"StringEquals": {"application-autoscaling:service-namespace": "sagemaker"}}
    somebody = strict.user(allow("application-autoscaling:*", "*", **dimension))("application-autoscaling")
    code, _ = refused(somebody.register_scalable_target, **target, MinCapacity=1, MaxCapacity=2)
    assert code == "ValidationException"  # there is no such endpoint: so far it came


# ---- roles that are handed over --------------------------------------------------------------------------------------


def test_a_role_is_handed_over_by_those_only_who_may_pass_it(strict):
    mine, yours = strict.role(), strict.role()
    create = allow("sagemaker:CreateTrainingJob", f"{SAGEMAKER}:training-job/mine-*")
    no_pass = strict.user(create)
    code, message = refused(no_pass("sagemaker").create_training_job, **training_job(mine))
    assert (code, f"iam:PassRole on resource: {mine}" in message) == ("AccessDeniedException", True)

    elsewhere = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    to_lambda = strict.user(create, allow("iam:PassRole", mine, **elsewhere))
    assert "iam:PassRole" in refused(to_lambda("sagemaker").create_training_job, **training_job(mine))[1]

    passes = strict.user(create, allow("iam:PassRole", mine, **PASSES_TO_SAGEMAKER))
    assert yours in refused(passes("sagemaker").create_training_job, **training_job(yours))[1]
    passes("sagemaker").create_training_job(**training_job(mine))
    name = training_job(mine, name="yours-1")
    assert "sagemaker:CreateTrainingJob" in refused(passes("sagemaker").create_training_job, **name)[1]


def test_no_role_crosses_accounts(strict):
    trust = TRUSTS_SAGEMAKER | {"Condition": {}}
    there = strict.of_account("222222222222")("iam")
    made = there.create_role(RoleName="there", AssumeRolePolicyDocument=document(trust))
    for clients in (strict.admin, strict.user(allow("*", "*"))):
        code, message = refused(clients("sagemaker").create_training_job, **training_job(made["Role"]["Arn"]))
        assert (code, message) == ("AccessDeniedException", "Cross-account pass role is not allowed.")


@pytest.mark.parametrize(
    "trust",
    [
        TRUSTS_SAGEMAKER | {"Principal": {"Service": "lambda.amazonaws.com"}},
        TRUSTS_SAGEMAKER | {"Condition": {"StringEquals": {"aws:SourceAccount": "222222222222"}}},
        TRUSTS_SAGEMAKER | {"Action": "sts:TagSession"},
        TRUSTS_SAGEMAKER | {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Condition": {}},
    ],
    ids=["another-service", "for-another-account", "another-action", "people"],
)
def test_a_role_that_does_not_trust_sagemaker_is_refused_also_to_the_administrator(strict, trust):
    role = strict.role(trust=trust)
    code, message = refused(strict.admin("sagemaker").create_training_job, **training_job(role))
    assert code == "ValidationException"
    assert message == (
        f"Could not assume role {role}. Please ensure that the role exists and allows principal "
        "'sagemaker.amazonaws.com' to assume the role."
    )


def test_a_role_that_is_not_there_is_refused(strict):
    missing = f"arn:aws:iam::{ACCOUNT}:role/nobody"
    assert (
        "ensure that the role exists"
        in refused(strict.admin("sagemaker").create_training_job, **training_job(missing))[1]
    )


# ---- the record ------------------------------------------------------------------------------------------------------


def test_every_call_is_on_record_with_what_iam_said(strict):
    clients = strict.user(allow("sagemaker:ListModels", "*"))
    arn = clients("sts").get_caller_identity()["Arn"]
    clients("sagemaker").list_models()
    refused(clients("sagemaker").list_endpoints)
    assert wait_until(lambda: len(strict.calls_of(arn)) == 3, 5)
    seen = {call["action"]: (call["resource"], call["allowed"]) for call in strict.calls_of(arn)}
    assert seen["sagemaker:ListModels"] == ("*", True)
    assert seen["sagemaker:ListEndpoints"] == ("*", False)
    [denied] = [call for call in strict.calls_of(arn) if not call["allowed"]]
    assert (denied["code"], "sagemaker:ListEndpoints" in denied["message"]) == ("AccessDenied", True)
