"""Starts the build of the image, where the registry has not got it: the one thing that runs during a deployment.

CloudFormation calls `handler` as a custom resource of the training stack. It waits for no build and fails no
deployment: sound stacks are not rolled back for an image that can be built later (`amplify image`). What came of it is
the resource's attribute `Outcome`, an output of the stack. Nothing is undone when the resource goes.

Properties: ProjectName (CodeBuild), ImageUri (`<registry>/<repository>:<tag>`).
"""

import json
import time
import traceback
import urllib.request
from collections.abc import Mapping
from typing import Any

import boto3

ANSWER_ATTEMPTS = 3
LONGEST_OUTCOME = 1_000  # CloudFormation takes 4 KiB for the whole answer


def handler(event: Mapping[str, Any], _context: object) -> None:
    """Do what the request asks for, and answer CloudFormation. Raises OSError where the answer does not arrive."""
    try:
        outcome = (
            "nothing" if event["RequestType"] == "Delete" else start(event["ResourceProperties"], event["RequestId"])
        )
    except Exception as error:
        traceback.print_exc()
        outcome = f"not started: {error}"
    print(event["RequestType"], outcome, sep=": ", flush=True)
    answer(event, outcome)


def start(properties: Mapping[str, str], token: str) -> str:
    """Start the build where it is needed; returns what was found or done. The same `token` starts one build."""
    project, image_uri = properties["ProjectName"], properties["ImageUri"]
    if is_in_registry(image_uri):
        return "the image is there"
    codebuild = boto3.client("codebuild")
    if running := running_build(codebuild, project, image_uri):
        return f"{running} is building it"
    build = codebuild.start_build(projectName=project, idempotencyToken=token)["build"]
    return f"{build['id']} was started"


def is_in_registry(image_uri: str) -> bool:
    """Whether the tag exists. Raises ClientError where the repository cannot be asked."""
    repository, _, tag = image_uri.partition("/")[2].partition(":")
    ecr = boto3.client("ecr")
    try:
        ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
    except ecr.exceptions.ImageNotFoundException:
        return False
    return True


def running_build(codebuild: Any, project: str, image_uri: str) -> str | None:
    """The id of a build of this image that has not ended."""
    ids = codebuild.list_builds_for_project(projectName=project, sortOrder="DESCENDING")["ids"]
    for build in codebuild.batch_get_builds(ids=ids[:100])["builds"] if ids else []:
        variables = {one["name"]: one["value"] for one in build["environment"].get("environmentVariables", [])}
        if build["buildStatus"] == "IN_PROGRESS" and variables.get("IMAGE") == image_uri:
            return build["id"]
    return None


def answer(event: Mapping[str, Any], outcome: str) -> None:
    """PUT the answer to where CloudFormation waits for it."""
    body = {
        "Status": "SUCCESS",
        "StackId": event["StackId"],
        "RequestId": event["RequestId"],
        "LogicalResourceId": event["LogicalResourceId"],
        "PhysicalResourceId": event.get("PhysicalResourceId", event["LogicalResourceId"]),
        "Data": {"Outcome": outcome[:LONGEST_OUTCOME]},
    }
    # No content type: the URL is signed without one.
    request = urllib.request.Request(  # noqa: S310 - CloudFormation's own URL
        event["ResponseURL"], data=json.dumps(body).encode(), headers={"Content-Type": ""}, method="PUT"
    )
    for attempt in range(1, ANSWER_ATTEMPTS + 1):
        try:
            urllib.request.urlopen(request, timeout=10).close()  # noqa: S310
            return
        except OSError:
            if attempt == ANSWER_ATTEMPTS:
                raise
            time.sleep(attempt)
