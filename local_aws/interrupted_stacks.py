"""Stacks that survive their server, ended at any moment: each is as it was before an operation or as it is after it.

Our own resources are on the disk the moment they are made, ministack's tables a moment later. So an operation is
written down before it begins and before anybody can see that it ended, and each of our resources before it is touched
(`_Journal`). A server that finds an operation in its midst settles it before it answers anybody: a creation or an
update is rolled back; a deletion, and an update that is past the point where that is possible, are carried on. AWS
never stops in the midst: a server that does must not leave what AWS's users never see.
"""

import contextvars
import logging
import time
from collections.abc import Callable

from local_aws import store
from local_aws.ministack_hooks import stacks
from local_aws.ministack_hooks.cloudformation import Properties
from local_aws.ministack_hooks.requests import account, region
from local_aws.ministack_hooks.stacks import Stack
from local_aws.store import Scope

logger = logging.getLogger("local_aws")

KIND = "touched-by-stack"
REASON = "Local AWS stopped during the operation"

_touched: contextvars.ContextVar[str] = contextvars.ContextVar("touched")  # the record's name


def install(save: Callable[[], None]) -> None:
    """Follow every stack. `save` writes all of ministack's tables at once, on the event loop."""
    stacks.follow(_Journal(save))


def about_to_touch(physical_id: str) -> None:
    """For a type's handler, before it makes a resource, which does not exist yet, or changes the one it has."""
    name = _touched.get(None)
    if name is not None and store.current().get(_scope(), KIND, name):
        store.current().change(_scope(), KIND, name, PhysicalResourceId=physical_id)


async def settle() -> None:
    """See to it that nothing is in the midst of something. Never raises: what cannot be settled is in the log."""
    written = list(store.current().everywhere(KIND))
    for account_id, region_name, stack in stacks.unfinished():
        with stacks.scope_of(account_id, region_name):
            try:
                await _settle(stack)
            except Exception:
                logger.exception("stack %s, which was %s, cannot be settled", stack["StackName"], stack["StackStatus"])
    for scope, name, _ in written:
        store.current().delete(scope, KIND, name)


async def _settle(stack: Stack) -> None:
    before = stack["StackStatus"]
    _complete(stack)
    if before.startswith("DELETE"):
        await stacks.finish_deletion(stack)
    elif before == "UPDATE_IN_PROGRESS" and stack.get(stacks.OPERATION, {}).get("provisioned"):
        await stacks.finish_update(stack)
    else:
        await stacks.roll_back(stack, REASON)
    logger.warning("stack %s was %s when local AWS stopped: %s", stack["StackName"], before, stack["StackStatus"])


def _complete(stack: Stack) -> None:
    """What the tables do not know yet of our own resources, the journal does."""
    for record in store.current().all(_scope(), KIND):
        if record["StackId"] == stack["StackId"] and record["PhysicalResourceId"]:
            known = stack["_resources"].get(record["LogicalResourceId"], {"Attributes": {}})
            if _name(known.get("PhysicalResourceId", "")) == _name(record["PhysicalResourceId"]):
                record = {**record, "PhysicalResourceId": known["PhysicalResourceId"]}
            stack["_resources"][record["LogicalResourceId"]] = {**known, **record}


def _name(physical_id: str) -> str:
    """A resource's name, where the physical id is its ARN and where it is the name itself."""
    return physical_id.rpartition("/")[2]


class _Journal:
    """Writes down what a stack's operation does, on the disk before it is done."""

    def __init__(self, save: Callable[[], None]) -> None:
        self._save = save

    def begun(self, _stack: Stack) -> None:
        self._save()

    def touches(self, stack: Stack, logical_id: str, kind: str, new: Properties) -> None:
        name = f"{stack['StackId']} {logical_id}"
        record = {"StackId": stack["StackId"], "LogicalResourceId": logical_id, "ResourceType": kind}
        record |= {"PhysicalResourceId": None, "Properties": new, "ResourceStatus": "", "Timestamp": ""}
        store.current().put(_scope(), KIND, name, {**record, "CreationTime": time.time()})
        _touched.set(name)

    def provisioned(self, _stack: Stack) -> None:
        self._save()

    def ended(self, stack: Stack) -> None:
        self._save()
        for record in store.current().all(_scope(), KIND):
            if record["StackId"] == stack["StackId"]:
                store.current().delete(_scope(), KIND, f"{stack['StackId']} {record['LogicalResourceId']}")


def _scope() -> Scope:
    return Scope(account(), region())
