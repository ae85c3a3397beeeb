"""What happens to each resource: destroyed, replaced, moved, updated in place, added, as CloudFormation would do it."""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from review.assembly import Json, Stack
from review.remarks import Remark
from review.words import and_so, short, text

PROGRAM = Path(__file__).with_name("cloudformation_diff.cjs")
Fate = Literal["destroyed", "orphaned", "replaced", "renamed", "updated", "added"]

HOLDS_DATA = {
    *("AWS::S3::Bucket", "AWS::KMS::Key", "AWS::ECR::Repository", "AWS::SageMaker::ModelPackageGroup"),
    *("AWS::SageMaker::NotebookInstance", "AWS::DynamoDB::Table", "AWS::EFS::FileSystem", "AWS::RDS::DBInstance"),
    *("AWS::RDS::DBCluster", "AWS::SecretsManager::Secret", "AWS::SageMaker::FeatureGroup", "AWS::EC2::Volume"),
}
"""What is in them is gone with them, or, of a key, what it encrypted."""
ANSWERS = {"AWS::SageMaker::Endpoint", "AWS::SageMaker::InferenceComponent"}
"""While CloudFormation makes them anew nobody answers."""
KEEPS_RECORDS = {"AWS::Logs::LogGroup", "AWS::SNS::Topic", "AWS::SQS::Queue", "AWS::CloudWatch::Dashboard"}
"""Logs, subscriptions and messages are gone with them."""
GONE = {
    "AWS::CloudWatch::Alarm": "alarm.removed",
    "AWS::CloudWatch::CompositeAlarm": "alarm.removed",
    "AWS::Budgets::Budget": "alarm.removed",
    "AWS::EC2::FlowLog": "data.records",
    "AWS::ApplicationAutoScaling::ScalableTarget": "endpoint.smaller",
    "AWS::ApplicationAutoScaling::ScalingPolicy": "endpoint.smaller",
    "AWS::Scheduler::Schedule": "endpoint.schedule",
    "AWS::SNS::Subscription": "alarm.silent",
    "Custom::VpcRestrictDefaultSG": "network.default_group",
}
"""Types whose absence nobody notices until it is needed, with the rule for it."""
_SAID_ELSEWHERE = re.compile(r"AWS::IAM::.*|AWS::\w+::\w*Policy|AWS::\w+::\w*Permission")
"""Types whose absence is a matter of permissions."""
_ONE_EACH = {
    "AWS::ApplicationAutoScaling::ScalableTarget": "ResourceId",
    "AWS::S3::BucketPolicy": "Bucket",
}
"""Types that AWS knows by what they are about: there is no second one beside the old."""
NETWORK = {"AWS::EC2::VPC", "AWS::EC2::Subnet", "AWS::EC2::SecurityGroup", "AWS::EC2::VPCEndpoint"}
BY_DESIGN = {
    *("AWS::SageMaker::EndpointConfig", "AWS::SageMaker::Model", "AWS::Lambda::Version"),
    *("AWS::ApplicationAutoScaling::ScalingPolicy", "AWS::Lambda::Permission", "AWS::EC2::SecurityGroupIngress"),
    *("AWS::EC2::SecurityGroupEgress", "AWS::SageMaker::NotebookInstanceLifecycleConfig"),
}
"""These have no update: each change makes a new one beside the old, which goes afterwards."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One resource of one stack."""

    environment: str
    stack: str
    id: str
    type: str
    fate: Fate
    properties: tuple[str, ...] = ()
    """Which of its properties differ."""
    retained: bool = False
    fixed_name: str | None = None
    """The name that it has on AWS, where the template gives one."""

    @property
    def name(self) -> str:
        return f"{short(self.id)} ({self.type.removeprefix('AWS::')})"


def renamed_constructs(base: Stack, head: Stack) -> dict[str, str]:
    """Logical id in head → that in base, of resources that are the same but for their logical id (and for those of the
    others that were renamed with them)."""
    gone = {id_: one for id_, one in base.resources.items() if id_ not in head.resources}
    come = {id_: one for id_, one in head.resources.items() if id_ not in base.resources}
    ids = re.compile("|".join(sorted(map(re.escape, [*gone, *come]), key=len, reverse=True)) or r"(?!)")
    kinds = {id_: one["Type"] for id_, one in [*gone.items(), *come.items()]}

    def form(resource: Json) -> str:
        return ids.sub(lambda found: kinds[found[0]], json.dumps(resource, sort_keys=True))

    left: dict[str, list[str]] = {}
    for id_, resource in gone.items():
        left.setdefault(form(resource), []).append(id_)
    renamed = {}
    for id_, resource in come.items():
        if candidates := left.get(form(resource)):
            renamed[id_] = candidates.pop(0)
    return renamed


def with_base_ids(stack: Stack, renamed: dict[str, str]) -> Stack:
    """The stack with the logical ids that base has for the same things: so that a new name alone is no change."""
    if not renamed:
        return stack
    ids = re.compile("|".join(sorted(map(re.escape, renamed), key=len, reverse=True)))
    template = json.loads(ids.sub(lambda found: renamed[found[0]], json.dumps(stack.template)))
    return replace(stack, template=template)


