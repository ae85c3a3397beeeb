"""Where models are made: the code and its image, a role for each verb, the SageMaker Pipelines and what starts them."""

from functools import partial
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from constructs import Construct

from stacks.config import Environment, Training
from stacks.constructs.code_bundle import CodeBundle
from stacks.constructs.image_build import ImageBuild
from stacks.constructs.model_pipeline import ModelPipeline
from stacks.constructs.pipeline_alarms import ring_when_a_run_fails
from stacks.constructs.run_watch import RunWatch
from stacks.constructs.service_role import ServiceRole
from stacks.constructs.training_triggers import TrainingTriggers
from stacks.instance_types import has_local_disk
from stacks.pipeline_definition import registration_definition, training_definition
from stacks.pipeline_steps import PROCESSING_MAX_RUNTIME_HOURS, Surroundings
from stacks.registry import RegistryStack
from stacks.remarks import remark
from stacks.storage import StorageStack
from stacks.training_types import MACHINES
from stacks.vpc_config import VpcConfig

PROCESSING_JOBS = {"log_group": "/aws/sagemaker/ProcessingJobs", "metric_namespace": "/aws/sagemaker/ProcessingJobs"}
TRAINING_JOBS = {"log_group": "/aws/sagemaker/TrainingJobs", "metric_namespace": "/aws/sagemaker/TrainingJobs"}
LONGEST_PENDING_HOURS = 24  # for machines on demand, where the settings set no limit: then it is a matter to look at


