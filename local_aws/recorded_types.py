"""CloudFormation types that local AWS keeps on record and does not act on: nothing behind them exists on this machine.

A stack that holds them deploys, updates, is replaced and goes as on AWS; what they would *do* does not happen, and
docs/real-account.md says so. One row a type; whoever gives a type a life takes its row away.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local_aws import store
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


def _random_id(prefix: str) -> Callable[[str, Properties, Scope], str]:
    return lambda _name, _properties, _scope: f"{prefix}-{uuid.uuid4().hex[:17]}"


def _of_sagemaker(kind: str, name_property: str) -> RecordedType:
    """Ref is the ARN, `name_property` the attribute that tells the name; names in ARNs are in lower case."""

    def named(name: str, properties: Properties) -> str:
        return str(properties.get(name_property, name))

    return RecordedType(
        ref=lambda name, properties, scope: scope.arn(f"{kind}/{named(name, properties).lower()}"),
        attributes={name_property: lambda physical_id, properties, _: named(physical_id.split("/")[-1], properties)},
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


class _Handler:
    """Keeps one type's resources, for the account and region of the stack that asks."""

    def __init__(self, type_name: str, kind: RecordedType) -> None:
        self._type_name, self._kind = type_name, kind

    def create(self, logical_id: str, properties: Properties, stack_name: str) -> Created:
        name = self._kind.ref(physical_name(stack_name, logical_id), properties, _scope())
        return self._put(name, properties)

    def update(self, physical_id: str, _old: Properties, new: Properties, _stack: str, _logical_id: str) -> Created:
        return self._put(physical_id, new)

    def delete(self, physical_id: str, _properties: Properties) -> None:
        if store.current().get(_scope(), KIND, self._key(physical_id)) is not None:
            store.current().delete(_scope(), KIND, self._key(physical_id))

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
