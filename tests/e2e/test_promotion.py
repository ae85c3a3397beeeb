"""From dev to staging through two accounts under IAM, with what goes wrong on the way. `make rehearsal` goes all of it.

The tests go on from one another, as the days of a release manager do.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from amplify_lm.checkpoint import load_model, save_model
from botocore.config import Config
from botocore.exceptions import ClientError

from environments import DEV, ENVIRONMENTS, PROD, STAGING
from local_aws import calls, server
from tests.e2e.conftest import Trap
from tests.e2e.three_accounts import ThreeAccounts, fill, three_accounts
from tests.model import checkpoints

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> Iterator[ThreeAccounts]:
    """Staging and dev deployed in this order, and a model live in dev."""
    with three_accounts(tmp_path_factory.mktemp("promotion"), trap, (STAGING.name, DEV.name)) as accounts:
        for env in (STAGING.name, DEV.name):  # staging names dev's role, and dev staging's: neither waits
            accounts.amplify(env, "deploy", "--yes", "--env", env)
        fill(accounts)
        accounts.train()
        accounts.release()
        yield accounts
        assert trap.seen == [], "somebody met the person's own AWS"


def put(made: ThreeAccounts, env: str, s3_uri: str, body: bytes) -> str:
    bucket, _, key = s3_uri.removeprefix("s3://").partition("/")
    found: str = made.aws(env, "s3").put_object(Bucket=bucket, Key=key, Body=body)["VersionId"]
    return found


def approval(made: ThreeAccounts, env: str, arn: str, status: str) -> None:
    made.aws(env, "sagemaker").update_model_package(ModelPackageArn=arn, ModelApprovalStatus=status)


def refused(made: ThreeAccounts) -> str:
    """What a deployment of staging's release is told, as a workflow deploys it: an assembly that was made before."""
    assembly = made.root / ".local" / "staging" / "cdk.out"
    return words(made.amplify(STAGING.name, "deploy", "--assembly", str(assembly), "--env", STAGING.name, fails=True))


def words(printed: str) -> str:
    return " ".join(printed.split())


# ---- gates -----------------------------------------------------------------------------------------------------------


def test_a_release_whose_approval_was_taken_back_is_not_promoted(made: ThreeAccounts) -> None:
    arn = made.pin(DEV.name)["model_package_arn"]
    approval(made, DEV.name, arn, "Rejected")
    try:
        printed = made.amplify(STAGING.name, "promote", "--to", STAGING.name, fails=True)
        assert "✗ approved    dev version 1 is Rejected" in printed
        assert "Not promoted: approved. Nothing was copied." in printed
        refused = made.amplify(STAGING.name, "promote", "--to", "staging", "--accept", "approved=trust me", fails=True)
        assert "Nobody can answer for approved" in refused
    finally:
        approval(made, DEV.name, arn, "Approved")


def test_a_pin_that_is_not_committed_is_not_promoted(made: ThreeAccounts) -> None:
    file = made.root / "releases" / "dev.json"
    text = file.read_text()
    file.write_text(json.dumps(json.loads(text) | {"approved_by": "Mallory"}, indent=2) + "\n")
    printed = made.amplify(STAGING.name, "promote", "--to", STAGING.name, fails=True)
    file.write_text(text)
    assert "is not the one in HEAD" in words(printed)


def test_releases_go_the_way_that_the_settings_say(made: ThreeAccounts) -> None:
    printed = made.amplify(STAGING.name, "promote", "--from", DEV.name, "--to", PROD.name, fails=True)
    assert "Releases of prod come from staging, not from dev" in words(printed)
    printed = made.amplify(STAGING.name, "promote", "--to", DEV.name, fails=True)
    assert "dev gets no releases from another environment" in words(printed)