class TrainingStack(cdk.Stack):
    """Holds no state: what runs made is in the buckets and the registry."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        environment: Environment,
        training: Training,
        storage: StorageStack,
        registry: RegistryStack,
        vpc: VpcConfig | None,
        model_code: Path,
        lambda_code: Path,
        **kwargs: Any,
    ) -> None:
        super().__init__(scope, id, description="AMPLIFY: proteins to a registered model", **kwargs)
        bundle = CodeBundle(self, "CodeBundle", folder=model_code)
        image_uri = f"{registry.repository_uri}:{bundle.image_tag(training.image_target)}"
        data, artifacts = storage.data_bucket, storage.artifact_bucket
        functions = CodeBundle(self, "FunctionCode", folder=lambda_code)

        image_build = ImageBuild(
            self,
            "ImageBuild",
            bundle=bundle,
            target=training.image_target,
            image_uri=image_uri,
            repository=registry.repository,
            artifact_bucket=artifacts,
            key=storage.key,
            functions=functions,
        )

        prepare = ServiceRole(self, "PrepareRole", description="Reads proteins and starting weights, writes a dataset")
        prepare.read(data, "proteins/", "weights/")
        prepare.read_by_name(artifacts, "runs/*/model/")  # `init` may be the archive of an earlier run
        prepare.write(artifacts, "runs/*/dataset/", "runs/*/init/")
        prepare.run_as_container(registry.repository, **PROCESSING_JOBS)

        train = ServiceRole(self, "TrainRole", description="Reads a dataset, writes checkpoints and a model")
        train.read(artifacts, "runs/*/dataset/", "runs/*/init/", "checkpoints/")
        train.write(artifacts, "checkpoints/", "runs/*/model/")
        train.run_as_container(registry.repository, **TRAINING_JOBS)

        evaluate = ServiceRole(self, "EvaluateRole", description="Reads a model and held-out proteins, writes a score")
        evaluate.read(data, "heldout/")
        evaluate.read(artifacts, "runs/*/model/")
        evaluate.write(artifacts, "runs/*/evaluation/")
        evaluate.run_as_container(registry.repository, **PROCESSING_JOBS)

        fetch = ServiceRole(self, "FetchRole", description="Reads weights from elsewhere, writes them as a model")
        fetch.read(data, "weights/")
        fetch.read_by_name(artifacts, "runs/*/model/")
        fetch.write(artifacts, "runs/*/model/")
        fetch.run_as_container(registry.repository, **PROCESSING_JOBS)

        for role, instance_type in (
            (prepare, training.prepare_instance_type),
            (fetch, training.prepare_instance_type),
            (train, training.instance_types[0]),  # the others are of its kind: Training sees to it
            (evaluate, training.evaluate_instance_type),
        ):
            role.use_key(storage.key, writes=True, volumes=not has_local_disk(instance_type))

        if vpc is not None:  # Fetch stays outside: it brings in what the network keeps out
            for role in (prepare, train, evaluate):
                role.join(vpc)

        around = Surroundings(
            environment=environment.name,
            data_bucket=data.bucket_name,
            artifact_bucket=artifacts.bucket_name,
            key_arn=storage.key.key_arn,
            model_package_group=environment.resource_name,
            prepare_role_arn=prepare.role_arn,
            train_role_arn=train.role_arn,
            evaluate_role_arn=evaluate.role_arn,
            fetch_role_arn=fetch.role_arn,
            vpc=vpc,
        )
        into_the_registry = partial(
            ModelPipeline,
            self,
            model_package_group=environment.resource_name,
            artifact_bucket=artifacts,
            key=storage.key,
        )
        pipeline = into_the_registry(
            "TrainingPipeline",
            name=environment.resource_name,
            description="Proteins to a registered model: prepare, train, evaluate, register",
            definition=training_definition(training, around),
            job_roles=[prepare, train, evaluate],
            trains=True,
        )
        into_the_registry(
            "RegistrationPipeline",
            name=f"{environment.resource_name}-register",
            description="A model of the Hub or of S3 to a registered one: fetch, evaluate, register",
            definition=registration_definition(training, around),
            job_roles=[fetch, evaluate],
            trains=False,
        )
        if training.schedule is not None or training.on_arrival:
            TrainingTriggers(
                self,
                "Triggers",
                schedule=training.schedule,
                on_arrival=training.on_arrival,
                pipeline=pipeline.pipeline,
                pipeline_name=environment.resource_name,
                image_uri=image_uri,
                repository=registry.repository,
                data_bucket=data,
                key=storage.key,
                functions=functions,
            )

        self._warn_of_slow_networks(training)
        self._watch(environment, training, storage, functions)

        cdk.CfnOutput(self, "PipelineName", value=environment.resource_name)
        cdk.CfnOutput(self, "RegistrationPipelineName", value=f"{environment.resource_name}-register")
        cdk.CfnOutput(self, "ImageUri", value=image_uri)
        cdk.CfnOutput(self, "CodeBundleUri", value=bundle.s3_uri)
        self.image_build_arn = image_build.project_arn
        self.export_value(self.image_build_arn)  # always, as in storage.py
        cdk.CfnOutput(self, "ImageBuildProjectName", value=image_build.project_name)
        cdk.CfnOutput(self, "ImageBuildOutcome", value=image_build.outcome)

    def _warn_of_slow_networks(self, training: Training) -> None:
        """Several machines without EFA do work, and wait for each other's gradients most of the time."""
        slow = [given for given, most in training.possible_machines if most > 1 and MACHINES[given].gpus]
        if slow := [given for given in slow if not MACHINES[given].efa]:
            remark(
                self,
                "slow-network",
                f"up to {training.most_instances} machines may train together, but {', '.join(slow)} has no EFA: give "
                "types that have it (stacks/training_types.py), or one machine",
            )

    def _watch(
        self, environment: Environment, training: Training, storage: StorageStack, functions: CodeBundle
    ) -> None:
        """Runs that fail, and those that neither fail nor end."""
        name, register = environment.resource_name, f"{environment.resource_name}-register"
        for id_, pipeline_name in (("RunFailed", name), ("RegistrationFailed", register)):
            ring_when_a_run_fails(
                self, id_, pipeline_name=pipeline_name, runbook="pipeline-run-failed", topic=storage.alarm_topic
            )
        pending = training.max_pending_hours or LONGEST_PENDING_HOURS
        wait = training.spot_max_wait_hours or training.max_runtime_hours + pending
        RunWatch(
            self,
            "RunWatch",
            longest_hours={
                name: wait + 2 * PROCESSING_MAX_RUNTIME_HOURS,  # Prepare and Evaluate
                register: 2 * PROCESSING_MAX_RUNTIME_HOURS,  # Fetch and Evaluate
            },
            longest_wait_hours=environment.monitoring.longest_wait_hours,
            metric_namespace=environment.metric_namespace,
            functions=functions,
            key=storage.key,
            topic=storage.alarm_topic,
        )
