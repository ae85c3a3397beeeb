"""The private network that jobs and endpoints run in: addresses, zones, and which services it reaches."""

import ipaddress
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from stacks.config.checks import not_matching
from stacks.config.settings import Rule, Settings

InterfaceEndpoint = Literal[
    "sagemaker.api", "sagemaker.runtime", "logs", "monitoring", "ecr.api", "ecr.dkr", "sts", "kms"
]
INTERFACE_ENDPOINTS: tuple[InterfaceEndpoint, ...] = get_args(InterfaceEndpoint)

LARGEST_VPC, SMALLEST_SUBNET = 16, 28  # prefix lengths that Amazon VPC accepts, for a VPC as for a subnet
RESERVED_ADDRESSES = 5  # of each subnet, by AWS
DOCKERS = ipaddress.IPv4Network("172.17.0.0/16")  # its bridge's own default: what lies there is not found from inside
PRIVATE_RANGES = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))

# The retention times that CloudWatch Logs knows (PutRetentionPolicy in its API reference).
LOG_RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)


@dataclass(frozen=True, kw_only=True)
class Network(Settings):
    """A VPC without a route to the internet. `cidr` and zones are for good: what uses the subnets
    keeps CloudFormation from replacing them (docs/endpoint-modes.md, "What takes two steps")."""

    cidr: str
    """Its addresses, such as 10.20.0.0/20: of a private range, shared out evenly among the zones."""

    availability_zones: tuple[str, ...]
    """At least two zones of the environment's region, by name, such as us-east-1a. Literal, so that synthesis looks
    nothing up. Every zone must have the instance types that the environment names."""

    s3_prefix_list: str
    """The id of the list of S3's own addresses in this region: security groups let jobs out to these and to nothing
    else outside. The same in every account:
    `aws ec2 describe-managed-prefix-lists --filters Name=prefix-list-name,Values=com.amazonaws.<region>.s3`."""

    interface_endpoints: tuple[InterfaceEndpoint, ...] = INTERFACE_ENDPOINTS
    """Services that can be reached from inside, beside S3. Each costs by the hour and zone. Isolated jobs need none of
    them; a person's notebook, and code with a network of its own, does."""

    flow_log_days: int = 365
    """How long the record of all connections is kept."""

    @property
    def subnet_prefix(self) -> int:
        """The prefix length of each zone's subnet."""
        return ipaddress.IPv4Network(self.cidr).prefixlen + math.ceil(math.log2(len(self.availability_zones)))

    @property
    def addresses_per_zone(self) -> int:
        """How many addresses each zone's subnet has to give away, those of the interface endpoints taken off."""
        return max(0, 2 ** (32 - self.subnet_prefix) - RESERVED_ADDRESSES - len(self.interface_endpoints))

    def _faults(self) -> Iterable[str]:
        yield from self._faults_of_cidr()
        yield from not_matching(
            "s3_prefix_list", self.s3_prefix_list, "pl-[0-9a-f]{8}([0-9a-f]{9})?", "an id such as pl-63a5400a"
        )
        if self.flow_log_days not in LOG_RETENTION_DAYS or isinstance(self.flow_log_days, bool):
            yield (
                f"flow_log_days is {self.flow_log_days!r}: give a time that CloudWatch Logs knows, "
                f"{', '.join(map(str, LOG_RETENTION_DAYS))}"
            )

    def _rules(self) -> Iterable[Rule]:
        yield ("availability_zones",), self._faults_of_zones()
        yield ("cidr", "availability_zones"), self._faults_of_subnets()
        yield ("interface_endpoints",), self._faults_of_endpoints()

    def _faults_of_subnets(self) -> Iterable[str]:
        if self.subnet_prefix > SMALLEST_SUBNET:
            zones = len(self.availability_zones)
            yield f"cidr is {self.cidr!r}: too small to be shared out among {zones} zones; give a /{LARGEST_VPC} to /22"

    def _faults_of_endpoints(self) -> Iterable[str]:
        if len(set(self.interface_endpoints)) < len(self.interface_endpoints):
            yield f"interface_endpoints is {self.interface_endpoints}: give each once"

    def _faults_of_cidr(self) -> Iterable[str]:
        wanted = f"give private addresses from /{LARGEST_VPC} to /{SMALLEST_SUBNET}, such as 10.20.0.0/20"
        cidr: object = self.cidr
        if not isinstance(cidr, str):
            yield f"cidr is {cidr!r}: {wanted}"
            return
        try:
            given = ipaddress.IPv4Network(cidr)
        except ValueError as error:
            yield f"cidr is {cidr!r} ({error}): {wanted}"
            return
        if not re.fullmatch(r"[\d.]+/\d+", cidr):
            yield f"cidr is {cidr!r}, which names no size: {wanted}"
        elif not LARGEST_VPC <= given.prefixlen <= SMALLEST_SUBNET:
            yield f"cidr is {cidr!r}, a size that Amazon VPC refuses: {wanted}"
        elif not any(given.subnet_of(private) for private in PRIVATE_RANGES):
            yield f"cidr is {cidr!r}, which belongs to somebody on the internet: {wanted}"
        elif given.overlaps(DOCKERS):
            yield f"cidr is {cidr!r}, and docker has {DOCKERS} on SageMaker's machines: {wanted}"

    def _faults_of_zones(self) -> Iterable[str]:
        for zone in self.availability_zones:
            yield from not_matching(
                "availability_zones", zone, r"[a-z]{2}(-[a-z]+)+-\d[a-z]", "names of zones such as us-east-1a"
            )
        if len(set(self.availability_zones)) < max(2, len(self.availability_zones)):
            # Two: https://docs.aws.amazon.com/sagemaker/latest/dg/host-vpc.html, in a note.
            yield (
                f"availability_zones is {self.availability_zones}: give at least two different ones, "
                "as SageMaker asks even for an endpoint of one instance"
            )
