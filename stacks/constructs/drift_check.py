"""The drift job: a pipeline with its roles, the schedule that starts it, and the alarms on what it finds."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.config import Drift
from stacks.constructs.pipeline_alarms import ring_when_a_run_fails
from stacks.constructs.ringing_alarm import FIVE_MINUTES, HOUR, RingingAlarm
from stacks.constructs.service_role import ServiceRole
from stacks.pipeline_steps import Json

LARGEST_BROKEN_SHARE = 0.1
RETRIES, RETRY_SECONDS = 3, 3600


def drift_metric(name: str, *, namespace: str, endpoint_name: str) -> cloudwatch.Metric:
    """What the job tells CloudWatch once a run: docs/seams.md lists the names."""
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        dimensions_map={"EndpointName": endpoint_name},
        statistic="Maximum",
        period=HOUR,
    )


def limits(drift: Drift) -> dict[str, tuple[float, str]]:
    """Metric → its limit, and what it means to go beyond."""
    return {
        "LengthShift": (drift.max_length_shift, "The proteins that people send are of other lengths"),
        "ResidueDivergence": (drift.max_residue_divergence, "The proteins that people send are made of other residues"),
        "UnknownIncrease": (drift.max_unknown_increase, "More residues than in training cannot be read by the model"),
        "LossIncrease": (drift.max_loss_increase, "The model finds what people send harder than its validation set"),
    }


class DriftCheck(Construct):
    """Runs by itself. `role` is the job's; the definition names it already."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        pipeline_name: str,
        definition: Json,
        role: ServiceRole,
        drift: Drift,
        endpoint_name: str,
        metric_namespace: str,
        topic: sns.ITopic,
    ) -> None:
        super().__init__(scope, id)
        self._name, self._topic = pipeline_name, topic
        pipeline = self._pipeline(definition, role)
        self._start(pipeline, drift.every_hours)
        for metric, (limit, meaning) in limits(drift).items():
            self._ring(
                metric,
                f"{meaning} than those it was trained on, by more than {limit:g}.",
                "drift",
                drift_metric(metric, namespace=metric_namespace, endpoint_name=endpoint_name),
                limit,
            )
        self._ring(
            "BrokenShare",
            f"Over {LARGEST_BROKEN_SHARE:.0%} of the captured records cannot be read.",
            "drift-unreadable-records",
            drift_metric("BrokenShare", namespace=metric_namespace, endpoint_name=endpoint_name),
            LARGEST_BROKEN_SHARE,
        )
        ring_when_a_run_fails(self, "Failed", pipeline_name=pipeline_name, runbook="drift-job-failed", topic=topic)

    def _pipeline(self, definition: Json, role: ServiceRole) -> sagemaker.CfnPipeline:
        stack = cdk.Stack.of(self)
        # SageMaker names a pipeline's jobs pipelines-<execution>-<step>-<random>.
        jobs = f"arn:{stack.partition}:sagemaker:{stack.region}:{stack.account}:processing-job/pipelines-*"
        starter = ServiceRole(self, "PipelineRole", description=f"Starts the job of {self._name}")
        for statement in (
            iam.PolicyStatement(
                actions=[f"sagemaker:{verb}ProcessingJob" for verb in ("Create", "Describe", "Stop")], resources=[jobs]
            ),
            iam.PolicyStatement(actions=["sagemaker:AddTags"], resources=[jobs]),
            iam.PolicyStatement(
                actions=["iam:PassRole"],
                resources=[role.role_arn],
                conditions={"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
            ),
        ):
            starter.add_to_policy(statement)
        pipeline = sagemaker.CfnPipeline(
            self,
            "Pipeline",
            pipeline_name=self._name,
            pipeline_description="Captured requests against the training set: one job",
            role_arn=starter.role_arn,
            pipeline_definition={"PipelineDefinitionBody": stack.to_json_string(definition)},
        )
        pipeline.node.add_dependency(starter.policy, role.policy)
        return pipeline

    def _start(self, pipeline: sagemaker.CfnPipeline, every_hours: int) -> None:
        arn = cdk.Stack.of(self).format_arn(service="sagemaker", resource="pipeline", resource_name=self._name)
        role = ServiceRole(
            self, "ScheduleRole", description=f"Starts {self._name} on time", service="scheduler.amazonaws.com"
        )
        role.add_to_policy(iam.PolicyStatement(actions=["sagemaker:StartPipelineExecution"], resources=[arn]))
        group = scheduler.CfnScheduleGroup(self, "ScheduleGroup", name=self._name)
        schedule = scheduler.CfnSchedule(
            self,
            "Schedule",
            description=f"Starts {self._name}",
            group_name=group.ref,
            schedule_expression=f"rate({every_hours} hours)",
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=arn,
                role_arn=role.role_arn,
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_retry_attempts=RETRIES, maximum_event_age_in_seconds=RETRY_SECONDS
                ),
            ),
        )
        schedule.node.add_dependency(role.policy, pipeline)
        RingingAlarm(
            self,
            "NotStarted",
            description=f"{self._name} could not be started on time.",
            runbook="drift-job-not-started",
            metric=cloudwatch.Metric(
                namespace="AWS/Scheduler",
                metric_name="TargetErrorCount",
                dimensions_map={"ScheduleGroup": group.ref},
                statistic="Sum",
                period=FIVE_MINUTES,
            ),
            threshold=1,
            topic=self._topic,
        )

    def _ring(self, id: str, description: str, runbook: str, metric: cloudwatch.Metric, limit: float) -> None:
        """Once a run there is a value; between two the last one holds."""
        RingingAlarm(
            self,
            id,
            description=description,
            runbook=runbook,
            metric=metric,
            threshold=limit,
            missing=cloudwatch.TreatMissingData.IGNORE,
            topic=self._topic,
        )
