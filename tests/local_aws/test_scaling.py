"""Application Auto Scaling: targets and policies by API and in stacks; the loop, with processes that come and go."""

import time
import uuid
from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from local_aws import server
from local_aws.processes import wait_until
from local_aws.scaling_loop import stepped, tracked
from local_aws.scaling_schedules import next_time
from tests.local_aws.small_endpoints import SERVE, Asking, make_config, settled
from tests.local_aws.small_images import push_image
from tests.local_aws.test_async_inference import async_config, give, read

DIMENSION = {"ServiceNamespace": "sagemaker", "ScalableDimension": "sagemaker:variant:DesiredInstanceCount"}
CONCURRENCY = {"PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"}
QUICK = {"ScaleOutCooldown": 1, "ScaleInCooldown": 1}


@pytest.mark.parametrize(
    ("points", "value", "current", "wanted"),
    [
        ([8.0, 8.0, 8.0], 4.0, 1, 2),
        ([8.0, 8.0, 8.0], 4.0, 3, 6),
        ([4.1, 4.1, 4.1], 4.0, 2, 3),
        ([4.0, 4.0, 4.0], 4.0, 2, 2),
        ([3.8, 3.8, 3.8], 4.0, 2, 2),
        ([8.0, 3.0, 8.0], 4.0, 2, 2),
        ([1.0, 1.0, 1.0], 4.0, 4, 1),
        ([0.0, 0.0, 0.0], 4.0, 4, 0),
        ([8.0, None, 8.0], 4.0, 2, None),
        ([9.0, 9.0, 9.0], 4.0, 0, 3),
        ([1.0, 1.0, 1.0], 4.0, 0, 0),
    ],
)
def test_target_tracking_goes_where_the_metric_would_be_the_value(points, value, current, wanted):
    assert tracked(points, value, current) == wanted


@pytest.mark.parametrize(
    ("kind", "steps", "breach", "current", "wanted"),
    [
        ("ChangeInCapacity", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}], 0.0, 0, 1),
        (
            "ChangeInCapacity",
            [
                {"MetricIntervalLowerBound": 0, "MetricIntervalUpperBound": 10, "ScalingAdjustment": 1},
                {"MetricIntervalLowerBound": 10, "ScalingAdjustment": 3},
            ],
            10.0,
            2,
            5,
        ),
        ("ChangeInCapacity", [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": -3}], -5.0, 2, 0),
        ("ExactCapacity", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 4}], 1.0, 1, 4),
        ("PercentChangeInCapacity", [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 50}], 1.0, 5, 7),
        ("PercentChangeInCapacity", [{"MetricIntervalUpperBound": 0, "ScalingAdjustment": -10}], -1.0, 2, 1),
        ("ChangeInCapacity", [{"MetricIntervalLowerBound": 5, "ScalingAdjustment": 1}], 1.0, 2, 2),
    ],
)
def test_a_step_is_taken_by_how_far_the_threshold_is_passed(kind, steps, breach, current, wanted):
    assert stepped({"AdjustmentType": kind, "StepAdjustments": steps}, breach, current) == wanted


def test_schedules_come_by_the_clock_of_their_zone():
    friday = datetime(2026, 11, 27, 19, 30, tzinfo=UTC).timestamp()
    monday = datetime(2026, 11, 30, 6, 0, tzinfo=UTC).timestamp()
    assert next_time("cron(0 7 ? * MON-FRI *)", "Europe/Berlin", after=friday) == monday
    assert next_time("at(2026-11-30T07:00:00)", "Europe/Berlin", after=friday) == monday
    assert next_time("at(2026-11-30T07:00:00)", "Europe/Berlin", after=monday) is None
    assert next_time("rate(5 minutes)", "UTC", after=100.0) == 400.0
    for expression, zone in (
        ("cron(0 7 * * MON *)", "UTC"),
        ("every day", "UTC"),
        ("rate(1 minute)", "Europe/Nowhere"),
    ):
        with pytest.raises(ValueError, match=r"schedule|Timezone|cron"):
            next_time(expression, zone, after=friday)


def resource(name):
    return {**DIMENSION, "ResourceId": f"endpoint/{name}/variant/v0"}


def register(aws, name, low, high, **more):
    aws("application-autoscaling").register_scalable_target(**resource(name), MinCapacity=low, MaxCapacity=high, **more)


def track(aws, name, value, policy="track", **config):
    aws("application-autoscaling").put_scaling_policy(
        **resource(name),
        PolicyName=policy,
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={"TargetValue": value, **QUICK, **config},
    )


def instances(aws, name):
    [variant] = aws("sagemaker").describe_endpoint(EndpointName=name)["ProductionVariants"]
    return variant["CurrentInstanceCount"]