def test_an_artefact_that_was_tampered_with_is_refused_and_nothing_is_copied(made: ThreeAccounts) -> None:
    """Whoever can write into the bucket writes a new version and a pin that names it; the digest gives it away."""
    pin = made.pin(DEV.name)
    before = made.git("rev-parse", "HEAD")
    artifact = pin["artifact"]
    version = put(made, DEV.name, artifact["s3_uri"], b"a model of somebody else's")
    file = made.root / "releases" / "dev.json"
    file.write_text(json.dumps(pin | {"artifact": artifact | {"version_id": version}}, indent=2) + "\n")
    made.commit("A release that nobody reviewed")
    try:
        printed = made.amplify(STAGING.name, "promote", "--to", STAGING.name, fails=True)
        assert "TAMPERED WITH" in printed
        assert "artifact" in printed.partition("Not promoted:")[2]
    finally:
        made.git("reset", "-q", "--hard", before)
        bucket, _, key = artifact["s3_uri"].removeprefix("s3://").partition("/")
        made.aws(DEV.name, "s3").delete_object(Bucket=bucket, Key=key, VersionId=version)
    bucket = made.output(STAGING.name, "storage", "ArtifactBucketName")
    listed = made.aws(STAGING.name, "s3").list_objects_v2(Bucket=bucket, Prefix="releases/").get("Contents", [])
    assert [one["Key"] for one in listed] == ["releases/promoting.json"]


# ---- the way ---------------------------------------------------------------------------------------------------------


def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(made: ThreeAccounts) -> None:
    def promote(who: str) -> str:
        try:
            return made.amplify(STAGING.name, "promote", "--to", STAGING.name, "--by", who)
        except AssertionError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(promote, ("Grace", "Mary")))
    won = [printed for printed in said if "Branch promote/staging/" in printed]
    [lost] = [printed for printed in said if printed not in won]
    assert len(won) == 1, said
    assert "is promoting version 1 of dev at this moment" in words(lost) or "promotes these very bytes" in words(lost)
    made.git("merge", "-q", "--ff-only", made.git("for-each-ref", "--format=%(refname:short)", "refs/heads/promote"))


def test_what_arrived_is_the_same_bytes_under_the_targets_own_key(made: ThreeAccounts) -> None:
    source, target = made.pin(DEV.name), made.pin(STAGING.name)
    same = ("image_digest", "recipe", "evaluation", "code_bundle", "code_commit", "data_manifest_sha256", "approved_by")
    assert {name: target[name] for name in same} == {name: source[name] for name in same}
    assert target["artifact"]["sha256"] == source["artifact"]["sha256"]
    assert target["promoted_from"]["model_package_arn"] == source["model_package_arn"]
    assert (target["predecessor"], source["code_commit"] is None) == (None, False)  # the first release there
    bucket, _, key = target["artifact"]["s3_uri"].removeprefix("s3://").partition("/")
    head = made.aws(STAGING.name, "s3").head_object(Bucket=bucket, Key=key, VersionId=target["artifact"]["version_id"])
    assert head["SSEKMSKeyId"] == made.output(STAGING.name, "storage", "KeyArn")
    package = made.aws(STAGING.name, "sagemaker").describe_model_package(ModelPackageName=target["model_package_arn"])
    [container] = package["InferenceSpecification"]["Containers"]
    repository = f"{STAGING.account}.dkr.ecr.us-east-1.amazonaws.com/amplify-staging"
    assert container["Image"] == f"{repository}@{target['image_digest']}"
    assert package["CustomerMetadataProperties"]["artifact_origin"] == source["artifact"]["s3_uri"]


def test_the_pull_request_has_its_text(made: ThreeAccounts) -> None:
    [text] = (made.root / ".local" / "promotions").glob("promote-staging-*.md")
    told = text.read_text()
    assert "✓ evaluation" in told
    assert made.pin(STAGING.name)["artifact"]["sha256"] in told


def test_a_release_is_not_deployed_where_its_package_was_un_approved_after_the_merge(made: ThreeAccounts) -> None:
    arn = made.pin(STAGING.name)["model_package_arn"]
    approval(made, STAGING.name, arn, "Rejected")
    assert "somebody took the approval back" in refused(made)
    approval(made, STAGING.name, arn, "Approved")


def test_a_package_whose_model_was_exchanged_after_its_approval_is_not_deployed(made: ThreeAccounts) -> None:
    """UpdateModelPackage is an approver's: it approves, and it can change what the package holds."""
    arn, sagemaker = made.pin(STAGING.name)["model_package_arn"], made.aws(STAGING.name, "sagemaker")
    approved = sagemaker.describe_model_package(ModelPackageName=arn)["InferenceSpecification"]
    [container] = approved["Containers"]
    other = approved | {"Containers": [container | {"ModelDataUrl": "s3://elsewhere/model.tar.gz"}]}
    sagemaker.update_model_package(ModelPackageArn=arn, InferenceSpecification=other)
    assert "is not what was approved: its model is s3://elsewhere/model.tar.gz" in refused(made)
    sagemaker.update_model_package(ModelPackageArn=arn, InferenceSpecification=approved)


