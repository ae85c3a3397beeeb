"""Objects under a KMS key: whoever reads or writes them needs the key too, as S3 asks for it."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError

from tests.local_aws.strict.conftest import ACCOUNT, allow, document

BUCKET = f"strict-keys-{uuid.uuid4().hex[:6]}"
OBJECTS = f"arn:aws:s3:::{BUCKET}/*"
S3_RIGHTS = allow(["s3:GetObject", "s3:PutObject"], OBJECTS)


@pytest.fixture(scope="module")
def key(strict):
    """A key with the CDK's key policy, and a bucket that is encrypted by it."""
    policy = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        "Action": "kms:*",
        "Resource": "*",
    }
    arn = strict.admin("kms").create_key(Policy=document(policy))["KeyMetadata"]["Arn"]
    s3 = strict.admin("s3")
    s3.create_bucket(Bucket=BUCKET)
    by_the_key = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": arn}}
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [by_the_key]})
    s3.put_object(Bucket=BUCKET, Key="there", Body=b"secret")
    return arn


def refusal(call, *arguments, **members):
    with pytest.raises(ClientError) as error:
        call(*arguments, **members)
    return error.value.response["Error"]


def test_writing_needs_a_data_key_and_reading_needs_to_decrypt(strict, key):
    neither = strict.user(S3_RIGHTS)("s3")
    refused = refusal(neither.put_object, Bucket=BUCKET, Key="mine", Body=b"x")
    assert refused["Code"] == "AccessDenied"
    assert f"kms:GenerateDataKey on resource: {key} because no identity-based policy" in refused["Message"]
    refused = refusal(neither.get_object, Bucket=BUCKET, Key="there")
    assert f"kms:Decrypt on resource: {key} because no identity-based policy" in refused["Message"]

    writer = strict.user(S3_RIGHTS, allow("kms:GenerateDataKey", key))("s3")
    writer.put_object(Bucket=BUCKET, Key="mine", Body=b"x")
    assert "kms:Decrypt" in refusal(writer.get_object, Bucket=BUCKET, Key="mine")["Message"]

    reader = strict.user(S3_RIGHTS, allow("kms:Decrypt", key))("s3")
    assert reader.get_object(Bucket=BUCKET, Key="there")["Body"].read() == b"secret"
    assert "kms:GenerateDataKey" in refusal(reader.put_object, Bucket=BUCKET, Key="mine", Body=b"x")["Message"]


def test_what_was_refused_is_not_written(strict, key):
    refusal(strict.user(S3_RIGHTS)("s3").put_object, Bucket=BUCKET, Key="refused", Body=b"x")
    assert "Contents" not in strict.admin("s3").list_objects_v2(Bucket=BUCKET, Prefix="refused")


def test_a_copy_needs_both(strict, key):
    source = {"Bucket": BUCKET, "Key": "there"}
    writer = strict.user(S3_RIGHTS, allow("kms:GenerateDataKey", key))("s3")
    assert "kms:Decrypt" in refusal(writer.copy_object, Bucket=BUCKET, Key="copy", CopySource=source)["Message"]
    both = strict.user(S3_RIGHTS, allow(["kms:GenerateDataKey", "kms:Decrypt"], key))("s3")
    both.copy_object(Bucket=BUCKET, Key="copy", CopySource=source)


def test_parts_of_an_upload_need_to_decrypt_what_came_before(strict, key):
    writer = strict.user(S3_RIGHTS, allow("kms:GenerateDataKey", key))("s3")
    upload = writer.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    part = {"Bucket": BUCKET, "Key": "parts", "UploadId": upload, "PartNumber": 1, "Body": b"x"}
    assert "kms:Decrypt" in refusal(writer.upload_part, **part)["Message"]


def test_the_key_that_a_request_names_is_the_one_that_is_asked_for(strict, key):
    other = strict.admin("kms").create_key()["KeyMetadata"]["Arn"]
    writer = strict.user(S3_RIGHTS, allow("kms:GenerateDataKey", key))("s3")
    named = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": other}
    assert other in refusal(writer.put_object, Bucket=BUCKET, Key="mine", Body=b"x", **named)["Message"]


def test_a_condition_on_the_service_is_met_through_s3(strict, key):
    through = {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}
    reader = strict.user(S3_RIGHTS, allow("kms:Decrypt", key, **through))("s3")
    assert reader.get_object(Bucket=BUCKET, Key="there")["Body"].read() == b"secret"


def test_s3_names_the_object_as_the_encryption_context_and_the_bucket_where_it_has_a_bucket_key(strict, key):
    def reader(arn):
        about = {"StringEquals": {"kms:EncryptionContext:aws:s3:arn": arn}}
        return strict.user(S3_RIGHTS, allow("kms:Decrypt", key, **about))("s3")

    bucket = f"arn:aws:s3:::{BUCKET}"
    of_the_object, of_the_bucket = reader(f"{bucket}/there"), reader(bucket)
    assert of_the_object.get_object(Bucket=BUCKET, Key="there")["Body"].read() == b"secret"
    assert refusal(of_the_bucket.get_object, Bucket=BUCKET, Key="there")["Code"] == "AccessDenied"
    s3 = strict.admin("s3")
    before = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]
    shared = {"Rules": [rule | {"BucketKeyEnabled": True} for rule in before["Rules"]]}
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration=shared)
    try:
        assert of_the_bucket.get_object(Bucket=BUCKET, Key="there")["Body"].read() == b"secret"
        assert refusal(of_the_object.get_object, Bucket=BUCKET, Key="there")["Code"] == "AccessDenied"
    finally:
        s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration=before)


