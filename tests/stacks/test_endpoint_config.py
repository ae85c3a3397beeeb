"""Settings of endpoints: each rule with its failing case, and all faults at once."""

from collections.abc import Callable
from typing import Any

import pytest

from stacks.config import (
    AllAtOnce,
    Async,
    Batch,
    Canary,
    Capture,
    InferenceComponents,
    Linear,
    RealTime,
    Rolling,
    Serverless,
    SettingsError,
    Shadow,
    WorkingHours,
)
from stacks.config.endpoint.deployment import FLEET_START_MINUTES

GPU, CPU = "ml.g5.xlarge", "ml.m5.xlarge"


def realtime(**given: Any) -> RealTime:
    return RealTime(**{"instance_type": GPU} | given)


def queued(**given: Any) -> Async:
    return Async(**{"instance_type": GPU} | given)


def serverless(**given: Any) -> Serverless:
    return Serverless(**{"memory_mb": 2048} | given)


def components(**given: Any) -> InferenceComponents:
    return InferenceComponents(**{"instance_type": GPU} | given)


def batch(**given: Any) -> Batch:
    return Batch(**{"instance_type": GPU} | given)


def fleet(deployment: object, **given: Any) -> RealTime:
    return realtime(deployment=deployment, **{"min_instances": 4, "max_instances": 4} | given)


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        # every mode: who may ask
        (realtime, {"invokers": "app"}, "invokers is 'app': give a tuple of role names or ARNs"),
        (batch, {"invokers": ("two words",)}, "invokers is 'two words': give the name or the ARN of an IAM role"),
        (queued, {"invokers": ("arn:aws:iam::111111111111:user/eve",)}, "give the name or the ARN of an IAM role"),
        (serverless, {"invokers": ("app", "app")}, "invokers is ('app', 'app'): give each once"),
        (
            realtime,
            {"invokers": ("arn:aws:iam::111111111111:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_x_0",)},
            "IAM lets nobody attach policies to this role; name the policy amplify-<env>-invoke in its permission set",
        ),
        # types
        (realtime, {"instance_type": "ml.nothing.xlarge"}, "'ml.nothing.xlarge' is not an instance type we know"),
        (realtime, {"instance_type": "ml.g5.3xlarge"}, "SageMaker has no 'ml.g5.3xlarge' for endpoints: of g5 it has"),
        (queued, {"instance_type": "ml.t3.large"}, "for endpoints: it has none of family t3"),
        (
            batch,
            {"instance_type": "ml.p5.48xlarge"},
            "no 'ml.p5.48xlarge' for transform jobs: it has none of family p5",
        ),
        (
            queued,
            {"instance_type": CPU},
            "has no GPU: asynchronous requests are long work; give a GPU type, or allow_cpu",
        ),
        # sizes
        (realtime, {"min_instances": 0}, "min_instances is 0: a real-time endpoint keeps one instance"),
        (
            realtime,
            {"min_instances": 3, "max_instances": 2},
            "min_instances is 3 and max_instances is 2: give a max_instance",
        ),
        (realtime, {"max_instances": 101}, "max_instances is 101: give a whole number from 1 to 100"),
        (queued, {"min_instances": 2, "max_instances": 1}, "give a max_instances of at least 2"),
        (components, {"min_copies": 2, "max_copies": 1}, "give a max_copies of at least 2"),
        (batch, {"instance_count": 0}, "instance_count is 0: give a whole number from 1 to 100"),
        (
            realtime,
            {"instance_type": "ml.t2.large", "max_instances": 2},
            "ml.t2.large, which Application Auto Scaling refuses to scale (burstable)",
        ),
        # what scaling and alarms aim at
        (realtime, {"requests_per_instance": 257}, "requests_per_instance is 257: give a whole number from 1 to 256"),
        (components, {"requests_per_copy": 0}, "requests_per_copy is 0: give a whole number from 1 to 256"),
        (queued, {"backlog_per_instance": 0}, "backlog_per_instance is 0: give a whole number from 1 to 1000"),
        (queued, {"max_wait_minutes": 0}, "max_wait_minutes is 0: give a whole number from 1 to 1440"),
        (realtime, {"max_latency_ms": 60_001}, "max_latency_ms is 60001: give a whole number from 1 to 60000"),
        (serverless, {"max_latency_ms": 0}, "max_latency_ms is 0: give a whole number from 1 to 60000"),
        # the server's queue
        (queued, {"concurrent_requests": 257}, "concurrent_requests is 257: give a whole number from 1 to 256"),
        (
            queued,
            {"concurrent_requests": 3},
            "the server's queue holds 8388608 tokens; give concurrent_requests at most 2",
        ),
        (
            batch,
            {"concurrent_requests": 100, "largest_request_tokens": 100_000},
            "together 10000000: the server's queue holds 8388608 tokens; give concurrent_requests at most 83",
        ),
        (batch, {"largest_request_tokens": 8_388_609}, "largest_request_tokens is 8388609: give a whole number from 1"),
        # serverless
        (serverless, {"memory_mb": 1000}, "memory_mb is 1000: give one of 1024, 2048, 3072, 4096, 5120, 6144"),
        (serverless, {"max_concurrency": 201}, "max_concurrency is 201: give a whole number from 1 to 200"),
        (serverless, {"provisioned_concurrency": 6}, "provisioned_concurrency is 6: give a whole number from 1 to 5"),
        # inference components
        (components, {"gpus_per_copy": 9}, "gpus_per_copy is 9: give a whole number from 1 to 8"),
        (components, {"memory_mb_per_copy": 64}, "memory_mb_per_copy is 64: give a whole number from 128"),
        (components, {"cpus_per_copy": 0}, "cpus_per_copy is 0: give a whole number from 1 to 192"),
        (components, {"gpus_per_copy": 2}, "gpus_per_copy is 2: ml.g5.xlarge has 1; give no more"),
        (
            components,
            {"memory_mb_per_copy": 16_384},
            "memory_mb_per_copy is 16384: ml.g5.xlarge has 16384, and needs some itself; give less",
        ),
        (
            components,
            {"instance_type": "ml.c5.large", "cpus_per_copy": 3, "memory_mb_per_copy": 1_024},
            "cpus_per_copy is 3: ml.c5.large has 2; give no more",
        ),
        # batch
        (batch, {"named_packages": "yes"}, "named_packages is 'yes': give True or False"),
        (batch, {"max_payload_mb": 7}, "max_payload_mb is 7: give a whole number from 1 to 6"),
        (
            batch,
            {"concurrent_requests": 20, "largest_request_tokens": 1000},
            "max_payload_mb is 6 and concurrent_requests 20: SageMaker takes a product of at most 100",
        ),
        # beside the endpoint
        (realtime, {"capture": 5}, "capture is 5: give Capture"),
        (realtime, {"shadow": True}, "shadow is True: give Shadow"),
        (queued, {"working_hours": "MON-FRI"}, "working_hours is 'MON-FRI': give WorkingHours"),
        (components, {"working_hours": 8}, "working_hours is 8: give WorkingHours"),
        (
            realtime,
            {"shadow": Shadow(instance_type="ml.m5.xlarge")},
            "one has local disks and one has not, and SageMaker takes one volume key for both or none",
        ),
        (realtime, {"max_instances": 2, "working_hours": WorkingHours()}, "working_hours would save nothing"),
        (queued, {"working_hours": WorkingHours()}, "would change nothing: min_instances is 0 by day too"),
        (components, {"working_hours": WorkingHours()}, "would change nothing: min_copies is 0 by day too"),
        # deployments
        (realtime, {"deployment": "canary"}, "deployment is 'canary': give one of AllAtOnce(…), Canary(…), Linear(…)"),
        (
            realtime,
            {"deployment": Canary()},
            "Canary, but the fleet may be as small as 1, which has no half: give AllAtOnce",
        ),
        (queued, {"deployment": Linear()}, "deployment is Linear, but the fleet may be as small as 0"),
        (realtime, {"deployment": Rolling()}, "deployment is Rolling, but the fleet may be as small as 1"),
        (
            realtime,
            {"deployment": AllAtOnce(), "max_instances": 10},
            "but there can be 10 instances: give bake_minutes, so that alarms can take a bad release back",
        ),
        (fleet, {"deployment": Canary(percent=10)}, "of 4 instances that is less than one; give percent at least 25"),
        (fleet, {"deployment": AllAtOnce()}, "AllAtOnce(bake_minutes=0), but there can be 4 instances"),
        (
            fleet,
            {"deployment": Rolling(), "shadow": Shadow(instance_type=GPU)},
            "deployment is Rolling, which SageMaker refuses beside a shadow variant",
        ),
        (fleet, {"deployment": Canary(), "shadow": Shadow(instance_type=GPU)}, "shadow.instance_count is 1, but"),
        (
            components,
            {"deployment": Canary()},
            "deployment is Canary: the copies of an inference component are updated by",
        ),
        (
            components,
            {"deployment": AllAtOnce(bake_minutes=5)},
            "which inference components do not have: give AllAtOnce()",
        ),
        (components, {"deployment": Rolling()}, "deployment is Rolling, but the fleet may be as small as 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    make: Callable[..., object], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as error:
        make(**given).check()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AllAtOnce(bake_minutes=2), "bake_minutes is 2: give a whole number from 3 to 60, or 0"),
        (lambda: Canary(percent=51), "percent is 51: give a whole number from 1 to 50"),
        (lambda: Canary(wait_minutes=2), "wait_minutes is 2: give a whole number from 3 to 60"),
        (lambda: Canary(keep_old_minutes=61), "keep_old_minutes is 61: give a whole number from 0 to 60"),
        (lambda: Canary(timeout_minutes=9), "timeout_minutes is 9: give a whole number from 10 to 480"),
        (lambda: Canary(wait_minutes=60, keep_old_minutes=60), "timeout_minutes is 120, but waits and starting"),
        (lambda: Linear(step_percent=9), "step_percent is 9: give a whole number from 10 to 50"),
        (lambda: Linear(step_percent=10, wait_minutes=30), "instances can take 325: give at least 325"),
        (lambda: Rolling(batch_percent=4), "batch_percent is 4: give a whole number from 5 to 50"),
        (lambda: Rolling(batch_percent=5), "instances can take 600: give larger steps or shorter waits"),
        (lambda: Rolling(timeout_minutes=481), "timeout_minutes is 481: give a whole number from 10 to 480"),
        (lambda: Capture(percent=0), "percent is 0: give a whole number from 1 to 100"),
        (lambda: Capture(percent=1, what="Everything"), "what is 'Everything': give Input or Output or InputAndOutput"),  # type: ignore[arg-type]
        (lambda: Shadow(instance_type="ml.g5.tiny"), "SageMaker has no 'ml.g5.tiny' for endpoints"),
        (lambda: Shadow(instance_type=GPU, instance_count=0), "instance_count is 0: give a whole number from 1 to 100"),
        (lambda: Shadow(instance_type=GPU, percent=101), "percent is 101: give a whole number from 1 to 100"),
        (lambda: WorkingHours(start="7:00"), "start is '7:00': give an hour and minute such as 07:00"),
        (lambda: WorkingHours(start="20:00", end="07:00"), "start is 20:00 and end is 07:00: give an end later"),
        (lambda: WorkingHours(days="weekdays"), "days is 'weekdays': give days such as MON-FRI or MON,WED,FRI"),
        (
            lambda: WorkingHours(time_zone="CET+1"),
            "time_zone is 'CET+1': give UTC or a name of the IANA database such as Europe/Berlin",
        ),
        (lambda: WorkingHours(time_zone="Europe/Berlín"), "time_zone is 'Europe/Berlín': give UTC or a name"),
        (lambda: WorkingHours(time_zone="Europe/Munich"), "time_zone is 'Europe/Munich': give UTC or a name"),
    ],
)
def test_parts_of_the_settings_are_checked_where_they_are_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        make().check()
    assert message in str(error.value)


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        RealTime(
            instance_type="big", min_instances=0, requests_per_instance=0, max_latency_ms=0, invokers=("?",)
        ).check()
    fields = ("instance_type", "min_instances", "requests_per_instance", "max_latency_ms", "invokers")
    assert [field in str(error.value) for field in fields] == [True] * len(fields)


