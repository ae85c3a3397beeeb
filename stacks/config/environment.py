"""One environment: an account and region, and the settings of all that is in it."""

from collections.abc import Iterable
from dataclasses import dataclass

from stacks.config.checks import not_matching, raise_if_any
from stacks.config.endpoint import Endpoint, Serverless
from stacks.config.endpoint.base import role_account
from stacks.config.training import Training
from stacks.instance_types import has_gpu


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
            *self._faults_of_the_endpoint(),
        ]
        raise_if_any(f"environment {self.name}", faults)

    def _faults_of_the_endpoint(self) -> Iterable[str]:
        for role in self.endpoint.invokers:
            if role_account(role) not in (None, self.account):
                yield f"endpoint.invokers holds {role}: give roles of account {self.account}"
        if self.training is None:
            return
        # The models made here carry an image for one of the two: on the other they would not start, or crawl.
        target = self.training.image_target
        made = f"but the models made here carry the image for {target} (training.image_target)"
        for type_ in self.endpoint.instance_types:
            if has_gpu(type_) != (target == "gpu"):
                yield f"endpoint.instance_type is {type_}, which has {'a' if has_gpu(type_) else 'no'} GPU, {made}"
        if isinstance(self.endpoint, Serverless) and target == "gpu":
            yield f"endpoint is Serverless, on CPUs, {made}"

    @property
    def tags(self) -> dict[str, str]:
        """On everything that costs money: by these it is told apart in the bill."""
        return {"project": "amplify", "environment": self.name}

    @property
    def resource_name(self) -> str:
        """The one fixed name: of the pipeline, the model package group, the image repository and the endpoint."""
        return f"amplify-{self.name}"
