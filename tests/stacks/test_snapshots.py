"""Templates as committed: an unintended change of infrastructure shows here first."""

import pytest

from tests.stacks.mode_examples import EXAMPLES, with_snapshots
from tests.stacks.readable import readable
from tests.stacks.update_snapshots import SNAPSHOTS, snapshot

STACKS = [
    f"{environment}/{stack}"
    for environment, stacks in {
        "local": ("storage", "registry", "training", "people", "endpoint", "monitoring"),
        "dev": ("storage", "registry", "training", "people", "promotion", "endpoint", "monitoring"),
        "staging": ("storage", "registry", "network", "people", "promotion", "endpoint", "monitoring"),
        "prod": ("storage", "registry", "network", "people", "promotion", "endpoint", "monitoring"),
        "workbench-dev": ("workbench",),  # for the tests only: what dev and others may have
        "watched-prod": ("monitoring",),  # for the tests only: with everything that can be watched
        "delivery": ("prod",),  # as it is where a repository is trusted
        "modes": tuple(EXAMPLES),  # for the tests only: what an endpoint can be
    }.items()
    for stack in stacks
]


def test_every_environment_has_its_stacks_and_each_a_snapshot() -> None:
    assert sorted(with_snapshots()) == sorted(STACKS)
    assert {path.relative_to(SNAPSHOTS).with_suffix("").as_posix() for path in SNAPSHOTS.glob("*/*.yaml")} == set(
        STACKS
    )


@pytest.mark.parametrize("stack", STACKS)
def test_a_template_is_what_its_snapshot_says(stack: str) -> None:
    assert readable(with_snapshots()[stack]) == snapshot(stack).read_text(encoding="utf-8"), (
        f"{stack} changed: if that is meant, run `make snapshots` and let the diff be reviewed"
    )


def test_a_snapshot_reads_references_and_the_pipeline_as_text_and_hides_content_hashes() -> None:
    body = {"Fn::Join": ["", ['{"Image":"', {"Fn::ImportValue": "repository"}, ":cpu-", "ab" * 32, '"}']]}
    text = readable({"Resources": {"P": {"PipelineDefinitionBody": body}, "R": {"Fn::GetAtt": ["Role", "Arn"]}}})
    assert "Image: ${import repository}:cpu-<sha256>" in text
    assert "R: ${Role.Arn}" in text
