"""DetectStackDrift finds what somebody changed by hand, names the property, and is silent where nothing was."""

import json
import uuid

import pytest

from tests.local_aws.small_images import ROLE, push_image, put_archive
from tests.local_aws.test_cloudformation import SERVE, endpoint

DENY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::none/*"}],
}
ALLOW = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::none/*"}],
}
DEFINITION = json.dumps(
    {"Version": "2020-12-01", "Steps": [{"Name": "End", "Type": "Fail", "Arguments": {"ErrorMessage": "x"}}]}
)


GROUP_POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Seen",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::222222222222:root"},
            "Action": ["sagemaker:DescribeModelPackage"],
            "Resource": ["arn:aws:sagemaker:us-east-1:123456789012:model-package/drift/*"],
        }
    ],
}


@pytest.fixture(scope="module")
def resources():
    """A stack of everything that our own stacks have and people change by hand."""
    trust = {"Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}}]}
    trust["Statement"][0]["Action"] = "sts:AssumeRole"
    everyone = {"AWS": "arn:aws:iam::123456789012:root"}
    root = {"Statement": [{"Effect": "Allow", "Principal": everyone, "Action": "kms:*", "Resource": "*"}]}
    topic = {"Statement": [{"Effect": "Allow", "Principal": everyone, "Action": "sns:Publish", "Resource": "*"}]}
    by_kms = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": {"Fn::GetAtt": ["Key", "Arn"]}}
    rule = {"Id": "old", "Status": "Enabled", "NoncurrentVersionExpiration": {"NoncurrentDays": "90"}}
    return {
        "Key": {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": root, "EnableKeyRotation": True}},
        "Bucket": {
            "Type": "AWS::S3::Bucket",
            "Properties": {
                "BucketEncryption": {
                    "ServerSideEncryptionConfiguration": [
                        {"ServerSideEncryptionByDefault": by_kms, "BucketKeyEnabled": True}
                    ]
                },
                "LifecycleConfiguration": {"Rules": [rule]},
                "LoggingConfiguration": {"LogFilePrefix": "logs/"},
                "PublicAccessBlockConfiguration": {
                    "BlockPublicAcls": True,
                    "BlockPublicPolicy": True,
                    "IgnorePublicAcls": True,
                    "RestrictPublicBuckets": True,
                },
                "VersioningConfiguration": {"Status": "Enabled"},
            },
        },
        "BucketPolicy": {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {"Bucket": {"Ref": "Bucket"}, "PolicyDocument": DENY},
        },
        "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": trust}},
        "Policy": {
            "Type": "AWS::IAM::Policy",
            "Properties": {"PolicyName": "may", "PolicyDocument": ALLOW, "Roles": [{"Ref": "Role"}]},
        },
        "Managed": {"Type": "AWS::IAM::ManagedPolicy", "Properties": {"PolicyDocument": ALLOW}},
        "Topic": {"Type": "AWS::SNS::Topic", "Properties": {}},
        "TopicPolicy": {
            "Type": "AWS::SNS::TopicPolicy",
            "Properties": {"Topics": [{"Ref": "Topic"}], "PolicyDocument": topic},
        },
        "Alarm": {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {
                "Namespace": "drift",
                "MetricName": "errors",
                "Statistic": "Sum",
                "Period": 60,
                "EvaluationPeriods": 1,
                "Threshold": 5,
                "ComparisonOperator": "GreaterThanThreshold",
            },
        },
        "Group": {
            "Type": "AWS::SageMaker::ModelPackageGroup",
            "Properties": {
                "ModelPackageGroupName": f"drift-{uuid.uuid4().hex[:8]}",
                "ModelPackageGroupDescription": "models",
                "ModelPackageGroupPolicy": GROUP_POLICY,  # a document, of which SageMaker keeps the text
                "Tags": [{"Key": "project", "Value": "amplify"}],
            },
        },
        "Pipeline": {
            "Type": "AWS::SageMaker::Pipeline",
            "Properties": {
                "PipelineName": f"drift-{uuid.uuid4().hex[:8]}",
                "RoleArn": ROLE,
                "PipelineDefinition": {"PipelineDefinitionBody": DEFINITION},
            },
        },
    }


@pytest.fixture(scope="module")
def stack(aws, deploy, resources):
    """Its name, and what each logical id is called."""
    name = f"drift-{uuid.uuid4().hex[:8]}"
    assert deploy(aws("cloudformation"), name, resources)["StackStatus"] == "CREATE_COMPLETE"
    yield name
    aws("cloudformation").delete_stack(StackName=name)


def physical(aws, stack, logical_id):
    found = aws("cloudformation").describe_stack_resource(StackName=stack, LogicalResourceId=logical_id)
    return found["StackResourceDetail"]["PhysicalResourceId"]


def drifts(aws, stack):
    """Logical id → (status, the properties that differ) of each resource that was compared."""
    cloudformation = aws("cloudformation")
    detection = cloudformation.detect_stack_drift(StackName=stack)["StackDriftDetectionId"]
    said = cloudformation.describe_stack_drift_detection_status(StackDriftDetectionId=detection)
    assert said["DetectionStatus"] == "DETECTION_COMPLETE", said
    found = cloudformation.describe_stack_resource_drifts(StackName=stack)["StackResourceDrifts"]
    return {
        each["LogicalResourceId"]: (
            each["StackResourceDriftStatus"],
            {one["PropertyPath"].split("/")[1] for one in each.get("PropertyDifferences", [])},
        )
        for each in found
    }


def test_nothing_has_drifted_that_nobody_touched(aws, stack, resources):
    assert drifts(aws, stack) == {name: ("IN_SYNC", set()) for name in resources}


def test_what_is_changed_by_hand_is_found_by_its_property(aws, stack):
    bucket, key, group = (physical(aws, stack, name) for name in ("Bucket", "Key", "Group"))
    other = {**DENY, "Statement": [{**DENY["Statement"][0], "Effect": "Allow"}]}
    more = {**ALLOW, "Statement": [{**ALLOW["Statement"][0], "Action": "s3:*"}]}
    s3, iam = aws("s3"), aws("iam")

    s3.delete_public_access_block(Bucket=bucket)  # first: it refuses what comes next
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(other))
    by_s3 = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [by_s3]})
    s3.delete_bucket_lifecycle(Bucket=bucket)
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    aws("kms").disable_key_rotation(KeyId=key)
    iam.put_role_policy(RoleName=physical(aws, stack, "Role"), PolicyName="may", PolicyDocument=json.dumps(more))
    iam.create_policy_version(
        PolicyArn=physical(aws, stack, "Managed"), PolicyDocument=json.dumps(more), SetAsDefault=True
    )
    topic = physical(aws, stack, "Topic")
    aws("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(other))
    aws("cloudwatch").put_metric_alarm(
        AlarmName=physical(aws, stack, "Alarm"),
        Namespace="drift",
        MetricName="errors",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=5000,
        ComparisonOperator="GreaterThanThreshold",
    )
    sagemaker = aws("sagemaker")
    sagemaker.add_tags(ResourceArn=group, Tags=[{"Key": "project", "Value": "mine"}])
    sagemaker.update_pipeline(
        PipelineName=physical(aws, stack, "Pipeline"), PipelineDefinition=DEFINITION.replace('"x"', '"y"')
    )

    found = drifts(aws, stack)
    changed = {name: properties for name, (status, properties) in found.items() if status == "MODIFIED"}
    assert changed == {
        "Bucket": {
            "BucketEncryption",
            "LifecycleConfiguration",
            "LoggingConfiguration",
            "PublicAccessBlockConfiguration",
            "VersioningConfiguration",
        },
        "BucketPolicy": {"PolicyDocument"},
        "Key": {"EnableKeyRotation"},
        "Policy": {"PolicyDocument"},
        "Managed": {"PolicyDocument"},
        "TopicPolicy": {"PolicyDocument"},
        "Alarm": {"Threshold"},
        "Group": {"Tags"},
        "Pipeline": {"PipelineDefinition"},
    }

    s3.delete_bucket_policy(Bucket=bucket)
    iam.delete_role_policy(RoleName=physical(aws, stack, "Role"), PolicyName="may")
    sagemaker.delete_pipeline(PipelineName=physical(aws, stack, "Pipeline"), ClientRequestToken="x" * 32)
    found = drifts(aws, stack)
    assert {name for name, (status, _) in found.items() if status == "DELETED"} == {
        "BucketPolicy",
        "Policy",
        "Pipeline",
    }


def test_an_endpoint_that_serves_another_configuration_has_drifted(aws, deploy):
    name = f"t{uuid.uuid4().hex[:8]}"
    image = push_image(aws, "drift-test", SERVE)
    url = put_archive(aws, "drift-models", "first.tar.gz", text="first")
    assert deploy(aws("cloudformation"), name, endpoint(name, image, url))["StackStatus"] == "CREATE_COMPLETE"
    try:
        assert {status for status, _ in drifts(aws, name).values()} == {"IN_SYNC"}
        sagemaker = aws("sagemaker")
        model = physical(aws, name, "Model").rpartition("/")[2]
        before = sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
        variant = {"VariantName": "model", "ModelName": model, "InstanceType": "ml.m5.large"}
        sagemaker.create_endpoint_config(
            EndpointConfigName=f"{name}-mine", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
        )
        sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-mine")
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})
        assert drifts(aws, name)["Endpoint"] == ("MODIFIED", {"EndpointConfigName"})
        sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=before)
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1})
        sagemaker.delete_model(ModelName=model)
        found = drifts(aws, name)
        assert found["Endpoint"] == ("IN_SYNC", set())
        assert found["Model"][0] == "DELETED"
    finally:
        aws("cloudformation").delete_stack(StackName=name)
