"""What must hold of buckets, and of what their own policies refuse."""

import json
from collections.abc import Iterable

from tests.stacks.iam import Call, denies
from tests.stacks.readable import plain
from tests.stacks.rules.reading import as_list
from tests.stacks.synthesis import Template, resources

_ENCRYPTION = "s3:x-amz-server-side-encryption"
_KEY, _CUSTOMERS = f"{_ENCRYPTION}-aws-kms-key-id", f"{_ENCRYPTION}-customer-algorithm"
_OTHERS = "arn:aws:kms:us-east-1:999999999999:key/other"
_RUNS = ("runs/r/model/m.tar.gz", "runs/r/evaluation/evaluation.json", "releases/r/model.tar.gz", "drift/d/x.json")
_REQUESTS = ("captured/e/v/x.jsonl", "async/x", "transform/e/input/x", "images/gpu-1/sbom.cdx.json")
_OBJECTS = {
    "DataBucket": ("proteins/a.fasta", "heldout/a.fasta", "weights/w/model.safetensors", "other"),
    "ArtifactBucket": (*_RUNS, *_REQUESTS),
}
_CHECKPOINT = "checkpoints/r/step"  # SageMaker's own agent writes those: it may not say which key it means


def buckets_are_private(template: Template) -> Iterable[str]:
    for id_, bucket in resources(template, "AWS::S3::Bucket").items():
        if set(bucket["Properties"].get("PublicAccessBlockConfiguration", {"": False}).values()) != {True}:
            yield f"{id_} does not block public access"


def buckets_are_versioned(template: Template) -> Iterable[str]:
    for id_, bucket in resources(template, "AWS::S3::Bucket").items():
        if bucket["Properties"].get("VersioningConfiguration") != {"Status": "Enabled"}:
            yield f"{id_} keeps no versions"


def buckets_end_unfinished_uploads(template: Template) -> Iterable[str]:
    for id_, bucket in resources(template, "AWS::S3::Bucket").items():
        rules = bucket["Properties"].get("LifecycleConfiguration", {}).get("Rules", [])
        if not any("AbortIncompleteMultipartUpload" in rule and rule["Status"] == "Enabled" for rule in rules):
            yield f"{id_} pays for unfinished uploads for ever"


def buckets_are_under_the_key_but_for_access_logs(template: Template) -> Iterable[str]:
    for id_, bucket in resources(template, "AWS::S3::Bucket").items():
        [rule] = bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        wanted = "AES256" if id_.startswith("AccessLog") else "aws:kms"  # S3 delivers no logs under KMS
        if rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] != wanted:
            yield f"{id_} is not encrypted by {wanted}"


def buckets_log_their_accesses(template: Template) -> Iterable[str]:
    for id_, bucket in resources(template, "AWS::S3::Bucket").items():
        if not id_.startswith("AccessLog") and "LoggingConfiguration" not in bucket["Properties"]:
            yield f"{id_} logs no access"


def buckets_and_topics_refuse_plain_http(template: Template) -> Iterable[str]:
    closed = {
        json.dumps(target)
        for type_, field in (("AWS::S3::BucketPolicy", "Bucket"), ("AWS::SNS::TopicPolicy", "Topics"))
        for policy in resources(template, type_).values()
        for target in as_list(policy["Properties"][field])
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
        and statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport") == "false"
    }
    for type_ in ("AWS::S3::Bucket", "AWS::SNS::Topic"):
        for id_ in resources(template, type_):
            if json.dumps({"Ref": id_}) not in closed:
                yield f"{id_} answers over plain http"


def buckets_refuse_what_is_not_under_their_key_and_only_that(template: Template) -> Iterable[str]:
    """Parts of an upload have no header, and neither has who wants what the bucket gives."""
    policies = {
        policy["Properties"]["Bucket"]["Ref"]: plain(policy["Properties"]["PolicyDocument"]["Statement"])
        for policy in resources(template, "AWS::S3::BucketPolicy").values()
    }
    for id_, bucket in resources(template, "AWS::S3::Bucket").items():
        [rule] = bucket["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
        own = plain(rule["ServerSideEncryptionByDefault"].get("KMSMasterKeyID"))
        under_kms = own is not None
        asked = {
            "no encryption": ({}, False),
            "its own key": ({_ENCRYPTION: "aws:kms", _KEY: own or _OTHERS}, False),
            "S3's keys": ({_ENCRYPTION: "AES256"}, under_kms),
            "another key": ({_ENCRYPTION: "aws:kms", _KEY: _OTHERS}, under_kms),
            "two layers": ({_ENCRYPTION: "aws:kms:dsse", _KEY: own or _OTHERS}, under_kms),
            "a key in the request": ({_CUSTOMERS: "AES256"}, under_kms),
            "a key of KMS, whichever": ({_ENCRYPTION: "aws:kms"}, under_kms),
        }
        for name, (context, is_refused) in asked.items():
            objects = next((keys for start, keys in _OBJECTS.items() if id_.startswith(start)), ("other",))
            for key in objects if name.endswith("whichever") else (*objects, _CHECKPOINT):
                call = Call(action="s3:PutObject", resource=f"${{{id_}.Arn}}/{key}", context=context)
                if denies(policies.get(id_, []), call) != is_refused:
                    yield f"{id_} {'takes' if is_refused else 'refuses'} {key} under {name}"
