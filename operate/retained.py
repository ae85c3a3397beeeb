"""What an earlier deployment left behind by design, found again, so that the next one takes it over.

Storage and registry retain their key, buckets, model package group and image repository. Two of these have fixed names,
at which a new stack would collide; the others hold the models that the registry names, so that new ones beside them
would leave a release without its artefact. CloudFormation itself tells which they were: a deleted stack's events, which
it keeps for 90 days.
https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/import-resources-manually.html
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from operate import deployment
from operate.aws import Aws
from operate.cdk import Cdk

NEVER_MADE = "ROLLBACK_COMPLETE"
"""State of a stack whose creation failed: nothing can be deployed to it, and it holds nothing."""

DENIED = ("AccessDenied", "AccessDeniedException", "403")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A type that our stacks retain."""

    identifier: str
    """The property by which CloudFormation imports one."""
    look: Callable[[Aws, str], str]
    """look(aws, name or physical id) gives the identifier. Raises ClientError where there is none."""
    name: str | None = None
    """The property that holds a fixed name; None for a type with generated names."""


def _look_at_key(aws: Aws, key_id: str) -> str:
    if aws.client("kms").describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] in ("PendingDeletion", "Unavailable"):
        raise ClientError({"Error": {"Code": "NotFoundException", "Message": "it is being deleted"}}, "DescribeKey")
    return key_id


def _look_at_bucket(aws: Aws, name: str) -> str:
    aws.client("s3").head_bucket(Bucket=name)
    return name


def _look_at_repository(aws: Aws, name: str) -> str:
    aws.client("ecr").describe_repositories(repositoryNames=[name])
    return name


def _look_at_group(aws: Aws, name: str) -> str:
    group = aws.client("sagemaker").describe_model_package_group(ModelPackageGroupName=name)
    return group["ModelPackageGroupArn"]


KINDS = {
    "AWS::KMS::Key": Kind(identifier="KeyId", look=_look_at_key),
    "AWS::S3::Bucket": Kind(identifier="BucketName", look=_look_at_bucket),
    "AWS::ECR::Repository": Kind(identifier="RepositoryName", look=_look_at_repository, name="RepositoryName"),
    "AWS::SageMaker::ModelPackageGroup": Kind(
        identifier="ModelPackageGroupArn", look=_look_at_group, name="ModelPackageGroupName"
    ),
}


@dataclass(frozen=True, kw_only=True)
class LeftBehind:
    """What of one stack is still there while the stack is not."""

    path: str
    """The stack's path for the CDK command line, such as local/storage."""
    stack: str
    resources: dict[str, dict[str, str]]
    """Logical id → identifier, as `cdk import --resource-mapping` reads it."""
    needs: tuple[str, ...]
    """The paths of the stacks whose exports it reads: they are deployed before."""
    alone: tuple[str, ...]
    """What is there too and cannot be taken over, since something that it refers to is gone."""
    in_the_way: bool
    """Whether the remains of a failed creation have the stack's name: they go first."""


def take_over(cdk: Cdk, show: Callable[[str], None], say: Callable[[str], None]) -> None:
    """Bring what was left behind back into its stacks, before the environment is deployed from the same assembly.

    `show` is told what goes on, `say` what was done. Raises OperateError where the CDK's command line fails.
    """

    def deploy(stack: str) -> None:
        if cdk.aws.is_local:
            cdk.deploy(stack, lambda line: show(f"cdk deploy: {line}"), method="direct")
        else:  # its questions about permissions need the terminal
            cdk.deploy_in_the_open(stack)

    try:
        for left in find(cdk.aws, cdk.assembly):
            if left.in_the_way:
                cdk.destroy(left.path, lambda line: show(f"cdk destroy: {line}"))
            for stack in left.needs:
                deploy(stack)
            if left.resources:
                cdk.take_over(left.path, left.resources, lambda line: show(f"cdk import: {line}"))
                names = ", ".join(value for one in left.resources.values() for value in one.values())
                say(f"{left.stack} takes over what was retained of the one before: {names}")
            for identifier in left.alone:
                say(f"{identifier} is there too and stays by itself: something that it refers to is gone")
    except ClientError as error:
        if error.response["Error"]["Code"] not in DENIED:
            raise
        say(f"Nobody looked for what an earlier deployment retained: {error.response['Error']['Message']}")


def find(aws: Aws, assembly: Path) -> Iterator[LeftBehind]:
    """What of each stack was left behind, stacks in the order of their making; each is looked for when what was found
    before is done with. Raises ClientError where CloudFormation may not be asked."""
    made = stacks_of(aws, assembly)
    paths = {one.id: one.path for one in made.values()}
    for name in (f"amplify-{aws.environment.name}-{stack}" for stack in deployment.STACKS):
        if name in made and (found := _left_behind(aws, name, made[name], paths)):
            yield found


