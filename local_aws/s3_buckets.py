"""Properties of AWS::S3::Bucket that ministack's CloudFormation drops without a word, set through its S3 API.

Encryption, life-cycle, access logging and tags: without this a bucket "with a KMS key" keeps its objects under another
key, and every template looks right. And a bucket that still holds an object, a version or a delete marker is not
deleted: AWS refuses it, and so people would learn it only there.
"""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from local_aws.clients import client
from local_aws.interrupted_stacks import about_to_touch
from local_aws.ministack_hooks.cloudformation import Properties, wrap_bucket
from local_aws.ministack_hooks.requests import account, region


def install() -> None:
    wrap_bucket(apply, delete)


def apply(bucket: str, old: Properties, new: Properties) -> None:
    """Bring the bucket to `new`. What was set and is no longer named goes back to S3's default."""
    about_to_touch(bucket)
    s3 = client("s3", account(), region())
    for name, put, remove in _PROPERTIES:
        if new.get(name):
            put(s3, bucket, new[name])
        elif old.get(name):
            remove(s3, bucket)


def delete(bucket: str, _properties: Properties) -> None:
    """Delete as S3 does. Raises ValueError where S3 refuses."""
    try:
        client("s3", account(), region()).delete_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchBucket":
            return  # someone deleted it by hand; CloudFormation is content with that too
        raise ValueError(f"{error.response['Error']['Message']} (bucket {bucket})") from error


def encryption(properties: Properties) -> dict[str, Any]:
    """BucketEncryption as PutBucketEncryption takes it."""
    return {
        "Rules": [
            {
                "ApplyServerSideEncryptionByDefault": dict(rule["ServerSideEncryptionByDefault"]),
                "BucketKeyEnabled": _boolean(rule.get("BucketKeyEnabled", False)),
            }
            for rule in properties["ServerSideEncryptionConfiguration"]
        ]
    }


def lifecycle(properties: Properties) -> dict[str, Any]:
    """LifecycleConfiguration as PutBucketLifecycleConfiguration takes it."""
    return {"Rules": [_lifecycle_rule(rule) for rule in properties["Rules"]]}


def _lifecycle_rule(rule: Properties) -> dict[str, Any]:
    """One rule. CloudFormation flattens what the API nests (ExpirationInDays, Prefix), and may give numbers as text.

    Raises ValueError on a member that is not translated: dropping a rule's filter would expire the wrong objects.
    """
    made: dict[str, Any] = {"Status": rule["Status"], "Filter": {"Prefix": rule.get("Prefix", "")}}
    expiration: dict[str, Any] = {}
    for name, value in rule.items():
        match name:
            case "Id":
                made["ID"] = value
            case "Status" | "Prefix":
                pass
            case "ExpirationInDays":
                expiration["Days"] = int(value)
            case "ExpiredObjectDeleteMarker":
                expiration["ExpiredObjectDeleteMarker"] = _boolean(value)
            case "NoncurrentVersionExpiration":
                made[name] = _integers(value)
            case "AbortIncompleteMultipartUpload":
                made[name] = {"DaysAfterInitiation": int(value["DaysAfterInitiation"])}
            case "Transitions":
                made[name] = [{"Days": int(t["TransitionInDays"]), "StorageClass": t["StorageClass"]} for t in value]
            case "NoncurrentVersionTransitions":
                made[name] = [
                    {"NoncurrentDays": int(t["TransitionInDays"]), "StorageClass": t["StorageClass"]} for t in value
                ]
            case _:
                raise ValueError(f"local AWS does not know {name} of a bucket's life-cycle rule: {value!r}")
    return made | ({"Expiration": expiration} if expiration else {})


def logging(bucket: str, properties: Properties) -> dict[str, Any]:
    """LoggingConfiguration as PutBucketLogging takes it."""
    return {
        "LoggingEnabled": {
            "TargetBucket": properties.get("DestinationBucketName", bucket),
            "TargetPrefix": properties.get("LogFilePrefix", ""),
        }
    }


def _boolean(value: Any) -> bool:
    return str(value).lower() == "true"


def _integers(values: Properties) -> dict[str, int]:
    return {name: int(value) for name, value in values.items()}


# (property, its setter, its remover); each takes the client and the bucket first
_PROPERTIES: list[tuple[str, Callable[[Any, str, Any], Any], Callable[[Any, str], Any]]] = [
    (
        "BucketEncryption",
        lambda s3, bucket, value: s3.put_bucket_encryption(
            Bucket=bucket, ServerSideEncryptionConfiguration=encryption(value)
        ),
        lambda s3, bucket: s3.delete_bucket_encryption(Bucket=bucket),
    ),
    (
        "LifecycleConfiguration",
        lambda s3, bucket, value: s3.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration=lifecycle(value)
        ),
        lambda s3, bucket: s3.delete_bucket_lifecycle(Bucket=bucket),
    ),
    (
        "LoggingConfiguration",
        lambda s3, bucket, value: s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus=logging(bucket, value)),
        lambda s3, bucket: s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={}),
    ),
    (
        "Tags",
        lambda s3, bucket, value: s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": value}),
        lambda s3, bucket: s3.delete_bucket_tagging(Bucket=bucket),
    ),
]
