"""Rings for runs that go on and on, for training that waits for machines and for training that breaks the rules that
watch it: SageMaker counts none of these by itself."""

import json

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_kms as kms
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from stacks.constructs.code_bundle import CodeBundle
from stacks.constructs.ringing_alarm import FIVE_MINUTES, RingingAlarm
from stacks.constructs.service_role import SCHEDULER, ServiceRole
from stacks.constructs.small_function import SmallFunction

MINUTES = 15


class RunWatch(Construct):
    """A function that looks every quarter of an hour, and the alarms on what it says.

    `longest_hours`: of each pipeline, by its name, how long a run may take at most.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        longest_hours: dict[str, int],
        longest_wait_hours: int,
        metric_namespace: str,
        functions: CodeBundle,
        key: kms.IKey,
        topic: sns.ITopic,
    ) -> None:
        super().__init__(scope, id)
        self._topic, self._namespace = topic, metric_namespace
        dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=key,
            enforce_ssl=True,
            retention_period=cdk.Duration.days(14),
        )
        watcher = SmallFunction(
            self,
            "Watcher",
            code=functions,
            file="watch_runs",
            description="Tells how long runs have been going, and how training fares",
            environment={"PIPELINE_NAMES": ",".join(longest_hours), "METRIC_NAMESPACE": metric_namespace},
            key=key,
            dead_letters=dead_letters,
        )
        stack = cdk.Stack.of(self)
        pipelines = [
            f"arn:{stack.partition}:sagemaker:{stack.region}:{stack.account}:pipeline/{name}" for name in longest_hours
        ]
        for pipeline in pipelines:
            watcher.role.do("sagemaker:ListPipelineExecutions", on=pipeline)
            watcher.role.do("sagemaker:ListPipelineExecutionSteps", on=f"{pipeline}/execution/*")
        watcher.role.do(
            "sagemaker:DescribeTrainingJob",
            on=f"arn:{stack.partition}:sagemaker:{stack.region}:{stack.account}:training-job/pipelines-*",
        )
        watcher.role.put_metrics(metric_namespace)
        self._call(watcher, dead_letters, key)
        for number, (name, hours) in enumerate(longest_hours.items()):
            self._ring(
                f"Stuck{number}",
                f"A run of pipeline {name} has been going for over {hours} hours, longer than all of its jobs may.",
                "pipeline-run-stuck",
                self._said("OldestRunHours", name),
                hours,
            )
            self._ring(
                f"Waiting{number}",
                f"Training of pipeline {name} has waited for machines for over {longest_wait_hours} hours.",
                "training-waits-for-machines",
                self._said("WaitingMinutes", name),
                longest_wait_hours * 60,
            )
            self._ring(
                f"Unhealthy{number}",
                f"Training of pipeline {name} says that it breaks a rule: its loss, gradients, data or GPU.",
                "training-breaks-a-rule",
                self._said("BrokenRules", name),
                1,
            )
        self._ring(
            "Failed",
            "The function that looks for stuck runs and waiting training failed.",
            "run-watch-failed",
            watcher.function.metric_errors(period=FIVE_MINUTES),
            1,
        )

    def _said(self, name: str, pipeline: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=self._namespace,
            metric_name=name,
            dimensions_map={"PipelineName": pipeline},
            statistic="Maximum",
            period=cdk.Duration.minutes(MINUTES),
        )

    def _ring(self, id: str, description: str, runbook: str, metric: cloudwatch.IMetric, threshold: float) -> None:
        RingingAlarm(
            self, id, description=description, runbook=runbook, metric=metric, threshold=threshold, topic=self._topic
        )

    def _call(self, watcher: SmallFunction, dead_letters: sqs.IQueue, key: kms.IKey) -> None:
        role = ServiceRole(self, "ScheduleRole", description="Calls the function on schedule", service=SCHEDULER)
        role.do("lambda:InvokeFunction", on=watcher.function.function_arn)
        role.do("sqs:SendMessage", on=dead_letters.queue_arn)
        role.use_key(key, writes=True, volumes=False)
        schedule = scheduler.CfnSchedule(
            self,
            "Schedule",
            description="Looks at the runs of the pipelines",
            schedule_expression=f"rate({MINUTES} minutes)",
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=watcher.function.function_arn,
                role_arn=role.role_arn,
                input=json.dumps({"source": "schedule"}),
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_retry_attempts=2, maximum_event_age_in_seconds=MINUTES * 60
                ),
                dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(arn=dead_letters.queue_arn),
            ),
        )
        schedule.node.add_dependency(role.policy)
