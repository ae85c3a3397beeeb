"""What CloudFormation's drift detection compares here: what stacks say of a resource with what it is now.

ministack compares a few types, by a few properties. Here is the rest of what somebody is likely to change by hand and
regret: everything of SageMaker's, policies of buckets, roles and keys, encryption, alarms. As on AWS only what a
template sets is compared, and a type that nobody reads is NOT_CHECKED.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-stack-drift.html
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from botocore.parsers import RestXMLParser
from botocore.session import get_session

from local_aws import api, s3_buckets, validation
from local_aws.cloudformation import TYPES, ResourceType
from local_aws.errors import SageMakerError
from local_aws.ministack_hooks import existing
from local_aws.ministack_hooks.cloudformation import Properties
from local_aws.ministack_hooks.existing import Reader, compare
from local_aws.ministack_hooks.requests import account, region
from local_aws.store import Scope

S3 = get_session().get_service_model("s3")
ALARM = (
    *("ActionsEnabled", "AlarmActions", "ComparisonOperator", "DatapointsToAlarm", "EvaluationPeriods"),
    *("ExtendedStatistic", "MetricName", "Namespace", "OKActions", "Period", "Threshold", "TreatMissingData"),
)


def install() -> None:
    for kind in TYPES:
        compare(f"AWS::SageMaker::{kind.noun}", _sagemaker(kind), _properties(kind))
    for name, read, properties in _READERS:
        compare(name, read, properties)


# ---- SageMaker -------------------------------------------------------------------------------------------------------

# Of an endpoint: how it is updated is no state of it.
_COMPARED = {
    "Endpoint": {"EndpointConfigName", "Tags"},
    "Pipeline": {"PipelineDefinition", "PipelineDescription", "PipelineDisplayName", "RoleArn", "Tags"},
    "ModelPackageGroup": {"ModelPackageGroupDescription", "ModelPackageGroupPolicy", "Tags"},
}


def _properties(kind: ResourceType) -> set[str]:
    """The properties that are compared: by default all that creating one takes and describing one tells."""
    if kind.noun in _COMPARED:
        return _COMPARED[kind.noun]
    taken = validation.operation(f"Create{kind.noun}").input_shape
    told = validation.operation(f"Describe{kind.noun}").output_shape
    assert taken is not None, "each of these operations takes something"
    assert told is not None, "and answers something"
    return (set(taken.members) & set(told.members)) | {"Tags"}


def _sagemaker(kind: ResourceType) -> Reader:
    def read(physical_id: str, expected: Properties) -> Properties | None:
        name, scope = physical_id.rpartition("/")[2], Scope(account(), region())
        try:
            now = api.call(scope, f"Describe{kind.noun}", {kind.name: name})
        except SageMakerError as error:
            if error.code in ("ResourceNotFound", "ValidationException"):
                return None
            raise
        if "Tags" in expected:
            now["Tags"] = api.call(scope, "ListTags", {"ResourceArn": now[kind.arn]})["Tags"]
        if isinstance(definition := expected.get("PipelineDefinition"), Mapping):
            if "PipelineDefinitionBody" in definition:
                now["PipelineDefinition"] = {"PipelineDefinitionBody": now["PipelineDefinition"]}
            else:
                now.pop("PipelineDefinition")  # it lies in S3: nobody says whether that object is what it was
        if "ModelPackageGroupPolicy" in expected:
            now |= _group_policy(scope, name, expected["ModelPackageGroupPolicy"])
        return {key: like(expected[key], value) for key, value in now.items() if key in expected}

    return read


def _group_policy(scope: Scope, name: str, expected: Any) -> Properties:
    """SageMaker keeps the text; a template may have the document."""
    try:
        text = api.call(scope, "GetModelPackageGroupPolicy", {"ModelPackageGroupName": name})["ResourcePolicy"]
    except SageMakerError:
        return {}
    return {"ModelPackageGroupPolicy": json.loads(text) if isinstance(expected, Mapping) else text}


def like(expected: Any, now: Any) -> Any:
    """`now` without what the template says nothing of: SageMaker fills in defaults, and those are no drift.

    What a list has beside the template's elements stays: somebody put it there.
    """
    if isinstance(expected, Mapping) and isinstance(now, Mapping):
        return {key: like(expected[key], value) for key, value in now.items() if key in expected}
    if isinstance(expected, list) and isinstance(now, list):
        known = [like(one, other) for one, other in zip(expected, now, strict=False)]
        return known + now[len(known) :]
    return now


# ---- all else --------------------------------------------------------------------------------------------------------


def _bucket(bucket: str, expected: Properties) -> Properties | None:
    """Encryption, life-cycle, logging and public access: what is as it was set in the template's words, else S3's."""
    asked: dict[str, tuple[str, str, Callable[[Properties], Any]]] = {
        "BucketEncryption": ("encryption", "GetBucketEncryption", s3_buckets.encryption),
        "LifecycleConfiguration": ("lifecycle", "GetBucketLifecycleConfiguration", s3_buckets.lifecycle),
        "LoggingConfiguration": ("logging", "GetBucketLogging", lambda given: s3_buckets.logging(bucket, given)),
        "PublicAccessBlockConfiguration": ("public_access", "GetPublicAccessBlock", _texts),
    }
    found = {}
    for name, (what, operation, translate) in asked.items():
        if name in expected:
            now = _parsed(operation, existing.bucket_configuration(bucket, what))
            if now is not None:
                found[name] = expected[name] if _texts(now) == _texts(translate(expected[name])) else now
    return found


def _parsed(operation: str, xml: bytes) -> Any:
    """S3's answer as boto3 gives it; None where there is nothing."""
    if not xml:
        return None
    answer = {"status_code": 200, "headers": {}, "body": xml}
    shape = S3.operation_model(operation).output_shape
    assert shape is not None, "each of these operations answers something"
    parsed = RestXMLParser().parse(answer, shape)
    parsed.pop("ResponseMetadata", None)
    wrapped = {"GetBucketEncryption": "ServerSideEncryptionConfiguration"}
    wrapped |= {"GetPublicAccessBlock": "PublicAccessBlockConfiguration"}
    return parsed.get(wrapped[operation]) if operation in wrapped else parsed


