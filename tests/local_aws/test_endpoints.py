"""Endpoints and InvokeEndpoint, with containers that really serve: their life, their failures, what callers see."""

import contextlib
import json
import os
import signal
import threading
import uuid

import pytest
from botocore.exceptions import ClientError

from local_aws import server
from local_aws.processes import descendants, wait_until
from tests.local_aws.small_images import ROLE, push_image, put_archive

BUCKET = "endpoint-tests"

# Serves what its model's file "text" says: an answer, or a way to fail.
SERVE = """
import http.server, json, os, pathlib, signal, sys, time
model = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"]) / "model"
text = (model / "text").read_text() if (model / "text").exists() else "no model"
if text == "broken":
    sys.exit("this model is broken")
if text == "slow":
    time.sleep(2)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200, b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"die":
            os._exit(1)
        if body == b"environment":
            return self.answer(200, json.dumps(dict(os.environ)).encode())
        if body == b"pid":
            return self.answer(200, str(os.getpid()).encode())
        if body.startswith(b"status "):
            said = json.dumps({"code": "Refused", "message": "in my own words"}).encode()
            return self.answer(int(body.split()[1]), said, Content_Type="application/json")
        attributes = "seen " + (self.headers["X-Amzn-SageMaker-Custom-Attributes"] or "")
        self.answer(200, text.encode() + b" " + body, Content_Type=self.headers["Accept"] or "text/plain",
                    X_Amzn_SageMaker_Custom_Attributes=attributes)
    def log_message(self, *_):
        print("answered", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


def new_name():
    return f"e{uuid.uuid4().hex[:8]}"


def make_config(aws, image, *texts, weights=(), isolated=False, environment=None, **variant):
    """An endpoint configuration with a variant v0, v1, … for each text; returns its name."""
    sagemaker, variants = aws("sagemaker"), []
    for number, text in enumerate(texts):
        url = put_archive(aws, BUCKET, f"{text}.tar.gz", text=text)
        container = {"Image": image, "ModelDataUrl": url, "Environment": environment or {}}
        model = new_name()
        sagemaker.create_model(
            ModelName=model, ExecutionRoleArn=ROLE, PrimaryContainer=container, EnableNetworkIsolation=isolated
        )
        variants.append(
            {
                "VariantName": f"v{number}",
                "ModelName": model,
                "InstanceType": "ml.m5.xlarge",
                "InitialInstanceCount": 1,
                "InitialVariantWeight": weights[number] if weights else 1,
                **variant,
            }
        )
    name = new_name()
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    return name


def settled(aws, name, seconds=40):
    """The endpoint's description once nothing changes any more."""

    def described():
        return aws("sagemaker").describe_endpoint(EndpointName=name)

    assert wait_until(lambda: described()["EndpointStatus"] in ("InService", "Failed"), seconds)
    return described()


def ask(aws, name, body=b"x", **request):
    runtime = aws("sagemaker-runtime")
    return runtime.invoke_endpoint(EndpointName=name, Body=body, **request)["Body"].read()


@pytest.fixture(scope="module")
def image(aws):
    return push_image(aws, "endpoint-test", SERVE)


@pytest.fixture
def create(aws, image):
    """create(*texts, …): an endpoint, settled; returns its name. It is deleted afterwards."""
    made = []

    def create(*texts, **config):
        name = new_name()
        made.append(name)
        aws("sagemaker").create_endpoint(
            EndpointName=name, EndpointConfigName=make_config(aws, image, *texts, **config)
        )
        settled(aws, name)
        return name

    yield create
    for name in made:
        with contextlib.suppress(ClientError):
            aws("sagemaker").delete_endpoint(EndpointName=name)


def test_an_endpoint_in_service_answers_and_passes_on_what_surrounds_the_body(aws, create):
    name = create("hello")
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
def test_what_a_container_refuses_is_a_model_error_in_its_own_words(aws, create, status):
    name = create("any")
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


def test_a_body_above_the_limit_is_refused_before_it_reaches_the_container(aws, create):
    with pytest.raises(ClientError) as error:
        ask(aws, create("any"), b"x" * (25 * 1024 * 1024 + 1))
    assert error.value.response["Error"]["Code"] == "ValidationError"


def test_a_container_that_does_not_come_up_fails_the_endpoint_with_the_end_of_its_log(aws, create):
    name = create("broken")
    described = aws("sagemaker").describe_endpoint(EndpointName=name)
    assert described["EndpointStatus"] == "Failed"
    assert "this model is broken" in described["FailureReason"]
    with pytest.raises(ClientError, match="not InService"):
        ask(aws, name)