def test_concurrent_requests_bring_instances_and_their_end_takes_them_away_and_none_is_lost(aws, create_endpoint):
    name = create_endpoint("busy", RoutingConfig={"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"})
    register(aws, name, 1, 2)
    track(aws, name, 2, PredefinedMetricSpecification=CONCURRENCY)
    asking = Asking(aws, name, threads=6, body=b"sleep 0.5")
    try:
        assert wait_until(lambda: instances(aws, name) == 2, 90)
        assert not wait_until(lambda: instances(aws, name) > 2, 8), "six at once would want three: two is the most"
    finally:
        asking.stop()
    assert asking.errors == []
    assert wait_until(lambda: instances(aws, name) == 1, 90)
    found = aws("application-autoscaling").describe_scaling_activities(ServiceNamespace="sagemaker")[
        "ScalingActivities"
    ]
    mine = [each for each in found if name in each["ResourceId"]]
    assert [each["Description"] for each in mine] == [
        "Setting desired instance count to 1.",
        "Setting desired instance count to 2.",
    ]
    assert "track" in mine[0]["Cause"]


def test_an_asynchronous_endpoint_sleeps_without_requests_and_wakes_for_one(aws, create_endpoint):
    """As stacks do it: target tracking of the backlog, and a step for the first instance, ordered by an alarm."""
    name = create_endpoint("drowsy", config=async_config())
    register(aws, name, 0, 2)
    backlog = {
        "MetricName": "ApproximateBacklogSizePerInstance",
        "Namespace": "AWS/SageMaker",
        "Dimensions": [{"Name": "EndpointName", "Value": name}],
        "Statistic": "Average",
    }
    track(aws, name, 5, CustomizedMetricSpecification=backlog)
    policy = aws("application-autoscaling").put_scaling_policy(
        **resource(name),
        PolicyName="wake",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={
            "AdjustmentType": "ChangeInCapacity",
            "Cooldown": 10,
            "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
        },
    )["PolicyARN"]
    aws("cloudwatch").put_metric_alarm(
        AlarmName=f"{name}-wake",
        Namespace="AWS/SageMaker",
        MetricName="HasBacklogWithoutCapacity",
        Dimensions=[{"Name": "EndpointName", "Value": name}],
        Statistic="Average",
        Period=10,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        AlarmActions=[policy],
    )
    try:
        # Three minutes of silence are waited for; the endpoint's own data points are of this minute, these of before.
        for minutes in range(1, 5):
            aws("cloudwatch").put_metric_data(
                Namespace="AWS/SageMaker",
                MetricData=[
                    {
                        "MetricName": backlog["MetricName"],
                        "Dimensions": backlog["Dimensions"],
                        "Timestamp": time.time() - 60 * minutes,
                        "Value": 0,
                    }
                ],
            )
        assert wait_until(lambda: instances(aws, name) == 0, 90)
        output, _, _ = give(aws, name, b"hello")
        assert wait_until(lambda: read(aws, output) == b"drowsy hello", 60)
    finally:
        aws("cloudwatch").delete_alarms(AlarmNames=[f"{name}-wake"])


