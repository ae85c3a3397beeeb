"""One environment: an account and region, and the settings of all that is in it."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from stacks.config.capacity import TrainingPlan
from stacks.config.checks import not_matching
from stacks.config.endpoint import Endpoint, RealTime, Serverless
from stacks.config.endpoint.modes import permits, refusal
from stacks.config.monitoring import Monitoring
from stacks.config.monthly_cost import ceiling_faults
from stacks.config.network import Network
from stacks.config.people import People, role_account
from stacks.config.promotion import Promotion
from stacks.config.settings import Rule, Settings
from stacks.config.training import Training
from stacks.config.workbench import NEEDED_ENDPOINTS, Workbench
from stacks.deep_learning_containers import registry_account
from stacks.instance_types import has_gpu
from stacks.regions import REGIONS

OTHER_PARTITIONS = ("cn-", "us-gov-", "us-iso", "eu-isoe-", "eusc-")
NAME = r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?"  # AWS takes no name of an endpoint that ends in a hyphen

MAY_LACK_A_NETWORK = ("local", "dev")
"""Environments that serve nobody but their makers. Every other one is private, whatever it is called."""

ADDRESSES_PER_INSTANCE = 2  # https://docs.aws.amazon.com/sagemaker/latest/dg/train-vpc.html (and host-vpc, process-vpc)


@dataclass(frozen=True, kw_only=True)
class Environment(Settings):
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
    """An environment whose standing parts can cost more in a month is refused: endpoint at its largest, network, key,
    warm pool (stacks/config/monthly_cost.py; prices.json). Runs of the pipeline come on top. None: no ceiling."""

    permissions_boundary: str | None = None
    """The name of a managed policy that every role of the environment gets as its boundary: `amplify-boundary`, once
    the account has it (stacks/delivery.py). None: no boundary, as in an account in which nothing is yet."""

    termination_protection: bool = True
    """Whether CloudFormation refuses to delete the stacks that hold data."""

    def _faults(self) -> Iterable[str]:
        yield from not_matching(
            "name",
            self.name,
            NAME,
            "up to 20 lower-case letters, digits and hyphens, a letter first and no hyphen last",
        )
        if self.name == "delivery":
            yield "name is 'delivery': that is the stage of the accounts themselves; give another"
        yield from not_matching("account", self.account, r"[0-9]{12}", "the twelve digits of an AWS account")
        if self.region not in [*REGIONS]:  # of any type, one that cannot be in a set too
            near = difflib.get_close_matches(str(self.region), REGIONS, n=3) or ["eu-central-1"]
            yield f"region is {self.region!r}: give a region that SageMaker is in, such as {', '.join(near)}"
        elif self.region.startswith(OTHER_PARTITIONS):
            yield (
                f"region is {self.region!r}, of a partition in which services, ARNs and limits of policies are others: "
                "nothing here was made for it; give a region of partition aws, such as eu-central-1"
            )
        ceiling: object = self.monthly_ceiling_usd
        number = isinstance(ceiling, int | float) and not isinstance(ceiling, bool)
        if ceiling is not None and not (number and 0 < ceiling < float("inf")):  # type: ignore[operator]
            yield f"monthly_ceiling_usd is {ceiling!r}: give US dollars above 0, or None"
        if self.permissions_boundary is not None:
            yield from not_matching(
                "permissions_boundary",
                self.permissions_boundary,
                r"[\w+=,.@-]{1,128}",
                "the name of a managed policy, such as amplify-boundary, or None",
            )

    def _rules(self) -> Iterable[Rule]:
        yield ("account", "endpoint"), self._faults_of_invokers()
        yield ("network", "endpoint"), self._faults_of_the_mode()
        yield ("training", "endpoint"), self._faults_of_the_image()
        yield ("training", "region"), self._faults_of_bases()
        yield ("training", "region", "account"), self._faults_of_the_plan()
        yield ("network", "name"), self._faults_of_privacy()
        yield ("network", "region"), self._faults_of_zones()
        yield ("network", "training", "endpoint", "monitoring", "workbench"), self._faults_of_addresses()
        yield ("network", "training"), self._faults_of_the_hub()
        yield ("monitoring", "endpoint", "network", "training"), self._faults_of_drift()
        yield ("people", "account"), self._faults_of_people()
        yield ("promotion", "endpoint"), self._faults_of_promotion()
        yield ("workbench", "account"), self._faults_of_users()
        yield ("workbench", "network"), self._faults_of_the_workbench()
        everything = tuple(field.name for field in fields(self))
        yield everything, self._faults_of_the_ceiling()

    def _faults_of_invokers(self) -> Iterable[str]:
        for role in self.endpoint.invokers:
            if role_account(role) not in (None, self.account):
                yield f"endpoint.invokers holds {role}: give roles of account {self.account}"

    def _faults_of_the_mode(self) -> Iterable[str]:
        mode = self.endpoint.mode
        if self.network is not None and not permits(mode, "vpc"):
            yield f"endpoint is of mode {mode}, which cannot run in a network: {refusal(mode, 'vpc')}"

    def _faults_of_the_image(self) -> Iterable[str]:
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

    def _faults_of_bases(self) -> Iterable[str]:
        if self.training is not None and self.training.image_target == "gpu":
            try:
                registry_account(self.region)
            except ValueError as fault:
                yield f"region is {self.region!r}, and training.image_target gpu: {fault}"

    def _faults_of_the_plan(self) -> Iterable[str]:
        plan = self.training.capacity if self.training is not None else None
        here = f":{self.region}:{self.account}:"
        if isinstance(plan, TrainingPlan) and here not in plan.arn:
            yield f"training.capacity.arn is {plan.arn}: give a plan of this region and account, …{here}…"

    def _faults_of_privacy(self) -> Iterable[str]:
        if self.network is None and self.serves_others:
            yield (
                f"network is None: only {' and '.join(MAY_LACK_A_NETWORK)} may do without; give a Network, so that "
                "jobs and endpoints have no route to the internet"
            )

    def _faults_of_zones(self) -> Iterable[str]:
        for zone in self.network.availability_zones if self.network is not None else ():
            if zone[:-1] != self.region:
                yield f"network.availability_zones holds {zone}: give zones of the region, {self.region}"

    def _faults_of_addresses(self) -> Iterable[str]:
        network = self.network
        if network is not None and (wanted := self._addresses_wanted()) > network.addresses_per_zone:
            yield (
                f"network.cidr is {network.cidr!r}, which leaves {network.addresses_per_zone} addresses in each of its "
                f"{len(network.availability_zones)} zones: give a larger one; instances can need {wanted} in one zone"
            )

    def _faults_of_the_hub(self) -> Iterable[str]:
        if self.network is not None and self.training is not None and self.training.init.startswith("hf:"):
            yield (
                f"training.init is {self.training.init!r}: no job in the network reaches the Hub; register the model "
                "(`amplify register hf:…`) and give the s3://… of what was registered"
            )

    def _faults_of_people(self) -> Iterable[str]:
        yield from self.people.strangers(self.account)

    def _faults_of_promotion(self) -> Iterable[str]:
        if self.promotion is not None and not isinstance(self.endpoint, RealTime):
            yield (
                f"promotion is given, and the endpoint is of mode {self.endpoint.mode}: the requests that a deployment "
                "is watched by want answers at once; give a RealTime endpoint, or no promotion"
            )

    def _faults_of_users(self) -> Iterable[str]:
        for user in self.workbench.users if self.workbench is not None else ():
            if role_account(user) not in (None, self.account):
                yield f"workbench.users holds {user}: give roles of account {self.account}"

    def _faults_of_the_workbench(self) -> Iterable[str]:
        if self.workbench is None:
            return
        if self.network is None:
            yield (
                "workbench is given, and network is None: a notebook without a private network would be on the "
                "internet; give a Network, or no workbench"
            )
            return
        for name in NEEDED_ENDPOINTS:
            if name not in self.network.interface_endpoints:
                yield f"workbench needs {name}: add it to network.interface_endpoints"

    def _faults_of_drift(self) -> Iterable[str]:
        endpoint, drift = self.endpoint, self.monitoring.drift
        if drift is None:
            return
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
        if self.monthly_ceiling_usd is not None:
            yield from ceiling_faults(self, self.monthly_ceiling_usd)

    def _addresses_wanted(self) -> int:
        """Of one zone, should all be placed there: a run, the notebook, and the endpoint's old and new fleet."""
        training = self.training.most_instances if self.training is not None else 0
        drift = 1 if self.monitoring.drift else 0
        notebook = 1 if self.workbench else 0
        return ADDRESSES_PER_INSTANCE * (training + drift + 2 * self.endpoint.most_instances) + notebook

    @property
    def serves_others(self) -> bool:
        """Whether anybody but its makers depends on it."""
        return self.name not in MAY_LACK_A_NETWORK

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
