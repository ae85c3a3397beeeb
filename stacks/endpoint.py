"""Where an approved model answers: exists where releases/<env>.json names one, and reads nothing else."""

from typing import Any

import aws_cdk as cdk
from constructs import Construct

from stacks.config import Environment
from stacks.constructs.alarms import EndpointAlarms
from stacks.constructs.model_endpoint import VARIANT_NAME, ModelEndpoint
from stacks.constructs.service_role import ServiceRole
from stacks.instance_types import has_local_disk
from stacks.registry import RegistryStack
from stacks.release import Release
from stacks.storage import StorageStack
from stacks.vpc_config import VpcConfig


class EndpointStack(cdk.Stack):
    """Role, alarms and endpoint. No state: the model is in the registry, the release in git."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        release: Release,
        storage: StorageStack,
        registry: RegistryStack,
        vpc: VpcConfig | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, description="AMPLIFY: the approved model, answering", **kwargs)
        name = environment.resource_name

        role = ServiceRole(self, "Role", description="Fetches the one released model and serves it")
        role.read_object(storage.artifact_bucket, release.artifact_key)
        role.use_key(storage.key, writes=False, volumes=not has_local_disk(environment.endpoint.instance_type))
        role.run_as_container(
            registry.repository,
            log_group=f"/aws/sagemaker/Endpoints/{name}",
            metric_namespace="/aws/sagemaker/Endpoints",
        )
        if vpc is not None:
            role.join(vpc)

        alarms = EndpointAlarms(
            self,
            "Alarms",
            endpoint_name=name,
            variant_name=VARIANT_NAME,
            max_latency_ms=environment.endpoint.max_latency_ms,
            topic=storage.alarm_topic,
        )
        ModelEndpoint(
            self,
            "ModelEndpoint",
            name=name,
            model_package_arn=release.model_package_arn,
            settings=environment.endpoint,
            role=role,
            key=storage.key,
            vpc=vpc,
            roll_back_on=alarms.roll_back_on,
        )

        cdk.CfnOutput(self, "EndpointName", value=name)
        cdk.CfnOutput(self, "ModelPackageArn", value=release.model_package_arn)
