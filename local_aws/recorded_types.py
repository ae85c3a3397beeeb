"""CloudFormation types that local AWS keeps on record and does not act on: nothing behind them exists on this machine.

A stack that holds them deploys, updates, is replaced and goes as on AWS; what they would *do* does not happen, and
docs/real-account.md says so. One row a type; whoever gives a type a life takes its row away.

Types of SageMaker are held to what their creation takes, to its caller's rights, and to names being unique.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local_aws import authorization, store, validation
from local_aws.errors import SageMakerError, in_use
from local_aws.interrupted_stacks import about_to_touch
from local_aws.ministack_hooks.cloudformation import Created, Properties, add_resource_type, physical_name
from local_aws.ministack_hooks.requests import account, region
from local_aws.store import Scope

KIND = "recorded-resource"


@dataclass(frozen=True, kw_only=True)
class RecordedType:
    """`ref(name, properties, scope)` is what Ref gives; `attributes`, by their names, what Fn::GetAtt gives."""

    ref: Callable[[str, Properties, Scope], str] = lambda name, _properties, _scope: name
    attributes: dict[str, Callable[[str, Properties, Scope], str]]
    operation: str | None = None
    """That makes it on AWS, where local AWS holds its properties to that."""
    name_property: str = ""


def _random_id(prefix: str) -> Callable[[str, Properties, Scope], str]:
    return lambda _name, _properties, _scope: f"{prefix}-{uuid.uuid4().hex[:17]}"


def _of_sagemaker(kind: str, name_property: str) -> RecordedType:
    """Ref is the ARN, `name_property` the attribute that tells the name; names in ARNs are in lower case."""

    def named(name: str, properties: Properties) -> str:
        return str(properties.get(name_property, name))

    return RecordedType(
        ref=lambda name, properties, scope: scope.arn(f"{kind}/{named(name, properties).lower()}"),
        attributes={name_property: lambda physical_id, properties, _: named(physical_id.split("/")[-1], properties)},
        operation=f"Create{name_property.removesuffix('Name')}",
        name_property=name_property,
    )


TYPES: dict[str, RecordedType] = {
    "AWS::Budgets::Budget": RecordedType(
        ref=lambda name, properties, _scope: properties["Budget"].get("BudgetName", name), attributes={}
    ),
    "AWS::EC2::FlowLog": RecordedType(ref=_random_id("fl"), attributes={}),
    "AWS::SageMaker::NotebookInstance": _of_sagemaker("notebook-instance", "NotebookInstanceName"),
    "AWS::SageMaker::NotebookInstanceLifecycleConfig": _of_sagemaker(
        "notebook-instance-lifecycle-config", "NotebookInstanceLifecycleConfigName"
    ),
}


def install() -> None:
    for type_name, kind in TYPES.items():
        handler = _Handler(type_name, kind)
        add_resource_type(type_name, create=handler.create, update=handler.update, delete=handler.delete)


def recorded(scope: Scope, type_name: str) -> dict[str, Properties]:
    """Physical id → properties of every resource of a type."""
    records = store.current().all(scope, KIND)
    return {record["PhysicalId"]: record["Properties"] for record in records if record["Type"] == type_name}


class RecordingError(Exception):
    """A resource that AWS would not make; the message becomes the resource's status reason."""


class _Handler:
    """Keeps one type's resources, for the account and region of the stack that asks."""

    def __init__(self, type_name: str, kind: RecordedType) -> None:
        self._type_name, self._kind = type_name, kind

    def create(self, logical_id: str, properties: Properties, stack_name: str) -> Created:
        made_up = physical_name(stack_name, logical_id)
        physical_id = self._kind.ref(made_up, properties, _scope())
        self._check(made_up, properties)
        if self._kind.operation and store.current().get(_scope(), KIND, self._key(physical_id)) is not None:
            raise RecordingError(str(in_use(f"{physical_id} exists already.")))
        return self._put(physical_id, properties)

    def update(self, physical_id: str, _old: Properties, new: Properties, _stack: str, _logical_id: str) -> Created:
        self._check(physical_id.split("/")[-1], new)
        return self._put(physical_id, new)

    def delete(self, physical_id: str, _properties: Properties) -> None:
        if store.current().get(_scope(), KIND, self._key(physical_id)) is not None:
            store.current().delete(_scope(), KIND, self._key(physical_id))

    def _check(self, name: str, properties: Properties) -> None:
        """Raises RecordingError in the words of the operation that would make it."""
        if (operation := self._kind.operation) is None:
            return
        request = {self._kind.name_property: name} | dict(properties)
        try:
            authorization.check(_scope(), operation, request)
            validation.check(operation, request)
        except SageMakerError as error:
            told = f"{error} (Service: SageMaker, Operation: {operation}, Error Code: {error.code})"
            raise RecordingError(told) from error

    def _put(self, physical_id: str, properties: Properties) -> Created:
        about_to_touch(physical_id)
        record: dict[str, Any] = {"Type": self._type_name, "PhysicalId": physical_id, "Properties": properties}
        store.current().put(_scope(), KIND, self._key(physical_id), record)
        attributes = {name: value(physical_id, properties, _scope()) for name, value in self._kind.attributes.items()}
        return physical_id, attributes

    def _key(self, physical_id: str) -> str:
        return f"{self._type_name} {physical_id}"


def _scope() -> Scope:
    return Scope(account(), region())
