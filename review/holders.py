"""Who holds which permissions in an environment's templates: roles, managed policies, and the policies of resources.

Any resource may hold a policy: one that names principals is a door to what it protects, one that names none says what
its holder may do.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from review.assembly import Json, Stack
from review.documents import documents
from review.statements import ANYBODY, EVERYTHING, Clause, Grant, Pattern, grants
from review.words import listed, short, text

Kind = Literal["identity", "trust", "resource", "vpc endpoint"]
SELF = Pattern("self")
OPEN_POLICY = {"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}}
"""What a VPC endpoint without a policy allows."""
_WHO = ("AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group")
_SAYS_NOT_WHOSE = ("Role", "Policy", "User", "Group")
_GIVEN_TO = ("Roles", "Users", "Groups", "RoleName", "UserName", "GroupName")
_DOORS_OF = ("FunctionName", "LayerVersionArn", "EventBusName")


@dataclass(kw_only=True)
class Holder:
    """A role, a policy, a door."""

    kind: Kind
    name: str
    stack: str
    account: str
    allows: set[Grant] = field(default_factory=set)
    denies: set[Grant] = field(default_factory=set)
    managed: set[str] = field(default_factory=set)
    """ARNs of policies attached that lie in no template."""
    held_by: set[str] = field(default_factory=set)
    """Roles, users and groups that a managed policy is attached to; users of a group."""
    boundary: str | None = None
    is_there: bool = True
    is_key: bool = False
    """Whether it is the door of a key, to which nobody else can open another."""

    def add(self, readings: Iterable[Any], principal: Pattern | None = None) -> None:
        """A document, as it reads for each way in which its conditions fall."""
        several = [*readings]
        self.allows |= {grant for one in several for grant in grants(one, "Allow", principal)}
        self.denies |= set.intersection(*({*grants(one, "Deny", principal)} for one in several))

    def join(self, other: "Holder") -> None:
        """What another resource says of the same."""
        for mine, its in ((self.allows, other.allows), (self.denies, other.denies)):
            mine |= its
        self.managed |= other.managed
        self.held_by |= other.held_by


def holders(stacks: Iterable[Stack]) -> dict[str, Holder]:
    """All of one environment, by a key that both sides share."""
    found: dict[str, Holder] = {}
    for stack in stacks:
        for id_, resource in stack.resources.items():
            for key, holder in _of_resource(stack, id_, resource["Type"], resource.get("Properties", {})):
                if key in found:
                    found[key].join(holder)
                    found[key].boundary = found[key].boundary or holder.boundary
                else:
                    found[key] = holder
    return found


def _of_resource(stack: Stack, id_: str, type_: str, properties: Json) -> Iterator[tuple[str, Holder]]:
    def holder(kind: Kind, name: str) -> Holder:
        shown = short(name)
        if shown in _SAYS_NOT_WHOSE:
            shown = f"{shown} of {stack.short_name}"
        return Holder(kind=kind, name=shown, stack=stack.short_name, account=stack.account)

    def identity(whose: str) -> tuple[str, Holder]:
        named = re.sub(r"^\$\{(\w+)\}$", r"\1", whose)
        return f"identity {stack.short_name} {whose}", holder("identity", named)

    given_to = [text(one) for member in _GIVEN_TO for one in listed(properties.get(member))]
    if type_ in _WHO:
        key, who = identity(f"${{{id_}}}")
        who.managed = {text(one) for one in listed(properties.get("ManagedPolicyArns"))}
        who.boundary = text(properties["PermissionsBoundary"]) if "PermissionsBoundary" in properties else None
        yield key, who
    if type_ == "AWS::EC2::VPCEndpoint" and "PolicyDocument" not in properties:
        properties = {"PolicyDocument": OPEN_POLICY, **properties}
    for path, readings in documents(properties):
        if type_ == "AWS::IAM::ManagedPolicy":
            managed = holder("identity", id_)
            managed.add(readings, SELF)
            managed.held_by = {*given_to}
            yield f"policy {stack.short_name} {id_}", managed
        elif type_ in _WHO and path == "AssumeRolePolicyDocument":
            trust = holder("trust", id_)
            trust.add(map(_with_resource, readings))
            yield f"trust {stack.short_name} {id_}", trust
        elif not any(_names_principals(one) for one in readings):
            for whose in [f"${{{id_}}}"] if type_ in _WHO else given_to or [id_]:
                key, who = identity(whose)
                who.add(readings, SELF)
                yield key, who
        elif type_ == "AWS::EC2::VPCEndpoint":
            gate = holder("vpc endpoint", id_)
            gate.add(readings)
            yield f"endpoint {stack.short_name} {id_}", gate
        else:
            target = _protected(type_, path, properties) or id_
            door = holder("resource", target)
            door.add(readings)
            door.is_key = path == "KeyPolicy"
            yield f"resource {stack.short_name} {target}", door
    if {"Principal", "Action"} <= properties.keys():
        target = next((text(properties[member]) for member in _DOORS_OF if member in properties), id_)
        door = holder("resource", target)
        door.allows.add(_of_permission(properties))
        yield f"resource {stack.short_name} {target}", door
    joined = properties.get("Users" if type_ == "AWS::IAM::UserToGroupAddition" else "", [])
    for group, user in [(text(properties.get("GroupName")), text(one)) for one in joined] + [
        (text(one), f"${{{id_}}}") for one in (properties.get("Groups", []) if type_ == "AWS::IAM::User" else [])
    ]:
        key, members = identity(group)
        members.held_by = {user}
        yield key, members


def _names_principals(document: Json) -> bool:
    return any("Principal" in one or "NotPrincipal" in one for one in listed(document["Statement"]))


def _protected(type_: str, path: str, properties: Json) -> str:
    """What a policy that is a resource of its own protects: all that it names beside the document."""
    if not type_.endswith("Policy"):
        return ""
    others = [value for name, value in properties.items() if name != path.split(".")[0] and not isinstance(value, bool)]
    return " and ".join(text(one) for value in others for one in listed(value))


def _with_resource(trust: Json) -> Json:
    """A trust policy has no Resource: it is about the role itself."""
    return {**trust, "Statement": [{**one, "Resource": "this role"} for one in listed(trust["Statement"])]}


def _of_permission(properties: Json) -> Grant:
    """One grant written as the properties of a resource: of a function, a layer, an event bus."""
    who = text(properties["Principal"])
    principal = ANYBODY if who == "*" else f"Service:{who}" if who.endswith((".com", ".com.cn")) else f"AWS:{who}"
    conditions = {
        "SourceArn": "aws:SourceArn",
        "SourceAccount": "aws:SourceAccount",
        "PrincipalOrgID": "aws:PrincipalOrgID",
        "OrganizationId": "aws:PrincipalOrgID",
    }
    clauses = [
        Clause("ArnLike" if member == "SourceArn" else "StringEquals", key, (text(properties[member]),))
        for member, key in conditions.items()
        if member in properties
    ]
    match properties.get("Condition"):
        case {"Type": operator, "Key": key, "Value": value}:
            clauses.append(Clause(text(operator), text(key), (text(value),)))
    action = Pattern(text(properties["Action"]))
    return Grant(Pattern(principal), action, EVERYTHING, tuple(sorted(clauses)))
