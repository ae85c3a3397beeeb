"""Updates of endpoints: blue/green at once, by canary and in linear steps, rolling; taken back by alarms, by failures
and by time; and what a killed server leaves. Requests are asked all the while, and none may be lost."""

import threading
import time
from collections import Counter

import pytest
from botocore.exceptions import ClientError

from local_aws import server, store
from local_aws.deployments import Deployment, Progress, RollBackError
from local_aws.fleet import Fleet, InstanceVariant
from local_aws.processes import wait_until
from tests.local_aws.small_endpoints import BUCKET, SERVE, Asking, ask, make_config, new_name, settled
from tests.local_aws.small_images import push_image, put_archive

LEAST_BUSY = {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}


def percent(value):
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def blue_green(kind, *, wait=0, keep=0, alarms=(), **size):
    policy = {
        "TrafficRoutingConfiguration": {"Type": kind, "WaitIntervalInSeconds": wait, **size},
        "TerminationWaitInSeconds": keep,
    }
    return {"BlueGreenUpdatePolicy": policy} | roll_back_on(alarms)


def rolling(size, *, wait=0, alarms=()):
    policy = {"MaximumBatchSize": size, "WaitIntervalInSeconds": wait}
    return {"RollingUpdatePolicy": policy} | roll_back_on(alarms)


def roll_back_on(alarms):
    named = [{"AlarmName": name} for name in alarms]
    return {"AutoRollbackConfiguration": {"Alarms": named}} if named else {}


