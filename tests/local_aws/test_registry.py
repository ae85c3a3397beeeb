"""Model package groups, packages, models, configurations and tags: what is kept, numbered, approved and refused."""

import json
import uuid

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.local_aws.small_images import ROLE, make_bucket, push_image, put_archive

BUCKET = "registry-tests"


@pytest.fixture(scope="module")
def sagemaker(aws):
    return aws("sagemaker")


@pytest.fixture(scope="module")
def image(aws):
    return push_image(aws, "registry-test", "print('served')")


@pytest.fixture(scope="module")
def weights(aws):
    return put_archive(aws, BUCKET, "model.tar.gz", text="hello")


@pytest.fixture
def group(sagemaker):
    name = f"group-{uuid.uuid4().hex[:8]}"
    sagemaker.create_model_package_group(ModelPackageGroupName=name)
    return name


def new_name():
    return f"a-{uuid.uuid4().hex[:8]}"


def register(sagemaker, group, image, weights, **changes):
    specification = {
        "Containers": [{"Image": image, "ModelDataUrl": weights}],
        "SupportedContentTypes": ["application/json"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    return sagemaker.create_model_package(ModelPackageGroupName=group, InferenceSpecification=specification, **changes)[
        "ModelPackageArn"
    ]


def approve(sagemaker, arn, status="Approved"):
    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus=status)


def test_versions_count_up_and_are_never_given_twice(sagemaker, group, image, weights):
    arns = [register(sagemaker, group, image, weights) for _ in range(2)]
    assert [arn.rpartition("/")[2] for arn in arns] == ["1", "2"]
    sagemaker.delete_model_package(ModelPackageName=arns[1])
    assert register(sagemaker, group, image, weights).endswith("/3")
    with pytest.raises(ClientError, match="does not exist"):
        sagemaker.describe_model_package(ModelPackageName=arns[1])


def test_a_package_keeps_the_digest_its_image_had_when_it_was_registered(sagemaker, group, image, weights):
    package = sagemaker.describe_model_package(ModelPackageName=register(sagemaker, group, image, weights))
    [container] = package["InferenceSpecification"]["Containers"]
    assert container["ImageDigest"].startswith("sha256:")
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["ModelPackageStatus"] == "Completed"
    with pytest.raises(ClientError, match="nobody"):
        register(sagemaker, group, image.replace("registry-test", "nobody"), weights)


def test_the_same_request_told_by_its_token_makes_one_package(sagemaker, group, image, weights):
    first, again = (register(sagemaker, group, image, weights, ClientToken="t" * 36) for _ in range(2))
    assert first == again
    assert register(sagemaker, group, image, weights, ClientToken="u" * 36) != first


def test_approval_is_a_change_that_lists_and_models_see(sagemaker, group, image, weights):
    pending, approved = (register(sagemaker, group, image, weights) for _ in range(2))
    approve(sagemaker, approved)
    listed = sagemaker.list_model_packages(ModelPackageGroupName=group, ModelApprovalStatus="Approved")
    assert [each["ModelPackageArn"] for each in listed["ModelPackageSummaryList"]] == [approved]
    for arn, status in ((pending, "PendingManualApproval"), (approved, "Rejected")):
        if arn == approved:
            sagemaker.create_model(
                ModelName=new_name(), ExecutionRoleArn=ROLE, PrimaryContainer={"ModelPackageName": arn}
            )
            approve(sagemaker, arn, "Rejected")
        with pytest.raises(ClientError, match=f"its ModelApprovalStatus is {status}, and Approved is required"):
            sagemaker.create_model(
                ModelName=new_name(), ExecutionRoleArn=ROLE, PrimaryContainer={"ModelPackageName": arn}
            )


def test_metadata_is_merged_and_removed_by_key(sagemaker, group, image, weights):
    arn = register(sagemaker, group, image, weights, CustomerMetadataProperties={"loss": "2.7", "who": "me"})
    sagemaker.update_model_package(
        ModelPackageArn=arn, CustomerMetadataProperties={"loss": "2.6"}, CustomerMetadataPropertiesToRemove=["who"]
    )
    assert sagemaker.describe_model_package(ModelPackageName=arn)["CustomerMetadataProperties"] == {"loss": "2.6"}


def test_a_group_with_packages_stays_and_one_nobody_made_is_not_found(sagemaker, group, image, weights):
    arn = register(sagemaker, group, image, weights)
    with pytest.raises(ClientError, match="still contains packages") as refused:
        sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    assert refused.value.response["Error"]["Code"] == "ConflictException"
    sagemaker.delete_model_package(ModelPackageName=arn)
    sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    with pytest.raises(ClientError, match="does not exist"):
        sagemaker.describe_model_package_group(ModelPackageGroupName=group)
    with pytest.raises(ClientError, match="does not exist"):
        register(sagemaker, group, image, weights)


def test_a_groups_policy_is_json_that_can_be_put_read_and_deleted(sagemaker, group):
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    with pytest.raises(ClientError, match="Cannot find resource policy"):
        sagemaker.get_model_package_group_policy(ModelPackageGroupName=group)
    with pytest.raises(ClientError, match="not JSON"):
        sagemaker.put_model_package_group_policy(ModelPackageGroupName=group, ResourcePolicy="{")
    sagemaker.put_model_package_group_policy(ModelPackageGroupName=group, ResourcePolicy=policy)
    assert sagemaker.get_model_package_group_policy(ModelPackageGroupName=group)["ResourcePolicy"] == policy
    sagemaker.delete_model_package_group_policy(ModelPackageGroupName=group)
    with pytest.raises(ClientError, match="Cannot find resource policy"):
        sagemaker.get_model_package_group_policy(ModelPackageGroupName=group)


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({}, "either Image or ModelPackageName"),
        ({"ModelDataUrl": f"s3://{BUCKET}/nowhere.tar.gz"}, "Could not find model data at s3://registry-tests/nowhere"),
        ({"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/nobody:1"}, "nobody:1 not found"),
        ({"Mode": "MultiModel"}, "'MultiModel' is not emulated"),
    ],
)
def test_a_model_that_cannot_be_had_is_refused(aws, sagemaker, image, container, words):
    make_bucket(aws, BUCKET)
    given = {"Image": image, **container} if container else {}
    with pytest.raises(ClientError, match=words):
        sagemaker.create_model(ModelName=new_name(), ExecutionRoleArn=ROLE, PrimaryContainer=given)