def test_a_copy_that_was_tampered_with_in_the_target_is_not_deployed(made: ThreeAccounts) -> None:
    artifact = made.pin(STAGING.name)["artifact"]
    version = put(made, STAGING.name, artifact["s3_uri"], b"planted")
    assert "tampered with" in refused(made)
    bucket, _, key = artifact["s3_uri"].removeprefix("s3://").partition("/")
    made.aws(STAGING.name, "s3").delete_object(Bucket=bucket, Key=key, VersionId=version)


def test_deployed_it_answers_as_where_it_comes_from_and_is_recorded_as_live(made: ThreeAccounts) -> None:
    printed = made.amplify(STAGING.name, "deploy", "--yes", "--env", STAGING.name)
    assert "amplify-staging answered 4 golden requests as amplify-dev did" in printed
    parameter = made.aws(STAGING.name, "ssm").get_parameter(Name="/amplify/amplify-staging/live")["Parameter"]["Value"]
    assert json.loads(parameter)["model_package_arn"] == made.pin(STAGING.name)["model_package_arn"]
    standing = json.loads(made.amplify(STAGING.name, "releases", "--env", STAGING.name, "--json"))
    assert [entry["outcome"] for entry in standing["history"]] == ["live"]
    [row] = [one for one in standing["environments"] if one["environment"] == STAGING.name]
    assert row["differs"] == "nothing"
    assert json.loads(parameter)["release"] in row["live"]


def test_an_endpoint_that_has_another_configuration_is_told_though_cloudformation_is_green(made: ThreeAccounts) -> None:
    """As a roll-back leaves it whom the stack never heard of."""
    sagemaker, endpoint = made.aws(STAGING.name, "sagemaker"), "amplify-staging"
    made_by_stack = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
    theirs = sagemaker.describe_endpoint_config(EndpointConfigName=made_by_stack)
    taken = ("ProductionVariants", "KmsKeyId")
    sagemaker.create_endpoint_config(
        EndpointConfigName="by-hand", **{name: theirs[name] for name in taken if name in theirs}
    )
    for config in ("by-hand", made_by_stack):
        sagemaker.update_endpoint(EndpointName=endpoint, EndpointConfigName=config)
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=endpoint, WaiterConfig={"Delay": 1})
        if config == "by-hand":
            told = refused(made)
            assert "The endpoint has configuration by-hand, and stack amplify-staging-endpoint made" in told
    standing = json.loads(made.amplify(STAGING.name, "releases", "--env", STAGING.name, "--json"))
    assert [entry["outcome"] for entry in standing["history"]] == ["live"], "the release itself was never at fault"


def test_what_is_there_already_is_not_promoted_again(made: ThreeAccounts) -> None:
    printed = made.amplify(STAGING.name, "promote", "--to", STAGING.name, fails=True)
    assert "staging has this release already" in words(printed)


def test_an_endpoint_leads_back_to_its_proteins(made: ThreeAccounts) -> None:
    told = json.loads(made.amplify(STAGING.name, "lineage", "amplify-staging", "--json"))
    source = made.pin(DEV.name)
    assert told["promoted from"] == source["model_package_arn"]
    assert told["job"] in source["artifact"]["s3_uri"]
    assert told["code commit"] == source["code_commit"]
    assert told["data manifest"] == source["data_manifest_sha256"]
    assert [one["file"] for one in told["fasta"]] == ["known.fasta"]
    assert told["unknown"] == []


def test_where_nothing_else_was_live_there_is_nothing_to_go_back_to(made: ThreeAccounts) -> None:
    printed = made.amplify(STAGING.name, "rollback", "--env", STAGING.name, fails=True)
    assert "No other release was ever live here" in words(printed)


# ---- an older release, a worse one, one from elsewhere ---------------------------------------------------------------