def update(aws, name, config, deployment, **more):
    aws("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=config, DeploymentConfig=deployment, **more)


def described(aws, name):
    return aws("sagemaker").describe_endpoint(EndpointName=name)


def stage(aws, name):
    """The VariantStatus of the deployment that goes on, and how many instances it has."""
    pending = described(aws, name).get("PendingDeploymentSummary")
    if pending is None:
        return None
    [variant] = pending["ProductionVariants"]
    return variant["VariantStatus"][0]["Status"], variant["CurrentInstanceCount"]


def pids(aws, name, asked=60):
    return {ask(aws, name, b"pid") for _ in range(asked)}


@pytest.fixture
def alarm(aws):
    """The name of an alarm on the endpoints' 5xx, of ten-second periods, as alarm(endpoint)."""
    made = []

    def make(endpoint, metric="Invocation5XXErrors"):
        name = f"{endpoint}-{metric}"
        made.append(name)
        aws("cloudwatch").put_metric_alarm(
            AlarmName=name,
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": "v0"}],
            Statistic="Sum",
            Period=10,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="notBreaching",
        )
        return name

    yield make
    aws("cloudwatch").delete_alarms(AlarmNames=made)


def test_a_canary_gets_its_share_first_then_all_and_no_request_is_lost(aws, create_endpoint, serving_image):
    name = create_endpoint("old", InitialInstanceCount=2)
    config = make_config(aws, serving_image, "new", InitialInstanceCount=2)
    asking = Asking(aws, name)
    try:
        update(aws, name, config, blue_green("CANARY", wait=4, CanarySize=percent(50)))
        assert wait_until(lambda: stage(aws, name) == ("Baking", 2), 30)
        before = len(asking.answers)
        time.sleep(2)
        canary = Counter(asking.answers[before:])
        assert described(aws, name)["EndpointStatus"] == "Updating"
        assert settled(aws, name)["EndpointConfigName"] == config
        assert {ask(aws, name) for _ in range(20)} == {b"new x"}
    finally:
        asking.stop()
    assert asking.errors == []
    assert 0.3 < canary[b"new x"] / canary.total() < 0.7
    assert described(aws, name)["LastDeploymentConfig"]["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"] == {
        "Type": "CANARY",
        "WaitIntervalInSeconds": 4,
        "CanarySize": percent(50),
    }


def test_linear_steps_are_waited_for_one_by_one(aws, create_endpoint, serving_image):
    name = create_endpoint("old", InitialInstanceCount=2)
    config = make_config(aws, serving_image, "new", InitialInstanceCount=4)
    began = time.monotonic()
    update(aws, name, config, blue_green("LINEAR", wait=2, keep=1, LinearStepSize=percent(25)))
    assert settled(aws, name)["EndpointConfigName"] == config
    assert time.monotonic() - began > 3 * 2 + 1
    assert [variant["CurrentInstanceCount"] for variant in described(aws, name)["ProductionVariants"]] == [4]


def test_rolling_replaces_batch_by_batch_with_one_batch_more_than_before_at_most(aws, create_endpoint, serving_image):
    name = create_endpoint("old", InitialInstanceCount=4)
    config = make_config(aws, serving_image, "new", InitialInstanceCount=4)
    asking, seen = Asking(aws, name), set()
    try:
        update(aws, name, config, rolling({"Type": "INSTANCE_COUNT", "Value": 2}, wait=2))

        def over():
            endpoint = described(aws, name)
            pending = endpoint.get("PendingDeploymentSummary")
            if pending:
                seen.add(
                    (
                        endpoint["ProductionVariants"][0]["CurrentInstanceCount"],
                        pending["ProductionVariants"][0]["CurrentInstanceCount"],
                    )
                )
            return endpoint["EndpointStatus"] == "InService"

        assert wait_until(over, 60)
        assert wait_until(lambda: asking.answers[-1] == b"new x", 10)
    finally:
        asking.stop()
    assert asking.errors == []
    assert described(aws, name)["EndpointConfigName"] == config
    assert {(4, 2), (2, 4)} <= seen
    assert max(old + new for old, new in seen) == 6


@pytest.mark.parametrize("how", ["canary", "rolling", "termination wait"])
def test_an_alarm_that_rings_takes_the_new_model_back_while_the_old_one_answers(
    aws, create_endpoint, serving_image, alarm, how
):
    name = create_endpoint("old", InitialInstanceCount=2)
    before, old = described(aws, name)["EndpointConfigName"], pids(aws, name)
    alarms, config = [alarm(name)], make_config(aws, serving_image, "failing", InitialInstanceCount=2)
    policy = {
        "canary": blue_green("CANARY", wait=60, CanarySize=percent(50), alarms=alarms),
        "rolling": rolling(percent(50), wait=60, alarms=alarms),
        "termination wait": blue_green("ALL_AT_ONCE", keep=60, alarms=alarms),
    }[how]
    asking = Asking(aws, name, threads=1)
    statuses = []
    try:
        update(aws, name, config, policy)

        def back():
            statuses.append(described(aws, name)["EndpointStatus"])
            return statuses[-1] == "InService"

        assert wait_until(back, 60)
    finally:
        asking.stop()
    assert [status for status in dict.fromkeys(statuses) if status != "RollingBack"] == ["Updating", "InService"]
    endpoint = described(aws, name)
    assert endpoint["EndpointConfigName"] == before
    assert f"alarm {alarms[0]} is in ALARM" in endpoint["FailureReason"]
    assert "PendingDeploymentSummary" not in endpoint
    # The new model's own errors reached callers, as its share; nothing else did, and the old model answered on.
    assert {error.response["OriginalStatusCode"] for error in asking.errors} == {500}
    assert set(asking.answers) == {b"old x"}
    assert pids(aws, name) <= old if how == "canary" else ask(aws, name) == b"old x"
    assert endpoint["ProductionVariants"][0]["CurrentInstanceCount"] == 2


def test_a_way_back_that_fails_too_ends_in_a_state_that_says_so(aws, create_endpoint, serving_image, alarm):
    name = create_endpoint("old", InitialInstanceCount=2)
    before = described(aws, name)["EndpointConfigName"]
    [variant] = aws("sagemaker").describe_endpoint_config(EndpointConfigName=before)["ProductionVariants"]
    model = aws("sagemaker").describe_model(ModelName=variant["ModelName"])["PrimaryContainer"]["ModelDataUrl"]
    config, rings = make_config(aws, serving_image, "new", InitialInstanceCount=2), alarm(name)
    update(aws, name, config, rolling(percent(50), wait=8, alarms=[rings]))
    assert wait_until(lambda: stage(aws, name) == ("Baking", 2), 60)  # an old instance has gone
    bucket, _, key = model.removeprefix("s3://").partition("/")
    aws("s3").delete_object(Bucket=bucket, Key=key)  # and cannot come back
    aws("cloudwatch").set_alarm_state(AlarmName=rings, StateValue="ALARM", StateReason="a test")
    assert wait_until(lambda: described(aws, name)["EndpointStatus"] == "UpdateRollbackFailed", 60)
    assert ask(aws, name) in (b"old x", b"new x")
    reason = described(aws, name)["FailureReason"]
    assert "is in ALARM" in reason
    assert "The way back failed:" in reason


def test_an_alarm_may_watch_the_new_fleet_alone(aws, create_endpoint, serving_image):
    name = create_endpoint("failing", InitialInstanceCount=2)
    config = make_config(aws, serving_image, "good", InitialInstanceCount=2)
    aws("cloudwatch").put_metric_alarm(
        AlarmName=f"{name}-new",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[
            {"Name": "EndpointName", "Value": name},
            {"Name": "VariantName", "Value": "v0"},
            {"Name": "EndpointConfigName", "Value": config},
        ],
        Statistic="Average",
        Period=10,
        EvaluationPeriods=1,
        Threshold=0.1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        TreatMissingData="notBreaching",
    )
    asking = Asking(aws, name, threads=1)
    try:
        update(aws, name, config, blue_green("CANARY", wait=14, CanarySize=percent(50), alarms=[f"{name}-new"]))
        assert settled(aws, name)["EndpointConfigName"] == config
    finally:
        asking.stop()
        aws("cloudwatch").delete_alarms(AlarmNames=[f"{name}-new"])
    assert asking.errors, "the old fleet failed all the while"


def test_new_instances_that_do_not_come_up_leave_the_old_ones_of_a_rolling_update_as_they_were(
    aws, create_endpoint, serving_image
):
    name = create_endpoint("old", InitialInstanceCount=2)
    before, old = described(aws, name)["EndpointConfigName"], pids(aws, name)
    update(aws, name, make_config(aws, serving_image, "broken", InitialInstanceCount=2), rolling(percent(50)))
    endpoint = settled(aws, name)
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", before)
    assert "this model is broken" in endpoint["FailureReason"]
    assert pids(aws, name) == old


@pytest.mark.parametrize("late", ["in the wait", "in a container's start"])
def test_a_deployment_that_takes_too_long_is_rolled_back(inside, aws, serving_image, tmp_path, late):
    """The API takes ten minutes at least, so what it calls is called here, with a container that is slow to start."""
    del inside
    scope, cancelled, told, routed = store.Scope("123456789012", "us-east-1"), threading.Event(), [], []
    container = {"Image": serving_image, "ModelDataUrl": put_archive(aws, BUCKET, "slow.tar.gz", text="slow")}
    model = {"ModelName": "m", "PrimaryContainer": container, "EnableNetworkIsolation": False}
    store.open_store(tmp_path).put(scope, "model", "m", model)
    fleets = [
        Fleet(config, [InstanceVariant(scope, "late", {"VariantName": "v0", "ModelName": "m"}, cancelled)])
        for config in ("old", "new")
    ]
    counts = {"v0": 0 if late == "in the wait" else 1}
    policy = blue_green("ALL_AT_ONCE", keep=60)
    policy["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"] = 1
    deployment = Deployment(
        scope=scope,
        policy=policy,
        old=fleets[0],
        new=fleets[1],
        counts=counts,
        cancelled=cancelled,
        route=routed.append,
        rolling_back=told.append,
        progress=Progress(fleets[1], counts),
    )
    with pytest.raises(RollBackError, match="longer than MaximumExecutionTimeoutInSeconds"):
        deployment.run()
    assert len(told) == 1
    assert routed == ([1.0, 0.0] if late == "in the wait" else [0.0])
    assert fleets[1].counts() == {"v0": 0}
    cancelled.set()


def test_a_server_killed_in_the_bake_comes_back_with_the_old_configuration_and_says_so(
    own_folder, clients_of, kill_9, on_disk
):
    running = server.start(own_folder)
    own = clients_of(running)
    image = push_image(own, "endpoint-test", SERVE)
    before = make_config(own, image, "old", InitialInstanceCount=2)
    own("sagemaker").create_endpoint(EndpointName="baked", EndpointConfigName=before)
    settled(own, "baked")
    config = make_config(own, image, "new", InitialInstanceCount=2)
    update(own, "baked", config, blue_green("CANARY", wait=600, CanarySize=percent(50)))
    assert wait_until(lambda: stage(own, "baked") == ("Baking", 2), 30)
    on_disk(own)
    kill_9(running)
    own = clients_of(server.start(own_folder))
    endpoint = settled(own, "baked")
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", before)
    assert "update again" in endpoint["FailureReason"]
    assert {ask(own, "baked") for _ in range(20)} == {b"old x"}
    update(own, "baked", config, blue_green("CANARY", wait=0, CanarySize=percent(50)))
    assert settled(own, "baked")["EndpointConfigName"] == config


def test_a_deployment_that_no_fleet_can_make_is_refused_with_every_fault(aws, create_endpoint, serving_image):
    name = create_endpoint("old")
    config = make_config(aws, serving_image, "new")
    for deployment, words in (
        (blue_green("CANARY"), "CANARY needs CanarySize"),
        (blue_green("ALL_AT_ONCE", CanarySize=percent(10)), "takes no CanarySize"),
        (blue_green("CANARY", CanarySize=percent(50)), "has no half: give ALL_AT_ONCE"),
        (blue_green("LINEAR", LinearStepSize=percent(5)), "5 percent; give 10 to 50"),
        (rolling(percent(60)), "60 percent; give 5 to 50"),
        (rolling({"Type": "INSTANCE_COUNT", "Value": 1}), "more than 50 percent of the variant's 1"),
        (blue_green("ALL_AT_ONCE", alarms=["nobody"]), "alarms nobody, which do not exist"),
        (blue_green("ALL_AT_ONCE") | rolling(percent(50)), "not both"),
    ):
        with pytest.raises(ClientError, match=words):
            update(aws, name, config, deployment)
    late = blue_green("ALL_AT_ONCE", keep=1200)
    late["BlueGreenUpdatePolicy"]["MaximumExecutionTimeoutInSeconds"] = 600
    with pytest.raises(ClientError, match="the waits alone take 1200"):
        update(aws, name, config, late)
    assert described(aws, name)["EndpointStatus"] == "InService"


def test_an_update_may_retain_weights_and_numbers_of_instances_and_not_all_of_them(aws, create_endpoint, serving_image):
    name = create_endpoint("a", "b")
    aws("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName=name,
        DesiredWeightsAndCapacities=[{"VariantName": "v0", "DesiredWeight": 7, "DesiredInstanceCount": 2}],
    )
    settled(aws, name)
    for more, expected in (
        ({"RetainAllVariantProperties": True}, (7, 2)),
        (
            {
                "RetainAllVariantProperties": True,
                "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}],
            },
            (1, 2),
        ),
        ({}, (1, 1)),
    ):
        config = make_config(aws, serving_image, "a", "b")
        update(aws, name, config, blue_green("ALL_AT_ONCE"), **more)
        endpoint = settled(aws, name)
        variant = endpoint["ProductionVariants"][0]
        assert endpoint["EndpointConfigName"] == config
        assert (variant["CurrentWeight"], variant["CurrentInstanceCount"]) == expected


def test_a_number_of_instances_is_that_of_processes_and_shrinks_without_losing_a_request(aws, create_endpoint):
    name = create_endpoint("many", InitialInstanceCount=2, RoutingConfig=LEAST_BUSY)
    assert len(pids(aws, name)) == 2
    change = aws("sagemaker").update_endpoint_weights_and_capacities
    change(EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "v0", "DesiredInstanceCount": 3}])
    assert settled(aws, name)["ProductionVariants"][0]["CurrentInstanceCount"] == 3
    assert len(pids(aws, name)) == 3
    asking = Asking(aws, name, threads=3, body=b"sleep 0.3")
    try:
        assert wait_until(lambda: len(asking.answers) > 3, 10)
        change(EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "v0", "DesiredInstanceCount": 1}])
        settled(aws, name)
    finally:
        asking.stop()
    assert asking.errors == []
    assert len(pids(aws, name)) == 1
    with pytest.raises(ClientError, match="only asynchronous endpoints scale to zero"):
        change(EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "v0", "DesiredInstanceCount": 0}])


