"""Networks: the types of Amazon EC2 that ministack's CloudFormation lacks, and whether a VpcConfig leads somewhere.

EC2 keeps networks here as records that can be asked for. Nothing is routed: jobs and endpoints are processes of this
machine, with this machine's network.
"""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from local_aws.clients import client
from local_aws.errors import invalid
from local_aws.ministack_hooks.cloudformation import Created, Properties, add_resource_type
from local_aws.ministack_hooks.requests import account, region
from local_aws.store import Scope

Rule = dict[str, Any]


# ---- requests --------------------------------------------------------------------------------------------------------


def check_vpc_config(scope: Scope, config: dict[str, list[str]] | None) -> None:
    """Raises SageMakerError where a subnet or security group is not there, or they are not all of one VPC."""
    if config is None:
        return
    ec2 = client("ec2", scope.account, scope.region)
    try:
        subnets = ec2.describe_subnets(SubnetIds=config["Subnets"])["Subnets"]
        groups = ec2.describe_security_groups(GroupIds=config["SecurityGroupIds"])["SecurityGroups"]
    except ClientError as error:
        raise invalid(f"VpcConfig: {error.response['Error']['Message']}") from None
    for what, asked, found in (
        ("subnet", config["Subnets"], {one["SubnetId"] for one in subnets}),
        ("security group", config["SecurityGroupIds"], {one["GroupId"] for one in groups}),
    ):
        if missing := [one for one in asked if one not in found]:
            raise invalid(f"VpcConfig: there is no {what} {', '.join(missing)}")
    vpcs = {one["VpcId"] for one in (*subnets, *groups)}
    if len(vpcs) > 1:
        raise invalid(f"VpcConfig: the subnets and security groups are of {len(vpcs)} VPCs: {', '.join(sorted(vpcs))}")


# ---- CloudFormation --------------------------------------------------------------------------------------------------


def install() -> None:
    for direction in ("ingress", "egress"):
        rules = _Rules(direction)
        add_resource_type(
            f"AWS::EC2::SecurityGroup{direction.capitalize()}",
            create=rules.create,
            update=rules.update,
            delete=rules.delete,
        )
    add_resource_type(
        "Custom::VpcRestrictDefaultSG",
        create=_close_default_group,
        update=lambda _id, _old, new, stack, logical_id: _close_default_group(logical_id, new, stack),
        delete=lambda _id, _properties: None,  # it goes with its VPC
    )


def _ec2() -> Any:
    return client("ec2", account(), region())


class _Rules:
    """Rules of a security group that are resources of their own, in one direction."""

    def __init__(self, direction: str) -> None:
        self._direction = direction

    def create(self, _logical_id: str, properties: Properties, _stack_name: str) -> Created:
        authorize: Callable[..., Any] = getattr(_ec2(), f"authorize_security_group_{self._direction}")
        answer = authorize(GroupId=properties["GroupId"], IpPermissions=[_permission(properties)])
        [rule] = answer["SecurityGroupRules"]
        return rule["SecurityGroupRuleId"], {"Id": rule["SecurityGroupRuleId"]}

    def update(self, physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str) -> Created:
        """Everything but the description makes a new rule; a rule with another description is another one here."""
        self.delete(physical_id, old)
        return self.create(logical_id, new, stack_name)

    def delete(self, _physical_id: str, properties: Properties) -> None:
        revoke: Callable[..., Any] = getattr(_ec2(), f"revoke_security_group_{self._direction}")
        try:
            revoke(GroupId=properties["GroupId"], IpPermissions=[_permission(properties)])
        except ClientError as error:
            if not error.response["Error"]["Code"].endswith(".NotFound"):  # the group went first, and took it along
                raise


def _permission(properties: Properties) -> Rule:
    """A rule of CloudFormation as one of EC2."""
    said = {"Description": properties["Description"]} if "Description" in properties else {}
    rule: Rule = {"IpProtocol": str(properties["IpProtocol"])}
    rule |= {end: int(properties[end]) for end in ("FromPort", "ToPort") if end in properties}
    for list_, member, names in (
        ("IpRanges", "CidrIp", ("CidrIp",)),
        ("Ipv6Ranges", "CidrIpv6", ("CidrIpv6",)),
        ("PrefixListIds", "PrefixListId", ("SourcePrefixListId", "DestinationPrefixListId")),
        ("UserIdGroupPairs", "GroupId", ("SourceSecurityGroupId", "DestinationSecurityGroupId")),
    ):
        if given := [properties[name] for name in names if name in properties]:
            rule[list_] = [{member: given[0], **said}]
    return rule


def _close_default_group(_logical_id: str, properties: Properties, _stack_name: str) -> Created:
    """What the CDK's function does for this type on AWS. The function itself needs AWS's JavaScript SDK, not here."""
    group_id = properties["DefaultSecurityGroupId"]
    ec2 = _ec2()
    [group] = ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    if group["IpPermissions"]:
        ec2.revoke_security_group_ingress(GroupId=group_id, IpPermissions=group["IpPermissions"])
    if group["IpPermissionsEgress"]:
        ec2.revoke_security_group_egress(GroupId=group_id, IpPermissions=group["IpPermissionsEgress"])
    return f"closed-{group_id}", {}
