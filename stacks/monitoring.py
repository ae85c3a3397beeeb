"""What is watched of an environment as a whole: its page, its account's budget, who hears alarms, and the drift job.

The alarms of an endpoint and of pipelines are in the stacks of these, and go with them.
"""

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.config import Drift, Environment
from stacks.constructs.account_budget import AccountBudget
from stacks.constructs.dashboard import EnvironmentDashboard
from stacks.constructs.drift_check import DriftCheck
from stacks.constructs.served_model import VARIANT_NAME
from stacks.constructs.service_role import ServiceRole
from stacks.drift_definition import DriftSurroundings, drift_definition
from stacks.instance_types import has_local_disk
from stacks.registry import RegistryStack
from stacks.release import Release
from stacks.remarks import remark
from stacks.storage import StorageStack
from stacks.training import PROCESSING_JOBS
from stacks.vpc_config import VpcConfig

REPORTS = "drift/"
"""Where the drift job's reports lie in the artifact bucket, below the date."""


class MonitoringStack(cdk.Stack):
    """Holds no state. Every environment has it; the drift job in it is there once a release is."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        release: Release | None,
        storage: StorageStack,
        registry: RegistryStack,
        vpc: VpcConfig | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, description="AMPLIFY: dashboard, budget, drift", **kwargs)
        self._environment, self._storage, self._registry, self._vpc = environment, storage, registry, vpc
        settings, name = environment.monitoring, environment.resource_name
        EnvironmentDashboard(self, "Dashboard", environment=environment, metric_namespace=environment.metric_namespace)
        for address in settings.alarm_emails:
            sns.Subscription(
                self,
                f"Hears {address}",
                topic=storage.alarm_topic,
                protocol=sns.SubscriptionProtocol.EMAIL,
                endpoint=address,
            )
        if environment.serves_others and not settings.alarm_emails:
            remark(
                self,
                "nobody-hears-alarms",
                f"alarms of {environment.name} ring and no e-mail goes out: give Monitoring(alarm_emails=(…)) in "
                "environments.py, unless somebody else listens to the topic",
            )
        if settings.monthly_budget_usd is not None:
            AccountBudget(self, "Spend", name=name, usd=settings.monthly_budget_usd, topic=storage.alarm_topic)
        cdk.CfnOutput(self, "DashboardName", value=name)
        if settings.drift is not None and release is not None:
            self._look_for_drift(settings.drift, release)

    def _look_for_drift(self, drift: Drift, release: Release) -> None:
        environment, storage = self._environment, self._storage
        name, bucket = environment.resource_name, storage.artifact_bucket
        captured = f"captured/{name}/{VARIANT_NAME}/"  # SageMaker puts endpoint and variant below our prefix

        role = ServiceRole(self, "DriftRole", description="Reads captured requests and the model, writes a report")
        role.read(bucket, captured)
        role.read_input(bucket, release.artifact_key)
        role.write(bucket, REPORTS)
        role.use_key(storage.key, writes=True, volumes=not has_local_disk(drift.instance_type))
        role.run_as_container(self._registry.repository, **PROCESSING_JOBS)
        role.put_metrics(environment.metric_namespace)
        if self._vpc is not None:
            role.join(self._vpc)

        around = DriftSurroundings(
            image_uri=f"{self._registry.repository_uri}@{release.image_digest}",
            model_uri=bucket.s3_url_for_object(release.artifact_key),
            captured_uri=bucket.s3_url_for_object(captured),
            report_uri=bucket.s3_url_for_object(REPORTS),
            endpoint_name=name,
            metric_namespace=environment.metric_namespace,
            role_arn=role.role_arn,
            key_arn=storage.key.key_arn,
            tags=environment.tags,
            vpc=self._vpc,
        )
        DriftCheck(
            self,
            "Drift",
            pipeline_name=f"{name}-drift",
            definition=drift_definition(drift, around),
            role=role,
            drift=drift,
            endpoint_name=name,
            metric_namespace=environment.metric_namespace,
            topic=storage.alarm_topic,
        )
        cdk.CfnOutput(self, "DriftPipelineName", value=f"{name}-drift")
        cdk.CfnOutput(self, "DriftReportPrefix", value=REPORTS)
