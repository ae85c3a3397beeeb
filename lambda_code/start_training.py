"""Starts a run of the training pipeline, for a schedule or for proteins that are READY; never beside another run.

A pipeline has no limit of its own: two starts would be two trainings, and two bills. So:

- While a run is active none is started. A schedule then lets this time go by; for a READY object the function fails, so
  that Lambda tries again and at last keeps the event in the dead-letter queue: somebody's proteins wait.
- The run's ClientRequestToken is made from the newest run there is: events that come together, or twice, ask for the
  same next run and get one.

What it starts names its image by digest, as `amplify train` does. Environment: PIPELINE_NAME, IMAGE_URI.
"""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import boto3

ACTIVE = ("Executing", "Stopping")
SCHEDULE = "schedule"  # `source` of the event that the schedule sends


class NotStartedError(Exception):
    """No run was started, and somebody waits for one. The message says why, and what to do."""


def handler(event: Mapping[str, Any], _context: object) -> dict[str, str | None]:
    """Start one run; returns its ARN as `started`, or None with the reason. Raises NotStartedError and AWS's errors."""
    pipeline, cause = os.environ["PIPELINE_NAME"], cause_of(event)
    runs = boto3.client("sagemaker").list_pipeline_executions(
        PipelineName=pipeline, SortBy="CreationTime", SortOrder="Descending", MaxResults=100
    )["PipelineExecutionSummaries"]
    for run in runs:
        if run.get("PipelineExecutionDescription") == cause and event["source"] != SCHEDULE:
            return _said(None, f"this very event has started {run['PipelineExecutionArn']}")
    active = [run["PipelineExecutionArn"] for run in runs if run["PipelineExecutionStatus"] in ACTIVE]
    if active:
        reason = f"{active[0]} is active, and there is one run at a time"
        if event["source"] == SCHEDULE:
            return _said(None, reason)
        raise NotStartedError(f"{cause}: {reason}. When it has ended, put the object again.")
    newest = runs[0]["PipelineExecutionArn"] if runs else "none"
    started = boto3.client("sagemaker").start_pipeline_execution(
        PipelineName=pipeline,
        PipelineExecutionDescription=cause,
        PipelineParameters=[{"Name": "image", "Value": by_digest(os.environ["IMAGE_URI"])}],
        ClientRequestToken=hashlib.sha256(f"{pipeline} after {newest}".encode()).hexdigest(),
    )
    return _said(started["PipelineExecutionArn"], cause)


def cause_of(event: Mapping[str, Any]) -> str:
    """Why a run begins, for people: its description. Raises ValueError for an event of neither kind."""
    match event:
        case {"source": "schedule"}:
            return "the schedule of this environment"
        case {"source": "aws.s3", "id": str(id_), "detail": {"bucket": {"name": bucket}, "object": {"key": key}}}:
            return f"s3://{bucket}/{key} arrived (event {id_})"
    raise ValueError(f"an event of the schedule or of S3's 'Object Created' is wanted, this is {dict(event)!r}")


def by_digest(image_uri: str) -> str:
    """`<repository>:<tag>` → `<repository>@sha256:…`. Raises NotStartedError where the image is not built."""
    repository, _, tag = image_uri.rpartition(":")
    ecr = boto3.client("ecr")
    try:
        found = ecr.describe_images(repositoryName=repository.partition("/")[2], imageIds=[{"imageTag": tag}])
    except ecr.exceptions.ImageNotFoundException:
        raise NotStartedError(f"{image_uri} is not built: `amplify image` says what became of its build") from None
    return f"{repository}@{found['imageDetails'][0]['imageDigest']}"


def _said(started: str | None, reason: str) -> dict[str, str | None]:
    print("no run is started" if started is None else f"started {started}", reason, sep=": ", flush=True)
    return {"started": started, "reason": reason}
