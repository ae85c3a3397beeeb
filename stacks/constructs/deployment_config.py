"""The settings of a deployment in SageMaker's words, with the alarms that take a release back."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sagemaker as sagemaker

from stacks.config.endpoint import AllAtOnce, Canary, Deployment, Linear, Rolling

_Endpoint = sagemaker.CfnEndpoint  # whose properties are classes inside of it


def deployment_config(
    kind: Deployment, roll_back_on: list[cloudwatch.Alarm]
) -> sagemaker.CfnEndpoint.DeploymentConfigProperty | None:
    """None for a plain AllAtOnce, which is what SageMaker does by itself."""
    if kind == AllAtOnce(bake_minutes=0):
        return None
    alarms = [_Endpoint.AlarmProperty(alarm_name=alarm.alarm_name) for alarm in roll_back_on]
    return _Endpoint.DeploymentConfigProperty(
        auto_rollback_configuration=_Endpoint.AutoRollbackConfigProperty(alarms=alarms),
        rolling_update_policy=_rolling(kind) if isinstance(kind, Rolling) else None,
        blue_green_update_policy=None if isinstance(kind, Rolling) else _blue_green(kind),
    )


def seconds(minutes: int) -> int:
    return int(cdk.Duration.minutes(minutes).to_seconds())


def _rolling(kind: Rolling) -> sagemaker.CfnEndpoint.RollingUpdatePolicyProperty:
    return _Endpoint.RollingUpdatePolicyProperty(
        maximum_batch_size=_share(kind.batch_percent),
        wait_interval_in_seconds=seconds(kind.wait_minutes),
        maximum_execution_timeout_in_seconds=seconds(kind.timeout_minutes),
    )


def _blue_green(kind: AllAtOnce | Canary | Linear) -> sagemaker.CfnEndpoint.BlueGreenUpdatePolicyProperty:
    match kind:
        case AllAtOnce():
            routing = _Endpoint.TrafficRoutingConfigProperty(type="ALL_AT_ONCE", wait_interval_in_seconds=0)
            return _Endpoint.BlueGreenUpdatePolicyProperty(
                traffic_routing_configuration=routing, termination_wait_in_seconds=seconds(kind.bake_minutes)
            )
        case Canary():
            routing = _Endpoint.TrafficRoutingConfigProperty(
                type="CANARY",
                canary_size=_share(kind.percent),
                wait_interval_in_seconds=seconds(kind.wait_minutes),
            )
        case Linear():
            routing = _Endpoint.TrafficRoutingConfigProperty(
                type="LINEAR",
                linear_step_size=_share(kind.step_percent),
                wait_interval_in_seconds=seconds(kind.wait_minutes),
            )
    return _Endpoint.BlueGreenUpdatePolicyProperty(
        traffic_routing_configuration=routing,
        termination_wait_in_seconds=seconds(kind.keep_old_minutes),
        maximum_execution_timeout_in_seconds=seconds(kind.timeout_minutes),
    )


def _share(percent: int) -> sagemaker.CfnEndpoint.CapacitySizeProperty:
    return _Endpoint.CapacitySizeProperty(type="CAPACITY_PERCENT", value=percent)