def test_the_least_busy_instance_is_asked(aws, create_endpoint):
    """One instance sleeps, and every other request finds the other one; by chance half of them would wait."""
    name = create_endpoint("two", InitialInstanceCount=2, RoutingConfig=LEAST_BUSY)
    asking = Asking(aws, name, threads=1, body=b"sleep 3")
    try:
        time.sleep(0.5)
        assert len(pids(aws, name, asked=20)) == 1
    finally:
        asking.stop()


def test_a_roll_back_in_a_stack_fails_the_update_and_the_stack_keeps_the_old_model(aws, deploy, serving_image, alarm):
    name = new_name()
    old = make_config(aws, serving_image, "old", InitialInstanceCount=2)
    new = make_config(aws, serving_image, "failing", InitialInstanceCount=2)

    def resources(config):
        properties = {
            "EndpointName": name,
            "EndpointConfigName": config,
            "RetainAllVariantProperties": True,
            "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DataCaptureConfig"}],
            "DeploymentConfig": blue_green("CANARY", wait=60, CanarySize=percent(50), alarms=[alarm(name)]),
        }
        return {"Endpoint": {"Type": "AWS::SageMaker::Endpoint", "Properties": properties}}

    try:
        assert deploy(aws("cloudformation"), name, resources(old))["StackStatus"] == "CREATE_COMPLETE"
        asking = Asking(aws, name, threads=1)
        try:
            stack = deploy(aws("cloudformation"), name, resources(new))
        finally:
            asking.stop()
        assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
        events = aws("cloudformation").describe_stack_events(StackName=name)["StackEvents"]
        assert any("is in ALARM" in event.get("ResourceStatusReason", "") for event in events)
        assert described(aws, name)["EndpointConfigName"] == old
        assert ask(aws, name) == b"old x"
        later = resources(old)
        later["Endpoint"]["Properties"]["DeploymentConfig"] = blue_green("ALL_AT_ONCE", keep=3)
        assert deploy(aws("cloudformation"), name, later)["StackStatus"] == "UPDATE_COMPLETE"
    finally:
        aws("cloudformation").delete_stack(StackName=name)
