"""CloudFormation's work on a whole stack.

`follow` tells of each operation's moments; the rest is what a server needs that finds a stack which an earlier one was
still working on.
"""

import contextlib
import copy
import logging
from collections.abc import Awaitable, Collection, Iterator
from typing import Any, Protocol

import ministack.services.cloudformation as engine
from ministack.services.cloudformation import changesets, handlers, stacks

from local_aws.ministack_hooks.cloudformation import Properties
from local_aws.ministack_hooks.requests import request_scope

logger = logging.getLogger("local_aws")

Stack = dict[str, Any]
Operation = dict[str, Any]

OPERATION = "_local_aws_operation"  # member of a stack while it is worked on: all that rolling it back takes
RESTORED = ("_resources", "_template", "_template_body", "_resolved_params", "Parameters", "Tags", "Outputs")


class Follower(Protocol):
    """Told on the event loop, before anybody can see the stack in its new state; `touches` in the worker's thread."""

    def begun(self, stack: Stack) -> None:
        """An operation begins; nothing was made yet."""

    def touches(self, stack: Stack, logical_id: str, kind: str, new: Properties) -> None:
        """A resource whose type runs in threads is about to be made, or changed."""

    def provisioned(self, stack: Stack) -> None:
        """An update has made and changed everything. What follows is deleting what it replaced: no way leads back."""

    def ended(self, stack: Stack) -> None:
        """The operation is over, well or not."""


def follow(follower: Follower) -> None:
    """Have `follower` told of every stack that is created, updated, rolled back or deleted."""
    _follow_deployments(follower)
    _follow_deletions(follower)
    _follow_resources(follower)


def unfinished() -> list[tuple[str, str, Stack]]:
    """(account, region, stack) of each that is being worked on. One that waits for a change set's execution is not."""
    return [
        (account, region, stack)
        for (account, region, _), stack in list(engine._stacks._data.items())
        if stack["StackStatus"].endswith("_IN_PROGRESS") and stack["StackStatus"] != "REVIEW_IN_PROGRESS"
    ]


@contextlib.contextmanager
def scope_of(account: str, region: str) -> Iterator[None]:
    """Work on a stack of that account and region in this context."""
    with request_scope(account, region):
        yield


async def roll_back(stack: Stack, reason: str) -> None:
    """Send what the operation changed back to what it was, and delete what it made."""
    operation = stack.get(OPERATION) or _unknown_operation(stack)
    before = (operation.get("previous_stack") or {}).get("_resources", {})
    now = stack["_resources"]
    touched = [name for name in _in_order(operation, now) if now[name] != before.get(name)]
    await stacks._roll_back_operation(
        stack["StackName"], stack["StackId"], stack, {**operation, "created": touched}, reason_override=reason
    )
    _conclude(stack)


async def finish_update(stack: Stack) -> None:
    """Delete what an update replaced or dropped, all of whose resources are there."""
    operation = stack[OPERATION]
    before, now = operation["previous_stack"]["_resources"], stack["_resources"]
    for name in reversed(_in_order(operation, now)):
        old, kind = before.get(name), now[name]["ResourceType"]
        definition = operation["template"]["Resources"].get(name, {})
        replaced = old is not None and old["PhysicalResourceId"] != now[name]["PhysicalResourceId"]
        if replaced and definition.get("UpdateReplacePolicy", "Delete") == "Delete":
            arguments = (kind, old["PhysicalResourceId"], old["Properties"], stack["StackName"], name)
            try:
                await stacks.run_reentrant(stacks._delete_resource, *arguments)
            except Exception as error:  # as in ministack: what cannot be deleted does not fail the update
                logger.warning("%s of stack %s, which was replaced, stays: %s", name, stack["StackName"], error)
    # All resources are as they should be: this finds nothing to do but to delete what was dropped, and the outputs.
    await stacks._deploy_stack_async(
        stack["StackName"],
        stack["StackId"],
        operation["template"],
        operation["param_values"],
        False,
        stack["Tags"],
        is_update=True,
        previous_stack={**operation["previous_stack"], "_resources": copy.deepcopy(now)},
    )
    _conclude(stack)


async def finish_deletion(stack: Stack) -> None:
    operation = stack.get(OPERATION, {})
    retained = frozenset(operation.get("retained", ()))
    await stacks._delete_stack_async(stack["StackName"], stack["StackId"], retained, operation.get("force", False))
    _conclude(stack)


