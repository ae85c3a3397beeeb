"""Settings are refused at the door, all faults at once, each with the value given and the value wanted."""

from dataclasses import replace
from typing import Any

import pytest

from environments import DEV, ENVIRONMENTS, LOCAL, PROD, STAGING
from stacks.config import Endpoint, SettingsError, Training

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
        ({"instance_types": ("m5.xlarge",)}, "'m5.xlarge' is not an instance type we know: give ml.<family>.<size>"),
        ({"instance_types": ("ml.z9.xlarge",)}, "'ml.z9.xlarge' is not an instance type we know"),
        ({"evaluate_instance_type": "big"}, "evaluate_instance_type: 'big' is not an instance type we know"),
        ({"instance_count": 0}, "instance_count is 0: give a whole number from 1 to 100"),
        ({"instance_count": True}, "instance_count is True: give a whole number"),
        ({"volume_gb": 0.5}, "volume_gb is 0.5: give a whole number from 1 to 16384"),
        ({"max_runtime_hours": 24 * 29}, "max_runtime_hours is 696: give a whole number from 1 to 672"),
        ({"spot_max_wait_hours": 0}, "spot_max_wait_hours is 0: give a whole number from 1 to 672"),
        ({"max_runtime_hours": 5, "spot_max_wait_hours": 4}, "give at least max_runtime_hours, 5"),
        ({"on_arrival": "yes"}, "on_arrival is 'yes': give True or False"),
        ({"schedule": "daily"}, "schedule is 'daily': give rate(<number> minutes | hours | days) or cron("),
        ({"schedule": 7}, "schedule is 7: give rate("),
        ({"schedule": "rate(0 days)"}, "schedule is 'rate(0 days)': give rate(<number> minutes | hours | days)"),
        ({"schedule": "at(2027-01-01T00:00:00)"}, "give rate("),
        ({"schedule": "cron(0 3 * * SUN)"}, "give the six fields of cron"),
        ({"schedule": "cron(0 3 * * * *)"}, "give ? for one of day and day of week"),
        ({"schedule": "cron(0 24 * * ? *)"}, "'24' is no hour of a cron expression"),
        ({"schedule": "cron(0 3 ? * FUN *)"}, "'FUN' is no day of week of a cron expression"),
        ({"image_target": "gpu"}, "instance_types holds ml.m5.xlarge, which has no GPU, but image_target is gpu"),
        ({"instance_types": ("ml.g5.xlarge",)}, "which has a GPU, but image_target is cpu"),
        ({"evaluate_instance_type": "ml.g5.xlarge"}, "evaluate_instance_type is ml.g5.xlarge, which has a GPU"),
        ({"instance_types": ("ml.m5.xlarge", "ml.m5d.xlarge")}, "mixes types with and without local disks"),
    ],
)
def test_training_settings_that_cannot_work_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        replace(LOCAL.training, **changed)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "schedule",
    [
        "rate(7 days)",
        "rate(1 hour)",
        "cron(0 3 ? * SUN *)",
        "cron(0/15 8-18 1,15 * ? *)",
        "cron(30 22 L * ? 2027)",
        "cron(0 0 ? JAN-MAR 6#3 *)",
    ],
)
def test_a_schedule_that_eventbridge_knows_is_taken(schedule: str) -> None:
    assert replace(LOCAL.training, schedule=schedule).schedule == schedule


def test_nothing_trains_by_itself_unless_somebody_wants_it() -> None:
    assert (DEV.training.schedule, DEV.training.on_arrival) == (None, False)


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
