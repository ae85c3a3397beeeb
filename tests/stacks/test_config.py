"""Settings are refused at the door, all faults at once, each with the value given and the value wanted."""

import re
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from environments import DEV, ENVIRONMENTS, LOCAL, PROD, STAGING
from stacks.config import (
    Endpoint,
    Environment,
    InstancePreferences,
    ManagedSpot,
    Network,
    OnDemand,
    RealTime,
    Serverless,
    SettingsError,
    Training,
    TrainingPlan,
    WarmPool,
)

GPU = {"image_target": "gpu", "instance_types": ("ml.p5.48xlarge",)}
PLAN = "arn:aws:sagemaker:us-east-1:111111111111:training-plan/april"

assert LOCAL.training is not None
assert DEV.training is not None
assert PROD.network is not None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"recipe": "Demo recipe"}, "recipe is 'Demo recipe': give the name of a file in model_code/recipes, 120m_"),
        (
            {"recipe": "dmeo"},
            "recipe is 'dmeo': give the name of a file in model_code/recipes, 120m_stage1, 120m_",
        ),
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
            "capacity is 'spot': give one of ManagedSpot(…), OnDemand(…), WarmPool(…), TrainingPlan",
        ),
        (
            {"capacity": ManagedSpot(max_wait_hours=0)},
            "capacity.max_wait_hours is 0: give a whole number from 1 to 672",
        ),
        (
            {"max_runtime_hours": 5, "capacity": ManagedSpot(max_wait_hours=4)},
            "capacity.max_wait_hours is 4: it includes the run itself, so give at least max_runtime_hours, 5",
        ),
        (
            {**GPU, "capacity": ManagedSpot(), "max_pending_hours": 2},
            "max_pending_hours is 2, but capacity.max_wait_hours already ends the waiting",
        ),
        ({"max_pending_hours": 2}, "max_pending_hours is 2: SageMaker heeds it for GPU types only"),
        ({"max_pending_hours": 673}, "max_pending_hours is 673: give a whole number from 1 to 672"),
        (
            {"capacity": WarmPool(keep_alive_minutes=361)},
            "capacity.keep_alive_minutes is 361: give a whole number from 1 to 360",
        ),
        ({**GPU, "capacity": TrainingPlan(arn="april")}, "capacity.arn is 'april': give the ARN of a training"),
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
            "evaluate_instance_type: 'ml.p5.48xlarge' takes no processing jobs",
        ),
        ({"on_arrival": "yes"}, "on_arrival is 'yes': give True or False"),
        ({"schedule": "daily"}, "schedule is 'daily': give rate(<number> minutes | hours | days) or cron("),
        ({"schedule": 7}, "schedule is 7: give rate("),
        ({"schedule": "rate(0 days)"}, "schedule is 'rate(0 days)': give rate(<number> minutes | hours | days)"),
        ({"schedule": "at(2027-01-01T00:00:00)"}, "give rate("),
        ({"schedule": "cron(0 3 * * SUN)"}, "give the six fields of cron"),
        ({"schedule": "cron(0 3 * * * *)"}, "give ? for one of day and day of week"),
        ({"schedule": "cron(0 24 * * ? *)"}, "'24' is no hour of a cron expression"),
        ({"schedule": "cron(0 3 ? * FUN *)"}, "'FUN' is no day of week of a cron expression"),
        ({"schedule": "cron(0 3 0 * ? *)"}, "'0' is no day of a cron expression"),
        ({"schedule": "cron(0/0 3 1 * ? *)"}, "'0/0' is no minute of a cron expression"),
        ({"schedule": "cron(0 9-3 1 * ? *)"}, "9-3 runs backwards; give the smaller hour first"),
        ({"schedule": "cron(0 9 ? * 2#1,3#2 *)"}, "'2#1,3#2' names two days by #"),
        ({"schedule": "cron(0 9 1 * ? 1990)"}, "'1990' is no year of a cron expression"),
        ({"image_target": "gpu"}, "instance_types holds ml.m5.xlarge, which has no GPU, but image_target is gpu"),
        ({"instance_types": ("ml.g5.xlarge",)}, "which has a GPU, but image_target is cpu"),
        ({"evaluate_instance_type": "ml.g5.xlarge"}, "evaluate_instance_type is ml.g5.xlarge, which has a GPU"),
        ({"instance_types": ("ml.m5.xlarge", "ml.r5d.xlarge")}, "mixes types with and without local disks"),
    ],
)
def test_training_settings_that_cannot_work_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        replace(LOCAL.training, **changed).check()
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
        ({"name": "Prod EU"}, "name is 'Prod EU': give up to 20 lower-case letters, digits and hyphens"),
        ({"account": "12345"}, "account is '12345': give the twelve digits of an AWS account"),
        ({"account": 123456789012}, "account is 123456789012: give the twelve digits"),
        ({"account": "\u0663" * 12}, "give the twelve digits of an AWS account"),
        ({"region": "cn-north-1"}, "of a partition in which services, ARNs and limits of policies are others"),
        ({"region": "us-gov-west-1"}, "give a region of partition aws"),
        ({"region": "eu"}, "region is 'eu': give a region that SageMaker is in, such as"),
        (
            {"region": "eu-centrl-1"},
            "region is 'eu-centrl-1': give a region that SageMaker is in, such as eu-central-1,",
        ),
        ({"region": "eu-central-9", "monthly_ceiling_usd": None}, "region is 'eu-central-9': give a region"),
        (
            {"endpoint": RealTime(instance_type="ml.g5.xlarge", invokers=("arn:aws:iam::444444444444:role/app",))},
            "endpoint.invokers holds arn:aws:iam::444444444444:role/app: give roles of account 333333333333",
        ),
    ],
)
def test_environment_settings_that_cannot_work_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        replace(PROD, **changed).check()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("environment", "endpoint", "message"),
    [
        (DEV, RealTime(instance_type="ml.m5.xlarge"), "has no GPU, but the models made here carry the image for gpu"),
        (LOCAL, RealTime(instance_type="ml.g5.xlarge"), "has a GPU, but the models made here carry the image for cpu"),
        (DEV, Serverless(memory_mb=4096), "Serverless, on CPUs, but the models made here carry the image for gpu"),
        (
            PROD,
            Serverless(memory_mb=4096),
            "mode serverless, which cannot run in a network: serverless inference takes no VPC",
        ),
    ],
)
def test_an_endpoint_must_fit_the_environments_own_models_and_its_network(
    environment: Environment, endpoint: Endpoint, message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        replace(environment, endpoint=endpoint).check()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"cidr": "10.20.0.0/33"}, "cidr is '10.20.0.0/33' ('33' is not a valid netmask): give private addresses"),
        ({"cidr": "10.20.0.7/20"}, "cidr is '10.20.0.7/20' (10.20.0.7/20 has host bits set): give private addresses"),
        ({"cidr": "10.20.0.0"}, "cidr is '10.20.0.0', which names no size: give private addresses from /16 to /28"),
        ({"cidr": "10.20.0.0/255.255.240.0"}, "which names no size"),
        ({"cidr": "172.17.0.0/16"}, "docker has 172.17.0.0/16 on SageMaker's machines"),
        ({"cidr": "172.17.128.0/20"}, "docker has 172.17.0.0/16"),
        ({"cidr": 10}, "cidr is 10: give private addresses"),
        ({"cidr": "10.0.0.0/8"}, "cidr is '10.0.0.0/8', a size that Amazon VPC refuses: give private addresses"),
        ({"cidr": "8.8.0.0/20"}, "cidr is '8.8.0.0/20', which belongs to somebody on the internet"),
        (
            {"cidr": "10.20.0.0/27"},
            "cidr is '10.20.0.0/27': too small to be shared out among 3 zones; give a /16 to /22",
        ),
        ({"availability_zones": ()}, "availability_zones is (): give at least two different ones"),
        ({"availability_zones": ("us-east-1a",)}, "give at least two different ones, as SageMaker asks"),
        ({"availability_zones": ("us-east-1a", "us-east-1a")}, "give at least two different ones"),
        ({"availability_zones": ("us-east-1a", "use1-az2")}, "availability_zones is 'use1-az2': give names of zones"),
        ({"availability_zones": ("us-east-1a", None)}, "availability_zones holds None: give a tuple of text"),
        ({"s3_prefix_list": "com.amazonaws.us-east-1.s3"}, "give an id such as pl-63a5400a"),
        (
            {"interface_endpoints": ("kms", "s3")},
            "interface_endpoints holds 's3': give a tuple of some, each one of",
        ),
        ({"interface_endpoints": ("kms", "kms")}, "interface_endpoints is ('kms', 'kms'): give each once"),
        ({"flow_log_days": 100}, "flow_log_days is 100: give a time that CloudWatch Logs knows, 1, 3, 5, 7,"),
        ({"flow_log_days": True}, "flow_log_days is True: give a time"),
    ],
)
def test_network_settings_that_cannot_work_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        replace(PROD.network, **changed).check()
    assert message in str(error.value)