@dataclass(frozen=True, kw_only=True)
class Synthesised:
    """A stack of the cloud assembly."""

    id: str
    path: str
    """For the CDK's command line, such as local/storage."""
    needs: tuple[str, ...]
    """The ids of the stacks whose exports it reads."""
    template: Path

    @property
    def resources(self) -> dict[str, Any]:
        """Logical id → resource, as the template has it."""
        return json.loads(self.template.read_text(encoding="utf-8"))["Resources"]


def stacks_of(aws: Aws, assembly: Path) -> dict[str, Synthesised]:
    """Stack name → what the assembly has of this environment."""
    folder = assembly / f"assembly-{aws.environment.name}"
    artifacts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["artifacts"]
    stacks = {id: one for id, one in artifacts.items() if one["type"] == "aws:cloudformation:stack"}
    return {
        one["properties"]["stackName"]: Synthesised(
            id=id,
            path=one["displayName"],
            needs=tuple(need for need in one.get("dependencies", []) if need in stacks),
            template=folder / one["properties"]["templateFile"],
        )
        for id, one in stacks.items()
    }


def of_deleted(aws: Aws, stack: str) -> dict[str, tuple[str, str]]:
    """Logical id → (type, physical id) of what the deletions of this stack skipped, the latest one first asked."""
    cloudformation = aws.client("cloudformation")
    pages = cloudformation.get_paginator("list_stacks").paginate(StackStatusFilter=["DELETE_COMPLETE", NEVER_MADE])
    gone = [one for page in pages for one in page["StackSummaries"] if one["StackName"] == stack]
    gone.sort(key=lambda one: one.get("DeletionTime", one["CreationTime"]), reverse=True)
    found: dict[str, tuple[str, str]] = {}
    for one in gone:
        for page in cloudformation.get_paginator("describe_stack_events").paginate(StackName=one["StackId"]):
            for event in page["StackEvents"]:
                if event["ResourceStatus"] == "DELETE_SKIPPED" and event.get("PhysicalResourceId"):
                    kept = (event["ResourceType"], event["PhysicalResourceId"])
                    found.setdefault(event["LogicalResourceId"], kept)
    return found


def _left_behind(aws: Aws, stack: str, synthesised: Synthesised, paths: Mapping[str, str]) -> LeftBehind | None:
    resources = synthesised.resources
    wanted = {
        name: resource
        for name, resource in resources.items()
        if resource["Type"] in KINDS and resource.get("DeletionPolicy", "").startswith("Retain")
    }
    status = deployment.status_of(aws, stack)
    if not wanted or status not in (None, NEVER_MADE):
        return None
    skipped = of_deleted(aws, stack)
    there: dict[str, str] = {}
    for name, resource in wanted.items():
        told = skipped[name][1] if skipped.get(name, ("",))[0] == resource["Type"] else None
        if identifier := _identifier(aws, KINDS[resource["Type"]], resource["Properties"], told):
            there[name] = identifier
    if not there:
        return None
    taken = self_contained(resources, set(there))
    return LeftBehind(
        path=synthesised.path,
        stack=stack,
        resources={name: {KINDS[wanted[name]["Type"]].identifier: there[name]} for name in sorted(taken)},
        needs=tuple(paths[need] for need in synthesised.needs),
        alone=tuple(there[name] for name in sorted(there.keys() - taken)),
        in_the_way=status is not None,
    )


def _identifier(aws: Aws, kind: Kind, properties: Mapping[str, Any], told: str | None) -> str | None:
    """By which the one is imported that has the fixed name, or that CloudFormation told of; None where it is gone."""
    asked = properties[kind.name] if kind.name else told
    if asked is None:
        return None
    try:
        return kind.look(aws, asked)
    except ClientError as error:
        # Who may not look believes what was told; the import itself finds out.
        return told if error.response["Error"]["Code"] in DENIED else None


def self_contained(resources: Mapping[str, Any], chosen: set[str]) -> set[str]:
    """Those of `chosen` that refer to nothing else of their stack: an import makes nothing that they would need."""
    while True:
        kept = {name for name in chosen if not (_references(resources[name]) & resources.keys()) - chosen}
        if kept == chosen:
            return kept
        chosen = kept


def _references(value: Any) -> set[str]:
    """The names that a part of a template refers to."""
    if isinstance(value, list):
        return {name for member in value for name in _references(member)}
    if not isinstance(value, Mapping):
        return set()
    found = {name for member in value.values() for name in _references(member)}
    if isinstance(value.get("Ref"), str):
        found.add(value["Ref"])
    if isinstance(attribute := value.get("Fn::GetAtt"), list):
        found.add(attribute[0])
    if "Fn::Sub" in value:
        found |= set(re.findall(r"\$\{(\w+)[.}]", json.dumps(value["Fn::Sub"])))
    depends = value.get("DependsOn", [])
    return found | set([depends] if isinstance(depends, str) else depends)
