"""What a bucket's own policy refuses, in every template: template in, faults out, as in rules.py."""

from collections.abc import Iterable

from tests.stacks.iam import Call, denies
from tests.stacks.readable import plain
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
