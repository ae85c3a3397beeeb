"""Endpoints and InvokeEndpoint, with containers that really serve: their life, their failures, what callers see."""

import contextlib
import json
import os
import signal

import pytest
from botocore.exceptions import ClientError

from local_aws import server
from local_aws.processes import descendants, wait_until
from tests.local_aws.small_endpoints import BUCKET, SERVE, Asking, ask, make_config, new_name, settled
from tests.local_aws.small_images import push_image


def test_an_endpoint_in_service_answers_and_passes_on_what_surrounds_the_body(aws, create_endpoint):
    name = create_endpoint("hello")
    runtime = aws("sagemaker-runtime")
    answer = runtime.invoke_endpoint(
        EndpointName=name,
        Body=b"you",
        ContentType="application/json",
        Accept="application/x-npz",
        CustomAttributes="a=1",
    )
    assert answer["Body"].read() == b"hello you"
    assert answer["ContentType"] == "application/x-npz"
    assert answer["InvokedProductionVariant"] == "v0"
    assert answer["CustomAttributes"] == "seen a=1"
    [variant] = aws("sagemaker").describe_endpoint(EndpointName=name)["ProductionVariants"]
    assert (variant["VariantName"], variant["CurrentInstanceCount"]) == ("v0", 1)


@pytest.mark.parametrize("status", [400, 413, 429, 500, 503])
def test_what_a_container_refuses_is_a_model_error_in_its_own_words(aws, create_endpoint, status):
    name = create_endpoint("any")
    with pytest.raises(ClientError) as error:
        ask(aws, name, f"status {status}".encode())
    response = error.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == ("ModelError", 424)
    assert response["OriginalStatusCode"] == status
    assert json.loads(response["OriginalMessage"])["message"] == "in my own words"
    assert f"log-group:/aws/sagemaker/Endpoints/{name}:log-stream:v0/i-" in response["LogStreamArn"]


def test_an_unknown_endpoint_is_a_validation_error(aws):
    with pytest.raises(ClientError, match="Endpoint nobody of account 123456789012 not found") as error:
        ask(aws, "nobody")
    assert error.value.response["Error"]["Code"] == "ValidationError"


def test_a_body_above_the_limit_is_refused_before_it_reaches_the_container(aws, create_endpoint):
    with pytest.raises(ClientError) as error:
        ask(aws, create_endpoint("any"), b"x" * (25 * 1024 * 1024 + 1))
    assert error.value.response["Error"]["Code"] == "ValidationError"


def test_a_container_that_does_not_come_up_fails_the_endpoint_with_the_end_of_its_log(aws, create_endpoint):
    name = create_endpoint("broken")
    described = aws("sagemaker").describe_endpoint(EndpointName=name)
    assert described["EndpointStatus"] == "Failed"
    assert "this model is broken" in described["FailureReason"]
    with pytest.raises(ClientError, match="not InService"):
        ask(aws, name)


