"""What no other part of the review has a word for: types that it does not know, and updates that no check judges.

Which updates these are is found by asking: each property that differs is changed alone, and what no check says
anything of is told here, as it was and as it is.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from review.assembly import Json, Stack
from review.changes import ANSWERS, BY_DESIGN, GONE, HOLDS_DATA, KEEPS_RECORDS, NETWORK
from review.documents import documents
from review.network import LETS_OTHERS_IN, WAYS_OUT
from review.pipelines import IS_CODE
from review.property_checks import Said, leaves
from review.protection import CHECKS, ROLE_MEMBERS, said_of
from review.remarks import Remark
from review.words import quoted, short

_KNOWN = {
    *(*ANSWERS, *BY_DESIGN, *HOLDS_DATA, *KEEPS_RECORDS, *NETWORK, *LETS_OTHERS_IN, *WAYS_OUT, *CHECKS, *GONE),
    *("AWS::EC2::Route", "AWS::EC2::RouteTable", "AWS::EC2::SubnetRouteTableAssociation", "AWS::KMS::Alias"),
    *("AWS::IAM::Group", "AWS::IAM::ManagedPolicy", "AWS::IAM::Policy", "AWS::IAM::Role"),
    *("AWS::IAM::RolePolicy", "AWS::IAM::UserPolicy", "AWS::IAM::GroupPolicy", "AWS::IAM::UserToGroupAddition"),
    *("AWS::Lambda::Function", "AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy"),
    *("AWS::SageMaker::Pipeline", "AWS::Scheduler::ScheduleGroup", "Custom::ImageBuild"),
}
"""Types of which the other parts say what there is to say when one is new."""
_UNSEEN = {
    "AWS::CloudFormation::Stack": "what is in it lies in another template",
    "AWS::CloudFormation::StackSet": "what is in it lies in another template, for other accounts too",
    "AWS::CloudFormation::Macro": "it rewrites templates when they are deployed",
}
_JUDGED_ELSEWHERE = {
    *("ManagedPolicyArns", "PermissionsBoundary", "Roles", "Users", "Groups", "PipelineDefinition"),
    *("SecurityGroupIngress", "SecurityGroupEgress"),
}
_WITHOUT_WEIGHT = {
    *("Tags", "ResourceTags", "Description", "AlarmDescription", "DisplayName", "MemorySize", "DashboardBody"),
}


def leftover_remarks(base: Stack | None, head: Stack) -> Iterator[Remark]:
    """Of one stack."""

    def remark(rule: str, what: str) -> Remark:
        return Remark(rule=rule, environment=head.environment, stack=head.short_name, what=what)

    new = head.resources.keys() - (base.resources.keys() if base else ())
    for id_, resource in head.resources.items():
        before = base.resources.get(id_) if base else None
        if before is None or before["Type"] != resource["Type"]:
            for rule, what in _new(resource, new):
                yield remark(rule, f"{short(id_)} ({resource['Type']}) is new: {what}")
            continue
        if before.get("Condition") != resource.get("Condition"):
            now = resource.get("Condition", "nothing")
            yield remark(
                "change.conditional", f"whether {short(id_)} is there depends on {now}, which this page cannot tell"
            )
        if resource["Type"] in _UNSEEN and before != resource:
            yield remark("change.unseen", f"{short(id_)} ({resource['Type']}) differs: {_UNSEEN[resource['Type']]}")
            continue
        for rule, what in _updated(resource["Type"], before, resource):
            yield remark(rule, f"{short(id_)}: {what}")
    for rule, what in _of_template(base.raw if base else {}, head.raw):
        yield remark(rule, what)


def _new(resource: Json, new: Collection[str]) -> Iterator[Said]:
    """`new` are the logical ids that are: of a role that is, others tell what it may do."""
    type_ = resource["Type"]
    for path, role in leaves(resource.get("Properties", {})):
        if path.rsplit(".", 1)[-1] in ROLE_MEMBERS and re.sub(r"^\$\{(\w+).*", r"\1", role) not in new:
            yield "permissions.acts", f"it acts as {quoted(role)}"
    if type_ in _UNSEEN:
        yield "change.unseen", _UNSEEN[type_]
    elif type_ not in _KNOWN:
        yield "change.unknown_type", "no rule of the review knows this type; read what it opens"


def _updated(type_: str, before: Json, after: Json) -> Iterator[Said]:
    was, now = before.get("Properties", {}), after.get("Properties", {})
    if type_ in BY_DESIGN - CHECKS.keys():
        return
    policies = {path for side in (was, now) for path, _ in documents(side)}
    for path, old, new in _differences(was, now):
        name = ".".join(path)
        if path[0] in _JUDGED_ELSEWHERE or path[-1] in _WITHOUT_WEIGHT:
            continue
        if _is_of(name, policies) or IS_CODE.search(name):
            continue
        if not [*said_of(type_, was, _with(was, path, new))]:
            yield "change.unjudged", f"{name}: {quoted(old)} → {quoted(new)}"
    for name in ("UpdatePolicy", "CreationPolicy"):
        if before.get(name) != after.get(name):
            yield "change.unjudged", f"{name}: {quoted(before.get(name))} → {quoted(after.get(name))}"


def _of_template(before: Json, after: Json) -> Iterator[Said]:
    for name in sorted(after.get("Parameters", {}).keys() - before.get("Parameters", {}).keys() - {"BootstrapVersion"}):
        told = after["Parameters"][name].get("Default", "nothing by default")
        yield "change.parameter", f"parameter {name} is new, {quoted(told)}: who deploys, or the account, chooses it"
    if after.get("Transform") != before.get("Transform"):
        yield "change.unseen", f"macros rewrite the template when it is deployed: {quoted(after.get('Transform'))}"


def _is_of(name: str, policies: set[str]) -> bool:
    return any(
        not path or name == path or name.startswith(f"{path}.") or path.startswith(f"{name}.") for path in policies
    )


def _differences(before: Any, after: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Each innermost member that differs; a list, or a reference, is one value."""
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict) and not _is_reference(before) and not _is_reference(after):
        for key in sorted(before.keys() | after.keys()):
            yield from _differences(before.get(key), after.get(key), (*path, key))
    elif path:
        yield path, before, after


def _is_reference(value: Json) -> bool:
    return any(key == "Ref" or key.startswith("Fn::") for key in value)


def _with(properties: Json, path: Sequence[str], value: Any) -> Json:
    """The properties with this one change. A member without a value is not there."""
    name, *rest = path
    inner = _with(properties.get(name) or {}, rest, value) if rest else value
    return {key: item for key, item in {**properties, name: inner}.items() if item is not None}
