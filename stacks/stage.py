"""One environment, top to bottom: its stacks, and which hands what to which."""

import aws_cdk as cdk
from constructs import Construct

from stacks.config import Environment
from stacks.registry import RegistryStack
from stacks.storage import StorageStack


class AmplifyStage(cdk.Stage):
    """The stacks of one environment. `cdk deploy '<env>/*'` deploys them all, into an empty account too."""

    def __init__(self, scope: Construct, environment: Environment) -> None:
        super().__init__(
            scope, environment.name, env=cdk.Environment(account=environment.account, region=environment.region)
        )
        cdk.Tags.of(self).add("project", "amplify")
        cdk.Tags.of(self).add("environment", environment.name)
        protect = environment.termination_protection

        def name(stack: str) -> str:
            return f"{environment.resource_name}-{stack}"

        storage = StorageStack(self, "storage", stack_name=name("storage"), termination_protection=protect)
        RegistryStack(
            self,
            "registry",
            stack_name=name("registry"),
            termination_protection=protect,
            environment=environment,
            key=storage.key,
        )