def test_models_and_configurations_are_kept_listed_deleted_and_their_names_taken_once(sagemaker, image, weights):
    name = new_name()
    model = {"ModelName": name, "ExecutionRoleArn": ROLE}
    model["PrimaryContainer"] = {"Image": image, "ModelDataUrl": weights}
    variants = [{"VariantName": "main", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}]
    sagemaker.create_model(**model)
    with pytest.raises(ClientError, match="already existing model"):
        sagemaker.create_model(**model)
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    with pytest.raises(ClientError, match="already existing endpoint configuration"):
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    assert [each["ModelName"] for each in sagemaker.list_models(NameContains=name)["Models"]] == [name]
    described = sagemaker.describe_endpoint_config(EndpointConfigName=name)
    assert described["ProductionVariants"] == variants
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    sagemaker.delete_model(ModelName=name)
    for describe, key in (
        (sagemaker.describe_model, "ModelName"),
        (sagemaker.describe_endpoint_config, "EndpointConfigName"),
    ):
        with pytest.raises(ClientError, match="Could not find"):
            describe(**{key: name})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ModelName": "nobody"}, 'Could not find model ".*model/nobody"'),
        ({"InstanceType": None}, "main needs an InstanceType"),
        (
            {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}},
            "is serverless: it takes no InstanceType",
        ),
    ],
)
def test_a_configuration_that_cannot_be_served_is_refused(sagemaker, image, weights, changes, words):
    name = new_name()
    sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": image, "ModelDataUrl": weights}
    )
    variant = {"VariantName": "main", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    given = {key: value for key, value in (variant | changes).items() if value is not None}
    with pytest.raises(ClientError, match=words):
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[given])


def test_tags_are_added_replaced_removed_and_limited(sagemaker, group):
    arn = sagemaker.describe_model_package_group(ModelPackageGroupName=group)["ModelPackageGroupArn"]

    def tags():
        return {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=arn)["Tags"]}

    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "a"}, {"Key": "cost", "Value": "1"}])
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "team", "Value": "b"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["cost"])
    assert tags() == {"team": "b"}
    for given, words in (
        ([{"Key": "aws:x", "Value": "1"}], "reserved for AWS"),
        ([{"Key": f"k{number}", "Value": ""} for number in range(50)], "takes 50 tags; 51 are given"),
    ):
        with pytest.raises(ClientError, match=words):
            sagemaker.add_tags(ResourceArn=arn, Tags=given)
    with pytest.raises(ClientError, match="Could not find a resource with the ARN"):
        sagemaker.list_tags(ResourceArn=arn + "-nobody")
    assert tags() == {"team": "b"}


def test_accounts_do_not_see_each_others_models(local_aws, sagemaker, group):
    other = boto3.Session(aws_access_key_id="210987654321", aws_secret_access_key="x", region_name=local_aws.region)
    theirs = other.client("sagemaker", endpoint_url=local_aws.endpoint_url)
    with pytest.raises(ClientError, match="does not exist"):
        theirs.describe_model_package_group(ModelPackageGroupName=group)
    assert theirs.list_model_package_groups()["ModelPackageGroupSummaryList"] == []
