"""Into another account: only where both sides say yes, for buckets, keys, repositories and packages."""

import hashlib
import json
import urllib.request
from collections.abc import Callable
from ssl import create_default_context
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.settings import Credentials
from tests.local_aws.strict.conftest import Clients, Cloud, allow, document

THERE, HERE = "444444444444", "555555555555"
BUCKET, REPOSITORY, GROUP = "strict-other-account", "strict-other", "strict-other"
LAYER = b"the code"
DIGEST = f"sha256:{hashlib.sha256(LAYER).hexdigest()}"
MANIFEST = json.dumps({"schemaVersion": 2, "layers": [{"digest": DIGEST, "size": len(LAYER)}]})
FETCHER = f"arn:aws:iam::{HERE}:role/fetcher"


def for_the_fetcher(*actions: str, on: list[str] | None = None) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{HERE}:root"},
        "Action": list(actions),
        "Condition": {"ArnEquals": {"aws:PrincipalArn": FETCHER}},
    } | ({"Resource": on} if on else {})


@pytest.fixture(scope="module")
def key(strict: Cloud) -> str:
    """What is kept in the other account, under policies that name a role which does not exist yet. The key's ARN."""
    admin = strict.of_account(THERE)
    root = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{THERE}:root"}, "Action": "kms:*", "Resource": "*"}
    policy = document(root, for_the_fetcher("kms:Decrypt", on=["*"]))
    arn: str = admin("kms").create_key(Policy=policy)["KeyMetadata"]["Arn"]
    s3 = admin("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="releases/a", Body=b"artefact", ServerSideEncryption="aws:kms", SSEKMSKeyId=arn)
    s3.put_object(Bucket=BUCKET, Key="secret/a", Body=b"artefact")
    statement = for_the_fetcher("s3:GetObject", on=[f"arn:aws:s3:::{BUCKET}/releases/*"])
    s3.put_bucket_policy(Bucket=BUCKET, Policy=document(statement))
    ecr = admin("ecr")
    ecr.create_repository(repositoryName=REPOSITORY)
    upload = ecr.initiate_layer_upload(repositoryName=REPOSITORY)["uploadId"]
    part = {"repositoryName": REPOSITORY, "uploadId": upload}
    ecr.upload_layer_part(**part, partFirstByte=0, partLastByte=len(LAYER) - 1, layerPartBlob=LAYER)
    ecr.complete_layer_upload(**part, layerDigests=[DIGEST])
    ecr.put_image(repositoryName=REPOSITORY, imageManifest=MANIFEST, imageTag="one")
    reads = for_the_fetcher("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
    ecr.set_repository_policy(repositoryName=REPOSITORY, policyText=document(reads))
    return arn


@pytest.fixture(scope="module")
def become(strict: Cloud, key: str) -> Callable[[str], Clients]:
    """become("fetcher") makes a role in our account that may do all of it as far as its own policy says."""
    admin = strict.of_account(HERE)
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HERE}:root"}, "Action": "sts:AssumeRole"}
    everything = [
        allow(
            ["s3:GetObject", "s3:PutObject"], f"arn:aws:s3:::{BUCKET}/*", StringEquals={"aws:ResourceAccount": THERE}
        ),
        allow(["kms:Decrypt"], f"arn:aws:kms:us-east-1:{THERE}:key/*"),
        allow(
            ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:PutImage"],
            f"arn:aws:ecr:us-east-1:{THERE}:repository/*",
        ),
    ]

    def make(name: str) -> Clients:
        try:
            admin("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))
            admin("iam").put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=document(*everything))
        except admin("iam").exceptions.EntityAlreadyExistsException:
            pass
        arn = f"arn:aws:iam::{HERE}:role/{name}"
        given = admin("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        return strict.clients(
            Credentials(
                access_key=given["AccessKeyId"], secret_key=given["SecretAccessKey"], token=given["SessionToken"]
            )
        )

    return make


def denied(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as error:
        call()
    assert error.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")
    return error.value.response["Error"]["Message"]


def test_the_role_that_both_name_reads_what_both_name(strict: Cloud, become: Callable[[str], Clients]) -> None:
    fetcher = become("fetcher")
    assert fetcher("s3").get_object(Bucket=BUCKET, Key="releases/a")["Body"].read() == b"artefact"
    ecr = fetcher("ecr")
    where = {"registryId": THERE, "repositoryName": REPOSITORY}
    [image] = ecr.batch_get_image(**where, imageIds=[{"imageTag": "one"}])["images"]
    assert image["imageManifest"] == MANIFEST
    url = ecr.get_download_url_for_layer(**where, layerDigest=DIGEST)["downloadUrl"]
    trusted = create_default_context(cafile=str(strict.running.settings.certificate))
    with urllib.request.urlopen(url, context=trusted) as answer:
        assert answer.read() == LAYER


@pytest.mark.parametrize("name", ["another", "fetcher-2"])
def test_another_role_of_the_same_account_with_the_same_rights_does_not(
    become: Callable[[str], Clients], name: str
) -> None:
    stranger = become(name)
    denied(lambda: stranger("s3").get_object(Bucket=BUCKET, Key="releases/a"))
    where = {"registryId": THERE, "repositoryName": REPOSITORY}
    denied(lambda: stranger("ecr").batch_get_image(**where, imageIds=[{"imageTag": "one"}]))


def test_what_only_one_side_allows_is_refused(become: Callable[[str], Clients]) -> None:
    fetcher = become("fetcher")
    denied(lambda: fetcher("s3").get_object(Bucket=BUCKET, Key="secret/a"))
    denied(lambda: fetcher("s3").put_object(Bucket=BUCKET, Key="releases/b", Body=b"x"))
    where = {"registryId": THERE, "repositoryName": REPOSITORY}
    denied(lambda: fetcher("ecr").put_image(**where, imageManifest=MANIFEST, imageTag="two"))
    denied(lambda: fetcher("ecr").describe_images(**where))


def test_without_the_key_the_object_is_closed(strict: Cloud, key: str, become: Callable[[str], Clients]) -> None:
    kms = strict.of_account(THERE)("kms")
    before = kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    own = [one for one in json.loads(before)["Statement"] if one["Action"] == "kms:*"]
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=document(*own))
    try:
        assert "kms:Decrypt" in denied(lambda: become("fetcher")("s3").get_object(Bucket=BUCKET, Key="releases/a"))
    finally:
        kms.put_key_policy(KeyId=key, PolicyName="default", Policy=before)
    become("fetcher")("s3").get_object(Bucket=BUCKET, Key="releases/a")


def test_a_layer_is_held_to_its_digest_and_an_image_to_its_layers(strict: Cloud) -> None:
    ecr = strict.admin("ecr")
    ecr.create_repository(repositoryName="strict-layers")
    upload = ecr.initiate_layer_upload(repositoryName="strict-layers")["uploadId"]
    part = {"repositoryName": "strict-layers", "uploadId": upload}
    ecr.upload_layer_part(**part, partFirstByte=0, partLastByte=2, layerPartBlob=b"abc")
    with pytest.raises(ecr.exceptions.InvalidLayerException):
        ecr.complete_layer_upload(**part, layerDigests=[DIGEST])
    with pytest.raises(ecr.exceptions.LayersNotFoundException):
        ecr.put_image(repositoryName="strict-layers", imageManifest=MANIFEST, imageTag="one")
    with pytest.raises(ecr.exceptions.ImageDigestDoesNotMatchException):
        ecr.put_image(
            repositoryName="strict-layers", imageManifest=MANIFEST, imageTag="one", imageDigest="sha256:" + "0" * 64
        )
