"""What synthesis remarks on and does not refuse: machines that would mostly wait, alarms that nobody hears."""

from dataclasses import replace
from pathlib import Path

import aws_cdk as cdk
import pytest
from aws_cdk.assertions import Annotations, Match

from environments import DEV, LOCAL, PROD, STAGING
from stacks.config import Environment, Monitoring
from stacks.monitoring import MonitoringStack
from stacks.stage import AmplifyStage
from stacks.training import TrainingStack
from tests.stacks.synthesis import ROOT, new_app

assert DEV.training is not None
WITHOUT_EFA, WITH_EFA = ("ml.g5.xlarge", "ml.g5.12xlarge"), ("ml.p4d.24xlarge",)


def warnings(environment: Environment, kind: type[cdk.Stack], of: str, folder: Path) -> list[str]:
    stage = AmplifyStage(
        new_app(folder), environment, release=None, model_code=ROOT / "model_code", lambda_code=ROOT / "lambda_code"
    )
    [stack] = [each for each in stage.node.children if isinstance(each, kind)]
    found = Annotations.from_stack(stack).find_warning("*", Match.string_like_regexp(of))
    return [str(each.entry.data) for each in found]


@pytest.mark.parametrize(
    ("types", "most", "warned"),
    [(WITHOUT_EFA, 2, True), (WITHOUT_EFA, 1, False), (WITH_EFA, 8, False)],
)
def test_several_gpu_machines_without_the_fast_network_are_warned_of(
    types: tuple[str, ...], most: int, warned: bool, tmp_path: Path
) -> None:
    training = replace(DEV.training, instance_types=types, max_instance_count=most)
    found = warnings(replace(DEV, training=training), TrainingStack, "has no EFA", tmp_path)
    assert bool(found) is warned
    if warned:
        assert "up to 2 machines may train together, but ml.g5.xlarge has no EFA" in found[0]


HEARD = replace(PROD, monitoring=Monitoring(alarm_emails=("on-call@example.org",)))


@pytest.mark.parametrize(
    ("environment", "warned"), [(LOCAL, False), (DEV, False), (STAGING, True), (PROD, True), (HEARD, False)]
)
def test_alarms_that_nobody_hears_are_remarked_on_where_others_are_served(
    environment: Environment, warned: bool, tmp_path: Path
) -> None:
    found = warnings(environment, MonitoringStack, "no e-mail goes out", tmp_path)
    assert len(found) == warned
    assert all(f"alarms of {environment.name} ring" in one for one in found)
