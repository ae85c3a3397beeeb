"""CodeBuild builds images of code bundles, tells how far it is, and says why where it fails."""

import pytest
from botocore.exceptions import ClientError

from local_aws import server
from local_aws.processes import wait_until
from tests.local_aws.small_images import (
    ASSETS,
    REGISTRY,
    ended,
    make_bucket,
    make_project,
    push_image,
    start_build,
    upload_bundle,
    variables,
)

REPOSITORY = "build-test"
SLOW = "import time; time.sleep(2)"  # as inventory.py: a build that takes its time


@pytest.fixture
def bundle(aws, request):
    """bundle(**files) uploads one that no other test has; returns the URI of its image."""
    return lambda **files: upload_bundle(
        aws, REPOSITORY, {"launch.py": "", "test.txt": request.node.name} | {f"{k}.py": v for k, v in files.items()}
    )


def digest_of(aws, uri):
    tag = uri.rpartition(":")[2]
    [found] = aws("ecr").describe_images(repositoryName=REPOSITORY, imageIds=[{"imageTag": tag}])["imageDetails"]
    return found["imageDigest"]


def phases(build):
    return {phase["phaseType"]: phase.get("phaseStatus") for phase in build["phases"]}


def failure(build):
    """Why it failed; "" where it did not."""
    return " ".join(one["message"] for phase in build["phases"] for one in phase.get("contexts", []))


def log_of(aws, build):
    where = {"logGroupName": build["logs"]["groupName"], "logStreamName": build["logs"]["streamName"]}
    return [event["message"] for event in aws("logs").get_log_events(**where)["events"]]


def test_a_build_goes_on_after_it_was_started_and_ends_with_the_image_in_the_registry(aws, bundle):
    uri = bundle(inventory=SLOW)
    started = aws("codebuild").start_build(projectName=make_project(aws, uri))["build"]
    assert started["buildStatus"] == "IN_PROGRESS"
    assert "endTime" not in started
    done = ended(aws, started["id"])
    assert done["buildStatus"] == "SUCCEEDED"
    assert set(phases(done).values()) == {"SUCCEEDED"}
    assert any(digest_of(aws, uri) in line for line in log_of(aws, done))


def test_what_the_image_is_made_of_is_kept_beside_the_models(aws, bundle):
    uri = bundle(inventory="import sys; print(sys.argv[1])")
    ended(aws, start_build(aws, make_project(aws, uri)))
    key = f"images/{uri.rpartition(':')[2]}/sbom.cdx.json"
    assert aws("s3").get_object(Bucket=ASSETS, Key=key)["Body"].read().decode().strip() == digest_of(aws, uri)


def test_two_builds_at_once_make_one_image(aws, bundle):
    project = make_project(aws, bundle())
    builds = [ended(aws, build) for build in [start_build(aws, project) for _ in range(8)]]
    assert [(build["buildStatus"], failure(build)) for build in builds] == [("SUCCEEDED", "")] * 8


def test_a_build_of_an_image_that_is_there_changes_nothing(aws, bundle):
    uri = bundle()
    project = make_project(aws, uri)
    ended(aws, start_build(aws, project))
    before = digest_of(aws, uri)
    assert ended(aws, start_build(aws, project))["buildStatus"] == "SUCCEEDED"
    assert digest_of(aws, uri) == before


@pytest.mark.parametrize(
    ("changed", "phase", "reason"),
    [
        ({"BUNDLE": f"s3://{ASSETS}/gone.zip"}, "PRE_BUILD", f"s3://{ASSETS}/gone.zip cannot be read (NoSuchKey)"),
        ({"BUNDLE_SHA256": "0" * 64}, "PRE_BUILD", "is not the image of the bundle"),
        ({"BUNDLE": ""}, "PRE_BUILD", "the project sets no BUNDLE"),
        ({"RECORDS": "s3://no-such-bucket-anywhere/images"}, "POST_BUILD", "NoSuchBucket"),
    ],
)
def test_a_build_that_fails_says_at_what_and_why(aws, bundle, changed, phase, reason):
    done = ended(aws, start_build(aws, make_project(aws, bundle(inventory="print(1)"), **changed)))
    assert (done["buildStatus"], phases(done)[phase]) == ("FAILED", "FAILED")
    [context] = [context for one in done["phases"] for context in one.get("contexts", [])]
    assert reason in context["message"]
    assert any(reason in line for line in log_of(aws, done))


def test_a_repository_that_is_not_there_is_named(aws, bundle):
    uri = bundle().replace(f"/{REPOSITORY}:", "/nowhere:")
    done = ended(aws, start_build(aws, make_project(aws, uri)))
    assert "'nowhere' does not exist" in str(done["phases"])


def test_an_inventory_that_fails_fails_the_build_with_its_own_words(aws, bundle):
    done = ended(aws, start_build(aws, make_project(aws, bundle(inventory="raise SystemExit('no rpm here')"))))
    assert "no rpm here" in str(done["phases"])