def test_all_faults_of_a_network_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        Network(cidr="x", availability_zones=("y",), s3_prefix_list="z", flow_log_days=2).check()
    fields = ("cidr is", "availability_zones is 'y'", "at least two", "s3_prefix_list is", "flow_log_days is")
    assert [field in str(error.value) for field in fields] == [True] * 5


@pytest.mark.parametrize("environment", [STAGING, PROD, replace(PROD, name="eu-prod")], ids=lambda each: each.name)
def test_an_environment_that_serves_others_is_refused_without_a_network(environment: Environment) -> None:
    with pytest.raises(SettingsError) as error:
        replace(environment, network=None).check()
    assert "network is None: only local and dev may do without; give a Network" in str(error.value)


def test_zones_of_another_region_are_refused_with_everything_else_that_is_wrong() -> None:
    with pytest.raises(SettingsError) as error:
        replace(PROD, region="eu-central-1", account="1").check()
    message = str(error.value)
    assert "network.availability_zones holds us-east-1b: give zones of the region, eu-central-1" in message
    assert "account is '1'" in message


def test_a_network_without_room_for_the_instances_is_refused() -> None:
    many, one = (RealTime(instance_type="ml.g5.xlarge", max_instances=most) for most in (60, 1))
    small = replace(PROD.network, cidr="10.30.0.0/24")  # /26 in each of three zones: 64, less 5 and 8 endpoints
    assert small.addresses_per_zone == 51
    replace(PROD, network=small, endpoint=one).check()
    with pytest.raises(SettingsError) as error:
        replace(PROD, network=small, endpoint=many).check()
    assert "network.cidr is '10.30.0.0/24', which leaves 51 addresses in each of its 3 zones" in str(error.value)
    assert "instances can need 240 in one zone" in str(error.value)