def test_all_settings_of_other_modes_are_refused_at_once_each_with_its_reason() -> None:
    with pytest.raises(SettingsError) as error:
        Serverless(memory_mb=2048, instance_type=GPU, capture=Capture(percent=5), backlog_per_instance=5).check()  # type: ignore[call-arg]
    assert "instance_type is no setting of mode serverless: serverless inference has CPUs only" in str(error.value)
    assert "capture is no setting of mode serverless: serverless inference has no data capture" in str(error.value)
    assert "backlog_per_instance is no setting of mode serverless: it has invokers, max_concurrency" in str(error.value)


@pytest.mark.parametrize(
    ("endpoint", "kind"),
    [
        (realtime(), AllAtOnce()),
        (realtime(max_instances=3), AllAtOnce(bake_minutes=10)),
        (realtime(min_instances=2, max_instances=3), Canary()),
        (queued(), AllAtOnce()),
        (queued(max_instances=2), AllAtOnce(bake_minutes=10)),
        (queued(min_instances=2, max_instances=2), Canary()),
        (components(), AllAtOnce()),
        (components(min_copies=2, max_copies=2), Rolling()),
    ],
)
def test_a_fleet_is_replaced_in_two_steps_or_under_alarms_where_its_size_lets_it(
    endpoint: RealTime, kind: object
) -> None:
    assert endpoint.kind_of_deployment == kind


