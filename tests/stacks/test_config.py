"""Settings are refused at the door, all faults at once, each with the value given and the value wanted."""

from dataclasses import replace
from typing import Any

import pytest

from environments import DEV, ENVIRONMENTS, LOCAL, PROD, STAGING
from stacks.config import (
    Endpoint,
    InstancePreferences,
    ManagedSpot,
    OnDemand,
    SettingsError,
    Training,
    TrainingPlan,
    WarmPool,
)

GPU = {"image_target": "gpu", "instance_types": ("ml.p5.48xlarge",)}
PLAN = "arn:aws:sagemaker:us-east-1:111111111111:training-plan/april"

assert LOCAL.training is not None
assert DEV.training is not None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"recipe": "Demo recipe"}, "recipe is 'Demo recipe': give the name of a file in model_code/recipes"),
        (
            {"init": "hf:owner/name"},
            "init is 'hf:owner/name': give scratch, s3://bucket/prefix or hf:owner/name@revision",
        ),
        ({"image_target": "tpu"}, "image_target is 'tpu': give cpu or gpu"),
        ({"instance_types": ()}, "instance_types is empty: give at least one"),
        ({"instance_types": ("m5.xlarge",)}, "'m5.xlarge' is not an instance type we know for training: give ml."),
        ({"instance_types": ("ml.m5.huge",)}, "'ml.m5.huge' is not an instance type we know for training"),
        ({"instance_types": ("ml.m5.large", "ml.m5.large")}, "instance_types names a type twice (ml.m5.large, ml.m5."),
        ({"evaluate_instance_type": "big"}, "evaluate_instance_type: 'big' is not an instance type we know"),
        ({"instance_count": 0}, "instance_count is 0: give a whole number from 1 to 100"),
        ({"instance_count": True}, "instance_count is True: give a whole number"),
        ({"volume_gb": 0.5}, "volume_gb is 0.5: give a whole number from 1 to 16384"),
        ({"max_runtime_hours": 24 * 29}, "max_runtime_hours is 696: give a whole number from 1 to 672"),
        ({"retries": 31}, "retries is 31: give a whole number from 0 to 30"),
        ({"max_instance_count": 0}, "max_instance_count is 0: give a whole number from 1 to 100"),
        ({"instance_count": 3}, "max_instance_count is 2: give at least instance_count, 3"),
        (
            {"capacity": "spot"},
            "capacity is 'spot': give one of ManagedSpot, OnDemand, WarmPool, TrainingPlan, Instance",
        ),
        (
            {"capacity": ManagedSpot(max_wait_hours=0)},
            "max_wait_hours of ManagedSpot is 0: give a whole number from 1 to 672",
        ),
        (
            {"max_runtime_hours": 5, "capacity": ManagedSpot(max_wait_hours=4)},
            "max_wait_hours of ManagedSpot is 4: it includes the run itself, so give at least max_runtime_hours, 5",
        ),
        (
            {**GPU, "capacity": ManagedSpot(), "max_pending_hours": 2},
            "max_pending_hours is 2, but max_wait_hours of ManagedSpot already ends the waiting",
        ),
        ({"max_pending_hours": 2}, "max_pending_hours is 2: SageMaker heeds it for GPU types only"),
        ({"max_pending_hours": 673}, "max_pending_hours is 673: give a whole number from 1 to 672"),
        (
            {"capacity": WarmPool(keep_alive_minutes=361)},
            "keep_alive_minutes of WarmPool is 361: give a whole number from 1 to 360",
        ),
        ({**GPU, "capacity": TrainingPlan(arn="april")}, "arn of TrainingPlan is 'april': give the ARN of a training"),
        (
            {"capacity": TrainingPlan(arn=PLAN)},
            "instance_types is ml.m5.xlarge, ml.m5.2xlarge: a training plan is of one type, give that one",
        ),
        (
            {"capacity": TrainingPlan(arn=PLAN), "instance_types": ("ml.m5.xlarge",)},
            "instance_types holds ml.m5.xlarge, of which there are no training plans: give one of ml.p4d.24xlarge",
        ),
        (
            {
                "capacity": InstancePreferences(),
                "instance_types": (*(f"ml.m5.{size}xlarge" for size in ("", "2", "4", "12", "24")), "ml.c5.xlarge"),
            },
            "instance_types holds 6: give at most 5 types as InstancePreferences",
        ),
        (
            {"capacity": InstancePreferences(), "instance_types": ("ml.m5.xlarge", "ml.r5d.xlarge")},
            "mixes types with and without local disks",
        ),
        (
            {"capacity": InstancePreferences(), "instance_types": ("ml.m5.xlarge", "ml.g5.xlarge")},
            "instance_types holds ml.g5.xlarge, which has a GPU, but image_target is cpu",
        ),
        (
            {**GPU, "instance_types": ("ml.g4dn.xlarge",), "volume_gb": 126},
            "volume_gb is 126: ml.g4dn.xlarge has a local disk of 125 GB and gets no other",
        ),
        ({"volume_gb": 16_385}, "volume_gb is 16385: give a whole number from 1 to 16384"),
        (
            {"prepare_instance_type": "ml.r5d.large", "job_volume_gb": 76},
            "job_volume_gb is 76: ml.r5d.large has a local disk of 75 GB",
        ),
        (
            {**GPU, "evaluate_instance_type": "ml.p5.48xlarge"},
            "evaluate_instance_type is ml.p5.48xlarge, which takes no processing jobs",
        ),
        ({"image_target": "gpu"}, "instance_types holds ml.m5.xlarge, which has no GPU, but image_target is gpu"),
        ({"instance_types": ("ml.g5.xlarge",)}, "which has a GPU, but image_target is cpu"),
        ({"evaluate_instance_type": "ml.g5.xlarge"}, "evaluate_instance_type is ml.g5.xlarge, which has a GPU"),
        ({"instance_types": ("ml.m5.xlarge", "ml.r5d.xlarge")}, "mixes types with and without local disks"),
    ],
)
def test_training_settings_that_cannot_work_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        replace(LOCAL.training, **changed)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"instance_type": "ml.nothing.xlarge"}, "instance_type: 'ml.nothing.xlarge' is not an instance type we know"),
        ({"instance_count": 0}, "instance_count is 0: give a whole number from 1 to 100"),
        ({"max_latency_ms": 60_001}, "max_latency_ms is 60001: give a whole number from 1 to 60000"),
    ],
)
def test_endpoint_settings_that_cannot_work_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        replace(PROD.endpoint, **changed)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "Prod EU"}, "name is 'Prod EU': give up to 20 lower-case letters, digits and hyphens"),
        ({"account": "12345"}, "account is '12345': give the twelve digits of an AWS account"),
        ({"account": 123456789012}, "account is 123456789012: give the twelve digits"),
        ({"region": "eu"}, "region is 'eu': give an AWS region such as eu-central-1"),
    ],
)
def test_environment_settings_that_cannot_work_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        replace(PROD, **changed)
    assert message in str(error.value)


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        Training(
            recipe="?",
            image_target="cpu",
            instance_types=("x",),
            max_runtime_hours=0,
            evaluate_instance_type="ml.m5.large",
        )
    assert [field in str(error.value) for field in ("recipe", "instance_types", "max_runtime_hours")] == [True] * 3


