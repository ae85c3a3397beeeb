"""What starts training by itself: a schedule, and proteins that somebody declares READY. One run at a time."""

import json

import aws_cdk as cdk
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.constructs.code_bundle import CodeBundle
from stacks.constructs.service_role import SCHEDULER, ServiceRole
from stacks.constructs.small_function import SmallFunction

READY_KEY = "proteins/READY"
"""The object that says: these proteins are all there. Files arrive one by one; a run must not begin with the first."""

ATTEMPTS_AFTER_THE_FIRST = 2
MAX_EVENT_AGE = cdk.Duration.hours(1)


class TrainingTriggers(Construct):
    """A function that starts the pipeline unless a run is active, and what calls it.

    An event that started no run and should have lies in the dead-letter queue for two weeks.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        schedule: str | None,
        on_arrival: bool,
        pipeline: sagemaker.CfnPipeline,
        pipeline_name: str,
        image_uri: str,
        repository: ecr.IRepository,
        data_bucket: s3.IBucket,
        key: kms.IKey,
        functions: CodeBundle,
    ) -> None:
        super().__init__(scope, id)
        self._key = key
        self._dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=key,
            enforce_ssl=True,
            retention_period=cdk.Duration.days(14),
        )
        self._starter = SmallFunction(
            self,
            "Starter",
            code=functions,
            file="start_training",
            description="Starts a run of the training pipeline, unless one is active",
            environment={"PIPELINE_NAME": pipeline_name, "IMAGE_URI": image_uri},
            key=key,
            dead_letters=self._dead_letters,
        )
        self._starter.function.configure_async_invoke(
            retry_attempts=ATTEMPTS_AFTER_THE_FIRST, max_event_age=MAX_EVENT_AGE
        )
        stack = cdk.Stack.of(self)
        self._starter.role.do(
            "sagemaker:ListPipelineExecutions",
            "sagemaker:StartPipelineExecution",
            on=f"arn:{stack.partition}:sagemaker:{stack.region}:{stack.account}:pipeline/{pipeline_name}",
        )
        self._starter.role.do("ecr:DescribeImages", on=repository.repository_arn)
        self._starter.function.node.add_dependency(pipeline)
        if schedule is not None:
            self._on_schedule(schedule)
        if on_arrival:
            self._on_arrival(data_bucket)

    def _on_arrival(self, data_bucket: s3.IBucket) -> None:
        rule = events.Rule(
            self,
            "Ready",
            description=f"{READY_KEY} was put into the data bucket: its proteins are complete",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={"bucket": {"name": [data_bucket.bucket_name]}, "object": {"key": [READY_KEY]}},
            ),
        )
        rule.add_target(
            targets.LambdaFunction(
                self._starter.function,
                dead_letter_queue=self._dead_letters,
                retry_attempts=ATTEMPTS_AFTER_THE_FIRST,
                max_event_age=MAX_EVENT_AGE,
            )
        )

    def _on_schedule(self, expression: str) -> None:
        role = ServiceRole(self, "ScheduleRole", description="Calls the function on schedule", service=SCHEDULER)
        role.do("lambda:InvokeFunction", on=self._starter.function.function_arn)
        role.do("sqs:SendMessage", on=self._dead_letters.queue_arn)
        role.use_key(self._key, writes=True, volumes=False)
        schedule = scheduler.CfnSchedule(
            self,
            "Schedule",
            description="Trains, unless a run is active",
            schedule_expression=expression,
            schedule_expression_timezone="UTC",
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=self._starter.function.function_arn,
                role_arn=role.role_arn,
                input=json.dumps({"source": "schedule"}),
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_retry_attempts=ATTEMPTS_AFTER_THE_FIRST,
                    maximum_event_age_in_seconds=MAX_EVENT_AGE.to_seconds(),
                ),
                dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(arn=self._dead_letters.queue_arn),
            ),
        )
        schedule.node.add_dependency(role.policy)
