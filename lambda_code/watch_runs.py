"""Tells CloudWatch how long runs of the pipelines have been going, and how long their training waits for machines.

SageMaker counts a run's duration when it has ended: one that never ends is not in its metrics. Called every quarter of
an hour; each time it sends, by pipeline, `OldestRunHours` (0 where nothing runs) and `WaitingMinutes`, the longest
that a training job of a run has been without machines, first ones or others after an interruption of spot.
Environment: PIPELINE_NAMES (with commas), METRIC_NAMESPACE.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import boto3

ACTIVE = ("Executing", "Stopping")
# DescribeTrainingJob's secondary statuses in which a job has no machines yet, or none any more.
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_DescribeTrainingJob.html
WAITING = ("Pending", "Starting", "LaunchingMLInstances", "PreparingTraining", "Interrupted", "Restarting")


def handler(event: Mapping[str, Any], _context: object) -> dict[str, dict[str, float]]:
    """Measure and send; returns what was sent, by pipeline. Raises AWS's errors."""
    sagemaker, now = boto3.client("sagemaker"), datetime.now(UTC)
    found = {}
    for pipeline in os.environ["PIPELINE_NAMES"].split(","):
        runs = [run for run in executions(sagemaker, pipeline) if run["PipelineExecutionStatus"] in ACTIVE]
        waits = [wait for run in runs for wait in minutes_waited(sagemaker, run["PipelineExecutionArn"], now)]
        found[pipeline] = {
            "OldestRunHours": max(((now - run["StartTime"]).total_seconds() / 3600 for run in runs), default=0.0),
            "WaitingMinutes": max(waits, default=0.0),
        }
    data = [
        {
            "MetricName": name,
            "Dimensions": [{"Name": "PipelineName", "Value": pipeline}],
            "Timestamp": now,
            "Value": value,
        }
        for pipeline, values in found.items()
        for name, value in values.items()
    ]
    boto3.client("cloudwatch").put_metric_data(Namespace=os.environ["METRIC_NAMESPACE"], MetricData=data)
    print(event.get("source", "called"), found, sep=": ", flush=True)
    return found


def executions(sagemaker: Any, pipeline: str) -> Iterator[dict[str, Any]]:
    """The newest hundred: an older one that still runs has rung long ago."""
    yield from sagemaker.list_pipeline_executions(
        PipelineName=pipeline, SortBy="CreationTime", SortOrder="Descending", MaxResults=100
    )["PipelineExecutionSummaries"]


def minutes_waited(sagemaker: Any, execution: str, now: datetime) -> Iterator[float]:
    """Of each training job of a run that is without machines, since when."""
    steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=execution)["PipelineExecutionSteps"]
    for step in steps:
        arn = step.get("Metadata", {}).get("TrainingJob", {}).get("Arn")
        if arn and step["StepStatus"] == "Executing":
            job = sagemaker.describe_training_job(TrainingJobName=arn.rpartition("/")[2])
            if job["SecondaryStatus"] in WAITING:
                yield (now - since(job)).total_seconds() / 60


def since(job: Mapping[str, Any]) -> datetime:
    """When a job began to wait: the first of its last statuses that are all of waiting."""
    began: datetime = job["CreationTime"]
    for transition in reversed(job.get("SecondaryStatusTransitions", [])):
        if transition["Status"] not in WAITING:
            return began
        began = transition["StartTime"]
    return began