def _follow_deployments(follower: Follower) -> None:
    deploy, roll_back, outputs = (
        stacks._deploy_stack_async,
        stacks._roll_back_operation,
        stacks._resolve_stack_outputs,
    )

    def _deploy_stack_async(
        stack_name: str,
        stack_id: str,
        template: Any,
        param_values: Any,
        disable_rollback: bool,
        tags: Any,
        is_update: bool = False,
        previous_stack: Any = None,
        retain_except_on_create: bool = False,
        imports: Any = None,
    ) -> Awaitable[None]:
        stack = engine._stacks[stack_name]
        kept = (template, param_values, retain_except_on_create, stack["Tags"], (previous_stack or {}).get("Tags", []))
        stack[OPERATION] = stacks._failed_operation(
            is_update, previous_stack, [], None, None, [], False, *kept, imports
        )
        follower.begun(stack)  # while the request is still being answered
        given = (template, param_values, disable_rollback, tags, is_update, previous_stack, retain_except_on_create)
        return _told(stack, deploy(stack_name, stack_id, *given, imports), follower)

    def _roll_back_operation(
        stack_name: str, stack_id: str, stack: Stack, operation: Operation, reason_override: str = ""
    ) -> Awaitable[None]:
        stack[OPERATION] = operation
        follower.begun(stack)
        return _told(stack, roll_back(stack_name, stack_id, stack, operation, reason_override), follower)

    def _resolve_stack_outputs(*arguments: Any) -> Any:
        resolved = outputs(*arguments)
        stack = engine._stacks.get(arguments[-2]) or {}
        if stack.get(OPERATION, {}).get("is_update"):
            stack[OPERATION]["provisioned"] = True
            follower.provisioned(stack)
        return resolved

    stacks._resolve_stack_outputs = _resolve_stack_outputs
    handlers._deploy_stack_async = changesets._deploy_stack_async = _deploy_stack_async
    handlers._roll_back_operation = _roll_back_operation


def _follow_deletions(follower: Follower) -> None:
    delete = stacks._delete_stack_async

    async def _delete_stack_async(
        stack_name: str, stack_id: str, retain_resources: Collection[str] = (), force: bool = False
    ) -> None:
        if stack := engine._stacks.get(stack_name):
            stack["StackStatus"] = "DELETE_IN_PROGRESS"
            stack[OPERATION] = {"retained": sorted(retain_resources), "force": force}
            follower.begun(stack)
            await _told(stack, delete(stack_name, stack_id, retain_resources, force), follower)

    handlers._delete_stack_async = _delete_stack_async


def _follow_resources(follower: Follower) -> None:
    provision, update = stacks._provision_resource, stacks._update_resource

    def tell(stack_name: str, logical_id: str, kind: str, new: Properties) -> None:
        stack = engine._stacks.get(stack_name)
        if stack is not None and stacks._runs_on_worker_thread(kind) and "ROLLBACK" not in stack["StackStatus"]:
            follower.touches(stack, logical_id, kind, new)

    def _provision_resource(resource_type: str, logical_id: str, props: Properties, stack_name: str) -> Any:
        tell(stack_name, logical_id, resource_type, props)
        return provision(resource_type, logical_id, props, stack_name)

    def _update_resource(
        resource_type: str,
        physical_id: str,
        old_props: Properties,
        new_props: Properties,
        stack_name: str,
        logical_id: str,
        old_attrs: Any = None,
    ) -> Any:
        if old_props != new_props:
            tell(stack_name, logical_id, resource_type, new_props)
        return update(resource_type, physical_id, old_props, new_props, stack_name, logical_id, old_attrs)

    stacks._provision_resource = _provision_resource
    stacks._update_resource = _update_resource


async def _told(stack: Stack, work: Awaitable[None], follower: Follower) -> None:
    await work
    _conclude(stack)
    follower.ended(stack)


def _conclude(stack: Stack) -> None:
    """Nobody works on it any more; the change set that it was working on, if there is one, is through."""
    stack.pop(OPERATION, None)
    done = stack["StackStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
    for change_set in engine._change_sets.values():
        if change_set.get("StackId") == stack["StackId"] and change_set["ExecutionStatus"] == "EXECUTE_IN_PROGRESS":
            change_set["ExecutionStatus"] = "EXECUTE_COMPLETE" if done else "EXECUTE_FAILED"


def _in_order(operation: Operation, resources: Collection[str]) -> list[str]:
    """Those of the template that are in `resources`, each after those it needs."""
    template, values = operation["template"], operation["param_values"]
    ordered = stacks._topological_sort(template.get("Resources", {}), stacks._evaluate_conditions(template, values))
    return [name for name in ordered if name in resources]


def _unknown_operation(stack: Stack) -> Operation:
    """Of a stack that was being worked on in a way that is not followed, such as an import: it keeps what it has."""
    is_update = not stack["StackStatus"].startswith(("CREATE", "ROLLBACK"))
    kept = {key: copy.deepcopy(stack[key]) for key in RESTORED if key in stack}
    template, values = stack.get("_template") or {}, stack.get("_resolved_params") or {}
    operation: Operation = stacks._failed_operation(
        is_update, kept if is_update else None, [], None, None, [], False, template, values, False, [], []
    )
    return operation
