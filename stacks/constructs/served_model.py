"""A SageMaker model made of one approved package, and what every variant that serves one has in common."""

from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from stacks.constructs.service_role import ServiceRole
from stacks.instance_types import has_gpu
from stacks.vpc_config import VpcConfig

VARIANT_NAME = "model"  # a changed name would drop the variant's scaling and its alarms
SHADOW_NAME = "shadow"
GPU_INFERENCE_AMI = "al2023-ami-sagemaker-inference-gpu-4-1"  # a driver new enough for the image's CUDA 13
CONTAINER_START_SECONDS = 600  # to fetch the model; then again, to answer /ping


class ServedModel(sagemaker.CfnModel):
    """The model, under a generated name: a release replaces it. `isolated`: the container has no network at all.

    What SageMaker itself moves for it, the model above all, goes through `vpc` where there is one.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        model_package_arn: str,
        role: ServiceRole,
        vpc: VpcConfig | None,
        isolated: bool = True,
    ) -> None:
        super().__init__(
            scope,
            id,
            execution_role_arn=role.role_arn,
            primary_container=sagemaker.CfnModel.ContainerDefinitionProperty(model_package_name=model_package_arn),
            enable_network_isolation=isolated,
            vpc_config=None
            if vpc is None
            else sagemaker.CfnModel.VpcConfigProperty(
                subnets=list(vpc.subnets), security_group_ids=[vpc.security_group]
            ),
        )
        self.node.add_dependency(role.policy)


def variant(
    name: str,
    *,
    model: ServedModel | None,
    instance_type: str,
    instances: int,
    weight: float | None = 1,
    spread: bool = False,
    managed_scaling: sagemaker.CfnEndpointConfig.ManagedInstanceScalingProperty | None = None,
) -> sagemaker.CfnEndpointConfig.ProductionVariantProperty:
    """A fleet of instances. `spread`: a request goes to the instance that is least busy, not to any."""
    least_busy = sagemaker.CfnEndpointConfig.RoutingConfigProperty(routing_strategy="LEAST_OUTSTANDING_REQUESTS")
    return sagemaker.CfnEndpointConfig.ProductionVariantProperty(
        variant_name=name,
        model_name=model.attr_model_name if model else None,
        instance_type=instance_type,
        initial_instance_count=instances,
        initial_variant_weight=weight,
        container_startup_health_check_timeout_in_seconds=CONTAINER_START_SECONDS,
        model_data_download_timeout_in_seconds=CONTAINER_START_SECONDS,
        inference_ami_version=GPU_INFERENCE_AMI if has_gpu(instance_type) else None,
        routing_config=least_busy if spread else None,
        managed_instance_scaling=managed_scaling,
    )
