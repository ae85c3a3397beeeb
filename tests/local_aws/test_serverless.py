"""Serverless variants: cold starts, throttling, limits, and that nothing runs while nobody asks."""

import threading

import pytest
from botocore.exceptions import ClientError, EventStreamError

from local_aws import fleet, serverless, store
from local_aws.processes import wait_until
from local_aws.serverless import ServerlessVariant
from local_aws.store import Scope
from tests.local_aws.small_endpoints import BUCKET, Asking, ask, make_config
from tests.local_aws.small_images import put_archive

ON_DEMAND = {"InstanceType": None, "InitialInstanceCount": None}


def on_demand(most=2, **more):
    return {**ON_DEMAND, "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": most, **more}}


def test_a_serverless_endpoint_answers_with_a_container_for_each_request_at_once_and_throttles_the_rest(
    aws, create_endpoint
):
    name = create_endpoint("hello", **on_demand(most=2))
    [variant] = aws("sagemaker").describe_endpoint(EndpointName=name)["ProductionVariants"]
    assert variant["CurrentServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 2}
    assert "CurrentInstanceCount" not in variant
    assert ask(aws, name) == b"hello x"
    asking = Asking(aws, name, threads=4, body=b"sleep 0.5")
    try:
        assert wait_until(lambda: len(asking.answers) > 4 and len(asking.errors) > 4, 20)
    finally:
        asking.stop()
    codes = {
        (error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        for error in asking.errors
    }
    assert codes == {("ThrottlingException", 429)}
    assert ask(aws, name) == b"hello x"


def test_four_megabytes_are_too_many(aws, create_endpoint):
    name = create_endpoint("a", **on_demand())
    assert len(ask(aws, name, b"x" * (4 * 1024 * 1024 - 2))) == 4 * 1024 * 1024
    with pytest.raises(ClientError, match="at most 4194304 are taken"):
        ask(aws, name, b"x" * (4 * 1024 * 1024 + 1))
    with pytest.raises(ClientError, match="at most 4194304 are passed on") as error:
        ask(aws, name, b"x" * (4 * 1024 * 1024))
    assert error.value.response["OriginalStatusCode"] == 500


def test_a_model_that_does_not_come_up_fails_the_endpoint_and_not_the_first_request(aws, create_endpoint):
    name = create_endpoint("broken", **on_demand())
    described = aws("sagemaker").describe_endpoint(EndpointName=name)
    assert described["EndpointStatus"] == "Failed"
    assert "this model is broken" in described["FailureReason"]


def test_an_idle_container_ends_and_the_next_request_starts_another(inside, aws, serving_image, tmp_path, monkeypatch):
    """Idle is two minutes: what the endpoint runs is run here, with less patience."""
    del inside
    monkeypatch.setattr(serverless, "IDLE_SECONDS", 1.0)
    scope, cancelled = Scope("123456789012", "us-east-1"), threading.Event()
    container = {"Image": serving_image, "ModelDataUrl": put_archive(aws, BUCKET, "idle.tar.gz", text="idle")}
    model = {"ModelName": "m", "PrimaryContainer": container, "EnableNetworkIsolation": False}
    store.open_store(tmp_path).put(scope, "model", "m", model)
    settings = {
        "VariantName": "v0",
        "ModelName": "m",
        "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1},
    }
    variant = ServerlessVariant(
        settings, lambda: fleet.start_server(scope, "idle", settings, cancelled), cancelled, "idle"
    )
    try:
        variant.scale(1)
        [first] = variant.servers
        assert wait_until(lambda: not variant.servers, 10)
        assert wait_until(lambda: not first.runs(), 10)
        second = variant.acquire()
        assert second is not None
        assert second is not first
        assert second.ask({}, b"x", 5.0)[2] == b"idle x"
        assert not wait_until(lambda: not variant.servers, 2.5), "it is at work, and not idle"
        variant.release(second)
        assert wait_until(lambda: not variant.servers, 10)
    finally:
        variant.retire(0)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"InstanceType": "ml.m5.large"}, "takes no InstanceType"),
        ({"ServerlessConfig": {"MemorySizeInMB": 2000, "MaxConcurrency": 1}}, "steps of 1024"),
        (
            {"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 1, "ProvisionedConcurrency": 2}},
            "greater than MaxConcurrency 1",
        ),
        ({"isolated": True}, "no isolation"),
        ({"config": {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://b/x"}}}}, "on instances"),
    ],
)
def test_what_serverless_endpoints_cannot_do_is_refused(aws, serving_image, more, words):
    with pytest.raises(ClientError, match=words):
        make_config(aws, serving_image, "a", **{**on_demand(), **more})


@pytest.mark.parametrize(
    ("variant", "config", "words"),
    [
        ({"ManagedInstanceScaling": {"Status": "ENABLED", "MinInstanceCount": 0}}, {}, "inference components"),
        ({"ModelName": None}, {"ExecutionRoleArn": "arn:aws:iam::123456789012:role/r"}, "inference components"),
        (
            {"CapacityReservationConfig": {"CapacityReservationPreference": "capacity-reservations-only"}},
            {},
            "training plan",
        ),
        ({}, {"ShadowProductionVariants": [{"VariantName": "s", "InitialInstanceCount": 1}]}, "shadow variant"),
        ({"RoutingConfig": {"RoutingStrategy": "PREFIX_AWARE"}}, {}, "PREFIX_AWARE"),
    ],
)
def test_modes_that_exist_on_aws_and_not_here_say_so(aws, serving_image, variant, config, words):
    with pytest.raises(ClientError, match=words) as error:
        make_config(aws, serving_image, "a", config=config, **variant)
    assert error.value.response["Error"]["Code"] == "NotEmulated"


def test_a_stream_of_the_answer_is_the_answer(aws, create_endpoint):
    name = create_endpoint("s" * 10)
    body = b"y" * 200_000
    answer = aws("sagemaker-runtime").invoke_endpoint_with_response_stream(
        EndpointName=name, Body=body, Accept="text/x"
    )
    parts = [event["PayloadPart"]["Bytes"] for event in answer["Body"]]
    assert b"".join(parts) == b"s" * 10 + b" " + body
    assert len(parts) == 4
    assert (answer["ContentType"], answer["InvokedProductionVariant"]) == ("text/x", "v0")
    with pytest.raises(ClientError) as error:
        aws("sagemaker-runtime").invoke_endpoint_with_response_stream(EndpointName=name, Body=b"status 500")
    assert error.value.response["Error"]["Code"] == "ModelError"


def test_an_answer_in_chunks_is_put_together_and_one_that_breaks_off_is_not_taken_for_whole(aws, create_endpoint):
    name = create_endpoint("a")
    runtime = aws("sagemaker-runtime")
    whole = runtime.invoke_endpoint_with_response_stream(EndpointName=name, Body=b"in chunks whole")
    assert [event["PayloadPart"]["Bytes"] for event in whole["Body"]] == [b"firstsecond"]
    broken = iter(runtime.invoke_endpoint_with_response_stream(EndpointName=name, Body=b"in chunks broken")["Body"])
    assert next(broken)["PayloadPart"]["Bytes"] == b"firstsecond"
    with pytest.raises(EventStreamError, match=r"ModelStreamError.*before its answer was whole"):
        next(broken)
    assert ask(aws, name, b"in chunks whole") == b"firstsecond"
    with pytest.raises(ClientError, match="before its answer was whole") as error:
        ask(aws, name, b"in chunks broken")
    assert error.value.response["OriginalStatusCode"] == 503
