"""A notebook inside the private network, for people who look at models and runs."""

from collections.abc import Iterable
from dataclasses import dataclass

from stacks.config.checks import out_of_range, unknown_instance_type
from stacks.config.network import InterfaceEndpoint
from stacks.config.people import role_faults
from stacks.config.settings import Settings
from stacks.notebook_types import check

NEEDED_ENDPOINTS: tuple[InterfaceEndpoint, ...] = ("sagemaker.api", "logs")
"""Of the network: the notebook stops itself by SageMaker's API, and SageMaker's log of its start-up is CloudWatch's."""


@dataclass(frozen=True, kw_only=True)
class Workbench(Settings):
    """One SageMaker notebook instance, without a way to the internet, that stops when nobody uses it.

    Its users start and open it in the console, or by `aws sagemaker start-notebook-instance` and
    `create-presigned-notebook-instance-url`. What is in it acts as its role does: as a trainer, where the environment
    trains, and as an invoker of the endpoint, where one is released. SageMaker refuses changes of a running one: stop
    it before a deployment that changes it.
    """

    instance_type: str = "ml.t3.medium"
    """A type of notebook instances."""

    volume_gb: int = 20
    """Of the encrypted disk that keeps what people write below ~/SageMaker. It can grow and never shrink."""

    users: tuple[str, ...] = ()
    """Roles of this account, by name or ARN, that may start, open and stop it: what they do in it they do as trainers
    and invokers. Policy `amplify-<env>-workbench`; nobody else gets it."""

    idle_minutes: int = 60
    """It stops once nothing was run or typed for so long. A kernel at work keeps it running, however long."""

    def _faults(self) -> Iterable[str]:
        yield from unknown_instance_type("instance_type", self.instance_type, check)
        yield from role_faults("users", self.users, "amplify-<env>-workbench")
        yield from out_of_range("volume_gb", self.volume_gb, 5, 16_384)  # CreateNotebookInstance
        yield from out_of_range("idle_minutes", self.idle_minutes, 15, 1_440)
