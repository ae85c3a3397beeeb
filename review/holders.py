"""Who holds which permissions in an environment's templates: roles, managed policies, and the policies of resources."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from review.assembly import Json, Stack
from review.statements import ANYBODY, EVERYTHING, Clause, Grant, Pattern, grants
from review.words import listed, short, text

Kind = Literal["identity", "trust", "resource", "vpc endpoint"]
SELF = Pattern("self")
OPEN_POLICY = {"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}}
"""What a VPC endpoint without a policy allows."""

_RESOURCE_POLICIES = {  # type → (property of the policy, property of what it protects, or None: itself)
    "AWS::S3::BucketPolicy": ("PolicyDocument", "Bucket"),
    "AWS::SNS::TopicPolicy": ("PolicyDocument", "Topics"),
    "AWS::SQS::QueuePolicy": ("PolicyDocument", "Queues"),
    "AWS::KMS::Key": ("KeyPolicy", None),
    "AWS::ECR::Repository": ("RepositoryPolicyText", None),
    "AWS::SageMaker::ModelPackageGroup": ("ModelPackageGroupPolicy", None),
    "AWS::SecretsManager::ResourcePolicy": ("ResourcePolicy", "SecretId"),
    "AWS::Logs::ResourcePolicy": ("PolicyDocument", None),
    "AWS::Events::EventBusPolicy": ("Statement", "EventBusName"),
}


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
    """Roles, users and groups that a managed policy is attached to."""
    boundary: str | None = None
    is_there: bool = True

    def add(self, document: Any, principal: Pattern | None = None) -> None:
        self.allows |= set(grants(document, "Allow", principal))
        self.denies |= set(grants(document, "Deny", principal))


def holders(stacks: Iterable[Stack]) -> dict[str, Holder]:
    """All of one environment, by a key that both sides share."""
    found: dict[str, Holder] = {}
    for stack in stacks:
        for key, holder in _of_stack(stack):
            if key in found:
                found[key].allows |= holder.allows
                found[key].denies |= holder.denies
            else:
                found[key] = holder
    return found


def _of_stack(stack: Stack) -> Iterator[tuple[str, Holder]]:
    def holder(kind: Kind, name: str) -> Holder:
        return Holder(kind=kind, name=name, stack=stack.short_name, account=stack.account)

    roles: dict[str, Holder] = {}
    for id_, role in stack.of_type("AWS::IAM::Role", "AWS::IAM::User", "AWS::IAM::Group").items():
        if "AssumeRolePolicyDocument" in role:
            trust = holder("trust", short(id_))
            trust.add(_with_resource(role["AssumeRolePolicyDocument"]))
            yield f"trust {stack.short_name} {id_}", trust
        roles[f"${{{id_}}}"] = identity = holder("identity", short(id_))
        identity.managed = {text(one) for one in listed(role.get("ManagedPolicyArns"))}
        identity.boundary = text(role["PermissionsBoundary"]) if "PermissionsBoundary" in role else None
        for inline in listed(role.get("Policies")):
            identity.add(inline.get("PolicyDocument"), SELF)
    for policy in stack.of_type("AWS::IAM::Policy").values():
        for whose in [text(one) for member in ("Roles", "Users", "Groups") for one in listed(policy.get(member))]:
            roles.setdefault(whose, holder("identity", short(whose))).add(policy.get("PolicyDocument"), SELF)
    for whose, identity in roles.items():
        yield f"identity {stack.short_name} {whose}", identity
    for id_, policy in stack.of_type("AWS::IAM::ManagedPolicy").items():
        managed = holder("identity", short(id_))
        managed.add(policy.get("PolicyDocument"), SELF)
        managed.held_by = {text(one) for member in ("Roles", "Users", "Groups") for one in listed(policy.get(member))}
        yield f"policy {stack.short_name} {id_}", managed
    for type_, (member, protects) in _RESOURCE_POLICIES.items():
        for id_, properties in stack.of_type(type_).items():
            target = " and ".join(text(one) for one in listed(properties.get(protects))) if protects else id_
            door = holder("resource", short(target))
            door.add(properties.get(member, {}))
            yield f"resource {stack.short_name} {target}", door
    for id_, properties in stack.of_type("AWS::EC2::VPCEndpoint").items():
        gate = holder("vpc endpoint", short(id_))
        gate.add(properties.get("PolicyDocument", OPEN_POLICY))
        yield f"endpoint {stack.short_name} {id_}", gate
    for properties in stack.of_type("AWS::Lambda::Permission").values():
        target = text(properties.get("FunctionName"))
        door = holder("resource", short(target))
        door.allows.add(_of_lambda(properties))
        yield f"resource {stack.short_name} {target}", door


def _with_resource(trust: Any) -> Any:
    """A trust policy has no Resource: it is about the role itself."""
    return {**trust, "Statement": [{**one, "Resource": "this role"} for one in listed(trust.get("Statement"))]}


def _of_lambda(properties: Json) -> Grant:
    who = text(properties.get("Principal", "*"))
    principal = ANYBODY if who == "*" else f"Service:{who}" if who.endswith((".com", ".com.cn")) else f"AWS:{who}"
    conditions = {
        "SourceArn": "aws:SourceArn",
        "SourceAccount": "aws:SourceAccount",
        "PrincipalOrgID": "aws:PrincipalOrgID",
    }
    clauses = [
        Clause("ArnLike" if member == "SourceArn" else "StringEquals", key, (text(properties[member]),))
        for member, key in conditions.items()
        if member in properties
    ]
    action = Pattern(text(properties.get("Action", "lambda:InvokeFunction")))
    return Grant(Pattern(principal), action, EVERYTHING, tuple(sorted(clauses)))
