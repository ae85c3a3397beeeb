"""Waiting for the image, against builds of a real local AWS: started, watched, failed, tried again."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from environments import LOCAL
from local_aws import server
from local_aws.processes import wait_until
from operate import aws as aws_access
from operate import image as images
from operate.aws import Aws
from operate.errors import OperateError
from tests.local_aws.small_images import ASSETS, ended, make_bucket, make_project, start_build, upload_bundle

REPOSITORY = "amplify-local"


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("image")
    server.start(folder)
    try:
        yield server.client_environment(folder)
    finally:
        server.stop(folder)


@pytest.fixture
def aws(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """The local environment as a command reaches it."""
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    aws_access._client.cache_clear()
    yield Aws(environment=LOCAL, environ=environ)
    aws_access._client.cache_clear()


def deploy(aws: Aws, stack: str, outputs: dict[str, str]) -> None:
    """A stack with these outputs, and nothing behind them."""
    cloudformation, name = aws.client("cloudformation"), f"amplify-local-{stack}"
    body = {
        "Resources": {"Any": {"Type": "AWS::SSM::Parameter", "Properties": {"Type": "String", "Value": str(outputs)}}},
        "Outputs": {key: {"Value": value} for key, value in outputs.items()},
    }
    there = {one["StackName"]: one for one in cloudformation.describe_stacks()["Stacks"]}
    if name in there and {one["OutputValue"] for one in there[name]["Outputs"]} == set(outputs.values()):
        return
    exists = name in there
    (cloudformation.update_stack if exists else cloudformation.create_stack)(
        StackName=name, TemplateBody=json.dumps(body)
    )
    assert wait_until(
        lambda: not cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"].endswith("PROGRESS"), 30
    )


@pytest.fixture
def project(aws: Aws, request: pytest.FixtureRequest) -> Callable[..., tuple[str, str]]:
    """project(**changed) deploys an image of this test's own and its project; returns both."""

    def make(inventory: str = "print('{\"components\": [1, 2]}')", **changed: str) -> tuple[str, str]:
        make_bucket(aws.client, ASSETS)
        files = {"launch.py": f"# {request.node.name}", "inventory.py": inventory}
        uri = upload_bundle(aws.client, REPOSITORY, files)
        name = make_project(aws.client, uri, **changed)
        deploy(aws, "storage", {"ArtifactBucketName": ASSETS})
        deploy(aws, "training", {"ImageUri": uri, "ImageBuildProjectName": name})
        return uri, name

    return make


def builds(aws: Aws, project: str) -> list[str]:
    return aws.client("codebuild").list_builds_for_project(projectName=project)["ids"]


def never(_: str) -> None:
    raise AssertionError("there is nothing to wait for")


def test_an_image_that_is_there_is_not_waited_for(aws: Aws, project: Any) -> None:
    uri, name = project()
    ended(aws.client, start_build(aws.client, name))
    image = images.wait_until_built(aws, never)
    assert image.uri == uri
    assert image.by_digest.startswith(f"{uri.rpartition(':')[0]}@sha256:")
    known = images.records(aws, image)
    assert (known["packages"], known["scan"], known["findings"]) == (2, None, None)
    assert images.scan_text(known) == "no scan of this image is kept"


def test_a_build_that_goes_on_is_waited_for_and_no_other_is_started(aws: Aws, project: Any) -> None:
    uri, name = project("import time; time.sleep(5); print('{\"components\": []}')")
    build = start_build(aws.client, name)
    tag = uri.rpartition(":")[2]
    ecr = aws.client("ecr")
    # The image is pushed before its inventory is taken: while that goes on, somebody takes the image away.
    assert wait_until(
        lambda: ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": tag}])["images"], 30
    )
    ecr.batch_delete_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": tag}])
    said: list[str] = []
    with pytest.raises(OperateError, match="could not be built: CodeBuild says SUCCEEDED"):
        images.wait_until_built(aws, said.append)
    assert "building the image: post build" in said
    assert builds(aws, name) == [build]


def test_where_nobody_has_started_a_build_it_is_started(aws: Aws, project: Any) -> None:
    _, name = project()
    said: list[str] = []
    assert images.wait_until_built(aws, said.append).digest is not None
    assert len(builds(aws, name)) == 1
    assert said[0] == "building the image: submitted"


def test_an_image_that_was_built_and_taken_away_is_built_again(aws: Aws, project: Any) -> None:
    uri, name = project()
    first = images.wait_until_built(aws, lambda _: None).digest
    ended(aws.client, builds(aws, name)[0])
    aws.client("ecr").batch_delete_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": uri.rpartition(":")[2]}])
    assert images.wait_until_built(aws, lambda _: None).digest == first
    assert len(builds(aws, name)) == 2


def test_a_build_that_failed_is_told_with_reason_and_log_and_repeated_on_request_only(aws: Aws, project: Any) -> None:
    _, name = project(BUNDLE=f"s3://{ASSETS}/gone.zip")
    build = start_build(aws.client, name)
    ended(aws.client, build)
    with pytest.raises(OperateError, match=r"gone\.zip cannot be read") as error:
        images.wait_until_built(aws, lambda _: None)
    assert builds(aws, name) == [build]
    assert f"/aws/codebuild/{name}" in error.value.todo
    assert "`amplify image` builds it again" in error.value.todo
    with pytest.raises(OperateError, match=r"gone\.zip cannot be read"):
        images.wait_until_built(aws, lambda _: None, again=True)
    assert len(builds(aws, name)) == 2


def test_a_build_that_cannot_be_started_says_why(aws: Aws, project: Any) -> None:
    uri, name = project()
    deploy(aws, "training", {"ImageUri": uri, "ImageBuildProjectName": f"{name}-gone"})
    aws.client("codebuild").delete_project(name=name)
    with pytest.raises(OperateError, match=f"cannot be started: Project not found: {name}-gone"):
        images.wait_until_built(aws, lambda _: None)


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        (
            {
                "imageScanStatus": {"status": "COMPLETE"},
                "imageScanFindings": {"findingSeverityCounts": {"CRITICAL": 2, "HIGH": 5}},
            },
            "2 CRITICAL, 5 HIGH",
        ),
        ({"imageScanStatus": {"status": "COMPLETE"}, "imageScanFindings": {"findingSeverityCounts": {}}}, "none"),
        ({"imageScanStatus": {"status": "COMPLETE"}, "imageScanFindings": {}}, "none"),
        (
            {"imageScanStatus": {"status": "UNAVAILABLE"}},
            "unknown: its scan is UNAVAILABLE; where Amazon Inspector scans, its findings are there",
        ),
    ],
)
def test_what_the_scanner_found_is_told_by_severity_and_a_scan_that_failed_is_not_called_clean(
    aws: Aws, project: Any, kept: dict[str, Any], text: str
) -> None:
    project()
    aws.client("s3").put_object(Bucket=ASSETS, Key="images/gpu-0/scan.json", Body=json.dumps(kept).encode())
    assert images.scan_text(images.scan_of(aws, "gpu-0")) == text
