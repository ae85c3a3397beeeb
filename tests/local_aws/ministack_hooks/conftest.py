"""A new ministack fails in this folder, by name, before it fails elsewhere in a way that nobody understands."""

import pytest

from local_aws.ministack_hooks import cloudformation, requests
from local_aws.ministack_hooks import stacks as stacks_hooks

FOLLOWED = {
    "_deploy_stack_async",
    "_delete_stack_async",
    "_roll_back_operation",
    "_resolve_stack_outputs",
    "_provision_resource",
    "_update_resource",
}


@pytest.fixture
def ministack(monkeypatch):
    """ministack's application in this process, with its tables as they were after the test."""
    app, router = requests.ministack, requests.router
    monkeypatch.setattr(app, "SERVICE_HANDLERS", dict(app.SERVICE_HANDLERS))
    monkeypatch.setattr(router, "SERVICE_PATTERNS", dict(router.SERVICE_PATTERNS))
    provisioners, stacks = cloudformation.provisioners, cloudformation.stacks
    handlers = {name: dict(handler) for name, handler in provisioners._RESOURCE_HANDLERS.items()}
    kept = dict(provisioners._RESOURCE_HANDLERS)
    provisioners._RESOURCE_HANDLERS.update(handlers)  # others imported the very dictionary
    monkeypatch.setattr(stacks, "_runs_on_worker_thread", stacks._runs_on_worker_thread)
    for module in (stacks, stacks_hooks.handlers, stacks_hooks.changesets):
        for hook in FOLLOWED & vars(module).keys():
            monkeypatch.setattr(module, hook, getattr(module, hook))
    yield app
    provisioners._RESOURCE_HANDLERS.clear()
    provisioners._RESOURCE_HANDLERS.update(kept)
