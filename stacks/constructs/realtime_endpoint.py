"""A real-time endpoint on one approved model package, replaced without a gap when the package changes.

Model and EndpointConfig are immutable, so a release replaces both and then updates the Endpoint in place. That works
only while they have generated names: with a fixed one the replacement collides with what it replaces.
"""

from dataclasses import dataclass

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from stacks.config.endpoint import Capture, RealTime, Shadow
from stacks.constructs.deployment_config import deployment_config
from stacks.constructs.scaling import INSTANCES, PredefinedMetric, Scaling
from stacks.constructs.served_model import SHADOW_NAME, VARIANT_NAME, ServedModel, variant
from stacks.constructs.service_role import ServiceRole
from stacks.instance_types import has_local_disk
from stacks.vpc_config import VpcConfig

CONCURRENT_REQUESTS = "SageMakerVariantConcurrentRequestsPerModelHighResolution"  # every 10 seconds
NIGHT = (1, 1)  # what a fleet that scales keeps outside of working hours: SageMaker has no fewer

_Config = sagemaker.CfnEndpointConfig  # whose properties are classes inside of it


@dataclass(frozen=True, kw_only=True)
class ShadowModel:
    """The second release: its package, and the role that fetches it."""

    settings: Shadow
    model_package_arn: str
    role: ServiceRole


class RealTimeEndpoint(Construct):
    """Model, endpoint configuration and endpoint. The container has no network, whatever its code tries."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        model_package_arn: str,
        settings: RealTime,
        role: ServiceRole,
        vpc: VpcConfig | None,
        key: kms.IKey,
        capture_uri: str,
        shadow: ShadowModel | None,
        roll_back_on: list[cloudwatch.Alarm],
    ) -> None:
        super().__init__(scope, id)
        model = ServedModel(self, "Model", model_package_arn=model_package_arn, role=role, vpc=vpc)
        shadow_variant = self._shadow(shadow, vpc) if shadow else None
        self.config = _Config(
            self,
            "EndpointConfig",
            kms_key_id=None if has_local_disk(settings.instance_type) else key.key_arn,
            production_variants=[
                variant(
                    VARIANT_NAME,
                    model=model,
                    instance_type=settings.instance_type,
                    instances=settings.min_instances,
                    spread=settings.max_instances > 1,
                )
            ],
            shadow_production_variants=[shadow_variant] if shadow_variant else None,
            data_capture_config=_capture(settings.capture, capture_uri, key) if settings.capture else None,
        )
        self.endpoint = sagemaker.CfnEndpoint(
            self,
            "Endpoint",
            endpoint_name=name,
            endpoint_config_name=self.config.attr_endpoint_config_name,
            deployment_config=deployment_config(settings.kind_of_deployment, roll_back_on),
        )
        self.endpoint.node.add_dependency(role.policy)  # the first thing it does is to fetch model and image
        if shadow is not None:
            self.endpoint.node.add_dependency(shadow.role.policy)
        if settings.scales:
            keep_what_scaling_did(self.endpoint)
            self._scale(name, settings)

    def _shadow(
        self, shadow: ShadowModel, vpc: VpcConfig | None
    ) -> sagemaker.CfnEndpointConfig.ProductionVariantProperty:
        """Its weight, against the 1 of the other, is the share of the requests that it gets a copy of."""
        package, role = shadow.model_package_arn, shadow.role
        return variant(
            SHADOW_NAME,
            model=ServedModel(self, "ShadowModel", model_package_arn=package, role=role, vpc=vpc),
            instance_type=shadow.settings.instance_type,
            instances=shadow.settings.instance_count,
            weight=shadow.settings.percent / 100,
        )

    def _scale(self, name: str, settings: RealTime) -> None:
        scaling = Scaling(
            self,
            "Scaling",
            resource_id=f"endpoint/{name}/variant/{VARIANT_NAME}",
            dimension=INSTANCES,
            low=settings.min_instances,
            high=settings.max_instances,
            hours=settings.working_hours,
            night=NIGHT,
        )
        scaling.target.node.add_dependency(self.endpoint)
        scaling.track(settings.requests_per_instance, PredefinedMetric(predefined_metric_type=CONCURRENT_REQUESTS))


def keep_what_scaling_did(endpoint: sagemaker.CfnEndpoint) -> None:
    """A deployment leaves the size of the fleet alone. Capture is a setting: that follows the new configuration."""
    capture = sagemaker.CfnEndpoint.VariantPropertyProperty(variant_property_type="DataCaptureConfig")
    endpoint.retain_all_variant_properties = True
    endpoint.exclude_retained_variant_properties = [capture]


def _capture(settings: Capture, uri: str, key: kms.IKey) -> sagemaker.CfnEndpointConfig.DataCaptureConfigProperty:
    modes = ["Input", "Output"] if settings.what == "InputAndOutput" else [settings.what]
    return _Config.DataCaptureConfigProperty(
        enable_capture=True,
        initial_sampling_percentage=settings.percent,
        destination_s3_uri=uri,
        kms_key_id=key.key_arn,
        capture_options=[_Config.CaptureOptionProperty(capture_mode=mode) for mode in modes],
        capture_content_type_header=_Config.CaptureContentTypeHeaderProperty(  # all else is written as base64
            json_content_types=["application/json", "application/jsonlines"], csv_content_types=["text/csv"]
        ),
    )