def test_a_release_that_is_older_than_what_is_there_is_not_promoted(made: ThreeAccounts) -> None:
    before = made.git("rev-parse", "HEAD")
    older = made.pin(STAGING.name)
    older |= {"approved_at": "2099-01-01T00:00:00+00:00", "image_digest": f"sha256:{'0' * 64}"}
    (made.root / "releases" / "staging.json").write_text(json.dumps(older, indent=2) + "\n")
    made.commit("What staging got by another way")
    printed = made.amplify(STAGING.name, "promote", "--to", STAGING.name, fails=True)
    made.git("reset", "-q", "--hard", before)
    assert "OLDER than what is there" in printed


def test_a_model_of_the_hub_is_a_release_like_any_other(made: ThreeAccounts, tmp_path: Path) -> None:
    """Fetched once, evaluated, registered; no data manifest, no job that trained it."""
    pin = made.pin(DEV.name)
    bucket, _, key = pin["artifact"]["s3_uri"].removeprefix("s3://").partition("/")
    made.aws(DEV.name, "s3").download_file(bucket, key, str(tmp_path / "model.tar.gz"))
    save_model(load_model(tmp_path / "model.tar.gz"), tmp_path / "model")
    cache = Path(made.project.environ["HF_HUB_CACHE"])
    commit = checkpoints.fill_hub_cache(cache, "lab/trained", tmp_path / "model")
    made.amplify(DEV.name, "register", f"hf:lab/trained@{commit}", "--env", DEV.name, "--watch")
    made.release()
    released = made.pin(DEV.name)
    assert released["data_manifest_sha256"] is None
    assert released["predecessor"]["artifact_sha256"] == pin["artifact"]["sha256"]
    printed = made.promote(STAGING.name)
    assert "✓ evaluation" in printed
    assert "image was there already, under the same digest" in printed
    assert made.pin(STAGING.name)["data_manifest_sha256"] is None
    assert made.pin(STAGING.name)["predecessor"]["artifact_sha256"] == pin["artifact"]["sha256"]


# ---- who may ---------------------------------------------------------------------------------------------------------


def test_nobody_was_refused_anything_that_the_way_needs(made: ThreeAccounts) -> None:
    running = server.status(made.project.state)
    assert running is not None
    of_releases = ("amplify-staging-promotion", "amplify-staging-release", "amplify-dev-release")
    refused = [
        (call["principal"], call["action"], call["resource"])
        for call in calls.read(running.settings.calls)
        if not call["allowed"] and any(role in call["principal"] for role in of_releases)
    ]
    assert refused == []


def session(made: ThreeAccounts, env: str, role: str) -> Any:
    arn = f"arn:aws:iam::{ENVIRONMENTS[env].account}:role/amplify-{env}-{role}"
    given = made.aws(env, "sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    keys = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    variables = made.environ(env)

    def client(service: str) -> Any:
        return boto3.Session(*keys, region_name="us-east-1").client(
            service,
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            verify=variables["AWS_CA_BUNDLE"],
            config=Config(proxies={}, retries={"total_max_attempts": 1}),
        )

    return client


def test_the_promotion_role_changes_nothing_in_the_other_account_and_the_release_role_sees_nothing_of_it(
    made: ThreeAccounts,
) -> None:
    pin = made.pin(DEV.name)
    bucket, _, key = pin["artifact"]["s3_uri"].removeprefix("s3://").partition("/")
    promotion, release = session(made, STAGING.name, "promotion"), session(made, STAGING.name, "release")
    promotion("s3").get_object(Bucket=bucket, Key=key)
    promotion("sagemaker").describe_model_package(ModelPackageName=pin["model_package_arn"])
    attempts = [
        lambda: promotion("s3").put_object(Bucket=bucket, Key=key, Body=b"x"),
        lambda: promotion("s3").get_object(Bucket=bucket, Key="checkpoints/x"),
        lambda: promotion("sagemaker").update_model_package(
            ModelPackageArn=pin["model_package_arn"], ModelApprovalStatus="Approved"
        ),
        lambda: release("s3").get_object(Bucket=bucket, Key=key),
        lambda: release("sagemaker").describe_model_package(ModelPackageName=pin["model_package_arn"]),
        lambda: release("sagemaker").update_endpoint(EndpointName="amplify-staging", EndpointConfigName="x"),
    ]
    for attempt in attempts:
        with pytest.raises(ClientError) as error:
            attempt()
        assert error.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")
