"""What must hold of networks."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tests.stacks.rules.reading import allowing, as_list
from tests.stacks.synthesis import Template, resources

WAYS_OUT = (  # and what makes a way out of a subnet or an address
    *("InternetGateway", "EgressOnlyInternetGateway", "NatGateway", "VPCGatewayAttachment", "EIP", "CarrierGateway"),
    *("TransitGatewayAttachment", "VPCPeeringConnection", "VPNGateway", "VPNConnection", "Route", "NetworkInterface"),
)
NOWHERE = "255.255.255.255/32"  # the CDK's rule that stands for none


def no_route_leads_to_the_internet(template: Template) -> Iterable[str]:
    for id_, resource in template["Resources"].items():
        if resource["Type"] in {f"AWS::EC2::{kind}" for kind in WAYS_OUT}:
            yield f"{id_} is a {resource['Type']}"
    for id_, subnet in resources(template, "AWS::EC2::Subnet").items():
        if subnet["Properties"].get("MapPublicIpOnLaunch") is not False:
            yield f"{id_} gives public addresses away"


def _rules_of_security_groups(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    for id_, group in resources(template, "AWS::EC2::SecurityGroup").items():
        for field in ("SecurityGroupIngress", "SecurityGroupEgress"):
            yield from ((id_, rule) for rule in group["Properties"].get(field, []))
    for type_ in ("AWS::EC2::SecurityGroupIngress", "AWS::EC2::SecurityGroupEgress"):
        yield from ((id_, rule["Properties"]) for id_, rule in resources(template, type_).items())


def security_groups_name_each_other_and_no_addresses(template: Template) -> Iterable[str]:
    for id_, rule in _rules_of_security_groups(template):
        for member in ("CidrIp", "CidrIpv6"):
            if rule.get(member, NOWHERE) != NOWHERE:
                yield f"{id_} is open to {rule[member]}"


def security_groups_are_never_born_open(template: Template) -> Iterable[str]:
    """A group without an egress rule of its own begins with one to everywhere."""
    for id_, group in resources(template, "AWS::EC2::SecurityGroup").items():
        if not group["Properties"].get("SecurityGroupEgress"):
            yield f"{id_} begins with a way out to everywhere"


def traffic_on_all_ports_stays_within_one_group(template: Template) -> Iterable[str]:
    for id_, rule in _rules_of_security_groups(template):
        others = [rule[end] for end in ("SourceSecurityGroupId", "DestinationSecurityGroupId") if end in rule]
        if rule["IpProtocol"] == "-1" and others != [rule.get("GroupId")]:
            yield f"{id_} opens every port to another"


def default_security_groups_are_closed(template: Template) -> Iterable[str]:
    closed = [
        resource["Properties"]["DefaultSecurityGroupId"]
        for resource in resources(template, "Custom::VpcRestrictDefaultSG").values()
    ]
    for id_ in resources(template, "AWS::EC2::VPC"):
        if {"Fn::GetAtt": [id_, "DefaultSecurityGroup"]} not in closed:
            yield f"{id_} lets everything of its default group talk"


def networks_keep_a_record_of_all_traffic_under_a_key(template: Template) -> Iterable[str]:
    kept = {
        log["Properties"]["ResourceId"]["Ref"]: log["Properties"]
        for log in resources(template, "AWS::EC2::FlowLog").values()
        if log["Properties"]["TrafficType"] == "ALL"
    }
    groups = resources(template, "AWS::Logs::LogGroup")
    for id_ in resources(template, "AWS::EC2::VPC"):
        if id_ not in kept:
            yield f"{id_} keeps no record of its traffic"
        elif not {"KmsKeyId", "RetentionInDays"} <= set(groups[kept[id_]["LogGroupName"]["Ref"]]["Properties"]):
            yield f"the record of {id_} has no key or no end"


def endpoints_of_services_let_only_this_account_through(template: Template) -> Iterable[str]:
    """Under a policy of their own; but for the layers of images, which ECR hands out under its own signature."""
    for id_, endpoint in resources(template, "AWS::EC2::VPCEndpoint").items():
        properties = endpoint["Properties"]
        if "PolicyDocument" not in properties:
            yield f"{id_} lets everything through"
            continue
        for statement in properties["PolicyDocument"]["Statement"]:
            account = statement.get("Condition", {}).get("StringEquals", {}).get("aws:PrincipalAccount")
            layers = statement["Action"] == "s3:GetObject" and "-starport-layer-bucket/" in str(statement["Resource"])
            if account is None and not layers:
                yield f"{id_} lets anybody's credentials through"
            if "*" in as_list(statement["Action"]):
                yield f"{id_} lets every action through"
        if properties["VpcEndpointType"] == "Interface":
            if properties.get("PrivateDnsEnabled") is not True:
                yield f"{id_} is not found under the service's usual name"
            if not properties.get("SecurityGroupIds"):
                yield f"{id_} is in the default security group"


def gateways_lead_to_named_buckets(template: Template) -> Iterable[str]:
    for id_, endpoint in resources(template, "AWS::EC2::VPCEndpoint").items():
        if endpoint["Properties"]["VpcEndpointType"] == "Gateway":
            for statement in endpoint["Properties"].get("PolicyDocument", {"Statement": []})["Statement"]:
                named = [str(resource) for resource in as_list(statement["Resource"])]
                if any(name == "*" or name.startswith("arn:aws:s3:::*") for name in named):
                    yield f"{id_} leads to any bucket"


def network_interfaces_are_made_in_named_subnets_only(template: Template) -> Iterable[str]:
    for id_, statement in allowing(template):
        actions, named = set(as_list(statement["Action"])), str(statement["Resource"])
        if "ec2:CreateNetworkInterface" in actions and not (":subnet/" in named and ":security-group/" in named):
            yield f"{id_} makes network interfaces anywhere"
        bound = statement.get("Condition", {}).get("ArnEquals", {})
        if (
            actions & {"ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface"}
            and "ec2:Subnet" not in bound
        ):
            yield f"{id_} changes network interfaces of other subnets"


def zones_are_literal(template: Template) -> Iterable[str]:
    if "Fn::GetAZs" in json.dumps(template):
        yield "zones are looked up by CloudFormation"
    for id_, subnet in resources(template, "AWS::EC2::Subnet").items():
        zone = subnet["Properties"].get("AvailabilityZone")
        if not isinstance(zone, str) or zone.startswith("dummy"):
            yield f"{id_} is in zone {zone}"