def test_starting_weights_of_the_hub_are_refused_as_a_default_where_jobs_cannot_reach_it() -> None:
    from_the_hub = replace(DEV.training, init="hf:owner/name@main")
    replace(DEV, training=from_the_hub).check()
    with pytest.raises(SettingsError) as error:
        replace(DEV, training=from_the_hub, network=STAGING.network).check()
    assert "training.init is 'hf:owner/name@main': no job in the network reaches the Hub" in str(error.value)


def test_networks_are_on_in_staging_and_prod_and_do_not_overlap() -> None:
    assert [name for name, environment in ENVIRONMENTS.items() if environment.network] == ["staging", "prod"]
    assert STAGING.network is not None
    assert PROD.network is not None
    assert not ip_network(STAGING.network.cidr).overlaps(ip_network(PROD.network.cidr))


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        Training(
            recipe="?",
            image_target="cpu",
            instance_types=("x",),
            max_runtime_hours=0,
            evaluate_instance_type="ml.m5.large",
        ).check()
    assert [field in str(error.value) for field in ("recipe", "instance_types", "max_runtime_hours")] == [True] * 3


def test_all_faults_of_capacity_types_and_times_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        replace(
            LOCAL.training,
            capacity=WarmPool(keep_alive_minutes=0),
            instance_types=("ml.m5.huge",),
            max_pending_hours=0,
            retries=-1,
        ).check()
    fields = ("keep_alive_minutes", "ml.m5.huge", "max_pending_hours", "retries")
    assert [field for field in fields if field not in str(error.value)] == []


def test_a_training_plan_is_of_the_environments_own_account_and_region() -> None:
    training = replace(
        DEV.training, capacity=TrainingPlan(arn=PLAN), instance_types=("ml.p5.48xlarge",), max_runtime_hours=1
    )
    replace(DEV, training=training).check()
    with pytest.raises(SettingsError, match=r"give a plan of this region and account, …:us-east-1:222222222222:…"):
        replace(DEV, account="222222222222", training=training).check()
    with pytest.raises(SettingsError, match=r"…:eu-central-1:111111111111:…"):
        replace(DEV, region="eu-central-1", training=training).check()


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
        PROD.endpoint.invokers = ("everybody",)  # type: ignore[misc]


def test_settings_are_given_by_name() -> None:
    told = RealTime("ml.g5.xlarge").faults  # type: ignore[misc,call-arg]
    assert told[0].startswith("a value without a name is 'ml.g5.xlarge': give it as one of capture, deployment,")
    assert told[1].startswith("instance_type is missing")


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