def test_model_data_that_is_gone_or_no_archive_fails_the_endpoint(aws, image):
    config = make_config(aws, image, "vanishing")
    aws("s3").put_object(Bucket=BUCKET, Key="vanishing.tar.gz", Body=b"no archive")
    for words in ("Failed to extract", "NoSuchKey"):
        name = new_name()
        aws("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=config)
        described = settled(aws, name)
        assert described["EndpointStatus"] == "Failed"
        assert words in described["FailureReason"]
        aws("s3").delete_object(Bucket=BUCKET, Key="vanishing.tar.gz")
        aws("sagemaker").delete_endpoint(EndpointName=name)


def test_an_update_lets_the_old_model_answer_until_the_new_one_does(aws, create, image):
    name = create("old")
    answers, errors, over = [], [], threading.Event()

    def keep_asking():
        while not over.is_set():
            try:
                answers.append(ask(aws, name))
            except Exception as error:
                errors.append(error)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        aws("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=make_config(aws, image, "slow"))
        assert aws("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"] == "Updating"
        with pytest.raises(ClientError, match="in-progress"):
            aws("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=make_config(aws, image, "other"))
        settled(aws, name)
        assert wait_until(lambda: b"slow x" in answers, 10)
    finally:
        over.set()
        asking.join()
    assert errors == []
    assert set(answers) == {b"old x", b"slow x"}
    assert sorted(answers) == answers  # once the new one answers, the old one does no more


def test_an_update_that_does_not_come_up_leaves_the_old_model_in_service_and_says_why(aws, create, image):
    name = create("good")
    before = aws("sagemaker").describe_endpoint(EndpointName=name)["EndpointConfigName"]
    aws("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=make_config(aws, image, "broken"))
    described = settled(aws, name)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", before)
    assert "this model is broken" in described["FailureReason"]
    assert ask(aws, name) == b"good x"


def test_variants_share_the_requests_by_weight_and_answer_by_name(aws, create):
    name = create("a", "b", weights=(1, 0))
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


def test_a_container_that_dies_is_started_again(aws, create):
    name = create("phoenix")
    with pytest.raises(ClientError) as error:
        ask(aws, name, b"die")
    assert error.value.response["OriginalStatusCode"] == 503

    def answers():
        with contextlib.suppress(ClientError):
            return ask(aws, name) == b"phoenix x"
        return False

    assert wait_until(answers, 20)


def test_a_container_sees_its_own_environment_and_no_keys_when_it_has_no_network(aws, create):
    seen = json.loads(ask(aws, create("a", environment={"ANSWER": "42"}), b"environment"))
    assert seen["ANSWER"] == "42"
    assert seen["AWS_ACCESS_KEY_ID"] == "123456789012"
    isolated = json.loads(ask(aws, create("a", isolated=True), b"environment"))
    assert "AWS_ACCESS_KEY_ID" not in isolated


def test_its_output_is_in_cloudwatch_logs_and_its_requests_are_counted(aws, create):
    name = create("a")
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


def test_a_deleted_endpoint_is_gone_with_its_process_and_its_name_is_free(aws, create):
    name = create("first")
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


def test_an_endpoint_may_be_deleted_while_it_is_being_created(aws, image):
    name = new_name()
    aws("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=make_config(aws, image, "slow"))
    aws("sagemaker").delete_endpoint(EndpointName=name)
    names = lambda: {each["EndpointName"] for each in aws("sagemaker").list_endpoints(MaxResults=100)["Endpoints"]}  # noqa: E731
    assert wait_until(lambda: name not in names(), 20)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_the_next_server_brings_back_what_was_in_service_and_none_is_left_by_the_last(
    own_folder, clients_of, kill_9, on_disk, how
):
    running = server.start(own_folder)
    own = clients_of(running)
    image = push_image(own, "endpoint-test", SERVE)
    own("sagemaker").create_endpoint(EndpointName="kept", EndpointConfigName=make_config(own, image, "kept"))
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


def test_a_name_that_is_taken_and_a_configuration_that_is_not_there_are_refused(aws, create):
    name = create("a")
    config = aws("sagemaker").describe_endpoint(EndpointName=name)["EndpointConfigName"]
    for request, words in (
        ({"EndpointName": name, "EndpointConfigName": config}, "already existing endpoint"),
        ({"EndpointName": "other", "EndpointConfigName": "nobody"}, "Could not find endpoint configuration"),
        (
            {
                "EndpointName": "other",
                "EndpointConfigName": config,
                "DeploymentConfig": {
                    "RollingUpdatePolicy": {
                        "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1},
                        "WaitIntervalInSeconds": 0,
                    }
                },
            },
            "not emulated",
        ),
    ):
        with pytest.raises(ClientError, match=words):
            aws("sagemaker").create_endpoint(**request)
    with pytest.raises(ClientError, match="has the endpoint configuration"):
        aws("sagemaker").update_endpoint(EndpointName=name, EndpointConfigName=config)
