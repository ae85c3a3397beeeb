"""One environment: an account and region, and the settings of all that is in it."""

from dataclasses import dataclass

from stacks.config.capacity import TrainingPlan
from stacks.config.checks import not_matching, raise_if_any
from stacks.config.endpoint import Endpoint
from stacks.config.training import Training


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment: an account and region, what is made there and what is served there."""

    name: str
    """The `<env>` in every name: stacks amplify-<env>-…, pipeline, group, repository and endpoint amplify-<env>."""

    account: str
    """Twelve digits."""

    region: str
    """Such as eu-central-1."""

    training: Training | None
    """None where models only arrive as releases."""

    endpoint: Endpoint
    """Deployed where releases/<name>.json exists."""

    termination_protection: bool = True
    """Whether CloudFormation refuses to delete the stacks that hold data."""

    def __post_init__(self) -> None:
        faults = [
            *not_matching(
                "name", self.name, r"[a-z][a-z0-9-]{0,19}", "up to 20 lower-case letters, digits and hyphens"
            ),
            *not_matching("account", self.account, r"\d{12}", "the twelve digits of an AWS account"),
            *not_matching("region", self.region, r"[a-z]{2}(-[a-z]+)+-\d", "an AWS region such as eu-central-1"),
        ]
        if self.training is not None and isinstance(plan := self.training.capacity, TrainingPlan):
            here = f":{self.region}:{self.account}:"
            if here not in plan.arn:
                faults.append(f"arn of TrainingPlan is {plan.arn}: give a plan of this region and account, …{here}…")
        raise_if_any(f"environment {self.name}", faults)

    @property
    def resource_name(self) -> str:
        """The one fixed name: of the pipeline, the model package group, the image repository and the endpoint."""
        return f"amplify-{self.name}"
