"""The SageMaker types of CloudFormation: create, update in place or by replacement, delete; failures as AWS tells them.

A type is a row of `TYPES` and the words of its API. What CloudFormation adds to the API is here: numbers that come as
text, names it generates, waiting until an endpoint serves, and leaving nothing behind where a creation failed, because
CloudFormation never learns the name of what it could not create.
"""

import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_aws import api, store, validation
from local_aws.errors import SageMakerError
from local_aws.interrupted_stacks import about_to_touch
from local_aws.ministack_hooks.cloudformation import Created, Properties, add_resource_type, physical_name
from local_aws.ministack_hooks.requests import account, region
from local_aws.store import Scope

POLL_SECONDS = 0.2
BUSY = {"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"}
LONGEST_NAME = 63
OF_UPDATES_ONLY = ("RetainAllVariantProperties", "ExcludeRetainedVariantProperties", "RetainDeploymentConfig")


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """One type: `noun` as in Create<noun>; `updates` lists the properties that change in place, beside Tags.

    `ref` and `attributes` are members of Describe<noun>'s answer: what Ref gives, and what Fn::GetAtt may ask for.
    """

    noun: str
    ref: str
    attributes: tuple[str, ...]
    updates: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The member that holds a resource's name."""
        return f"{self.noun}Name"

    @property
    def arn(self) -> str:
        return f"{self.noun}Arn"


# https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_SageMaker.html
TYPES = (
    ResourceType(noun="Model", ref="ModelArn", attributes=("ModelName",)),
    ResourceType(noun="EndpointConfig", ref="EndpointConfigArn", attributes=("EndpointConfigName",)),
    ResourceType(
        noun="Endpoint",
        ref="EndpointArn",
        attributes=("EndpointName",),
        updates=(
            "EndpointConfigName",
            "DeploymentConfig",
            "RetainAllVariantProperties",
            "ExcludeRetainedVariantProperties",
            "RetainDeploymentConfig",
        ),
    ),
    ResourceType(
        noun="Pipeline",
        ref="PipelineName",
        attributes=(),
        updates=(
            "PipelineDefinition",
            "PipelineDescription",
            "PipelineDisplayName",
            "ParallelismConfiguration",
            "RoleArn",
        ),
    ),
    ResourceType(
        noun="ModelPackageGroup",
        ref="ModelPackageGroupArn",
        attributes=("ModelPackageGroupArn", "ModelPackageGroupStatus", "CreationTime"),
        updates=("ModelPackageGroupPolicy",),
    ),
)


class ProvisioningError(Exception):
    """A resource that CloudFormation cannot make, change or delete; the message is the event's reason."""


def install() -> None:
    for kind in TYPES:
        handler = _Handler(kind)
        add_resource_type(
            f"AWS::SageMaker::{kind.noun}", create=handler.create, update=handler.update, delete=handler.delete
        )


