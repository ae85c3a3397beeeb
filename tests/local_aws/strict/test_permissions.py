"""What each request of SageMaker has to be allowed, as the Service Authorization Reference lists it."""

import pytest

from local_aws import api
from local_aws.permissions import conditions, needs
from local_aws.store import Scope

HERE = Scope("123456789012", "us-east-1")
ARN = "arn:aws:sagemaker:us-east-1:123456789012:"
ROLE = "arn:aws:iam::123456789012:role/r"


def asked(operation, **request):
    """(action, resource without its beginning) of all that is asked."""
    return [(need.action, need.resource.removeprefix(ARN)) for need in needs(HERE, operation, request)]


@pytest.mark.parametrize(
    ("operation", "request_members", "resources"),
    [
        ("CreateTrainingJob", {"TrainingJobName": "j"}, ["training-job/j"]),
        ("StopProcessingJob", {"ProcessingJobName": "j"}, ["processing-job/j"]),
        ("DescribeModel", {"ModelName": "m"}, ["model/m"]),
        ("CreateEndpoint", {"EndpointName": "e", "EndpointConfigName": "c"}, ["endpoint/e", "endpoint-config/c"]),
        ("UpdateEndpoint", {"EndpointName": "e", "EndpointConfigName": "c"}, ["endpoint/e", "endpoint-config/c"]),
        ("UpdateEndpointWeightsAndCapacities", {"EndpointName": "e"}, ["endpoint/e"]),
        ("DeleteEndpointConfig", {"EndpointConfigName": "c"}, ["endpoint-config/c"]),
        ("CreateModelPackage", {"ModelPackageGroupName": "g"}, ["model-package-group/g", "model-package/g/*"]),
        (
            "CreateModelPackage",
            {"ModelPackageGroupName": f"{ARN}model-package-group/g"},
            ["model-package-group/g", "model-package/g/*"],
        ),
        ("DescribeModelPackage", {"ModelPackageName": "g/3"}, ["model-package/g/3"]),
        ("DescribeModelPackage", {"ModelPackageName": f"{ARN}model-package/g/3"}, ["model-package/g/3"]),
        ("UpdateModelPackage", {"ModelPackageArn": f"{ARN}model-package/g/3"}, ["model-package/g/3"]),
        ("PutModelPackageGroupPolicy", {"ModelPackageGroupName": "g"}, ["model-package-group/g"]),
        ("StartPipelineExecution", {"PipelineName": "p"}, ["pipeline/p"]),
        ("ListPipelineExecutions", {"PipelineName": f"{ARN}pipeline/p"}, ["pipeline/p"]),
        (
            "StopPipelineExecution",
            {"PipelineExecutionArn": f"{ARN}pipeline/p/execution/abc"},
            ["pipeline/p/execution/abc"],
        ),
        ("ListTags", {"ResourceArn": f"{ARN}endpoint/e"}, ["endpoint/e"]),
        ("ListModels", {}, ["*"]),
        ("ListModelPackages", {"ModelPackageGroupName": "g"}, ["*"]),
        ("CreateTrainingJob", {}, ["training-job/*"]),
        ("UpdateModelPackage", {}, ["*"]),
    ],
)
def test_an_operation_is_on_its_resources(operation, request_members, resources):
    assert asked(operation, **request_members) == [(f"sagemaker:{operation}", resource) for resource in resources]


@pytest.mark.parametrize("operation", sorted(api.OPERATIONS))
def test_no_operation_is_without_a_resource(operation):
    assert asked(operation)[0][0] == f"sagemaker:{operation}"


def test_tags_ask_for_the_right_to_tag_where_something_is_made():
    tags = [{"Key": "a", "Value": "b"}]
    assert asked("CreateModel", ModelName="m", Tags=tags)[1] == ("sagemaker:AddTags", "model/m")
    assert len(asked("AddTags", ResourceArn=f"{ARN}model/m", Tags=tags)) == 1


def test_a_role_asks_to_be_passed_to_sagemaker():
    [_, passed] = needs(HERE, "CreateModel", {"ModelName": "m", "ExecutionRoleArn": ROLE})
    assert (passed.action, passed.resource) == ("iam:PassRole", ROLE)
    assert passed.context == {"iam:PassedToService": "sagemaker.amazonaws.com"}


def test_condition_keys_are_found_where_each_request_has_them():
    training = {
        "ResourceConfig": {"InstanceType": "ml.m5.large", "VolumeKmsKeyId": "k", "KeepAlivePeriodInSeconds": 60},
        "OutputDataConfig": {"KmsKeyId": "o"},
        "VpcConfig": {"Subnets": ["a", "b"], "SecurityGroupIds": ["s"]},
        "EnableNetworkIsolation": True,
        "Tags": [{"Key": "team", "Value": "t"}],
    }
    assert conditions(training) == {
        "sagemaker:InstanceTypes": "ml.m5.large",
        "sagemaker:VolumeKmsKey": "k",
        "sagemaker:OutputKmsKey": "o",
        "sagemaker:NetworkIsolation": True,
        "sagemaker:VpcSubnets": ["a", "b"],
        "sagemaker:VpcSecurityGroupIds": "s",
        "sagemaker:KeepAlivePeriod": 60,
        "aws:RequestTag/team": "t",
        "aws:TagKeys": ["team"],
    }
    config = {
        "ProductionVariants": [{"InstanceType": "ml.m5.large"}, {"InstanceType": "ml.g5.xlarge"}],
        "KmsKeyId": "k",
    }
    assert conditions(config) == {
        "sagemaker:InstanceTypes": ["ml.m5.large", "ml.g5.xlarge"],
        "sagemaker:VolumeKmsKey": "k",
    }


def test_a_malformed_request_is_asked_for_all_the_same():
    assert conditions({"ResourceConfig": "no object", "Tags": "none", "ProductionVariants": 7}) == {}


def test_a_transform_job_tells_which_model_it_is_of():
    job = needs(HERE, "CreateTransformJob", {"TransformJobName": "j", "ModelName": "m"})
    assert next(job).context["sagemaker:ModelArn"] == f"{ARN}model/m"