def test_model_data_that_is_gone_or_no_archive_fails_the_endpoint(aws, serving_image):
    config = make_config(aws, serving_image, "vanishing")
    aws("s3").put_object(Bucket=BUCKET, Key="vanishing.tar.gz", Body=b"no archive")
    for words in ("Failed to extract", "NoSuchKey"):
        name = new_name()
        aws("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=config)
        described = settled(aws, name)
        assert described["EndpointStatus"] == "Failed"
        assert words in described["FailureReason"]
        aws("s3").delete_object(Bucket=BUCKET, Key="vanishing.tar.gz")
        aws("sagemaker").delete_endpoint(EndpointName=name)


def test_an_update_lets_the_old_model_answer_until_the_new_one_does(aws, create_endpoint, serving_image):
    name = create_endpoint("old")
    asking = Asking(aws, name, threads=1)
    try:
        aws("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=make_config(aws, serving_image, "slow"))
        assert aws("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"] == "Updating"
        other = make_config(aws, serving_image, "other")
        with pytest.raises(ClientError, match="in-progress"):
            aws("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=other)
        settled(aws, name)
        assert wait_until(lambda: b"slow x" in asking.answers, 10)
    finally:
        asking.stop()
    assert asking.errors == []
    assert set(asking.answers) == {b"old x", b"slow x"}
    assert sorted(asking.answers) == asking.answers  # once the new one answers, the old one does no more


def test_an_update_that_does_not_come_up_leaves_the_old_model_in_service_and_says_why(
    aws, create_endpoint, serving_image
):
    name = create_endpoint("good")
    before = aws("sagemaker").describe_endpoint(EndpointName=name)["EndpointConfigName"]
    aws("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=make_config(aws, serving_image, "broken"))
    described = settled(aws, name)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", before)
    assert "this model is broken" in described["FailureReason"]
    assert ask(aws, name) == b"good x"


def test_variants_share_the_requests_by_weight_and_answer_by_name(aws, create_endpoint):
    name = create_endpoint("a", "b", weights=(1, 0))
    assert {ask(aws, name) for _ in range(20)} == {b"a x"}
    assert ask(aws, name, TargetVariant="v1") == b"b x"
    with pytest.raises(ClientError, match="Variant v7 not found"):
        ask(aws, name, TargetVariant="v7")
    change = aws("sagemaker").update_endpoint_weights_and_capacities
    change(
        EndpointName=name,
        DesiredWeightsAndCapacities=[
            {"VariantName": "v0", "DesiredWeight": 0},
            {"VariantName": "v1", "DesiredWeight": 1},
        ],
    )
    assert {ask(aws, name) for _ in range(20)} == {b"b x"}
    with pytest.raises(ClientError, match="no variant v7"):
        change(EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "v7", "DesiredWeight": 1}])


def test_a_container_that_dies_is_started_again(aws, create_endpoint):
    name = create_endpoint("phoenix")
    with pytest.raises(ClientError) as error:
        ask(aws, name, b"die")
    assert error.value.response["OriginalStatusCode"] == 503

    def answers():
        with contextlib.suppress(ClientError):
            return ask(aws, name) == b"phoenix x"
        return False

    assert wait_until(answers, 20)


def test_a_container_sees_its_own_environment_and_no_keys_when_it_has_no_network(aws, create_endpoint):
    seen = json.loads(ask(aws, create_endpoint("a", environment={"ANSWER": "42"}), b"environment"))
    assert seen["ANSWER"] == "42"
    assert seen["AWS_ACCESS_KEY_ID"] == "123456789012"
    isolated = json.loads(ask(aws, create_endpoint("a", isolated=True), b"environment"))
    assert "AWS_ACCESS_KEY_ID" not in isolated


def test_its_output_is_in_cloudwatch_logs_and_its_requests_are_counted(aws, create_endpoint):
    name = create_endpoint("a")
    ask(aws, name)
    with pytest.raises(ClientError):
        ask(aws, name, b"status 400")
    group = f"/aws/sagemaker/Endpoints/{name}"

    def logged():
        events = aws("logs").filter_log_events(logGroupName=group)["events"]
        return [event["message"] for event in events].count("answered") >= 2

    def total(metric):
        listed = aws("cloudwatch").get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName=metric,
            Dimensions=[{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "v0"}],
            StartTime="2020-01-01T00:00:00Z",
            EndTime="2100-01-01T00:00:00Z",
            Period=86400,
            Statistics=["Sum"],
        )
        return sum(point["Sum"] for point in listed["Datapoints"])

    assert wait_until(logged, 20)
    assert wait_until(lambda: total("Invocations") == 2, 20)
    assert (total("Invocation4XXErrors"), total("Invocation5XXErrors")) == (1, 0)
    assert total("ModelLatency") > 0


def test_a_deleted_endpoint_is_gone_with_its_process_and_its_name_is_free(aws, create_endpoint):
    name = create_endpoint("first")
    pid = int(ask(aws, name, b"pid"))
    aws("sagemaker").delete_endpoint(EndpointName=name)

    def gone():
        return name not in {
            each["EndpointName"] for each in aws("sagemaker").list_endpoints(MaxResults=100)["Endpoints"]
        }

    assert wait_until(gone, 20)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ClientError, match="Could not find endpoint"):
        aws("sagemaker").describe_endpoint(EndpointName=name)


def test_an_endpoint_may_be_deleted_while_it_is_being_created(aws, serving_image):
    name = new_name()
    aws("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=make_config(aws, serving_image, "slow"))
    aws("sagemaker").delete_endpoint(EndpointName=name)
    names = lambda: {each["EndpointName"] for each in aws("sagemaker").list_endpoints(MaxResults=100)["Endpoints"]}  # noqa: E731
    assert wait_until(lambda: name not in names(), 20)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_the_next_server_brings_back_what_was_in_service_and_none_is_left_by_the_last(
    own_folder, clients_of, kill_9, on_disk, how
):
    running = server.start(own_folder)
    own = clients_of(running)
    serving_image = push_image(own, "endpoint-test", SERVE)
    own("sagemaker").create_endpoint(EndpointName="kept", EndpointConfigName=make_config(own, serving_image, "kept"))
    settled(own, "kept")
    pid = int(ask(own, "kept", b"pid"))
    assert descendants(running.pid)
    on_disk(own)
    if how == "killed":
        kill_9(running)
    else:
        server.stop(own_folder)
    own = clients_of(server.start(own_folder))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert settled(own, "kept")["EndpointStatus"] == "InService"
    assert ask(own, "kept") == b"kept x"
    after = int(ask(own, "kept", b"pid"))
    server.stop(own_folder)
    with pytest.raises(ProcessLookupError):
        os.kill(after, signal.SIG_DFL)


def test_a_name_that_is_taken_and_a_configuration_that_is_not_there_are_refused(aws, create_endpoint):
    name = create_endpoint("a")
    config = aws("sagemaker").describe_endpoint(EndpointName=name)["EndpointConfigName"]
    for request, words in (
        ({"EndpointName": name, "EndpointConfigName": config}, "already existing endpoint"),
        ({"EndpointName": "other", "EndpointConfigName": "nobody"}, "Could not find endpoint configuration"),
    ):
        with pytest.raises(ClientError, match=words):
            aws("sagemaker").create_endpoint(**request)
    with pytest.raises(ClientError, match="has the endpoint configuration"):
        aws("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=config)