def resource_changes(pairs: Sequence[tuple[Stack | None, Stack | None]], node_modules: Path) -> list[Change]:
    """All changes of resources, of pairs of a stack in base and in head."""
    empty: Json = {"Resources": {}}
    templates = [[one.template if one else empty for one in pair] for pair in pairs]
    done = subprocess.run(
        ["node", str(PROGRAM)],
        input=json.dumps(templates),
        capture_output=True,
        text=True,
        check=True,
        env={"NODE_PATH": str(node_modules), "PATH": _path()},
    )
    changes: list[Change] = []
    for (base, head), found in zip(pairs, json.loads(done.stdout), strict=True):
        one = head or base
        assert one is not None
        for resource in found:
            before = base.resources.get(resource["id"], {}) if base else {}
            after = head.resources.get(resource["id"], {}) if head else {}
            if base is not None and head is None:
                continue  # the whole stack: said once
            changes.append(_change(one, resource, before, after))
    return changes


def _path() -> str:
    import os

    return os.environ.get("PATH", os.defpath)


def _change(stack: Stack, found: Json, before: Json, after: Json) -> Change:
    fates: dict[str, Fate] = {
        "WILL_DESTROY": "destroyed",
        "WILL_ORPHAN": "orphaned",
        "WILL_REPLACE": "replaced",
        "MAY_REPLACE": "replaced",
        "WILL_CREATE": "added",
        "WILL_IMPORT": "added",
    }
    fate = fates.get(found["impact"], "updated")
    if not before:
        fate = "added"
    if fate == "destroyed" and before.get("DeletionPolicy", "Delete").startswith("Retain"):
        fate = "orphaned"
    names = [one["name"] for one in found["properties"]] + [other for other in found["others"] if other != "Type"]
    if fate == "replaced":
        names = [one["name"] for one in found["properties"] if "REPLACE" in one["impact"]] or names
    type_ = after.get("Type") or before.get("Type") or found["type"]
    return Change(
        environment=stack.environment,
        stack=stack.short_name,
        id=found["id"],
        type=type_,
        fate=fate,
        properties=tuple(names),
        retained=before.get("UpdateReplacePolicy" if fate == "replaced" else "DeletionPolicy", "Delete") == "Retain",
        fixed_name=fixed_name({"Type": type_, **(after or before)}, before),
    )


def fixed_name(resource: Json, before: Json) -> str | None:
    """The physical name, where the template gives a literal one, or none is free to choose, and it is as before."""
    kind = resource["Type"].split("::")[-1]
    for member in (f"{kind}Name", "Name", _ONE_EACH.get(resource["Type"], "")):
        name = resource.get("Properties", {}).get(member)
        is_given = isinstance(name, str) or (name is not None and resource["Type"] in _ONE_EACH)
        if is_given and before.get("Properties", {}).get(member, name) == name:
            return text(name)
    return None


def change_remarks(changes: Sequence[Change]) -> Iterator[Remark]:
    """What of the changes is more than a line in the list."""
    for change in changes:
        rule, what = _of(change)
        if rule is not None:
            yield Remark(rule=rule, environment=change.environment, stack=change.stack, what=what)
        if change.fate in ("replaced", "renamed") and change.fixed_name and change.type not in BY_DESIGN:
            taken = f"the name {short(change.fixed_name)}, which the old one still has"
            what = (
                f"{change.name} is made anew under {taken}: CloudFormation will refuse, or delete the new one with it"
            )
            yield Remark(rule="change.name_taken", environment=change.environment, stack=change.stack, what=what)


def _of(change: Change) -> tuple[str | None, str]:
    because = f" (because of {and_so(list(change.properties), 3)})" if change.properties else ""
    gone = change.fate in ("destroyed", "orphaned")
    match change.fate:
        case "destroyed" | "orphaned":
            left = "; it stays in the account, outside of any stack" if change.fate == "orphaned" else ""
            what = f"{change.name} is removed{left}"
        case "replaced":
            left = "the old one stays, outside of any stack" if change.retained else "the old one is deleted"
            what = f"{change.name} is replaced{because}: a new, empty one; {left}"
        case "renamed":
            left = "the old one stays, outside of any stack" if change.retained else "the old one is deleted"
            what = f"{change.name} has another logical id, so CloudFormation makes a new one: {left}"
        case _:
            return None, ""
    if change.type in HOLDS_DATA:
        return f"change.data_{'removed' if gone else 'replaced'}", what
    if change.type in ANSWERS:
        return (
            "change.endpoint_interrupted",
            what + "; requests fail meanwhile" if not gone else what + "; nobody answers afterwards",
        )
    if change.type in KEEPS_RECORDS:
        return "change.records_lost", what
    if change.type in NETWORK:
        return f"change.network_{'removed' if gone else 'replaced'}", what
    if change.type in BY_DESIGN:
        return None, ""
    if change.fate == "replaced":
        return "change.replaced", what
    if gone and change.type not in GONE and not _SAID_ELSEWHERE.fullmatch(change.type):
        return "change.removed", what
    return None, ""