def test_a_build_of_something_else_is_refused_and_not_called_a_success(aws):
    aws("codebuild").create_project(
        name="other",
        source={"type": "NO_SOURCE", "buildspec": "version: 0.2"},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_SMALL"},
        serviceRole="arn:aws:iam::123456789012:role/any",
    )
    done = ended(aws, start_build(aws, "other"))
    assert done["buildStatus"] == "FAILED"
    assert "runs no other buildspec" in str(done["phases"])


@pytest.mark.parametrize(
    "override",
    [
        {"buildspecOverride": "version: 0.2"},
        {"imageOverride": "public.ecr.aws/mine:latest", "privilegedModeOverride": True},
        {"environmentVariablesOverride": [{"name": "BUNDLE", "value": "s3://mine/code.zip"}]},
        {"serviceRoleOverride": "arn:aws:iam::123456789012:role/other"},
        {"sourceTypeOverride": "S3", "sourceLocationOverride": "mine/code.zip"},
        {"debugSessionEnabled": True},
        {"sourceVersion": "main"},
    ],
    ids=lambda override: next(iter(override)),
)
def test_a_build_that_would_differ_from_its_project_is_refused_and_not_started_without_that(aws, bundle, override):
    project = make_project(aws, bundle())
    with pytest.raises(ClientError, match="is not emulated by local AWS") as refused:
        aws("codebuild").start_build(projectName=project, **override)
    assert refused.value.response["Error"]["Code"] == "NotEmulated"
    assert all(member in str(refused.value) for member in override)
    assert aws("codebuild").list_builds_for_project(projectName=project)["ids"] == []
    started = aws("codebuild").start_build(projectName=project, idempotencyToken="once")["build"]
    assert ended(aws, started["id"])["buildStatus"] == "SUCCEEDED"


def test_a_build_that_is_stopped_stays_stopped(aws, bundle):
    uri = bundle(inventory=SLOW)
    build = start_build(aws, make_project(aws, uri))
    assert aws("codebuild").stop_build(id=build)["build"]["buildStatus"] == "STOPPED"
    assert wait_until(lambda: any(digest_of(aws, uri) in line for line in log_of(aws, ended(aws, build))), 30)
    assert ended(aws, build)["buildStatus"] == "STOPPED"


def test_a_build_that_a_killed_server_took_along_is_no_success(own_folder, clients_of, kill_9, on_disk):
    running = server.start(own_folder)
    aws = clients_of(running)
    make_bucket(aws, ASSETS)
    uri = upload_bundle(aws, REPOSITORY, {"launch.py": "", "inventory.py": "import time; time.sleep(60)"})
    build = start_build(aws, make_project(aws, uri))
    on_disk(aws)
    kill_9(running)
    aws = clients_of(server.start(own_folder))
    assert ended(aws, build)["buildStatus"] == "FAULT"


def test_an_image_that_was_never_built_runs_nothing_and_says_what_to_do(aws, bundle):
    with pytest.raises(aws("sagemaker").exceptions.ClientError, match="Deploying the training stack starts its build"):
        aws("sagemaker").create_model(
            ModelName="unbuilt",
            ExecutionRoleArn="arn:aws:iam::123456789012:role/any",
            PrimaryContainer={"Image": bundle()},
        )


def test_jobs_can_name_the_image_by_the_digest_of_the_build(aws):
    uri = push_image(aws, REPOSITORY, "print('hello')")
    by_digest = f"{REGISTRY}/{REPOSITORY}@{digest_of(aws, uri)}"
    aws("sagemaker").create_model(
        ModelName="by-digest",
        ExecutionRoleArn="arn:aws:iam::123456789012:role/any",
        PrimaryContainer={"Image": by_digest},
    )
    assert aws("sagemaker").describe_model(ModelName="by-digest")["PrimaryContainer"]["Image"] == by_digest


def test_a_project_of_a_stack_keeps_its_log_group(aws, deploy, bundle):
    uri = bundle()
    given = [{"Name": name, "Value": value} for name, value in variables(uri).items()]
    environment = {"Type": "LINUX_CONTAINER", "Image": "i", "ComputeType": "BUILD_GENERAL1_SMALL"}
    project = {
        "Type": "AWS::CodeBuild::Project",
        "Properties": {
            "ServiceRole": "arn:aws:iam::123456789012:role/any",
            "Source": {"Type": "NO_SOURCE", "BuildSpec": "version: 0.2"},
            "Artifacts": {"Type": "NO_ARTIFACTS"},
            "Environment": environment | {"EnvironmentVariables": given},
            "LogsConfig": {"CloudWatchLogs": {"Status": "ENABLED", "GroupName": {"Ref": "Log"}}},
        },
    }
    log = {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "of-the-build"}}
    outputs = {"Name": {"Value": {"Ref": "Project"}}}
    stack = deploy(aws("cloudformation"), "build-log", {"Project": project, "Log": log}, Outputs=outputs)
    name = stack["Outputs"][0]["OutputValue"]
    project["Properties"]["Description"] = "updated"
    deploy(aws("cloudformation"), "build-log", {"Project": project, "Log": log}, Outputs=outputs)
    done = ended(aws, start_build(aws, name))
    assert done["logs"]["groupName"] == "of-the-build"
    assert any("is sha256:" in line for line in log_of(aws, done))
