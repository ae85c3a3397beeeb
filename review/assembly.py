"""A cloud assembly as the review reads it: environments, stacks, templates, and nothing that changes without meaning.

Gone are: metadata, the CDK's check of the bootstrap version, hashes of assets, the order of what has no order, and the
order of keys in JSON texts (the bodies of pipelines and dashboards).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from review.words import plain, text

Json = dict[str, Any]

ASSET = "<asset>"
_HASH = re.compile(r"(?<!sha256:)\b[0-9a-f]{64}\b")  # a digest is pinned on purpose; an asset's name says only "code"
_BOILERPLATE = ("Parameters", "Rules", "Metadata")
_BODIES = ("PipelineDefinitionBody", "DashboardBody")
_WITHOUT_ORDER = {
    *("Action", "NotAction", "Resource", "NotResource", "Statement", "AWS", "Service", "Federated"),
    *("Tags", "Roles", "Users", "Groups", "ManagedPolicyArns", "DependsOn", "AlarmActions", "OKActions", "Dimensions"),
    *("Subnets", "SubnetIds", "SecurityGroupIds", "RouteTableIds", "SecurityGroupIngress", "SecurityGroupEgress"),
    *("EnvironmentVariables", "Rules", "Alarms", "ExcludeRetainedVariantProperties", "Topics", "Queues", "Metrics"),
}


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One stack of one environment."""

    id: str
    """`<env>/<stack>`."""
    name: str
    account: str
    region: str
    termination_protection: bool
    deployed_by: Mapping[str, str] = field(default_factory=dict)
    """The roles that deploy it, for any account and region."""
    template: Json
    raw: Json
    """As the CDK wrote it: what CloudFormation gets."""

    @property
    def environment(self) -> str:
        return self.id.split("/", 1)[0]

    @property
    def short_name(self) -> str:
        return self.id.split("/", 1)[-1]

    @property
    def resources(self) -> dict[str, Json]:
        return self.template.get("Resources", {})

    def of_type(self, *types: str) -> dict[str, Json]:
        """Logical id → properties of the resources of these types."""
        return {id_: one.get("Properties", {}) for id_, one in self.resources.items() if one["Type"] in types}


@dataclass(frozen=True, kw_only=True)
class PackFinding:
    """What a policy pack says of one construct."""

    pack: str
    rule: str
    path: str
    description: str = ""
    severity: str = "error"
    reason: str = ""
    """Why the project accepts it; empty where it does not say."""


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """Everything that one side's synthesis said."""

    stacks: dict[str, Stack]
    assets: dict[str, str]
    """What the asset is → its hash."""
    settings: dict[str, Json] = field(default_factory=dict)
    """Environment → its settings in environments.py, as plain data."""
    pins: dict[str, Json] = field(default_factory=dict)
    """File name without ending → the release pin as committed."""
    stand_ins: frozenset[str] = frozenset()
    """Environments without a release, which got a stand-in so that their endpoint can be reviewed."""
    findings: frozenset[PackFinding] = frozenset()
    reasons: tuple[tuple[str, str, str], ...] = ()
    """Where, which finding, why it is accepted: rows that the project's own tests hold."""


def read_assembly(folder: Path) -> Assembly:
    """The assembly that review/synthesise.py left in `folder`."""
    stacks: dict[str, Stack] = {}
    assets: dict[str, str] = {}
    for manifest in sorted(folder.glob("assembly-*/manifest.json")):
        for artifact in json.loads(manifest.read_text(encoding="utf-8"))["artifacts"].values():
            if artifact["type"] == "aws:cloudformation:stack":
                stack = _stack(artifact, manifest.parent)
                stacks[stack.id] = stack
        for listing in sorted(manifest.parent.glob("*.assets.json")):
            for hash_, file in json.loads(listing.read_text(encoding="utf-8")).get("files", {}).items():
                if not str(file["source"]["path"]).endswith(".template.json"):
                    name = str(file.get("displayName") or hash_)
                    assets[f"{manifest.parent.name.removeprefix('assembly-')}: {name}"] = hash_
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8")) if (folder / "facts.json").exists() else {}
    return Assembly(
        stacks=stacks,
        assets=assets,
        settings=facts.get("settings", {}),
        pins=facts.get("pins", {}),
        stand_ins=frozenset(facts.get("stand_ins", [])),
        findings=frozenset(PackFinding(**found) for found in facts.get("findings", [])),
        reasons=tuple((where, finding, why) for where, finding, why in facts.get("reasons", [])),
    )


def _stack(artifact: Json, folder: Path) -> Stack:
    properties = artifact["properties"]
    account, region = artifact["environment"].removeprefix("aws://").split("/")
    template = json.loads((folder / properties["templateFile"]).read_text(encoding="utf-8"))
    return Stack(
        id=artifact["displayName"],
        name=properties.get("stackName", artifact["displayName"]),
        account=account,
        region=region,
        termination_protection=bool(properties.get("terminationProtection", False)),
        deployed_by={
            name: str(role).replace(account, "<account>").replace(region, "<region>")
            for name in ("assumeRoleArn", "cloudFormationExecutionRoleArn")
            if (role := properties.get(name))
        },
        template=normalised(template),
        raw=template,
    )


def normalised(template: Json) -> Json:
    """The template without noise."""
    kept = {key: value for key, value in template.items() if key not in _BOILERPLATE}
    kept["Resources"] = {
        id_: {key: value for key, value in resource.items() if key != "Metadata"}
        for id_, resource in template.get("Resources", {}).items()
        if resource["Type"] != "AWS::CDK::Metadata"
    }
    cleaned: Json = _clean(kept)
    return cleaned


def _clean(value: Any, key: str = "") -> Any:
    if key in _BODIES:
        return _canonical_json(text(value))
    if isinstance(value, str):
        return _HASH.sub(ASSET, value)
    if isinstance(value, list):
        items = [_clean(item) for item in value]
        return sorted(items, key=_order) if key in _WITHOUT_ORDER else items
    if isinstance(value, dict):
        return {name: _clean(value[name], name) for name in sorted(value)}
    return value


def _canonical_json(body: str) -> str:
    try:
        return _HASH.sub(ASSET, json.dumps(json.loads(body), sort_keys=True))
    except json.JSONDecodeError:
        return _HASH.sub(ASSET, body)


def _order(item: Any) -> str:
    return json.dumps(plain(item), sort_keys=True)
