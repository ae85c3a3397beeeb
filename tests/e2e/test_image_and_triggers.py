"""The image that the deployment has built, and runs that begin by themselves."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from local_aws.processes import wait_until
from tests.e2e.conftest import Project

pytestmark = pytest.mark.e2e


def image_uri(project: Project) -> str:
    return project.output("training", "ImageUri")


def builds(project: Project) -> list[dict[str, Any]]:
    codebuild, name = project.aws("codebuild"), project.output("training", "ImageBuildProjectName")
    return codebuild.batch_get_builds(ids=codebuild.list_builds_for_project(projectName=name)["ids"])["builds"]


def digest(project: Project) -> str:
    repository, tag = image_uri(project).partition("/")[2].split(":")
    found = project.aws("ecr").describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
    return found["imageDetails"][0]["imageDigest"]


def test_the_deployment_started_the_build_once_and_said_so(project: Project) -> None:
    [build] = builds(project)
    assert build["buildStatus"] == "SUCCEEDED"
    assert project.output("training", "ImageBuildOutcome") == f"{build['id']} was started"


def test_jobs_and_the_registered_model_name_the_digest_of_that_image(project: Project) -> None:
    by_digest = f"{image_uri(project).rpartition(':')[0]}@{digest(project)}"
    sagemaker = project.aws("sagemaker")
    pin = json.loads((project.root / "releases" / "local.json").read_text())
    package = sagemaker.describe_model_package(ModelPackageName=pin["model_package_arn"])
    [container] = package["InferenceSpecification"]["Containers"]
    assert container["Image"] == by_digest
    assert pin["image_digest"] == digest(project)
    assert pin["code_bundle"] == image_uri(project).rpartition("-")[2]
    for job in sagemaker.list_training_jobs()["TrainingJobSummaries"]:
        described = sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])
        assert described["AlgorithmSpecification"]["TrainingImage"] == by_digest


def test_the_command_shows_the_image_and_what_is_in_it(project: Project) -> None:
    known = json.loads(project.amplify("image", "--json"))
    assert known["image"].endswith(f"@{digest(project)}")
    assert known["packages"] > 50
    assert known["findings"] is None  # no scanner is here, and nobody says that there was one
    bucket, _, prefix = known["records"].removeprefix("s3://").partition("/")
    kept = project.aws("s3").get_object(Bucket=bucket, Key=f"{prefix}sbom.cdx.json")["Body"].read()
    assert json.loads(kept)["metadata"]["component"]["version"] == digest(project)


def test_a_build_that_fails_ends_the_command_with_its_reason_and_its_log_and_is_tried_again_on_request(
    project: Project,
) -> None:
    ecr, s3 = project.aws("ecr"), project.aws("s3")
    repository, tag = image_uri(project).partition("/")[2].split(":")
    bucket, _, key = project.output("training", "CodeBundleUri").removeprefix("s3://").partition("/")
    before, content = digest(project), s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    kept = Path(project.state / "images" / key)
    kept.unlink()
    s3.delete_object(Bucket=bucket, Key=key)
    ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": tag}])
    try:
        first = " ".join(project.amplify("image", fails=True).split())
        assert "could not be built" in first
        assert f"s3://{bucket}/{key} cannot be read" in first
        assert "Its log: CloudWatch Logs" in first
        assert "→" in first
        number = len(builds(project))
        second = " ".join(project.amplify("train", fails=True).split())
        assert f"s3://{bucket}/{key} cannot be read" in second
        assert "`amplify image` builds it again" in second
        assert len(builds(project)) == number  # a run does not repeat a build that would fail as before
    finally:
        s3.put_object(Bucket=bucket, Key=key, Body=content)
    assert f"@{before}" in project.amplify("image")


# ---- triggers --------------------------------------------------------------------------------------------------------


def runs(project: Project) -> list[dict[str, Any]]:
    listed = project.aws("sagemaker").list_pipeline_executions(PipelineName="amplify-local")
    return listed["PipelineExecutionSummaries"]


def prepared(project: Project, execution: str) -> bool:
    listed = project.aws("sagemaker").list_pipeline_execution_steps(PipelineExecutionArn=execution)
    steps = {step["StepName"]: step["StepStatus"] for step in listed["PipelineExecutionSteps"]}
    assert steps.get("Prepare") != "Failed"
    return steps.get("Prepare") == "Succeeded"


def said_by_the_function(project: Project) -> str:
    """All that the function which starts training has written to its log."""
    found = project.aws("cloudformation").list_stack_resources(StackName="amplify-local-training")
    [group] = [
        one["PhysicalResourceId"]
        for one in found["StackResourceSummaries"]
        if one["ResourceType"] == "AWS::Logs::LogGroup" and one["LogicalResourceId"].startswith("Triggers")
    ]
    return "\n".join(event["message"] for event in project.aws("logs").filter_log_events(logGroupName=group)["events"])


def test_ready_proteins_start_exactly_one_run_and_none_while_it_goes(project: Project) -> None:
    before = {run["PipelineExecutionArn"] for run in runs(project)}
    bucket = project.output("storage", "DataBucketName")

    def new_runs() -> list[dict[str, Any]]:
        return [run for run in runs(project) if run["PipelineExecutionArn"] not in before]

    # Proteins alone start nothing: they come one by one.
    project.aws("s3").put_object(Bucket=bucket, Key="proteins/more/READY.fasta", Body=b">x\nMKVLAG\n")
    project.amplify("data", "ready")
    assert wait_until(lambda: len(new_runs()) == 1, 60)
    [run] = new_runs()
    try:
        assert f"s3://{bucket}/proteins/READY arrived" in run["PipelineExecutionDescription"]
        project.aws("s3").put_object(Bucket=bucket, Key="proteins/READY", Body=uuid.uuid4().bytes)
        assert wait_until(lambda: f"{run['PipelineExecutionArn']} is active" in said_by_the_function(project), 60)
        assert len(new_runs()) == 1
        # READY lies among the proteins and is none.
        assert wait_until(lambda: prepared(project, run["PipelineExecutionArn"]), 60)
        assert "READY " not in project.amplify("data", "list")
    finally:
        project.amplify("stop", run["PipelineExecutionArn"])
        sagemaker = project.aws("sagemaker")

        def status() -> str:
            arn = run["PipelineExecutionArn"]
            return sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"]

        assert wait_until(lambda: status() == "Stopped", 60)