def test_bounds_are_kept_and_a_scheduled_action_moves_them(aws, create_endpoint):
    name = create_endpoint("a")
    register(aws, name, 2, 3)
    assert wait_until(lambda: instances(aws, name) == 2, 30)
    soon = datetime.fromtimestamp(time.time() + 3, UTC).strftime("at(%Y-%m-%dT%H:%M:%S)")
    aws("application-autoscaling").put_scheduled_action(
        **resource(name),
        ScheduledActionName="more",
        Schedule=soon,
        ScalableTargetAction={"MinCapacity": 3, "MaxCapacity": 3},
    )
    assert wait_until(lambda: instances(aws, name) == 3, 30)
    [target] = aws("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="sagemaker", ResourceIds=[resource(name)["ResourceId"]]
    )["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (3, 3)
    aws("application-autoscaling").deregister_scalable_target(**resource(name))
    described = aws("application-autoscaling").describe_scheduled_actions(
        ServiceNamespace="sagemaker", ResourceId=resource(name)["ResourceId"]
    )
    assert described["ScheduledActions"] == []


def test_a_stack_makes_changes_and_takes_away_target_policy_and_schedule(aws, deploy, create_endpoint):
    name, stack = create_endpoint("a"), f"t{uuid.uuid4().hex[:8]}"

    def resources(high, value, actions):
        return {
            "Target": {
                "Type": "AWS::ApplicationAutoScaling::ScalableTarget",
                "Properties": {
                    **resource(name),
                    "MinCapacity": "1",
                    "MaxCapacity": high,
                    "ScheduledActions": actions,
                    "Tags": [{"Key": "project", "Value": "amplify"}],  # as the CDK tags every resource
                },
            },
            "Policy": {
                "Type": "AWS::ApplicationAutoScaling::ScalingPolicy",
                "Properties": {
                    "PolicyName": "track",
                    "PolicyType": "TargetTrackingScaling",
                    "ScalingTargetId": {"Ref": "Target"},
                    "TargetTrackingScalingPolicyConfiguration": {
                        "TargetValue": value,
                        "PredefinedMetricSpecification": CONCURRENCY,
                    },
                },
            },
        }

    def now():
        client = aws("application-autoscaling")
        about = {"ServiceNamespace": "sagemaker", "ResourceId": resource(name)["ResourceId"]}
        targets = client.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[about["ResourceId"]])[
            "ScalableTargets"
        ]
        policies = client.describe_scaling_policies(**about)["ScalingPolicies"]
        actions = client.describe_scheduled_actions(**about)["ScheduledActions"]
        return (
            [target["MaxCapacity"] for target in targets],
            [policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] for policy in policies],
            [action["ScheduledActionName"] for action in actions],
        )

    night = {
        "ScheduledActionName": "night",
        "Schedule": "cron(0 20 ? * MON-FRI *)",
        "Timezone": "Europe/Berlin",
        "ScalableTargetAction": {"MinCapacity": 1, "MaxCapacity": "1"},
    }
    made = deploy(aws("cloudformation"), stack, resources(2, 5, [night]), Outputs={"Ref": {"Value": {"Ref": "Target"}}})
    assert made["StackStatus"] == "CREATE_COMPLETE"
    identity = f"endpoint/{name}/variant/v0|sagemaker:variant:DesiredInstanceCount|sagemaker"
    assert made["Outputs"][0]["OutputValue"] == identity
    assert now() == ([2], [5.0], ["night"])
    assert deploy(aws("cloudformation"), stack, resources(3, 6, []))["StackStatus"] == "UPDATE_COMPLETE"
    assert now() == ([3], [6.0], [])
    aws("cloudformation").delete_stack(StackName=stack)
    aws("cloudformation").get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})
    assert now() == ([], [], [])


def test_a_killed_servers_targets_are_looked_after_by_the_next(own_folder, clients_of, kill_9, on_disk):
    running = server.start(own_folder)
    own = clients_of(running)
    image = push_image(own, "endpoint-test", SERVE)
    own("sagemaker").create_endpoint(EndpointName="kept", EndpointConfigName=make_config(own, image, "kept"))
    settled(own, "kept")
    register(own, "kept", 2, 2)
    on_disk(own)
    kill_9(running)
    own = clients_of(server.start(own_folder))
    settled(own, "kept")
    assert wait_until(lambda: instances(own, "kept") == 2, 30)


@pytest.mark.parametrize(
    ("operation", "request_", "words"),
    [
        ("register_scalable_target", {"MinCapacity": 3, "MaxCapacity": 2}, "greater than MaxCapacity"),
        ("register_scalable_target", {"MinCapacity": 1}, "MaxCapacity must be given"),
        (
            "register_scalable_target",
            {"ResourceId": "endpoint/nobody/variant/v0", "MinCapacity": 1, "MaxCapacity": 2},
            "create the endpoint first",
        ),
        ("register_scalable_target", {"ResourceId": "endpoint/x"}, "give endpoint/<endpoint>/variant/<variant>"),
        ("register_scalable_target", {"ServiceNamespace": "ecs"}, "not emulated"),
        (
            "register_scalable_target",
            {"ScalableDimension": "sagemaker:inference-component:DesiredCopyCount"},
            "not emulated",
        ),
        ("put_scaling_policy", {"PolicyName": "p", "PolicyType": "StepScaling"}, "No scalable target registered"),
        ("deregister_scalable_target", {}, "No scalable target registered"),
    ],
)
def test_what_cannot_be_scaled_is_refused(aws, create_endpoint, operation, request_, words):
    name = create_endpoint("a")
    with pytest.raises(ClientError, match=words):
        getattr(aws("application-autoscaling"), operation)(**{**resource(name), **request_})


def test_policies_that_cannot_be_followed_are_refused(aws, create_endpoint):
    name = create_endpoint("a")
    register(aws, name, 1, 2)
    for config, words in (
        ({}, "either PredefinedMetricSpecification or"),
        (
            {"PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}},
            "Tracking of ECSServiceAverageCPUUtilization is not emulated",
        ),
    ):
        with pytest.raises(ClientError, match=words):
            track(aws, name, 1, **config)
    with pytest.raises(ClientError, match="above 0"):
        track(aws, name, 0, PredefinedMetricSpecification=CONCURRENCY)
    with pytest.raises(ClientError, match="no schedule"):
        aws("application-autoscaling").put_scheduled_action(
            **resource(name), ScheduledActionName="s", Schedule="now and then"
        )
