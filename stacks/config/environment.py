"""One environment: an account and region, and the settings of all that is in it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from stacks.config.capacity import TrainingPlan
from stacks.config.checks import not_a, not_matching, raise_if_any
from stacks.config.endpoint import Endpoint, RealTime, Serverless
from stacks.config.endpoint.modes import permits, refusal
from stacks.config.monitoring import Drift, Monitoring
from stacks.config.monthly_cost import ceiling_faults
from stacks.config.network import Network
from stacks.config.people import People, role_account
from stacks.config.promotion import Promotion
from stacks.config.training import Training
from stacks.config.workbench import NEEDED_ENDPOINTS, Workbench
from stacks.instance_types import has_gpu

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

    monitoring: Monitoring = field(default_factory=Monitoring)
    """Who hears alarms, what the account may spend, and whether requests are compared with the training set."""

    people: People = field(default_factory=People)
    """Roles that train, approve, deploy and audit here."""

    promotion: Promotion | None = None
    """Where releases come from. None: they are made here, and `amplify approve` writes the pin."""

    workbench: Workbench | None = None
    """A notebook in the network. None: there is none."""

    monthly_ceiling_usd: float | None = None
    """An environment whose standing parts can cost more in a month is refused: endpoint at its largest, network, key
    (stacks/config/monthly_cost.py; prices.json). Runs of the pipeline come on top. None: no ceiling."""

    permissions_boundary: str | None = None
    """The name of a managed policy that every role of the environment gets as its boundary: `amplify-boundary`, once
    the account has it (stacks/delivery.py). None: no boundary, as in an account in which nothing is yet."""

    termination_protection: bool = True
    """Whether CloudFormation refuses to delete the stacks that hold data."""

    def __post_init__(self) -> None:
        faults = [
            *not_matching(
                "name",
                self.name,
                r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?",  # AWS takes no name of an endpoint that ends in a hyphen
                "up to 20 lower-case letters, digits and hyphens, a letter first and no hyphen last",
            ),
            *not_matching("account", self.account, r"\d{12}", "the twelve digits of an AWS account"),
            *not_matching("region", self.region, r"[a-z]{2}(-[a-z]+)+-\d", "an AWS region such as eu-central-1"),
            *self._faults_of_the_boundary(),
            *self._faults_of_the_endpoint(),
            *self._faults_of_the_network(),
            *self._faults_of_monitoring(),
            *self._faults_of_people(),
            *self._faults_of_promotion(),
            *self._faults_of_the_workbench(),
        ]
        if self.training is not None and isinstance(plan := self.training.capacity, TrainingPlan):
            here = f":{self.region}:{self.account}:"
            if here not in plan.arn:
                faults.append(f"arn of TrainingPlan is {plan.arn}: give a plan of this region and account, …{here}…")
        raise_if_any(f"environment {self.name}", faults or [*self._faults_of_the_ceiling()])

    def _faults_of_the_boundary(self) -> Iterable[str]:
        if self.name == "delivery":
            yield "name is 'delivery': that is the stage of the accounts themselves; give another"
        if self.permissions_boundary is not None:
            yield from not_matching(
                "permissions_boundary",
                self.permissions_boundary,
                r"[\w+=,.@-]{1,128}",
                "the name of a managed policy, such as amplify-boundary, or None",
            )

    def _faults_of_the_endpoint(self) -> Iterable[str]:
        for role in self.endpoint.invokers:
            if role_account(role) not in (None, self.account):
                yield f"endpoint.invokers holds {role}: give roles of account {self.account}"
        mode = self.endpoint.mode
        if self.network is not None and not permits(mode, "vpc"):
            yield f"an endpoint of mode {mode} cannot run in a network: {refusal(mode, 'vpc')}"
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

    def _faults_of_people(self) -> Iterable[str]:
        wrong = [*not_a("people", self.people, People)]
        yield from wrong or self.people.strangers(self.account)

    def _faults_of_promotion(self) -> Iterable[str]:
        promotion: object = self.promotion
        if promotion is None:
            return
        if not isinstance(promotion, Promotion):
            yield from not_a("promotion", promotion, Promotion)
        elif not isinstance(self.endpoint, RealTime):
            yield (
                f"promotion is given, and the endpoint is of mode {self.endpoint.mode}: the requests that a deployment "
                "is watched by want answers at once; give a RealTime endpoint, or no promotion"
            )

    def _faults_of_the_workbench(self) -> Iterable[str]:
        workbench: object = self.workbench
        if workbench is None:
            return
        yield from not_a("workbench", workbench, Workbench)
        for user in self.workbench.users if isinstance(self.workbench, Workbench) else ():
            if role_account(user) not in (None, self.account):
                yield f"workbench.users holds {user}: give roles of account {self.account}"
        if self.network is None:
            yield (
                "workbench is given, and network is None: a notebook without a private network would be on the "
                "internet; give a Network, or no workbench"
            )
            return
        for name in NEEDED_ENDPOINTS:
            if name not in self.network.interface_endpoints:
                yield f"workbench needs {name}: add it to network.interface_endpoints"

    def _faults_of_monitoring(self) -> Iterable[str]:
        yield from not_a("monitoring", self.monitoring, Monitoring)
        drift = self.monitoring.drift if isinstance(self.monitoring, Monitoring) else None
        if drift is not None:
            yield from self._faults_of_drift(drift)

    def _faults_of_drift(self, drift: Drift) -> Iterable[str]:
        endpoint = self.endpoint
        if not permits(endpoint.mode, "capture"):
            yield f"monitoring.drift reads captured requests, and mode {endpoint.mode} has none: " + refusal(
                endpoint.mode, "capture"
            )
        elif not isinstance(endpoint, RealTime) or endpoint.capture is None or endpoint.capture.what == "Output":
            yield (
                "monitoring.drift reads captured requests, and the endpoint keeps none: "
                "give it capture=Capture(percent=…), with Input or InputAndOutput, or no drift"
            )
        if self.network is not None and "monitoring" not in self.network.interface_endpoints:
            yield (
                "monitoring.drift sends its metrics to CloudWatch, which the network does not reach: "
                "add monitoring to network.interface_endpoints"
            )
        if self.training is not None and self.training.image_target == "cpu" and has_gpu(drift.instance_type):
            yield (
                f"monitoring.drift.instance_type is {drift.instance_type}, which has a GPU, but the models made here "
                "carry the image for cpu (training.image_target)"
            )

    def _faults_of_the_ceiling(self) -> Iterable[str]:
        ceiling: object = self.monthly_ceiling_usd
        if ceiling is None:
            return
        if isinstance(ceiling, bool) or not isinstance(ceiling, int | float) or not 0 < ceiling < float("inf"):
            yield f"monthly_ceiling_usd is {ceiling!r}: give US dollars above 0, or None"
        else:
            yield from ceiling_faults(self, ceiling)

    def _addresses_wanted(self) -> int:
        """Of one zone, should all be placed there: a run, the notebook, and the endpoint's old and new fleet."""
        training = self.training.instance_count if self.training is not None else 0
        drift = 1 if isinstance(self.monitoring, Monitoring) and self.monitoring.drift else 0
        notebook = 1 if self.workbench else 0
        return ADDRESSES_PER_INSTANCE * (training + drift + 2 * self.endpoint.most_instances) + notebook

    @property
    def tags(self) -> dict[str, str]:
        """On everything that costs money: by these it is told apart in the bill."""
        return {"project": "amplify", "environment": self.name}

    @property
    def metric_namespace(self) -> str:
        """Of the metrics that this project sends to CloudWatch itself."""
        return f"amplify/{self.name}"

    @property
    def resource_name(self) -> str:
        """The one fixed name: of the pipeline, the model package group, the image repository and the endpoint."""
        return f"amplify-{self.name}"
