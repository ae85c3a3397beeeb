"""The alarm of a pipeline: a run that failed.

By SageMaker's own metric and not by an event: an alarm has a state that people can look at and that goes back. A run
that somebody stopped is no failure, and counts as ExecutionStopped. Namespace and names:
https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html (SageMaker pipelines metrics)
"""

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.constructs.ringing_alarm import FIVE_MINUTES, RingingAlarm

NAMESPACE = "AWS/Sagemaker/ModelBuildingPipeline"  # so written


def runs_that(what: str, pipeline_name: str) -> cloudwatch.Metric:
    """How many runs of a pipeline did `what`: Started, Succeeded, Failed, Stopped."""
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=f"Execution{what}",
        dimensions_map={"PipelineName": pipeline_name},
        statistic="Sum",
        period=FIVE_MINUTES,
    )


def ring_when_a_run_fails(
    scope: Construct, id: str, *, pipeline_name: str, runbook: str, topic: sns.ITopic
) -> RingingAlarm:
    """The alarm of one pipeline."""
    return RingingAlarm(
        scope,
        id,
        description=f"A run of pipeline {pipeline_name} failed.",
        runbook=runbook,
        metric=runs_that("Failed", pipeline_name),
        threshold=1,
        topic=topic,
    )
