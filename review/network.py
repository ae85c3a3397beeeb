"""Who reaches what: security groups, ways to the internet, and everything that is private until somebody opens it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from review.addresses import is_anywhere, lies_within
from review.assembly import Json, Stack
from review.remarks import Remark
from review.words import listed, short, text

NOWHERE = "255.255.255.255/32"  # the CDK's way to write "no rule at all"
WAYS_OUT = {
    "AWS::EC2::InternetGateway": "an internet gateway",
    "AWS::EC2::NatGateway": "a NAT gateway",
    "AWS::EC2::EgressOnlyInternetGateway": "an egress-only internet gateway",
    "AWS::EC2::VPCPeeringConnection": "a connection to another VPC",
    "AWS::EC2::TransitGatewayAttachment": "a transit gateway",
    "AWS::EC2::VPNConnection": "a VPN",
    "AWS::EC2::EIP": "a public address",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "a load balancer",
    "AWS::ApiGateway::RestApi": "an API that the internet reaches",
    "AWS::ApiGatewayV2::Api": "an API that the internet reaches",
    "AWS::Lambda::Url": "a function that the internet reaches",
    "AWS::CloudFront::Distribution": "a distribution that the internet reaches",
}
LETS_OTHERS_IN = {
    "AWS::IAM::User": "a user with credentials of its own",
    "AWS::IAM::AccessKey": "an access key that does not expire",
    "AWS::IAM::OIDCProvider": "an identity provider whose people may become roles",
    "AWS::IAM::SAMLProvider": "an identity provider whose people may become roles",
    "AWS::SNS::Subscription": "somebody more who is told",
    "AWS::Logs::SubscriptionFilter": "a copy of logs that goes elsewhere",
    "AWS::Logs::Destination": "a place where others' logs go",
    "AWS::KinesisFirehose::DeliveryStream": "a stream of data that goes elsewhere",
    "AWS::S3::AccessPoint": "one more door to a bucket",
    "AWS::RAM::ResourceShare": "something shared with other accounts",
    "AWS::ECR::PublicRepository": "a repository of images that anybody reads",
    "AWS::ECR::ReplicationConfiguration": "a copy of images that goes elsewhere",
    "AWS::EC2::VPCEndpointService": "a service that other networks reach",
    "AWS::EC2::NetworkAclEntry": "a rule of a subnet's access list",
}
_PEERS = (
    "CidrIp",
    "CidrIpv6",
    "SourceSecurityGroupId",
    "DestinationSecurityGroupId",
    "SourcePrefixListId",
    "DestinationPrefixListId",
)


@dataclass(frozen=True, order=True)
class Reach:
    """One rule of a security group."""

    group: str
    inwards: bool
    protocol: str
    first: int
    last: int
    peer: str
    stack: str = field(compare=False, default="")

    def within(self, other: "Reach") -> bool:
        return (
            (self.group, self.inwards) == (other.group, other.inwards)
            and other.protocol in ("-1", self.protocol)
            and (other.protocol == "-1" or (other.first <= self.first and self.last <= other.last))
            and (self.peer == other.peer or lies_within(self.peer, other.peer))
        )

    def __str__(self) -> str:
        ports = (
            "every port"
            if self.protocol == "-1"
            else f"{self.protocol} {self.first}" + (f"–{self.last}" if self.last != self.first else "")
        )
        everybody = self.peer in ("0.0.0.0/0", "::/0")
        peer = "any address" if everybody else short(self.peer)
        return (
            f"{peer} may reach {short(self.group)}, {ports}"
            if self.inwards
            else f"{short(self.group)} may reach {peer}, {ports}"
        )


def network_remarks(environment: str, before: Iterable[Stack], after: Iterable[Stack]) -> Iterator[Remark]:
    """What one environment's network lets pass that it did not, and the reverse."""
    old, new = [*before], [*after]
    was, now = _reaches(old), _reaches(new)
    for reach in sorted(now):
        if not any(reach.within(one) for one in was):
            rule = "exposure.any_address" if is_anywhere(reach.peer) else "network.reach"
            yield Remark(rule=rule, environment=environment, stack=reach.stack, what=str(reach))
    for reach in sorted(was):
        if not any(reach.within(one) for one in now):
            yield Remark(rule="network.less", environment=environment, stack=reach.stack, what=f"no longer: {reach}")
    yield from _ways_out(environment, old, new)


def _reaches(stacks: list[Stack]) -> set[Reach]:
    found = set()
    for stack in stacks:
        for id_, group in stack.of_type("AWS::EC2::SecurityGroup").items():
            outward = group.get("SecurityGroupEgress", [{"IpProtocol": "-1", "CidrIp": "0.0.0.0/0"}])  # AWS's default
            found |= {_reach(f"${{{id_}}}", True, rule, stack) for rule in listed(group.get("SecurityGroupIngress"))}
            found |= {_reach(f"${{{id_}}}", False, rule, stack) for rule in listed(outward)}
        for type_, inwards in (("AWS::EC2::SecurityGroupIngress", True), ("AWS::EC2::SecurityGroupEgress", False)):
            for rule in stack.of_type(type_).values():
                found.add(_reach(text(rule.get("GroupId")).replace(".GroupId", ""), inwards, rule, stack))
    return {reach for reach in found if reach.peer != NOWHERE}


def _reach(group: str, inwards: bool, rule: Json, stack: Stack) -> Reach:
    peer = next((text(rule[name]).replace(".GroupId", "") for name in _PEERS if name in rule), "nobody")
    first, last = int(rule.get("FromPort", 0)), int(rule.get("ToPort", 65_535))
    return Reach(group, inwards, str(rule.get("IpProtocol", "-1")), first, last, peer, stack.short_name)


def _ways_out(environment: str, before: list[Stack], after: list[Stack]) -> Iterator[Remark]:
    old = {(stack.short_name, id_) for stack in before for id_ in stack.resources}
    for stack in after:
        for id_, resource in stack.resources.items():
            type_, properties = resource["Type"], resource.get("Properties", {})
            if (stack.short_name, id_) in old:
                continue
            if type_ in WAYS_OUT:
                what = f"there is {WAYS_OUT[type_]}: {short(id_)}"
                yield Remark(rule="exposure.way_out", environment=environment, stack=stack.short_name, what=what)
            if type_ in LETS_OTHERS_IN:
                who = properties.get("Endpoint", properties.get("UserName", ""))
                what = f"there is {LETS_OTHERS_IN[type_]}: {short(id_)}" + (f", {short(text(who))}" if who else "")
                yield Remark(rule="exposure.others_let_in", environment=environment, stack=stack.short_name, what=what)
            if type_ == "AWS::EC2::Route" and is_anywhere(to := text(_destination(properties))):
                what = f"a route to any address ({to}): {short(id_)}"
                yield Remark(rule="exposure.way_out", environment=environment, stack=stack.short_name, what=what)


def _destination(route: Json) -> Any:
    return route.get("DestinationCidrBlock", route.get("DestinationIpv6CidrBlock"))
