"""A real-time endpoint on one approved model package, replaced without a gap when the package changes.

Model and EndpointConfig are immutable, so a release replaces both and then updates the Endpoint in place. That works
only while they have generated names: with a fixed one the replacement collides with what it replaces.
"""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from stacks.config import Endpoint
from stacks.constructs.service_role import ServiceRole
from stacks.instance_types import has_gpu, has_local_disk
from stacks.vpc_config import VpcConfig

VARIANT_NAME = "model"  # a changed name would drop the variant's scaling and its alarms
GPU_INFERENCE_AMI = "al2023-ami-sagemaker-inference-gpu-4-1"  # a driver new enough for the image's CUDA 13
CONTAINER_START_SECONDS = 600


class ModelEndpoint(Construct):
    """Model, endpoint configuration and endpoint. The container has no network, whatever its code tries.

    What SageMaker itself moves for it, the model above all, goes through `vpc` where there is one.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        model_package_arn: str,
        settings: Endpoint,
        role: ServiceRole,
        key: kms.IKey,
        vpc: VpcConfig | None,
        roll_back_on: list[cloudwatch.Alarm],
    ) -> None:
        super().__init__(scope, id)
        model = sagemaker.CfnModel(
            self,
            "Model",
            execution_role_arn=role.role_arn,
            primary_container=sagemaker.CfnModel.ContainerDefinitionProperty(model_package_name=model_package_arn),
            enable_network_isolation=True,
            vpc_config=None
            if vpc is None
            else sagemaker.CfnModel.VpcConfigProperty(
                subnets=list(vpc.subnets), security_group_ids=[vpc.security_group]
            ),
        )
        model.node.add_dependency(role.policy)

        config = sagemaker.CfnEndpointConfig(
            self,
            "EndpointConfig",
            kms_key_id=None if has_local_disk(settings.instance_type) else key.key_arn,
            production_variants=[
                sagemaker.CfnEndpointConfig.ProductionVariantProperty(
                    variant_name=VARIANT_NAME,
                    model_name=model.attr_model_name,
                    instance_type=settings.instance_type,
                    initial_instance_count=settings.instance_count,
                    initial_variant_weight=1,
                    container_startup_health_check_timeout_in_seconds=CONTAINER_START_SECONDS,
                    model_data_download_timeout_in_seconds=CONTAINER_START_SECONDS,
                    inference_ami_version=GPU_INFERENCE_AMI if has_gpu(settings.instance_type) else None,
                )
            ],
        )
        self.endpoint = sagemaker.CfnEndpoint(
            self,
            "Endpoint",
            endpoint_name=name,
            endpoint_config_name=config.attr_endpoint_config_name,
            deployment_config=_canary(roll_back_on) if settings.instance_count >= 2 else None,
        )
        self.endpoint.node.add_dependency(role.policy)  # the first thing it does is to fetch model and image


def _canary(roll_back_on: list[cloudwatch.Alarm]) -> sagemaker.CfnEndpoint.DeploymentConfigProperty:
    """Half of a new fleet first, ten minutes under the alarms, then the rest. A fleet of one has no half."""
    alarms = [sagemaker.CfnEndpoint.AlarmProperty(alarm_name=alarm.alarm_name) for alarm in roll_back_on]
    return sagemaker.CfnEndpoint.DeploymentConfigProperty(
        auto_rollback_configuration=sagemaker.CfnEndpoint.AutoRollbackConfigProperty(alarms=alarms),
        blue_green_update_policy=sagemaker.CfnEndpoint.BlueGreenUpdatePolicyProperty(
            traffic_routing_configuration=sagemaker.CfnEndpoint.TrafficRoutingConfigProperty(
                type="CANARY",
                canary_size=sagemaker.CfnEndpoint.CapacitySizeProperty(type="CAPACITY_PERCENT", value=50),
                wait_interval_in_seconds=int(cdk.Duration.minutes(10).to_seconds()),
            ),
            termination_wait_in_seconds=int(cdk.Duration.minutes(5).to_seconds()),
        ),
    )
