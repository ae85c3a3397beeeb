"""A real-time endpoint whose model is an inference component, so that copies and instances can be none.

The endpoint is the machines, the component the model on them: a release changes the component in place, and the
endpoint not at all. Who asks names both: InvokeEndpoint's InferenceComponentName is here the endpoint's own name.
"""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from stacks.config.endpoint import InferenceComponents, Rolling
from stacks.constructs.deployment_config import seconds
from stacks.constructs.scaling import COPIES, PredefinedMetric, Scaling
from stacks.constructs.served_model import CONTAINER_START_SECONDS, VARIANT_NAME, ServedModel, variant
from stacks.constructs.service_role import ServiceRole
from stacks.instance_types import has_gpu, has_local_disk
from stacks.vpc_config import VpcConfig

CONCURRENT_REQUESTS = "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution"  # every 10 seconds
WAKE_MINUTES = 1

_Component = sagemaker.CfnInferenceComponent  # whose properties are classes inside of it


class ComponentEndpoint(Construct):
    """Model, endpoint configuration, endpoint and inference component. No container has a network."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        model_package_arn: str,
        settings: InferenceComponents,
        role: ServiceRole,
        vpc: VpcConfig | None,
        key: kms.IKey,
        roll_back_on: list[cloudwatch.Alarm],
    ) -> None:
        super().__init__(scope, id)
        lowest = 0 if settings.working_hours or settings.min_copies == 0 else 1
        config = sagemaker.CfnEndpointConfig(
            self,
            "EndpointConfig",
            kms_key_id=None if has_local_disk(settings.instance_type) else key.key_arn,
            execution_role_arn=role.role_arn,
            enable_network_isolation=True,
            vpc_config=None
            if vpc is None
            else sagemaker.CfnEndpointConfig.VpcConfigProperty(
                subnets=list(vpc.subnets), security_group_ids=[vpc.security_group]
            ),
            production_variants=[
                variant(
                    VARIANT_NAME,
                    model=None,
                    instance_type=settings.instance_type,
                    instances=1,
                    weight=None,
                    spread=True,
                    managed_scaling=sagemaker.CfnEndpointConfig.ManagedInstanceScalingProperty(
                        status="ENABLED", min_instance_count=lowest, max_instance_count=settings.max_copies
                    ),
                )
            ],
        )
        self.endpoint = sagemaker.CfnEndpoint(
            self, "Endpoint", endpoint_name=name, endpoint_config_name=config.attr_endpoint_config_name
        )
        self.endpoint.node.add_dependency(role.policy)
        self.component = _Component(
            self,
            "Component",
            inference_component_name=name,
            endpoint_name=self.endpoint.attr_endpoint_name,
            variant_name=VARIANT_NAME,
            specification=_specification(
                settings, ServedModel(self, "Model", model_package_arn=model_package_arn, role=role, vpc=vpc)
            ),
            runtime_config=_Component.InferenceComponentRuntimeConfigProperty(copy_count=max(1, settings.min_copies)),
            deployment_config=_rolling(settings.kind_of_deployment, roll_back_on),
        )
        if settings.scales:
            self._scale(name, settings)

    def _scale(self, name: str, settings: InferenceComponents) -> None:
        scaling = Scaling(
            self,
            "Scaling",
            resource_id=f"inference-component/{name}",
            dimension=COPIES,
            low=settings.min_copies,
            high=settings.max_copies,
            hours=settings.working_hours,
            night=(0, settings.max_copies),
        )
        scaling.target.node.add_dependency(self.component)
        scaling.track(settings.requests_per_copy, PredefinedMetric(predefined_metric_type=CONCURRENT_REQUESTS))
        if settings.min_copies == 0 or settings.working_hours:
            # https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-zero-instances.html
            scaling.wake(
                f"Somebody asked {name} while there was no copy of the model: this orders the first one.",
                metric=cloudwatch.Metric(
                    namespace="AWS/SageMaker",
                    metric_name="NoCapacityInvocationFailures",
                    dimensions_map={"InferenceComponentName": name},
                    statistic="Sum",
                    period=cdk.Duration.minutes(1),
                ),
                minutes=WAKE_MINUTES,
            )


def _specification(
    settings: InferenceComponents, model: ServedModel
) -> sagemaker.CfnInferenceComponent.InferenceComponentSpecificationProperty:
    gpu = has_gpu(settings.instance_type)
    return _Component.InferenceComponentSpecificationProperty(
        model_name=model.attr_model_name,
        startup_parameters=_Component.InferenceComponentStartupParametersProperty(
            container_startup_health_check_timeout_in_seconds=CONTAINER_START_SECONDS,
            model_data_download_timeout_in_seconds=CONTAINER_START_SECONDS,
        ),
        compute_resource_requirements=_Component.InferenceComponentComputeResourceRequirementsProperty(
            min_memory_required_in_mb=settings.memory_mb_per_copy,
            number_of_accelerator_devices_required=settings.gpus_per_copy if gpu else None,
            number_of_cpu_cores_required=None if gpu else settings.cpus_per_copy,
        ),
    )


def _rolling(
    kind: object, roll_back_on: list[cloudwatch.Alarm]
) -> sagemaker.CfnInferenceComponent.InferenceComponentDeploymentConfigProperty | None:
    """None: SageMaker brings up as many new copies as there are old ones, and then exchanges them all at once."""
    if not isinstance(kind, Rolling):
        return None
    alarms = [_Component.AlarmProperty(alarm_name=alarm.alarm_name) for alarm in roll_back_on]
    return _Component.InferenceComponentDeploymentConfigProperty(
        auto_rollback_configuration=_Component.AutoRollbackConfigurationProperty(alarms=alarms),
        rolling_update_policy=_Component.InferenceComponentRollingUpdatePolicyProperty(
            maximum_batch_size=_Component.InferenceComponentCapacitySizeProperty(
                type="CAPACITY_PERCENT", value=kind.batch_percent
            ),
            wait_interval_in_seconds=seconds(kind.wait_minutes),
            maximum_execution_timeout_in_seconds=seconds(kind.timeout_minutes),
        ),
    )
