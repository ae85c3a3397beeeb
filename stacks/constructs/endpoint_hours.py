"""An endpoint that exists in working hours only: deleted when they end, made again when they begin.

A real-time endpoint cannot be without instances, so for a fleet of fixed size this is the one way to stop paying. To
CloudFormation the endpoint is the same one, under the same name; between the hours it can be neither asked nor updated.
"""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.config.endpoint import WorkingHours
from stacks.constructs.ringing_alarm import RingingAlarm
from stacks.constructs.service_role import ServiceRole

RETRIES, RETRY_SECONDS = 3, 900


class EndpointHours(Construct):
    """Two schedules and their role. `volume_key`: the key of the instances' volumes, where they have one."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        endpoint: sagemaker.CfnEndpoint,
        config: sagemaker.CfnEndpointConfig,
        name: str,
        tags: dict[str, str],
        hours: WorkingHours,
        volume_key: kms.IKey | None,
        topic: sns.ITopic,
    ) -> None:
        super().__init__(scope, id)
        self._endpoint, self._hours, self._name = endpoint, hours, name
        self._role = ServiceRole(
            self, "Role", description=f"Opens and closes endpoint {name}", service="scheduler.amazonaws.com"
        )
        arn = cdk.Stack.of(self).format_arn(service="sagemaker", resource="endpoint", resource_name=name)
        for actions_, resources in (
            (["sagemaker:DeleteEndpoint", "sagemaker:AddTags"], [arn]),
            (["sagemaker:CreateEndpoint"], [arn, config.ref]),
        ):
            self._role.add_to_policy(iam.PolicyStatement(actions=actions_, resources=resources))
        if volume_key is not None:  # who creates an endpoint has the volumes' grant made
            self._role.use_key(volume_key, writes=False, volumes=True)

        self._group = scheduler.CfnScheduleGroup(self, "Group")
        self._schedule("Closing", hours.closing, "deleteEndpoint", {"EndpointName": name})
        create: dict[str, object] = {"EndpointName": name, "EndpointConfigName": config.attr_endpoint_config_name}
        create["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
        self._schedule("Opening", hours.opening, "createEndpoint", create)
        self._ring_when_it_fails(topic)

    def _schedule(self, id: str, expression: str, operation: str, request: dict[str, object]) -> None:
        schedule = scheduler.CfnSchedule(
            self,
            id,
            description=f"{operation} {self._name}",
            group_name=self._group.ref,
            schedule_expression=expression,
            schedule_expression_timezone=self._hours.time_zone,
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=scheduler.CfnSchedule.TargetProperty(
                arn=f"arn:{cdk.Stack.of(self).partition}:scheduler:::aws-sdk:sagemaker:{operation}",
                role_arn=self._role.role_arn,
                input=cdk.Stack.of(self).to_json_string(request),
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_retry_attempts=RETRIES, maximum_event_age_in_seconds=RETRY_SECONDS
                ),
            ),
        )
        schedule.node.add_dependency(self._role.policy, self._endpoint)

    def _ring_when_it_fails(self, topic: sns.ITopic) -> None:
        metric = cloudwatch.Metric(
            namespace="AWS/Scheduler",
            metric_name="TargetErrorCount",
            dimensions_map={"ScheduleGroup": self._group.ref},
            statistic="Sum",
            period=cdk.Duration.minutes(5),
        )
        RingingAlarm(
            self,
            "NotDone",
            description=(
                f"SageMaker refused to open or close {self._name} on time: it may be missing by day, or be paid for "
                "all night."
            ),
            runbook="endpoint-hours-not-kept",
            metric=metric,
            threshold=1,
            topic=topic,
        )
