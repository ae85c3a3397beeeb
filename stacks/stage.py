"""One environment, top to bottom: its stacks, and which hands what to which."""

from pathlib import Path

import aws_cdk as cdk
from constructs import Construct

from stacks.config import Environment
from stacks.config.promotion import Neighbours
from stacks.endpoint import EndpointStack
from stacks.monitoring import MonitoringStack
from stacks.network import NetworkStack
from stacks.people import PeopleStack
from stacks.promotion import PromotionStack
from stacks.registry import RegistryStack
from stacks.release import Release
from stacks.storage import StorageStack
from stacks.training import TrainingStack
from stacks.workbench import WorkbenchStack

NOBODY = Neighbours()


class AmplifyStage(cdk.Stage):
    """The stacks of one environment. `cdk deploy '<env>/*'` deploys them all, into an empty account too."""

    def __init__(
        self,
        scope: Construct,
        environment: Environment,
        *,
        neighbours: Neighbours = NOBODY,
        release: Release | None,
        shadow_release: Release | None = None,
        model_code: Path,
        lambda_code: Path,
        project: Path | None = None,
    ) -> None:
        """`project` is the folder that holds model_code and operate: a workbench is given both.

        Raises SettingsError with all that is wrong in the environment.
        """
        environment.check()
        env = cdk.Environment(account=environment.account, region=environment.region)
        boundary = environment.permissions_boundary
        super().__init__(
            scope,
            environment.name,
            env=env,
            permissions_boundary=cdk.PermissionsBoundary.from_name(boundary) if boundary is not None else None,
        )
        for key, value in environment.tags.items():
            cdk.Tags.of(self).add(key, value)

        def name(stack: str) -> str:
            return f"{environment.resource_name}-{stack}"

        protect = environment.termination_protection
        storage = StorageStack(
            self,
            "storage",
            stack_name=name("storage"),
            termination_protection=protect,
            targets=neighbours.targets,
        )
        registry = RegistryStack(
            self,
            "registry",
            stack_name=name("registry"),
            termination_protection=protect,
            environment=environment,
            key=storage.key,
            targets=neighbours.targets,
        )
        network: NetworkStack | None = None
        if environment.network is not None:
            network = NetworkStack(
                self,
                "network",
                stack_name=name("network"),
                environment=environment,
                network=environment.network,
                storage=storage,
            )
        training: TrainingStack | None = None
        if environment.training is not None:
            training = TrainingStack(
                self,
                "training",
                stack_name=name("training"),
                environment=environment,
                training=environment.training,
                storage=storage,
                registry=registry,
                vpc=network.jobs if network is not None else None,
                model_code=model_code,
                lambda_code=lambda_code,
            )
        people = PeopleStack(
            self,
            "people",
            stack_name=name("people"),
            environment=environment,
            storage=storage,
            registry=registry,
            image_build_arn=training.image_build_arn if training is not None else None,
            recorded=neighbours.any,
        )
        promotion: PromotionStack | None = None
        if neighbours.any:
            promotion = PromotionStack(
                self,
                "promotion",
                stack_name=name("promotion"),
                environment=environment,
                neighbours=neighbours,
                storage=storage,
                registry=registry,
            )
        endpoint: EndpointStack | None = None
        if release is not None:
            endpoint = EndpointStack(
                self,
                "endpoint",
                stack_name=name("endpoint"),
                environment=environment,
                release=release,
                shadow_release=shadow_release,
                storage=storage,
                registry=registry,
                vpc=network.serving if network is not None else None,
                recorded=promotion is not None,
            )
            if promotion is not None:  # the endpoint's invoke policy is given to its release role
                endpoint.add_stack_dependency(promotion)
            endpoint.add_stack_dependency(people)  # a release that fails ends the deployment: rights come before it
        if environment.workbench is not None:
            if network is None or project is None:
                raise ValueError("a workbench needs a network, and the project's folder")
            policies = [people.trainer, endpoint.invoke_policy if endpoint is not None else None]
            WorkbenchStack(
                self,
                "workbench",
                stack_name=name("workbench"),
                environment=environment,
                workbench=environment.workbench,
                storage=storage,
                vpc=network.workbench,
                project=project,
                acts_as=[policy for policy in policies if policy is not None],
            )
        MonitoringStack(
            self,
            "monitoring",
            stack_name=name("monitoring"),
            environment=environment,
            release=release,
            storage=storage,
            registry=registry,
            vpc=network.jobs if network is not None else None,
        )