def test_what_the_keys_own_policy_denies_nobody_may(strict, key):
    reader = strict.user(S3_RIGHTS, allow("kms:Decrypt", key))
    arn, kms = reader("sts").get_caller_identity()["Arn"], strict.admin("kms")
    before = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    deny = {"Effect": "Deny", "Principal": {"AWS": arn}, "Action": "kms:Decrypt", "Resource": "*"}
    kms.put_key_policy(KeyId=key, Policy=document(*json.loads(before)["Statement"], deny))
    try:
        assert refusal(reader("s3").get_object, Bucket=BUCKET, Key="there")["Code"] == "AccessDenied"
    finally:
        kms.put_key_policy(KeyId=key, Policy=before)


def test_nothing_is_read_under_a_key_that_is_disabled(strict, key):
    strict.admin("kms").disable_key(KeyId=key)
    try:
        refused = refusal(strict.admin("s3").get_object, Bucket=BUCKET, Key="there")
        assert refused["Code"] == "KMS.DisabledException"
    finally:
        strict.admin("kms").enable_key(KeyId=key)


# ---- a bucket that takes nothing under another key -------------------------------------------------------------------

ENCRYPTION = "s3:x-amz-server-side-encryption"
KEY = f"{ENCRYPTION}-aws-kms-key-id"


@pytest.fixture(scope="module")
def picky(strict, key):
    """A bucket with the statements of stacks/constructs/private_bucket.py, and a writer who may use every key."""
    name = f"picky-{uuid.uuid4().hex[:6]}"
    s3 = strict.admin("s3")
    s3.create_bucket(Bucket=name)
    by_the_key = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [by_the_key]})

    def refuse(**conditions):
        everybody = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "s3:PutObject"}
        return everybody | {"Resource": f"arn:aws:s3:::{name}/*", "Condition": conditions}

    policy = document(
        refuse(StringNotEquals={ENCRYPTION: "aws:kms"}, Null={ENCRYPTION: "false"}),
        refuse(StringNotEquals={KEY: key}, Null={KEY: "false"}),
        refuse(Null={f"{ENCRYPTION}-customer-algorithm": "false"}),
        refuse(StringEquals={ENCRYPTION: "aws:kms"}, Null={KEY: "true"}),
    )
    s3.put_bucket_policy(Bucket=name, Policy=policy)
    writes = ["s3:PutObject", "s3:GetObject", "kms:GenerateDataKey", "kms:Decrypt"]
    return name, strict.user(allow(writes, "*"))("s3")


@pytest.mark.parametrize(
    "asked",
    [{}, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "own"}],
    ids=["no-encryption", "its-own-key"],
)
def test_a_write_under_the_buckets_own_key_is_taken_whole_in_parts_and_as_a_copy(picky, key, asked):
    bucket, s3 = picky
    asked = asked | ({"SSEKMSKeyId": key} if asked else {})
    s3.put_object(Bucket=bucket, Key="whole", Body=b"x", **asked)
    upload = {"Bucket": bucket, "Key": "parts"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, **asked)["UploadId"]
    part = s3.upload_part(**upload, PartNumber=1, Body=b"x")
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "whole"}, **asked)
    for name in ("whole", "parts", "copy"):
        assert s3.head_object(Bucket=bucket, Key=name)["SSEKMSKeyId"] == key


@pytest.mark.parametrize(
    "asked",
    [
        {"ServerSideEncryption": "AES256"},
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "another"},
        {"ServerSideEncryption": "aws:kms"},
        {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32},
    ],
    ids=["of-s3", "another-key", "no-key-named", "of-the-customer"],
)
def test_a_write_under_anything_else_is_refused_whole_in_parts_and_as_a_copy(strict, picky, asked):
    bucket, s3 = picky
    if "SSEKMSKeyId" in asked:
        asked = asked | {"SSEKMSKeyId": strict.admin("kms").create_key()["KeyMetadata"]["Arn"]}
    s3.put_object(Bucket=bucket, Key="there", Body=b"x")
    for call, more in (
        (s3.put_object, {"Body": b"x"}),
        (s3.create_multipart_upload, {}),
        (s3.copy_object, {"CopySource": {"Bucket": bucket, "Key": "there"}}),
    ):
        refused = refusal(call, Bucket=bucket, Key="refused", **more, **asked)
        assert refused["Code"] == "AccessDenied"
        assert "explicit deny" in refused["Message"]
    assert "Contents" not in strict.admin("s3").list_objects_v2(Bucket=bucket, Prefix="refused")
