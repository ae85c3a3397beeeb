"""A bucket of a stack has what its template says, and is not deleted while it holds anything."""

import pytest

from local_aws import s3_buckets


def bucket(name, **properties):
    return {"Bucket": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": name, **properties}}}


KMS = {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "arn:aws:kms:us-east-1:1:key/k"}}
RULE = {
    "Id": "old-versions",
    "Status": "Enabled",
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": "7"},
    "ExpiredObjectDeleteMarker": True,
    "NoncurrentVersionExpiration": {"NoncurrentDays": 90},
}


def test_objects_get_the_key_that_the_template_names(aws, deploy):
    encryption = {"ServerSideEncryptionConfiguration": [{**KMS, "BucketKeyEnabled": True}]}
    deploy(aws("cloudformation"), "s3-kms", bucket("s3-kms", BucketEncryption=encryption))
    aws("s3").put_object(Bucket="s3-kms", Key="k", Body=b"x")
    head = aws("s3").head_object(Bucket="s3-kms", Key="k")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "arn:aws:kms:us-east-1:1:key/k")
    (rule,) = aws("s3").get_bucket_encryption(Bucket="s3-kms")["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["BucketKeyEnabled"] is True


def test_lifecycle_logging_and_tags_are_those_of_the_template(aws, deploy):
    deploy(
        aws("cloudformation"),
        "s3-all",
        bucket(
            "s3-all",
            LifecycleConfiguration={"Rules": [RULE]},
            LoggingConfiguration={"LogFilePrefix": "self/"},
            Tags=[{"Key": "project", "Value": "amplify"}],
        ),
    )
    s3 = aws("s3")
    (rule,) = s3.get_bucket_lifecycle_configuration(Bucket="s3-all")["Rules"]
    assert rule == {
        "ID": "old-versions",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
        "NoncurrentVersionExpiration": {"NoncurrentDays": 90},
    }
    assert s3.get_bucket_logging(Bucket="s3-all")["LoggingEnabled"] == {
        "TargetBucket": "s3-all",
        "TargetPrefix": "self/",
    }
    assert {"Key": "project", "Value": "amplify"} in s3.get_bucket_tagging(Bucket="s3-all")["TagSet"]


def test_what_a_template_no_longer_names_is_taken_away_and_the_objects_stay(aws, deploy):
    tags = [{"Key": "a", "Value": "1"}]
    deploy(aws("cloudformation"), "s3-less", bucket("s3-less", LifecycleConfiguration={"Rules": [RULE]}, Tags=tags))
    aws("s3").put_object(Bucket="s3-less", Key="k", Body=b"x")
    stack = deploy(aws("cloudformation"), "s3-less", bucket("s3-less", Tags=tags))
    assert stack["StackStatus"] == "UPDATE_COMPLETE"
    with pytest.raises(aws("s3").exceptions.ClientError, match="NoSuchLifecycleConfiguration"):
        aws("s3").get_bucket_lifecycle_configuration(Bucket="s3-less")
    assert aws("s3").get_object(Bucket="s3-less", Key="k")["Body"].read() == b"x"


def test_a_bucket_without_a_name_keeps_its_generated_one_through_updates(aws, deploy):
    resources = {"Bucket": {"Type": "AWS::S3::Bucket"}}
    outputs = {"Name": {"Value": {"Ref": "Bucket"}}}
    first = deploy(aws("cloudformation"), "s3-auto", resources, Outputs=outputs)["Outputs"]
    resources["Bucket"]["Properties"] = {"Tags": [{"Key": "a", "Value": "1"}]}
    assert deploy(aws("cloudformation"), "s3-auto", resources, Outputs=outputs)["Outputs"] == first


def test_a_rule_that_cannot_be_translated_fails_the_stack_with_its_name_and_leaves_no_bucket(aws, deploy):
    rule = {"Status": "Enabled", "ExpirationInDays": 1, "TagFilters": [{"Key": "temporary", "Value": "yes"}]}
    stack = deploy(aws("cloudformation"), "s3-rule", bucket("s3-rule", LifecycleConfiguration={"Rules": [rule]}))
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    events = aws("cloudformation").describe_stack_events(StackName="s3-rule")["StackEvents"]
    assert any("does not know TagFilters" in event.get("ResourceStatusReason", "") for event in events)
    assert "s3-rule" not in {found["Name"] for found in aws("s3").list_buckets()["Buckets"]}


@pytest.mark.parametrize("left", ["an object", "an old version", "a delete marker"])
def test_a_bucket_that_holds_anything_is_not_deleted(aws, deploy, left):
    name, s3 = f"s3-full-{left.split()[-1]}", aws("s3")
    deploy(aws("cloudformation"), name, bucket(name, VersioningConfiguration={"Status": "Enabled"}))
    version = s3.put_object(Bucket=name, Key="k", Body=b"x")["VersionId"]
    if left != "an object":
        s3.delete_object(Bucket=name, Key="k")
    if left == "a delete marker":
        s3.delete_object(Bucket=name, Key="k", VersionId=version)
    aws("cloudformation").delete_stack(StackName=name)
    with pytest.raises(Exception, match="DELETE_FAILED"):
        aws("cloudformation").get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    events = aws("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
    assert any("is not empty" in event.get("ResourceStatusReason", "") for event in events)
    assert s3.list_object_versions(Bucket=name).keys() & {"Versions", "DeleteMarkers"}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"Status": "Enabled", "ExpirationInDays": "365"}, {"Expiration": {"Days": 365}}),
        ({"Status": "Enabled", "Prefix": "logs/"}, {"Filter": {"Prefix": "logs/"}}),
        (
            {"Status": "Enabled", "Transitions": [{"TransitionInDays": 30, "StorageClass": "GLACIER"}]},
            {"Transitions": [{"Days": 30, "StorageClass": "GLACIER"}]},
        ),
    ],
)
def test_a_lifecycle_rule_of_a_template_becomes_one_of_the_api(given, made):
    (rule,) = s3_buckets.lifecycle({"Rules": [given]})["Rules"]
    assert rule.items() >= made.items()


def test_a_write_that_asks_for_kms_and_names_no_key_gets_the_buckets_or_the_accounts(aws, deploy):
    deploy(aws("cloudformation"), "s3-none", bucket("s3-none"))
    rules = {"ServerSideEncryptionConfiguration": [KMS]}
    deploy(aws("cloudformation"), "s3-own", bucket("s3-own", BucketEncryption=rules))
    for name in ("s3-none", "s3-own"):
        aws("s3").put_object(Bucket=name, Key="k", Body=b"x", ServerSideEncryption="aws:kms")
    accounts, own = (aws("s3").head_object(Bucket=name, Key="k")["SSEKMSKeyId"] for name in ("s3-none", "s3-own"))
    assert accounts == "arn:aws:kms:us-east-1:123456789012:alias/aws/s3"
    assert own == "arn:aws:kms:us-east-1:1:key/k"
