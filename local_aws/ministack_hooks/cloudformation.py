"""CloudFormation's resource types and conditions; `stacks` has what becomes of a whole stack."""

from collections.abc import Callable
from typing import Any

from ministack.services import iam
from ministack.services.cloudformation import changesets, handlers, provisioners, stacks

Properties = dict[str, Any]
Created = tuple[str, dict[str, Any]]  # physical id, attributes for Fn::GetAtt

threaded_types: set[str] = {"AWS::S3::Bucket"}  # beside all of AWS::SageMaker; see run_in_threads


def add_resource_type(
    name: str,
    *,
    create: Callable[[str, Properties, str], Created],
    update: Callable[[str, Properties, Properties, str, str], Created],
    delete: Callable[[str, Properties], None],
) -> None:
    """Let CloudFormation provision `name`. All three may block (see `run_in_threads`) and raise to fail the resource.

    create(logical id, properties, stack name); update(physical id, old properties, new properties, stack name, logical
    id), where another physical id than before means that the resource was replaced, and the old one will be deleted;
    delete(physical id, properties).
    """
    threaded_types.add(name)
    provisioners._RESOURCE_HANDLERS[name] = {
        "create": create,
        "update": update,
        "update_with_logical_id": True,
        "delete": delete,
    }


def physical_name(stack_name: str, logical_id: str, max_length: int = 63) -> str:
    """The generated name of a resource that has none: the same at each update, another for a replacement."""
    return str(provisioners._physical_name(stack_name, logical_id, max_len=max_length))


def run_in_threads() -> None:
    """Provision our types off the event loop: they call this same server and wait, and the loop must answer them."""
    is_threaded = stacks._runs_on_worker_thread

    def _runs_on_worker_thread(resource_type: str) -> bool:
        return resource_type in threaded_types or is_threaded(resource_type)

    stacks._runs_on_worker_thread = _runs_on_worker_thread


def join_in_conditions() -> None:
    """Let a template's conditions use Fn::Join, as CDK's bootstrap template does: ministack takes every such text for a
    filled one, so that the CDK's deployment roles come out with empty policies and trust."""
    evaluate = stacks._evaluate_conditions

    def _evaluate_conditions(template: dict[str, Any], params: dict[str, dict[str, Any]]) -> dict[str, bool]:
        joined = _joined(template.get("Conditions", {}), params)
        found: dict[str, bool] = evaluate({**template, "Conditions": joined}, params)
        return found

    for module in (stacks, handlers, changesets):
        module._evaluate_conditions = _evaluate_conditions


def _joined(value: Any, params: dict[str, dict[str, Any]]) -> Any:
    """`value` with every Fn::Join of texts and list parameters done."""
    if isinstance(value, list):
        return [_joined(member, params) for member in value]
    if not isinstance(value, dict):
        return value
    if "Fn::Join" not in value:
        return {key: _joined(member, params) for key, member in value.items()}
    between, parts = value["Fn::Join"]
    if isinstance(parts, dict):  # the Ref of a list
        given = str(params[parts["Ref"]]["Value"])
        return between.join(part.strip() for part in given.split(",")) if given else ""
    return between.join(str(params[part["Ref"]]["Value"]) if isinstance(part, dict) else part for part in parts)


def bound_roles() -> None:
    """Give an AWS::IAM::Role the boundary that its template names: ministack makes it without. Raises where IAM
    refuses the boundary, such as one that is not there; the role is then gone again."""
    ours = provisioners._RESOURCE_HANDLERS["AWS::IAM::Role"]
    create, update, remove = ours["create"], ours["update"], ours["delete"]

    def create_role(logical_id: str, properties: Properties, stack_name: str) -> Created:
        name, attributes = create(logical_id, properties, stack_name)
        try:
            _bound(name, None, properties.get("PermissionsBoundary"))
        except Exception:
            remove(name, properties)  # CloudFormation never learns its name: nobody else could
            raise
        return name, attributes

    def update_role(
        physical_id: str, old: Properties, new: Properties, stack_name: str, logical_id: str | None = None
    ) -> Created:
        name, attributes = update(physical_id, old, new, stack_name, logical_id)
        before = old.get("PermissionsBoundary") if name == physical_id else None
        _bound(name, before, new.get("PermissionsBoundary"))
        return name, attributes

    ours.update(create=create_role, update=update_role)


def _bound(role: str, before: str | None, after: str | None) -> None:
    if after == before:
        return
    if after is not None:
        if not iam._policy_exists(after):  # which ministack asks in strict mode only
            raise ValueError(f"NoSuchEntity: Scope ARN: {after} does not exist or is not attachable.")
        status, _, body = iam._put_role_permissions_boundary({"RoleName": role, "PermissionsBoundary": after})
    else:
        status, _, body = iam._delete_role_permissions_boundary({"RoleName": role})
    if status >= 400:
        raise ValueError(body.decode() if isinstance(body, bytes) else str(body))


def wrap_bucket(
    apply: Callable[[str, Properties, Properties], None], delete: Callable[[str, Properties], None]
) -> None:
    """Have `apply(bucket, old properties, new properties)` called after ministack made or updated an AWS::S3::Bucket,
    and `delete` in place of ministack's deletion."""
    ours = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]
    create, update, remove = ours["create"], ours["update"], ours["delete"]

    def create_bucket(logical_id: str, properties: Properties, stack_name: str) -> Created:
        name, attributes = create(logical_id, properties, stack_name)
        try:
            apply(name, {}, properties)
        except Exception:
            remove(name, properties)  # CloudFormation never learns its name: nobody else could
            raise
        return name, attributes

    def update_bucket(physical_id: str, old: Properties, new: Properties, stack_name: str) -> Created:
        name, attributes = update(physical_id, old, new, stack_name)
        apply(name, old if name == physical_id else {}, new)
        return name, attributes

    ours.update(create=create_bucket, update=update_bucket, delete=delete)