def test_all_faults_of_capacity_types_and_times_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        replace(
            LOCAL.training,
            capacity=WarmPool(keep_alive_minutes=0),
            instance_types=("ml.m5.huge",),
            max_pending_hours=0,
            retries=-1,
        )
    fields = ("keep_alive_minutes", "ml.m5.huge", "max_pending_hours", "retries")
    assert [field for field in fields if field not in str(error.value)] == []


def test_a_training_plan_is_of_the_environments_own_account_and_region() -> None:
    training = replace(
        DEV.training, capacity=TrainingPlan(arn=PLAN), instance_types=("ml.p5.48xlarge",), max_runtime_hours=1
    )
    replace(DEV, training=training)
    with pytest.raises(SettingsError, match=r"give a plan of this region and account, …:us-east-1:222222222222:…"):
        replace(DEV, account="222222222222", training=training)
    with pytest.raises(SettingsError, match=r"…:eu-central-1:111111111111:…"):
        replace(DEV, region="eu-central-1", training=training)


def test_what_a_run_may_get_is_every_type_at_the_most_machines_so_that_the_dearest_counts() -> None:
    training = replace(DEV.training, capacity=InstancePreferences(), instance_count=2)
    assert training.possible_machines == tuple((each, 2) for each in training.instance_types)
    assert replace(training, max_instance_count=8).possible_machines[-1] == ("ml.p4d.24xlarge", 8)


def test_environments_on_an_account_train_on_spot_and_a_laptop_does_not() -> None:
    spot = {name: each.training.spot_max_wait_hours for name, each in ENVIRONMENTS.items() if each.training}
    assert spot == {"local": None, "dev": 72}
    assert LOCAL.training is not None
    assert LOCAL.training.capacity == OnDemand()


def test_settings_cannot_be_changed_after_they_were_checked() -> None:
    with pytest.raises(AttributeError):
        PROD.endpoint.instance_count = 0  # type: ignore[misc]


def test_settings_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        Endpoint("ml.m5.xlarge")  # type: ignore[misc]


def test_the_environments_are_the_four_of_the_project_each_in_its_own_account() -> None:
    assert list(ENVIRONMENTS) == ["local", "dev", "staging", "prod"]
    assert len({environment.account for environment in ENVIRONMENTS.values()}) == len(ENVIRONMENTS)
    assert (LOCAL.account, LOCAL.region) == ("123456789012", "us-east-1")


def test_models_are_made_in_local_and_dev_only() -> None:
    assert [name for name, environment in ENVIRONMENTS.items() if environment.training] == ["local", "dev"]


def test_all_data_outside_this_machine_is_protected_from_deletion() -> None:
    assert [environment.termination_protection for environment in (LOCAL, DEV, STAGING, PROD)] == [
        False,
        True,
        True,
        True,
    ]


def test_an_environment_gives_its_name_to_pipeline_group_repository_and_endpoint() -> None:
    assert STAGING.resource_name == "amplify-staging"