def _texts(value: Any) -> Any:
    """Numbers and booleans as text, which templates write either way."""
    if isinstance(value, Mapping):
        return {key: _texts(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_texts(member) for member in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bucket_policy(_physical_id: str, expected: Properties) -> Properties | None:
    policy = existing.bucket_policy(expected["Bucket"])
    return None if policy is None else {"PolicyDocument": policy}


def _topic_policy(_physical_id: str, expected: Properties) -> Properties | None:
    policies = [existing.topic_policy(topic) for topic in expected["Topics"]]
    changed = [policy for policy in policies if policy != expected["PolicyDocument"]]
    if not any(policies):
        return None
    return {"PolicyDocument": changed[0] if changed else expected["PolicyDocument"]}


def _inline_policy(physical_id: str, expected: Properties) -> Properties | None:
    """One document on several roles: the first that differs is told of, and the roles that still have one."""
    name = expected.get("PolicyName", physical_id)
    found = {role: existing.inline_policy(role, name) for role in expected.get("Roles", [])}
    there = {role: policy for role, policy in found.items() if policy is not None}
    if found and not there:
        return None
    changed = [policy for policy in there.values() if policy != expected["PolicyDocument"]]
    return {"Roles": list(there), "PolicyDocument": changed[0] if changed else expected["PolicyDocument"]}


def _managed_policy(arn: str, _expected: Properties) -> Properties | None:
    policy = existing.managed_policy(arn)
    return None if policy is None else {"PolicyDocument": policy}


def _key(key_id: str, _expected: Properties) -> Properties | None:
    found = existing.key(key_id)
    return found and {"KeyPolicy": found["policy"], "EnableKeyRotation": found["rotates"]}


def _alarm(name: str, _expected: Properties) -> Properties | None:
    found = existing.metric_alarm(name)
    if found is None:
        return None
    now = {key: value for key, value in found.items() if value is not None}
    threshold = float(now["Threshold"])
    return now | {"Threshold": int(threshold) if threshold.is_integer() else threshold}


_READERS: list[tuple[str, Reader, tuple[str, ...]]] = [
    (
        "AWS::S3::Bucket",
        _bucket,
        ("BucketEncryption", "LifecycleConfiguration", "LoggingConfiguration", "PublicAccessBlockConfiguration"),
    ),
    ("AWS::S3::BucketPolicy", _bucket_policy, ("PolicyDocument",)),
    ("AWS::SNS::TopicPolicy", _topic_policy, ("PolicyDocument",)),
    ("AWS::IAM::Policy", _inline_policy, ("PolicyDocument", "Roles")),
    ("AWS::IAM::ManagedPolicy", _managed_policy, ("PolicyDocument",)),
    ("AWS::KMS::Key", _key, ("KeyPolicy", "EnableKeyRotation")),
    ("AWS::CloudWatch::Alarm", _alarm, ALARM),
]
