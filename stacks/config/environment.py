"""One environment: an account and region, and the settings of all that is in it."""

from collections.abc import Iterable
from dataclasses import dataclass

from stacks.config.checks import not_matching, raise_if_any
from stacks.config.endpoint import Endpoint
from stacks.config.network import Network
from stacks.config.training import Training

MAY_LACK_A_NETWORK = ("local", "dev")
"""Environments that serve nobody but their makers. Every other one is private, whatever it is called."""

ADDRESSES_PER_INSTANCE = 2  # https://docs.aws.amazon.com/sagemaker/latest/dg/train-vpc.html (and host-vpc, process-vpc)


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

    network: Network | None = None
    """The private network that jobs and endpoints run in. None, where they run in SageMaker's own and so reach the
    internet unless isolated: in `local` and `dev` only."""

    termination_protection: bool = True
    """Whether CloudFormation refuses to delete the stacks that hold data."""

    def __post_init__(self) -> None:
        faults = [
            *not_matching(
                "name", self.name, r"[a-z][a-z0-9-]{0,19}", "up to 20 lower-case letters, digits and hyphens"
            ),
            *not_matching("account", self.account, r"\d{12}", "the twelve digits of an AWS account"),
            *not_matching("region", self.region, r"[a-z]{2}(-[a-z]+)+-\d", "an AWS region such as eu-central-1"),
            *self._faults_of_the_network(),
        ]
        raise_if_any(f"environment {self.name}", faults)

    def _faults_of_the_network(self) -> Iterable[str]:
        network = self.network
        if network is None:
            if self.name not in MAY_LACK_A_NETWORK:
                yield (
                    f"network is None: only {' and '.join(MAY_LACK_A_NETWORK)} may do without; give a Network, so that "
                    "jobs and endpoints have no route to the internet"
                )
            return
        for zone in network.availability_zones:
            if zone[:-1] != self.region:
                yield f"network.availability_zones holds {zone}: give zones of the region, {self.region}"
        if (wanted := self._addresses_wanted()) > network.addresses_per_zone:
            yield (
                f"network.cidr is {network.cidr!r}, which leaves {network.addresses_per_zone} addresses in each of its "
                f"{len(network.availability_zones)} zones: give a larger one; instances can need {wanted} in one zone"
            )
        if self.training is not None and self.training.init.startswith("hf:"):
            yield (
                f"training.init is {self.training.init!r}: no job in the network reaches the Hub; register the model "
                "(`amplify register hf:…`) and give the s3://… of what was registered"
            )

    def _addresses_wanted(self) -> int:
        """Of one zone, should all be placed there: the instances of a run, and the endpoint's old and new fleet."""
        training = self.training.instance_count if self.training is not None else 0
        return ADDRESSES_PER_INSTANCE * (training + 2 * self.endpoint.instance_count)

    @property
    def resource_name(self) -> str:
        """The one fixed name: of the pipeline, the model package group, the image repository and the endpoint."""
        return f"amplify-{self.name}"
