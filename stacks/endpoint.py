"""Where an approved model answers, in the mode of the settings: exists where releases/<env>.json names a model."""

from typing import Any

import aws_cdk as cdk
from constructs import Construct

from stacks.config import Async, Batch, Environment, InferenceComponents, RealTime, Serverless
from stacks.constructs.account_role import release_role_name
from stacks.constructs.alarms import EndpointAlarms, QueueAlarms
from stacks.constructs.async_endpoint import AsyncEndpoint
from stacks.constructs.batch_model import BatchModel
from stacks.constructs.component_endpoint import ComponentEndpoint
from stacks.constructs.endpoint_hours import EndpointHours
from stacks.constructs.instance_alarms import InstanceAlarms
from stacks.constructs.invoke_policy import InvokePolicy
from stacks.constructs.realtime_endpoint import RealTimeEndpoint, ShadowModel
from stacks.constructs.served_model import VARIANT_NAME
from stacks.constructs.serverless_endpoint import ServerlessEndpoint
from stacks.constructs.service_role import ServiceRole
from stacks.instance_types import has_local_disk
from stacks.registry import RegistryStack
from stacks.release import Release
from stacks.storage import StorageStack
from stacks.vpc_config import VpcConfig


class EndpointStack(cdk.Stack):
    """Role, alarms, endpoint, and the right to ask it. No state: the model is in the registry, the release in git."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        release: Release,
        shadow_release: Release | None = None,
        storage: StorageStack,
        registry: RegistryStack,
        vpc: VpcConfig | None,
        recorded: bool = False,
        **kwargs: Any,
    ) -> None:
        """`recorded`: the environment takes part in promotion, and its release role asks golden requests."""
        super().__init__(scope, id, description="AMPLIFY: the approved model, answering", **kwargs)
        self._environment, self._storage, self._registry, self._vpc = environment, storage, registry, vpc
        self._name = environment.resource_name
        self._release = release
        self._role = self._container_role("Role", release)
        self.invoke_policy = InvokePolicy(
            self,
            "InvokePolicy",
            endpoint_name=self._name,
            invokers=(*environment.endpoint.invokers, *([release_role_name(environment)] if recorded else [])),
        )
        self.export_value(self.invoke_policy.managed_policy_arn)  # always, as in storage.py: a workbench has it

        match environment.endpoint:
            case RealTime() as settings:
                self._answer_at_once(settings, shadow_release)
            case Async() as settings:
                self._answer_from_a_queue(settings)
            case Serverless() as settings:
                self._answer_without_instances(settings)
            case InferenceComponents() as settings:
                self._answer_as_a_component(settings)
            case Batch() as settings:
                self._answer_in_jobs(settings)

        self._output("ModelPackageArn", release.model_package_arn)
        self._output("InvokePolicyArn", self.invoke_policy.managed_policy_arn)

    def _answer_at_once(self, settings: RealTime, shadow_release: Release | None) -> None:
        storage = self._storage
        shadow = None
        if settings.shadow and shadow_release:
            role = self._container_role("ShadowRole", shadow_release)
            package = shadow_release.model_package_arn
            shadow = ShadowModel(settings=settings.shadow, model_package_arn=package, role=role)
            self._output("ShadowModelPackageArn", package)
        if settings.capture:
            for role in (self._role, *([shadow.role] if shadow else [])):
                role.write(storage.artifact_bucket, f"captured/{self._name}/")
        alarms = self._alarms(settings.max_latency_ms)
        alarms.watch_queue("ConcurrentRequestsPerModel")
        if self._environment.promotion is not None:
            alarms.watch_answers(self._environment.metric_namespace, self._name)
        self._watch_instances(settings.instance_type)
        endpoint = RealTimeEndpoint(
            self,
            "ModelEndpoint",
            name=self._name,
            model_package_arn=self._release.model_package_arn,
            settings=settings,
            role=self._role,
            vpc=self._vpc,
            key=storage.key,
            capture_uri=storage.artifact_bucket.s3_url_for_object("captured"),  # SageMaker adds the endpoint's name
            shadow=shadow,
            roll_back_on=alarms.roll_back_on,
        )
        if settings.working_hours and not settings.scales:
            EndpointHours(
                self,
                "Hours",
                endpoint=endpoint.endpoint,
                config=endpoint.config,
                name=self._name,
                tags=self._environment.tags,
                hours=settings.working_hours,
                volume_key=None if has_local_disk(settings.instance_type) else storage.key,
                topic=storage.alarm_topic,
            )
        self.invoke_policy.ask()
        self._output("EndpointName", self._name)

    def _answer_from_a_queue(self, settings: Async) -> None:
        storage = self._storage
        alarms = QueueAlarms(
            self,
            "Alarms",
            endpoint_name=self._name,
            variant_name=VARIANT_NAME,
            max_wait_minutes=settings.max_wait_minutes,
            topic=storage.alarm_topic,
        )
        self._watch_instances(settings.instance_type)
        endpoint = AsyncEndpoint(
            self,
            "ModelEndpoint",
            name=self._name,
            model_package_arn=self._release.model_package_arn,
            settings=settings,
            role=self._role,
            vpc=self._vpc,
            key=storage.key,
            bucket=storage.artifact_bucket,
            roll_back_on=alarms.roll_back_on,
        )
        answers = [endpoint.output_prefix, endpoint.failure_prefix]
        self.invoke_policy.ask_later(storage.artifact_bucket, storage.key, puts=endpoint.input_prefix, gets=answers)
        self._output("EndpointName", self._name)
        self._output("InputPrefix", endpoint.input_prefix)
        self._output("OutputPrefix", endpoint.output_prefix)
        self._output("FailurePrefix", endpoint.failure_prefix)
        self._output("SuccessTopicArn", endpoint.success_topic.topic_arn)
        self._output("ErrorTopicArn", endpoint.error_topic.topic_arn)

    def _answer_without_instances(self, settings: Serverless) -> None:
        ServerlessEndpoint(
            self,
            "ModelEndpoint",
            name=self._name,
            model_package_arn=self._release.model_package_arn,
            settings=settings,
            role=self._role,
        )
        self._alarms(settings.max_latency_ms).watch_concurrency(settings.max_concurrency)
        self._watch_instances(None)
        self.invoke_policy.ask()
        self._output("EndpointName", self._name)

    def _answer_as_a_component(self, settings: InferenceComponents) -> None:
        alarms = EndpointAlarms(
            self,
            "Alarms",
            dimensions={"InferenceComponentName": self._name},
            max_latency_ms=settings.max_latency_ms,
            topic=self._storage.alarm_topic,
        )
        alarms.watch_queue("ConcurrentRequestsPerCopy")
        alarms.watch_copies()
        self._watch_instances(settings.instance_type)
        ComponentEndpoint(
            self,
            "ModelEndpoint",
            name=self._name,
            model_package_arn=self._release.model_package_arn,
            settings=settings,
            role=self._role,
            vpc=self._vpc,
            key=self._storage.key,
            roll_back_on=alarms.roll_back_on,
        )
        self.invoke_policy.ask_component()
        self._output("EndpointName", self._name)
        self._output("InferenceComponentName", self._name)

    def _answer_in_jobs(self, settings: Batch) -> None:
        storage = self._storage
        packages_role = None
        if settings.named_packages:
            packages_role = ServiceRole(self, "PackagesRole", description="Fetches any registered model, for a job")
            packages_role.read_by_name(storage.artifact_bucket, "runs/*/model/")
            self._let_serve(packages_role)
        batch = BatchModel(
            self,
            "ModelEndpoint",
            name=self._name,
            model_package_arn=self._release.model_package_arn,
            role=self._role,
            packages_role=packages_role,
            vpc=self._vpc,
            bucket=storage.artifact_bucket,
        )
        self.invoke_policy.run_jobs(batch.model.ref)
        if packages_role is not None:
            self.invoke_policy.make_models_of_packages(packages_role.role_arn, self._vpc, like=batch.model.ref)
            self._output("PackagesRoleArn", packages_role.role_arn)
        self.invoke_policy.exchange(
            storage.artifact_bucket, storage.key, puts=batch.input_prefix, gets=[batch.output_prefix]
        )
        self._output("ModelName", batch.model.attr_model_name)
        self._output("InputPrefix", batch.input_prefix)
        self._output("OutputPrefix", batch.output_prefix)

    def _container_role(self, id: str, release: Release) -> ServiceRole:
        """A role of one released model. The modes add their own."""
        role = ServiceRole(self, id, description="Fetches the one released model and serves it")
        role.read_released(self._storage.artifact_bucket, release.artifact_key)
        self._let_serve(role)
        return role

    def _let_serve(self, role: ServiceRole) -> None:
        """What every container needs beside its artefact: the key, the network, its image, its log."""
        settings = self._environment.endpoint
        role.use_key(
            self._storage.key,
            writes=isinstance(settings, Async | Batch)
            or (isinstance(settings, RealTime) and settings.capture is not None),
            volumes=not all(map(has_local_disk, settings.instance_types)),
        )
        if self._vpc is not None:
            role.join(self._vpc)
        jobs = "/aws/sagemaker/TransformJobs"
        role.run_as_container(
            self._registry.repository,
            log_group=jobs if isinstance(settings, Batch) else f"/aws/sagemaker/Endpoints/{self._name}",
            metric_namespace=jobs if isinstance(settings, Batch) else "/aws/sagemaker/Endpoints",
        )

    def _alarms(self, max_latency_ms: int) -> EndpointAlarms:
        return EndpointAlarms(
            self,
            "Alarms",
            dimensions={"EndpointName": self._name, "VariantName": VARIANT_NAME},
            max_latency_ms=max_latency_ms,
            topic=self._storage.alarm_topic,
        )

    def _watch_instances(self, instance_type: str | None) -> None:
        InstanceAlarms(
            self,
            "InstanceAlarms",
            endpoint_name=self._name,
            variant_name=VARIANT_NAME,
            instance_type=instance_type,
            topic=self._storage.alarm_topic,
        )

    def _output(self, key: str, value: str) -> None:
        cdk.CfnOutput(self, key, value=value)
