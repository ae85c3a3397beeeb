"""The seam between the pipeline and local SageMaker: what Train asks for, in every mode that settings allow."""

import pytest

from local_aws.errors import SageMakerError
from local_aws.training_checks import check, machines
from local_aws.validation import check as check_model
from stacks.pipeline_definition import training_definition
from tests.stacks.test_pipeline_definition import AROUND, TRAININGS, resolved, steps


@pytest.mark.parametrize("mode", TRAININGS)
def test_local_aws_takes_what_the_pipeline_asks_for_and_refuses_only_what_is_paid_in_advance(mode: str) -> None:
    definition = training_definition(TRAININGS[mode], AROUND)
    request = resolved(steps(definition)["Train"]["Arguments"], definition) | {"TrainingJobName": "job"}
    check_model("CreateTrainingJob", request)
    if mode == "training plan":
        with pytest.raises(SageMakerError, match="A training plan"):
            check(request)
        return
    check(request)
    assert machines(request["ResourceConfig"]) == (TRAININGS[mode].instance_types[0], TRAININGS[mode].instance_count)
