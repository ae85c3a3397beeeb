"""What a run may choose of its machines follows from environments.py."""

from dataclasses import replace

import pytest

from environments import DEV, LOCAL
from operate.errors import OperateError
from operate.machine_choice import check
from stacks.config import InstancePreferences


def test_what_the_environment_allows_passes() -> None:
    check(LOCAL, None, None)
    check(LOCAL, "ml.m5.2xlarge", 2)
    check(DEV, "ml.p4d.24xlarge", 1)


@pytest.mark.parametrize(
    ("instance_type", "count", "message"),
    [
        ("ml.g5.48xlarge", None, "--instance-type ml.g5.48xlarge is none that dev allows"),
        (None, 2, "--instance-count 2 is more than dev allows"),
    ],
)
def test_another_type_or_more_machines_are_refused(instance_type: str | None, count: int | None, message: str) -> None:
    with pytest.raises(OperateError, match=message) as error:
        check(DEV, instance_type, count)
    assert "change environments.py, and deploy" in error.value.todo


def test_where_sagemaker_chooses_the_type_a_run_does_not() -> None:
    assert DEV.training is not None
    environment = replace(DEV, training=replace(DEV.training, capacity=InstancePreferences()))
    check(environment, None, 1)
    with pytest.raises(OperateError, match=r"SageMaker takes the first of ml\.g5\.xlarge, ml\.g5\.12xlarge, ml\.p4d"):
        check(environment, "ml.g5.xlarge", None)