def test_the_timeout_leaves_time_for_the_waits_and_for_instances_to_come_up() -> None:
    waits = 10 + 5
    assert Canary(timeout_minutes=waits + FLEET_START_MINUTES)
    with pytest.raises(SettingsError, match=f"give at least {waits + FLEET_START_MINUTES}"):
        Canary(timeout_minutes=waits + FLEET_START_MINUTES - 1).check()


def test_small_requests_may_run_side_by_side_as_many_as_the_servers_queue_holds() -> None:
    assert queued(concurrent_requests=256, largest_request_tokens=8_388_608 // 256)


@pytest.mark.parametrize(
    ("endpoint", "most", "types"),
    [
        (realtime(max_instances=3, shadow=Shadow(instance_type="ml.g5.2xlarge")), 4, (GPU, "ml.g5.2xlarge")),
        (queued(max_instances=5), 5, (GPU,)),
        (serverless(), 0, ()),
        (components(max_copies=7), 7, (GPU,)),
        (batch(instance_count=2), 2, (GPU,)),
    ],
)
def test_an_endpoint_knows_its_instances(endpoint: RealTime, most: int, types: tuple[str, ...]) -> None:
    assert (endpoint.most_instances, endpoint.instance_types) == (most, types)


def test_working_hours_are_cron_expressions_in_their_time_zone() -> None:
    hours = WorkingHours(start="06:30", end="18:05", days="MON,WED", time_zone="America/Argentina/Buenos_Aires")
    assert (hours.opening, hours.closing) == ("cron(30 6 ? * MON,WED *)", "cron(5 18 ? * MON,WED *)")
