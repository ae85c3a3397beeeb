"""Tells CloudWatch how long runs of the pipelines have been going, and how their training fares.

SageMaker counts a run's duration when it has ended: one that never ends is not in its metrics. Called every quarter of
an hour; each time it sends, by pipeline, `OldestRunHours` (0 where nothing runs), `WaitingMinutes`, the longest
that a training job of a run has been without machines, first ones or others after an interruption of spot, and
`BrokenRules`, the most rules that a job has told to be broken: the metrics of a job have its name as their dimension,
which no alarm can know beforehand.
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

BROKEN_RULES = "train:rules_broken"
"""As the pipeline's metric definitions name it."""


def handler(event: Mapping[str, Any], _context: object) -> dict[str, dict[str, float]]:
    """Measure and send; returns what was sent, by pipeline. Raises AWS's errors."""
    sagemaker, now = boto3.client("sagemaker"), datetime.now(UTC)
    found = {}
    for pipeline in os.environ["PIPELINE_NAMES"].split(","):
        runs = [run for run in executions(sagemaker, pipeline) if run["PipelineExecutionStatus"] in ACTIVE]
        jobs = [job for run in runs for job in training_jobs(sagemaker, run["PipelineExecutionArn"])]
        waits = [(now - since(job)).total_seconds() / 60 for job in jobs if job["SecondaryStatus"] in WAITING]
        found[pipeline] = {
            "OldestRunHours": max(((now - run["StartTime"]).total_seconds() / 3600 for run in runs), default=0.0),
            "WaitingMinutes": max(waits, default=0.0),
            "BrokenRules": max((broken_rules(job) for job in jobs), default=0.0),
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


def training_jobs(sagemaker: Any, execution: str) -> Iterator[dict[str, Any]]:
    """Those of a run that are under way."""
    steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=execution)["PipelineExecutionSteps"]
    for step in steps:
        arn = step.get("Metadata", {}).get("TrainingJob", {}).get("Arn")
        if arn and step["StepStatus"] == "Executing":
            yield sagemaker.describe_training_job(TrainingJobName=arn.rpartition("/")[2])


def broken_rules(job: Mapping[str, Any]) -> float:
    """How many rules a job last told to be broken (`[metric] … rules_broken=…` in its log)."""
    told = (float(one["Value"]) for one in job.get("FinalMetricDataList", []) if one["MetricName"] == BROKEN_RULES)
    return max(told, default=0.0)


def since(job: Mapping[str, Any]) -> datetime:
    """When a job began to wait: the first of its last statuses that are all of waiting."""
    began: datetime = job["CreationTime"]
    for transition in reversed(job.get("SecondaryStatusTransitions", [])):
        if transition["Status"] not in WAITING:
            return began
        began = transition["StartTime"]
    return began
