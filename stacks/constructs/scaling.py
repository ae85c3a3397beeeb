"""Scaling of one thing that SageMaker counts: instances of a variant, or copies of an inference component.

Without a role of ours: Application Auto Scaling has its own, made by AWS (a service-linked one) when it is first used.
https://docs.aws.amazon.com/autoscaling/application/userguide/services-that-can-integrate-sagemaker.html
"""

from aws_cdk import aws_applicationautoscaling as autoscaling
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from stacks.config.endpoint import WorkingHours
from stacks.constructs.ringing_alarm import with_runbook

INSTANCES = "sagemaker:variant:DesiredInstanceCount"
COPIES = "sagemaker:inference-component:DesiredCopyCount"
OUT_COOLDOWN_SECONDS, IN_COOLDOWN_SECONDS = 60, 300  # quickly out, calmly in: an instance takes minutes to come back
ZERO_COOLDOWN_SECONDS = 300  # an instance is on its way: it need not be ordered twice

PredefinedMetric = autoscaling.CfnScalingPolicy.PredefinedMetricSpecificationProperty
CustomMetric = autoscaling.CfnScalingPolicy.CustomizedMetricSpecificationProperty
Metric = PredefinedMetric | CustomMetric
Dimension = autoscaling.CfnScalingPolicy.MetricDimensionProperty


class Scaling(Construct):
    """Between `low` and `high`; with `hours`, between those of `night` outside of them."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        resource_id: str,
        dimension: str,
        low: int,
        high: int,
        hours: WorkingHours | None = None,
        night: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(scope, id)
        self.target = autoscaling.CfnScalableTarget(
            self,
            "Target",
            service_namespace="sagemaker",
            resource_id=resource_id,
            scalable_dimension=dimension,
            min_capacity=low,
            max_capacity=high,
            scheduled_actions=_schedule(hours, (low, high), night) if hours else None,
        )

    def track(self, target: int, metric: Metric) -> None:
        """Keep a metric per instance or copy at a value: one that Application Auto Scaling knows, or any other."""
        autoscaling.CfnScalingPolicy(
            self,
            "Track",
            policy_name="track",
            policy_type="TargetTrackingScaling",
            scaling_target_id=self.target.ref,
            target_tracking_scaling_policy_configuration=autoscaling.CfnScalingPolicy.TargetTrackingScalingPolicyConfigurationProperty(
                target_value=target,
                predefined_metric_specification=metric if isinstance(metric, PredefinedMetric) else None,
                customized_metric_specification=metric if isinstance(metric, CustomMetric) else None,
                scale_out_cooldown=OUT_COOLDOWN_SECONDS,
                scale_in_cooldown=IN_COOLDOWN_SECONDS,
            ),
        )

    def wake(self, description: str, *, metric: cloudwatch.Metric, minutes: int) -> None:
        """Bring the first one up when somebody asks and there is none: a value per instance cannot say so, of none."""
        policy = autoscaling.CfnScalingPolicy(
            self,
            "Wake",
            policy_name="wake",
            policy_type="StepScaling",
            scaling_target_id=self.target.ref,
            step_scaling_policy_configuration=autoscaling.CfnScalingPolicy.StepScalingPolicyConfigurationProperty(
                adjustment_type="ChangeInCapacity",
                metric_aggregation_type="Maximum",
                cooldown=ZERO_COOLDOWN_SECONDS,
                step_adjustments=[
                    autoscaling.CfnScalingPolicy.StepAdjustmentProperty(
                        metric_interval_lower_bound=0, scaling_adjustment=1
                    )
                ],
            ),
        )
        alarm = cloudwatch.Alarm(
            self,
            "NoCapacity",
            alarm_description=with_runbook(description, "endpoint-waking-up"),
            metric=metric,
            threshold=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            evaluation_periods=minutes,
            datapoints_to_alarm=minutes,
            treat_missing_data=cloudwatch.TreatMissingData.MISSING,
        )
        resource = alarm.node.default_child
        assert isinstance(resource, cloudwatch.CfnAlarm)
        resource.alarm_actions = [policy.ref]  # the policy's ARN


def _schedule(
    hours: WorkingHours, day: tuple[int, int], night: tuple[int, int]
) -> list[autoscaling.CfnScalableTarget.ScheduledActionProperty]:
    return [
        autoscaling.CfnScalableTarget.ScheduledActionProperty(
            scheduled_action_name=name,
            schedule=schedule,
            timezone=hours.time_zone,
            scalable_target_action=autoscaling.CfnScalableTarget.ScalableTargetActionProperty(
                min_capacity=low, max_capacity=high
            ),
        )
        for name, schedule, (low, high) in (("opening", hours.opening, day), ("closing", hours.closing, night))
    ]