class _Handler:
    """Provisions one type, for the account and region of the stack that asks."""

    def __init__(self, kind: ResourceType) -> None:
        self._kind = kind

    def create(self, logical_id: str, properties: Properties, stack_name: str) -> Created:
        """Make it and wait until it serves. A failure leaves nothing behind. Raises ProvisioningError."""
        kind = self._kind
        name = properties.get(kind.name) or physical_name(stack_name, logical_id, LONGEST_NAME)
        if not self._exists(name):  # a resource of somebody else's is refused in a moment, and not ours to undo
            about_to_touch(name)
        self._call(f"Create{kind.noun}", properties | {kind.name: name})
        try:
            self._put_policy(name, properties)
            self._wait(name)
        except ProvisioningError:
            self.delete(name, properties)
            raise
        return self._created(name)

    def update(self, physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str) -> Created:
        """Change in place what AWS changes in place; replace for anything else. Raises ProvisioningError."""
        kind, name = self._kind, _name(physical_id)
        changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        if changed - {*kind.updates, "Tags"}:
            return self._replace(name, new, stack_name, logical_id)
        about_to_touch(name)
        if "Tags" in changed:
            self._tag(name, old.get("Tags", []), new.get("Tags", []))
        if "ModelPackageGroupPolicy" in changed:
            self._put_policy(name, new)
        elif changed - {"Tags"} and not self._serves_already(name, changed, new):
            in_place = {key: value for key, value in new.items() if key in kind.updates}
            self._call(f"Update{kind.noun}", {kind.name: name, **in_place})
            self._wait(name)
        return self._created(name)

    def delete(self, physical_id: str, _properties: Properties) -> None:
        """Delete it and wait until it is gone; content where it is gone already. Raises ProvisioningError."""
        name = _name(physical_id)
        if self._describe(name) is None:
            return
        self._call(f"Delete{self._kind.noun}", {self._kind.name: name})
        while self._describe(name) is not None:
            time.sleep(POLL_SECONDS)

    def _replace(self, name: str, new: Properties, stack_name: str, logical_id: str) -> Created:
        """A new one beside the old: CloudFormation deletes that one when the whole update is done."""
        given = new.get(self._kind.name)
        if given == name:
            raise ProvisioningError(
                f"CloudFormation cannot update a stack when a custom-named resource requires replacing. "
                f"Rename {name} and update the stack again."
            )
        # A generated name follows from stack and logical id: the successor needs another one.
        another = f"{physical_name(stack_name, logical_id, LONGEST_NAME - 9)}-{uuid.uuid4().hex[:8]}"
        return self.create(logical_id, {**new, self._kind.name: given or another}, stack_name)

    def _created(self, name: str) -> Created:
        described = self._describe(name)
        if described is None:
            raise ProvisioningError(f"{self._kind.noun} {name} was deleted while CloudFormation made it.")
        return str(described[self._kind.ref]), {key: str(described[key]) for key in self._kind.attributes}

    def _wait(self, name: str) -> None:
        """Until an endpoint serves what it was told to. Raises ProvisioningError where it does not come to that."""
        if self._kind.noun != "Endpoint":
            return
        while (endpoint := self._describe(name)) and endpoint["EndpointStatus"] in BUSY:
            time.sleep(POLL_SECONDS)
        if endpoint is None:
            raise ProvisioningError(f"Endpoint {name} was deleted while CloudFormation waited for it.")
        # After a failed update the old configuration serves on, InService: the reason is what tells.
        if endpoint["EndpointStatus"] != "InService" or "FailureReason" in endpoint:
            raise ProvisioningError(f"{endpoint.get('FailureReason', endpoint['EndpointStatus'])} (endpoint {name})")

    def _serves_already(self, name: str, changed: set[str], wanted: Properties) -> bool:
        """Whether there is nothing to do for an endpoint: how it is updated is no state of it, and after an interrupted
        update it goes back to its configuration by itself."""
        if self._kind.noun != "Endpoint" or "EndpointConfigName" not in changed:
            return self._kind.noun == "Endpoint"
        while (endpoint := self._describe(name)) and endpoint["EndpointStatus"] in BUSY:
            time.sleep(POLL_SECONDS)
        asked = (wanted["EndpointConfigName"], "InService")
        return endpoint is not None and (endpoint["EndpointConfigName"], endpoint["EndpointStatus"]) == asked

    def _put_policy(self, name: str, properties: Properties) -> None:
        if self._kind.noun != "ModelPackageGroup":
            return
        if policy := properties.get("ModelPackageGroupPolicy"):
            text = policy if isinstance(policy, str) else json.dumps(policy)
            self._call("PutModelPackageGroupPolicy", {self._kind.name: name, "ResourcePolicy": text})
        else:
            self._call("DeleteModelPackageGroupPolicy", {self._kind.name: name})

    def _tag(self, name: str, old: list[dict[str, str]], new: list[dict[str, str]]) -> None:
        arn = (self._describe(name) or {})[self._kind.arn]
        kept = {tag["Key"] for tag in new}
        if gone := [tag["Key"] for tag in old if tag["Key"] not in kept]:
            self._call("DeleteTags", {"ResourceArn": arn, "TagKeys": gone})
        if new:
            self._call("AddTags", {"ResourceArn": arn, "Tags": new})

    def _exists(self, name: str) -> bool:
        """Looked up, not asked for: the stack's role needs no right for what only local AWS wants to know."""
        kind = re.sub(r"(?<!^)([A-Z])", r"-\1", self._kind.noun).lower()
        return store.current().get(_scope(), kind, name) is not None

    def _describe(self, name: str) -> dict[str, Any] | None:
        """None where there is none."""
        try:
            return api.call(_scope(), f"Describe{self._kind.noun}", {self._kind.name: name})
        except SageMakerError as error:
            if error.code in ("ResourceNotFound", "ValidationException"):
                return None
            raise

    def _call(self, operation: str, properties: Mapping[str, Any]) -> None:
        """Do an operation with those of the properties that it takes. Raises ProvisioningError in AWS's words."""
        try:
            api.call(_scope(), operation, _request(operation, properties))
        except SageMakerError as error:
            raise ProvisioningError(
                f"{error} (Service: SageMaker, Operation: {operation}, Error Code: {error.code})"
            ) from error


def _request(operation: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """The operation's request from a resource's properties.

    Raises ProvisioningError on a property that the operation does not know: dropping it would deploy something else.
    """
    shape = validation.operation(operation).input_shape
    assert shape is not None, "each of these operations takes something"
    known = dict(properties)
    known.pop("ModelPackageGroupPolicy", None)  # an operation of its own
    if operation == "CreateEndpoint":
        for name in OF_UPDATES_ONLY:
            known.pop(name, None)
    if definition := known.pop("PipelineDefinition", None):
        known |= _definition(definition)
    if "ClientRequestToken" in shape.required_members:
        known["ClientRequestToken"] = uuid.uuid4().hex
    if unknown := known.keys() - shape.members.keys():
        raise ProvisioningError(
            f"Encountered unsupported property {', '.join(sorted(unknown))} for {operation}; "
            f"known are {', '.join(shape.members)}"
        )
    converted: dict[str, Any] = validation.convert(shape, known)
    return converted


def _definition(definition: Any) -> dict[str, Any]:
    """A pipeline's definition as the API takes it: inline as text, or where it lies in S3."""
    if isinstance(definition, str):
        return {"PipelineDefinition": definition}
    if "PipelineDefinitionBody" in definition:
        return {"PipelineDefinition": definition["PipelineDefinitionBody"]}
    if "PipelineDefinitionS3Location" in definition:
        location = dict(definition["PipelineDefinitionS3Location"])
        key = {"ObjectKey": location.pop("Key")} if "Key" in location else {}
        version = {"VersionId": location.pop("Version")} if "Version" in location else {}
        return {"PipelineDefinitionS3Location": {**location, **key, **version}}
    return {"PipelineDefinition": json.dumps(definition)}


def _name(physical_id: str) -> str:
    """A resource's name, where the physical id is its ARN and where it is the name itself."""
    return physical_id.rpartition("/")[2]


def _scope() -> Scope:
    return Scope(account(), region())
