"""Our own rules about SageMaker, as a cdk-nag pack: what AwsSolutions does not look at.

    cdk.Validations.of(app).add_plugins(SageMakerChecks(app))       # or: npx cdk synth -c nag=true

A resource that breaks one makes the synthesis fail, with the rule, the resource and the reason. The rules read what is
declared (properties of CloudFormation's own classes, and the pipelines' definitions), so they hold for stacks that
somebody else writes too.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import jsii
from cdk_nag import IApplyRule, NagMessageLevel, NagPack, NagRuleCompliance

from stacks.instance_types import has_local_disk

DIGEST = "@sha256:"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """`faults(kind, properties)` yields what is wrong with one resource, as CloudFormation spells its properties."""

    id: str
    info: str
    why: str
    faults: Callable[[str, Mapping[str, Any]], Iterator[str]]


# ---- the rules -------------------------------------------------------------------------------------------------------


def _jobs(kind: str, properties: Mapping[str, Any], *types: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The jobs that a pipeline starts: step name and request."""
    if kind != "Pipeline":
        return
    body = properties.get("PipelineDefinition", {}).get("PipelineDefinitionBody")
    definition = json.loads(body) if isinstance(body, str) else {"Steps": []}

    def steps(found: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for step in found:
            yield step
            if step["Type"] == "Condition":
                yield from steps([*step["Arguments"].get("IfSteps", []), *step["Arguments"].get("ElseSteps", [])])

    for step in steps(definition["Steps"]):
        if step["Type"] in types:
            yield step["Name"], step["Arguments"]


def _not_isolated(kind: str, properties: Mapping[str, Any]) -> Iterator[str]:
    if kind == "Model" and properties.get("EnableNetworkIsolation") is not True:
        yield "the model"
    for name, job in _jobs(kind, properties, "Training"):
        if job.get("EnableNetworkIsolation") is not True:
            yield name


def _in_clear_between_nodes(kind: str, properties: Mapping[str, Any]) -> Iterator[str]:
    for name, job in _jobs(kind, properties, "Training"):
        if job.get("EnableInterContainerTrafficEncryption") is not True:
            yield name
    for name, job in _jobs(kind, properties, "Processing"):
        several = job["ProcessingResources"]["ClusterConfig"]["InstanceCount"] != 1
        encrypted = job.get("NetworkConfig", {}).get("EnableInterContainerTrafficEncryption") is True
        if several and not encrypted:
            yield name


def _volume_without_key(kind: str, properties: Mapping[str, Any]) -> Iterator[str]:
    if kind == "NotebookInstance" and not properties.get("KmsKeyId"):
        yield "the notebook"
    if kind == "EndpointConfig" and not properties.get("KmsKeyId"):
        types = [variant.get("InstanceType") for variant in properties.get("ProductionVariants", [])]
        yield from (f"variant on {type_}" for type_ in types if type_ and not has_local_disk(type_))
    for name, job in _jobs(kind, properties, "Training", "Processing"):
        machines = job.get("ResourceConfig") or job.get("ProcessingResources", {}).get("ClusterConfig", {})
        type_ = machines.get("InstanceType")
        if isinstance(type_, str) and not has_local_disk(type_) and not machines.get("VolumeKmsKeyId"):
            yield name


def _output_without_key(kind: str, properties: Mapping[str, Any]) -> Iterator[str]:
    for name, job in _jobs(kind, properties, "Training"):
        if not job.get("OutputDataConfig", {}).get("KmsKeyId"):
            yield name
    for name, job in _jobs(kind, properties, "Processing"):
        output = job.get("ProcessingOutputConfig")
        if output and not output.get("KmsKeyId"):
            yield name
    if kind == "EndpointConfig":
        queue = properties.get("AsyncInferenceConfig", {}).get("OutputConfig")
        if queue and not queue.get("KmsKeyId"):
            yield "the queue's answers"


def _capture_without_key(kind: str, properties: Mapping[str, Any]) -> Iterator[str]:
    capture = properties.get("DataCaptureConfig") if kind == "EndpointConfig" else None
    if capture and not capture.get("KmsKeyId"):
        yield "captured requests"


def _image_by_tag(kind: str, properties: Mapping[str, Any]) -> Iterator[str]:
    """A package is what a model names: its image was checked when it was registered."""
    if kind == "Model":
        containers = [*properties.get("Containers", []), properties.get("PrimaryContainer") or {}]
    elif kind == "ModelPackage":
        containers = properties.get("InferenceSpecification", {}).get("Containers", [])
    else:
        return
    for container in containers:
        if "Image" in container and DIGEST not in str(container["Image"]):
            yield str(container["Image"])


def _without_end(kind: str, properties: Mapping[str, Any]) -> Iterator[str]:
    for name, job in _jobs(kind, properties, "Training", "Processing"):
        if "MaxRuntimeInSeconds" not in job.get("StoppingCondition", {}):
            yield name


def _spot_without_checkpoint(kind: str, properties: Mapping[str, Any]) -> Iterator[str]:
    for name, job in _jobs(kind, properties, "Training"):
        if job.get("EnableManagedSpotTraining") is True:
            if not job.get("CheckpointConfig", {}).get("S3Uri"):
                yield f"{name}, which has no checkpoint"
            if "MaxWaitTimeInSeconds" not in job.get("StoppingCondition", {}):
                yield f"{name}, which may wait for ever"


def _shared_roles(kind: str, properties: Mapping[str, Any]) -> Iterator[str]:
    seen: dict[str, str] = {}
    own = json.dumps(properties.get("RoleArn"))
    for name, job in _jobs(kind, properties, "Training", "Processing"):
        role = json.dumps(job.get("RoleArn"))
        if role == own or role == "null":
            yield f"{name}, with the pipeline"
        elif role in seen:
            yield f"{name}, with {seen[role]}"
        seen.setdefault(role, name)


def _open_notebook(kind: str, properties: Mapping[str, Any]) -> Iterator[str]:
    if kind != "NotebookInstance":
        return
    if properties.get("DirectInternetAccess") != "Disabled":
        yield "it is on the internet"
    if not properties.get("SubnetId") or not properties.get("SecurityGroupIds"):
        yield "it is in no network"
    if properties.get("RootAccess") != "Disabled":
        yield "people are root"
    metadata = properties.get("InstanceMetadataServiceConfiguration", {})
    if str(metadata.get("MinimumInstanceMetadataServiceVersion")) != "2":
        yield "its metadata service takes requests without a token"
    if not properties.get("LifecycleConfigName"):
        yield "nothing stops it when it is idle"


RULES = (
    Rule(
        id="Isolation",
        info="Training jobs and models are network-isolated",
        why="code of a model or a dependency could carry proteins out",
        faults=_not_isolated,
    ),
    Rule(
        id="InterNodeEncryption",
        info="Traffic between the instances of a job is encrypted",
        why="gradients and activations tell of the training set",
        faults=_in_clear_between_nodes,
    ),
    Rule(
        id="VolumeKey",
        info="Volumes have a KMS key, where SageMaker takes one",
        why="proteins and weights lie on them; instances with local disks encrypt those themselves",
        faults=_volume_without_key,
    ),
    Rule(
        id="OutputKey",
        info="What jobs and queues write has a KMS key",
        why="a bucket's default can be changed under a job",
        faults=_output_without_key,
    ),
    Rule(
        id="CaptureKey",
        info="Captured requests have a KMS key",
        why="they are people's sequences",
        faults=_capture_without_key,
    ),
    Rule(
        id="ImageDigest",
        info="Models and packages name their image by digest",
        why="a tag can be moved to other code",
        faults=_image_by_tag,
    ),
    Rule(
        id="MaxRuntime",
        info="Every job has a longest time to run",
        why="a job that hangs is paid for five days, or 28 with the quota for it",
        faults=_without_end,
    ),
    Rule(
        id="SpotCheckpoint",
        info="Spot training has checkpoints and a longest time to wait",
        why="an interruption would begin it anew",
        faults=_spot_without_checkpoint,
    ),
    Rule(
        id="OwnRole",
        info="No two jobs of a pipeline share a role, nor one with the pipeline",
        why="the rights of one would be those of the other",
        faults=_shared_roles,
    ),
    Rule(
        id="PrivateNotebook",
        info="Notebooks are private, without root, with IMDSv2, and stop when idle",
        why="a notebook is a shell with the right to proteins",
        faults=_open_notebook,
    ),
)


# ---- the pack --------------------------------------------------------------------------------------------------------


@jsii.implements(IApplyRule)
class _Applied:
    """One rule and one resource, as cdk-nag wants them."""

    def __init__(self, rule: Rule, node: cdk.CfnResource, properties: Mapping[str, Any]) -> None:
        self._rule, self._node, self._properties = rule, node, properties

    @property
    def rule_suffix_override(self) -> str:
        return self._rule.id

    @property
    def info(self) -> str:
        return f"{self._rule.info}."

    @property
    def explanation(self) -> str:
        return f"{self._rule.why[0].upper()}{self._rule.why[1:]}."

    @property
    def level(self) -> NagMessageLevel:
        return NagMessageLevel.ERROR

    @property
    def node(self) -> cdk.CfnResource:
        return self._node

    @jsii.member(jsii_name="rule")
    def rule(self, node: cdk.CfnResource) -> Any:
        """NagRuleCompliance, or what was found, each of which is reported."""
        found = [*self._rule.faults(node.cfn_resource_type.rpartition("::")[2], self._properties)]
        return found or NagRuleCompliance.COMPLIANT


def properties_of(node: cdk.CfnResource) -> Mapping[str, Any]:
    """What the template says of the resource, overrides included. Templates are written before packs look at them."""
    stack, stage = cdk.Stack.of(node), cdk.Stage.of(node)
    assert stage is not None, "every construct of an app lives in a stage"
    template = json.loads((Path(stage.outdir) / stack.template_file).read_text(encoding="utf-8"))
    found: Mapping[str, Any] = _flat(template["Resources"][stack.resolve(node.logical_id)].get("Properties", {}))
    return found


def _flat(value: Any) -> Any:
    """Joined text as text: references in it become ${…}, which is no JSON syntax inside of a JSON string."""
    if isinstance(value, list):
        return [_flat(one) for one in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Fn::Join"}:
        separator, parts = value["Fn::Join"]
        return separator.join(part if isinstance(part, str) else _reference(part) for part in parts)
    return {key: _flat(one) for key, one in value.items()}


def _reference(value: Any) -> str:
    return "${" + json.dumps(value).replace('"', "'") + "}"


class SageMakerChecks(NagPack):
    """The rules above, each under `SageMaker-<id>`, on every resource AWS::SageMaker::…"""

    def __init__(self, scope: cdk.App | None = None, **options: Any) -> None:
        super().__init__(scope, **options)
        self._pack_name = "SageMaker"

    @property
    def name(self) -> str:
        return "SageMaker"

    def _check_resource(self, node: Any) -> None:
        if node.cfn_resource_type.startswith("AWS::SageMaker::"):
            properties = properties_of(node)
            for rule in RULES:
                self._apply_rule(_Applied(rule, node, properties))  # type: ignore[arg-type]  # jsii wants properties, which ours are
