"""Asynchronous endpoints: the queue, S3, SNS, scale to zero; and what is left of a request when something dies."""

import json
import time
import uuid

import pytest
from botocore.exceptions import ClientError

from local_aws import async_inference, server, store
from local_aws.processes import wait_until
from local_aws.store import Scope
from tests.local_aws.small_endpoints import BUCKET, SERVE, ask, make_config, new_name, settled
from tests.local_aws.small_images import make_bucket, push_image
from tests.local_aws.test_endpoint_metrics import statistics


def async_config(notify=None, most=1, **output):
    output = {"S3OutputPath": f"s3://{BUCKET}/out/", "S3FailurePath": f"s3://{BUCKET}/failed/", **output}
    if notify:
        output["NotificationConfig"] = notify
    client = {"MaxConcurrentInvocationsPerInstance": most}
    return {"AsyncInferenceConfig": {"OutputConfig": output, "ClientConfig": client}}


def give(aws, name, body=b"x", **request):
    """Ask by S3: the answer's location, the failure's location, the inference's id."""
    key = f"in/{uuid.uuid4()}"
    aws("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
    location = f"s3://{BUCKET}/{key}"
    answer = aws("sagemaker-runtime").invoke_endpoint_async(EndpointName=name, InputLocation=location, **request)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    return answer["OutputLocation"], answer["FailureLocation"], answer["InferenceId"]


def read(aws, location):
    """The object there; None where there is none yet."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    try:
        return aws("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    except aws("s3").exceptions.NoSuchKey:
        return None


def scale(aws, name, count):
    desired = [{"VariantName": "v0", "DesiredInstanceCount": count}]
    aws("sagemaker").update_endpoint_weights_and_capacities(EndpointName=name, DesiredWeightsAndCapacities=desired)
    settled(aws, name)


@pytest.fixture
def topic(aws):
    """(ARN of a topic, messages()): what was sent to it."""
    name = new_name()
    arn = aws("sns").create_topic(Name=name)["TopicArn"]
    queue = aws("sqs").create_queue(QueueName=name)["QueueUrl"]
    queue_arn = aws("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws("sns").subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)
    seen = []

    def messages():
        for message in aws("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            aws("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            seen.append(json.loads(json.loads(message["Body"])["Message"]))
        return seen

    return arn, messages


def test_a_request_is_answered_in_s3_and_told_to_sns(aws, create_endpoint, topic):
    arn, messages = topic
    key = aws("kms").create_key()["KeyMetadata"]["Arn"]
    notify = {"SuccessTopic": arn, "ErrorTopic": arn, "IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"]}
    name = create_endpoint("hello", config=async_config(notify, KmsKeyId=key))
    output, _, identity = give(aws, name, b"you", ContentType="text/plain", Accept="text/csv", CustomAttributes="a=1")
    assert wait_until(lambda: read(aws, output) == b"hello you", 20)
    head = aws("s3").head_object(Bucket=BUCKET, Key=output.removeprefix(f"s3://{BUCKET}/"))
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"], head["ContentType"]) == ("aws:kms", key, "text/csv")
    assert wait_until(lambda: len(messages()) == 1, 20)
    [message] = messages()
    assert message["requestParameters"].pop("inputLocation").startswith(f"s3://{BUCKET}/in/")
    times = [message.pop(each) for each in ("eventTime", "receivedTime")]
    assert times == sorted(times, reverse=True)
    assert message == {
        "awsRegion": "us-east-1",
        "invocationStatus": "Completed",
        "requestParameters": {
            "contentType": "text/plain",
            "accept": "text/csv",
            "customAttributes": "a=1",
            "endpointName": name,
        },
        "responseParameters": {
            "contentType": "text/csv",
            "outputLocation": output,
            "responseBody": {"content": "hello you", "encoding": "UTF-8"},
        },
        "inferenceId": identity,
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }


def test_what_the_model_refuses_is_in_the_failure_file_and_told(aws, create_endpoint, topic):
    arn, messages = topic
    name = create_endpoint("any", config=async_config({"SuccessTopic": arn, "ErrorTopic": arn}))
    output, failure, _ = give(aws, name, b"status 400")
    assert wait_until(lambda: read(aws, failure) is not None, 20)
    assert json.loads(read(aws, failure))["message"] == "in my own words"
    assert read(aws, output) is None
    assert wait_until(lambda: len(messages()) == 1, 20)
    [message] = messages()
    assert message["invocationStatus"] == "Failed"
    assert "Received client error (400) from v0" in message["failureReason"]
    assert message["responseParameters"]["outputLocation"] == failure


def test_an_input_that_is_not_there_and_an_answer_that_takes_too_long_are_failures(aws, create_endpoint):
    name = create_endpoint("any", config=async_config())
    absent = aws("sagemaker-runtime").invoke_endpoint_async(EndpointName=name, InputLocation=f"s3://{BUCKET}/nobody")
    _, slow, _ = give(aws, name, b"sleep 30", InvocationTimeoutSeconds=1)
    assert wait_until(lambda: read(aws, slow) is not None, 20)
    assert b"timed out after 1 seconds" in read(aws, slow)
    assert wait_until(lambda: b"NoSuchKey" in (read(aws, absent["FailureLocation"]) or b""), 20)


def test_a_body_may_come_with_the_request_and_names_its_own_place(aws, create_endpoint):
    name = create_endpoint("hello", config=async_config())
    answer = aws("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=name, Body=b"inline", S3OutputPathExtension="a/b", Filename="mine.json", InferenceId="me"
    )
    assert answer["OutputLocation"] == f"s3://{BUCKET}/out/a/b/mine.json"
    assert answer["InferenceId"] == "me"
    assert wait_until(lambda: read(aws, answer["OutputLocation"]) == b"hello inline", 20)


def test_each_operation_refuses_the_other_kind_of_endpoint(aws, create_endpoint):
    asynchronous, plain = create_endpoint("a", config=async_config()), create_endpoint("a")
    with pytest.raises(ClientError, match="asynchronous") as error:
        ask(aws, asynchronous)
    assert error.value.response["Error"]["Code"] == "ValidationError"
    with pytest.raises(ClientError, match="not asynchronous") as error:
        give(aws, plain)
    assert error.value.response["Error"]["Code"] == "ValidationError"


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({}, "Give either InputLocation or a Body"),
        ({"InputLocation": f"s3://{BUCKET}/x", "Body": b"x"}, "not both"),
        ({"Body": b"x" * 128_001}, "at most 128000"),
        ({"Body": b"x", "S3OutputPathExtension": "s3://other"}, "s3OutputPathExtension"),
        ({"Body": b"x", "Filename": "../up"}, "filename"),
        ({"InputLocation": "https://example.com/x"}, "not emulated"),
    ],
)
def test_a_request_that_cannot_be_one_is_refused_at_once(aws, create_endpoint, request_, words):
    name = create_endpoint("a", config=async_config())
    with pytest.raises(ClientError, match=words):
        aws("sagemaker-runtime").invoke_endpoint_async(EndpointName=name, **request_)


def test_no_instance_means_waiting_and_the_backlog_says_so(aws, create_endpoint):
    name = create_endpoint("late", config=async_config())
    scale(aws, name, 0)
    [variant] = aws("sagemaker").describe_endpoint(EndpointName=name)["ProductionVariants"]
    assert variant["CurrentInstanceCount"] == 0
    outputs = [give(aws, name, b"%d" % number)[0] for number in range(3)]

    def newest(metric):
        return (statistics(aws, metric, EndpointName=name) or {"Maximum": -1})["Maximum"]

    assert wait_until(lambda: newest("ApproximateBacklogSize") == 3, 20)
    assert newest("ApproximateBacklogSizePerInstance") == 3
    assert newest("HasBacklogWithoutCapacity") == 1
    assert all(read(aws, output) is None for output in outputs)
    scale(aws, name, 1)
    assert wait_until(lambda: [read(aws, output) for output in outputs] == [b"late 0", b"late 1", b"late 2"], 20)
    assert statistics(aws, "Invocations", EndpointName=name, VariantName="v0") is None, "AWS publishes it for real-time"
    assert wait_until(
        lambda: (statistics(aws, "ModelLatency", EndpointName=name, VariantName="v0") or {}).get("SampleCount") == 3, 10
    )


def test_an_instance_gets_no_more_requests_at_once_than_it_may(aws, create_endpoint):
    name = create_endpoint("a", config=async_config(most=2))
    began = time.monotonic()
    outputs = [give(aws, name, b"sleep 1")[0] for _ in range(6)]
    assert wait_until(lambda: all(read(aws, output) for output in outputs), 30)
    assert time.monotonic() - began > 3


def test_a_container_that_dies_in_the_middle_is_replaced_and_the_request_is_tried_again(aws, create_endpoint, tmp_path):
    name = create_endpoint("phoenix", config=async_config())
    output, _, _ = give(aws, name, b"die once %s" % str(tmp_path / "died").encode())
    assert wait_until(lambda: (read(aws, output) or b"").startswith(b"phoenix die once"), 40)
    assert (tmp_path / "died").exists()


def test_a_request_that_kills_every_container_is_given_up_and_the_next_one_is_answered(aws, create_endpoint):
    name = create_endpoint("tough", config=async_config())
    _, failure, _ = give(aws, name, b"die")
    output, _, _ = give(aws, name, b"next")
    assert wait_until(lambda: b"ended 3 times" in (read(aws, failure) or b""), 60)
    assert wait_until(lambda: read(aws, output) == b"tough next", 40)


def test_a_killed_servers_queue_is_answered_by_the_next_server(own_folder, clients_of, kill_9, on_disk):
    running = server.start(own_folder)
    own = clients_of(running)
    image = push_image(own, "endpoint-test", SERVE)
    make_bucket(own, BUCKET)
    config = make_config(own, image, "kept", config=async_config())
    own("sagemaker").create_endpoint(EndpointName="queue", EndpointConfigName=config)
    settled(own, "queue")
    outputs = [give(own, "queue", b"sleep 2")[0], *(give(own, "queue", b"%d" % number)[0] for number in range(3))]
    on_disk(own)
    kill_9(running)
    own = clients_of(server.start(own_folder))
    assert wait_until(lambda: all(read(own, output) for output in outputs), 40)
    assert [read(own, output) for output in outputs] == [b"slept", b"kept 0", b"kept 1", b"kept 2"]


def test_requests_of_an_endpoint_that_is_deleted_go_with_it(aws, create_endpoint, local_aws):
    name = create_endpoint("gone", config=async_config())
    scale(aws, name, 0)
    give(aws, name)
    requests = local_aws.folder / "sagemaker" / "123456789012" / "us-east-1" / "async-request"
    assert len(list(requests.glob("*.json"))) == 1
    aws("sagemaker").delete_endpoint(EndpointName=name)
    assert wait_until(lambda: not list(requests.glob("*.json")), 20)


def test_a_request_expires_and_a_full_queue_takes_no_more(inside, tmp_path, monkeypatch, aws):
    """The API's shortest life is a minute, and its queue holds thousands: what it calls is called here."""
    del inside
    scope = Scope("123456789012", "us-east-1")
    kept = store.open_store(tmp_path)
    kept.put(scope, "endpoint-config", "c", {**async_config(), "ProductionVariants": []})
    kept.put(scope, "endpoint", "full", {"EndpointConfigName": "c", "EndpointStatus": "InService"})
    make_bucket(aws, BUCKET)
    monkeypatch.setattr(async_inference, "MOST_WAITING", 2)
    monkeypatch.setattr(async_inference, "TTL_SECONDS", 2)
    try:
        locations = []
        for _ in range(2):
            status, headers, _ = async_inference.invoke(scope, "full", {}, b"x")
            assert status == 202
            locations.append(headers["x-amzn-sagemaker-failurelocation"])
        with pytest.raises(Exception, match="holds 2 requests already"):
            async_inference.invoke(scope, "full", {}, b"x")
        assert wait_until(lambda: all(b"waited longer than 2" in (read(aws, each) or b"") for each in locations), 20)
        assert kept.all(scope, "async-request") == []
        assert async_inference.invoke(scope, "full", {}, b"x")[0] == 202
    finally:
        async_inference.shut_down()
