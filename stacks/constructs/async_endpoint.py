"""An endpoint with a queue: requests and answers are objects in S3, and without requests there need be no instance."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.config.endpoint import Async
from stacks.constructs.deployment_config import deployment_config
from stacks.constructs.realtime_endpoint import keep_what_scaling_did
from stacks.constructs.scaling import INSTANCES, CustomMetric, Dimension, Scaling
from stacks.constructs.served_model import VARIANT_NAME, ServedModel, variant
from stacks.constructs.service_role import ServiceRole
from stacks.instance_types import has_local_disk
from stacks.vpc_config import VpcConfig

WAKE_MINUTES = 2

_Config = sagemaker.CfnEndpointConfig  # whose properties are classes inside of it


class AsyncEndpoint(Construct):
    """Model, endpoint configuration, endpoint, its two topics, and the role's right to the queue's prefixes."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        model_package_arn: str,
        settings: Async,
        role: ServiceRole,
        vpc: VpcConfig | None,
        key: kms.IKey,
        bucket: s3.IBucket,
        roll_back_on: list[cloudwatch.Alarm],
    ) -> None:
        super().__init__(scope, id)
        prefix = f"async/{name}"
        self.input_prefix, self.output_prefix, self.failure_prefix = (
            f"{prefix}/{part}/" for part in ("input", "output", "failure")
        )
        self.success_topic = sns.Topic(self, "SuccessTopic", master_key=key, enforce_ssl=True)
        self.error_topic = sns.Topic(self, "ErrorTopic", master_key=key, enforce_ssl=True)
        role.read(bucket, self.input_prefix)
        role.write(bucket, self.output_prefix, self.failure_prefix)
        role.publish(self.success_topic, self.error_topic)

        config = _Config(
            self,
            "EndpointConfig",
            kms_key_id=None if has_local_disk(settings.instance_type) else key.key_arn,
            production_variants=[
                variant(
                    VARIANT_NAME,
                    model=ServedModel(self, "Model", model_package_arn=model_package_arn, role=role, vpc=vpc),
                    instance_type=settings.instance_type,
                    instances=max(1, settings.min_instances),  # SageMaker starts none with fewer
                )
            ],
            async_inference_config=_Config.AsyncInferenceConfigProperty(
                client_config=_Config.AsyncInferenceClientConfigProperty(
                    max_concurrent_invocations_per_instance=settings.concurrent_requests
                ),
                output_config=_Config.AsyncInferenceOutputConfigProperty(
                    s3_output_path=bucket.s3_url_for_object(self.output_prefix),
                    s3_failure_path=bucket.s3_url_for_object(self.failure_prefix),
                    kms_key_id=key.key_arn,
                    notification_config=_Config.AsyncInferenceNotificationConfigProperty(
                        success_topic=self.success_topic.topic_arn, error_topic=self.error_topic.topic_arn
                    ),
                ),
            ),
        )
        self.endpoint = sagemaker.CfnEndpoint(
            self,
            "Endpoint",
            endpoint_name=name,
            endpoint_config_name=config.attr_endpoint_config_name,
            deployment_config=deployment_config(settings.kind_of_deployment, roll_back_on),
        )
        self.endpoint.node.add_dependency(role.policy)
        if settings.scales:
            keep_what_scaling_did(self.endpoint)
            self._scale(name, settings)

    def _scale(self, name: str, settings: Async) -> None:
        scaling = Scaling(
            self,
            "Scaling",
            resource_id=f"endpoint/{name}/variant/{VARIANT_NAME}",
            dimension=INSTANCES,
            low=settings.min_instances,
            high=settings.max_instances,
            hours=settings.working_hours,
            night=(0, settings.max_instances),
        )
        scaling.target.node.add_dependency(self.endpoint)
        # https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-autoscale.html
        scaling.track(
            settings.backlog_per_instance,
            CustomMetric(
                namespace="AWS/SageMaker",
                metric_name="ApproximateBacklogSizePerInstance",
                dimensions=[Dimension(name="EndpointName", value=name)],
                statistic="Average",
            ),
        )
        if settings.min_instances == 0 or settings.working_hours:
            scaling.wake(
                f"Requests wait at {name} and there is no instance: this orders the first one.",
                metric=cloudwatch.Metric(
                    namespace="AWS/SageMaker",
                    metric_name="HasBacklogWithoutCapacity",
                    dimensions_map={"EndpointName": name},
                    statistic="Average",
                    period=cdk.Duration.minutes(1),
                ),
                minutes=WAKE_MINUTES,
            )
