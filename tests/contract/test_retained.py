"""What the templates retain is what the next deployment knows how to take over."""

from typing import Any

import pytest

from operate.deployment import STACKS
from operate.retained import KINDS, self_contained
from tests.stacks.synthesis import templates

LEFT_WHERE_THEY_ARE = {"AWS::Logs::LogGroup"}  # a record of what was; the next network begins another


def retained(template: dict[str, Any]) -> dict[str, Any]:
    resources = template["Resources"]
    return {name: one for name, one in resources.items() if one.get("DeletionPolicy", "Delete") != "Delete"}


@pytest.mark.parametrize("stack", sorted(templates()))
def test_whatever_a_stack_retains_can_be_found_again_and_imported(stack: str) -> None:
    resources = templates()[stack]["Resources"]
    kept = {name: one for name, one in retained(templates()[stack]).items() if one["Type"] not in LEFT_WHERE_THEY_ARE}
    assert {one["Type"] for one in kept.values()} <= KINDS.keys()
    assert {one["DeletionPolicy"] for one in kept.values()} <= {"Retain"}
    for one in kept.values():
        fixed = KINDS[one["Type"]].name
        assert fixed is None or isinstance(one["Properties"][fixed], str), f"{one['Type']} is looked for by its name"
    assert self_contained(resources, set(kept)) == set(kept), "an import brings nothing along that they refer to"


def test_storage_and_registry_retain_what_holds_state() -> None:
    found = {stack.partition("/")[2] for stack in templates() if retained(templates()[stack])}
    assert {"storage", "registry"} <= found <= {*STACKS}
    types = [one["Type"] for stack in ("storage", "registry") for one in retained(templates()[f"dev/{stack}"]).values()]
    assert sorted(types) == [
        "AWS::ECR::Repository",
        "AWS::KMS::Key",
        *["AWS::S3::Bucket"] * 3,
        "AWS::SageMaker::ModelPackageGroup",
    ]
