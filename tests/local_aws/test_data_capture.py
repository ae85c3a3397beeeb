"""Captured requests and answers: AWS's form and place, the sample; and a killed server loses nothing captured."""

import base64
import json
import re

import pytest
from botocore.exceptions import ClientError

from local_aws import server
from local_aws.processes import wait_until
from tests.local_aws.small_endpoints import BUCKET, SERVE, ask, make_config, settled
from tests.local_aws.small_images import push_image


def capture(prefix, percent=100, **more):
    config = {
        "EnableCapture": True,
        "InitialSamplingPercentage": percent,
        "DestinationS3Uri": f"s3://{BUCKET}/{prefix}",
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
        **more,
    }
    return {"DataCaptureConfig": config}


def captured(aws, prefix):
    """(key, line) of all that was captured."""
    found = []
    for item in aws("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", []):
        body = aws("s3").get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read().decode()
        found += [(item["Key"], json.loads(line)) for line in body.splitlines()]
    return found


def test_requests_and_answers_are_captured_as_aws_writes_them(aws, create_endpoint):
    key = aws("kms").create_key()["KeyMetadata"]["Arn"]
    types = {"JsonContentTypes": ["application/json"], "CsvContentTypes": ["text/csv"]}
    name = create_endpoint("a", config=capture("whole", KmsKeyId=key, CaptureContentTypeHeader=types))
    described = aws("sagemaker").describe_endpoint(EndpointName=name)["DataCaptureConfig"]
    assert (described["CaptureStatus"], described["CurrentSamplingPercentage"]) == ("Started", 100)
    request = {"ContentType": "application/json", "Accept": "application/x-npz"}
    ask(aws, name, b'{"x": 1}', CustomAttributes="who=me", InferenceId="mine", **request)
    with pytest.raises(ClientError):
        ask(aws, name, b"status 400")
    ask(aws, name, b"\xff", ContentType="text/csv")
    prefix = f"whole/{name}/v0/"
    assert wait_until(lambda: len(captured(aws, prefix)) == 2, 20)
    (path, first), (_, second) = sorted(
        captured(aws, prefix), key=lambda each: each[1]["eventMetadata"]["inferenceTime"]
    )
    assert re.fullmatch(rf"{prefix}\d{{4}}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{{3}}-[0-9a-f-]{{36}}\.jsonl", path)
    if first["eventMetadata"].get("inferenceId") is None:
        first, second = second, first
    assert first["captureData"] == {
        "endpointInput": {
            "observedContentType": "application/json",
            "mode": "INPUT",
            "data": '{"x": 1}',
            "encoding": "JSON",
        },
        "endpointOutput": {
            "observedContentType": "application/x-npz",
            "mode": "OUTPUT",
            "data": base64.b64encode(b'a {"x": 1}').decode(),
            "encoding": "BASE64",
        },
    }
    assert first["eventVersion"] == "0"
    assert first["eventMetadata"]["customAttributes"] == ["who=me"]
    assert first["eventMetadata"]["inferenceId"] == "mine"
    assert second["captureData"]["endpointInput"]["encoding"] == "BASE64", "it says that it is text, and is none"
    assert aws("s3").head_object(Bucket=BUCKET, Key=path)["SSEKMSKeyId"] == key


def test_the_sample_is_a_share_and_a_side_alone_can_be_captured(aws, create_endpoint):
    name = create_endpoint("a", config=capture("half", 50, CaptureOptions=[{"CaptureMode": "Input"}]))
    for number in range(200):
        ask(aws, name, b"%d" % number)
    prefix = f"half/{name}"
    assert wait_until(lambda: len(captured(aws, prefix)) >= 60, 40)  # they come file by file
    ask(aws, name)
    found = captured(aws, prefix)
    assert len(found) <= 140
    assert {side for _, line in found for side in line["captureData"]} == {"endpointInput"}


def test_an_endpoint_that_captures_nothing_writes_nothing(aws, create_endpoint, local_aws):
    name = create_endpoint("a", config=capture("none", EnableCapture=False))
    ask(aws, name)
    assert not list(local_aws.folder.glob(f"captures/*/*/{name}"))
    assert aws("sagemaker").describe_endpoint(EndpointName=name)["DataCaptureConfig"]["CaptureStatus"] == "Stopped"


def test_a_capture_that_no_endpoint_can_make_is_refused(aws, serving_image):
    for more, words in (
        ({"InstanceType": None, "InitialInstanceCount": None, "ServerlessConfig": SERVERLESS}, "captures nothing"),
        ({}, "no S3 URI"),
    ):
        config = capture("x") if more else capture("x", DestinationS3Uri="https://example.com/x")
        with pytest.raises(ClientError, match=words):
            make_config(aws, serving_image, "a", config=config, **more)


SERVERLESS = {"MemorySizeInMB": 2048, "MaxConcurrency": 2}


def test_what_was_captured_before_a_kill_is_in_s3_afterwards(own_folder, clients_of, kill_9, on_disk):
    running = server.start(own_folder)
    own = clients_of(running)
    image = push_image(own, "endpoint-test", SERVE)
    config = make_config(own, image, "a", config=capture("killed"))
    own("sagemaker").create_endpoint(EndpointName="seen", EndpointConfigName=config)
    settled(own, "seen")
    on_disk(own)
    for number in range(5):
        ask(own, "seen", b"%d" % number)
    kill_9(running)
    own = clients_of(server.start(own_folder))
    assert wait_until(lambda: len(captured(own, "killed/seen/v0")) >= 5, 20)
    inputs = {line["captureData"]["endpointInput"]["data"] for _, line in captured(own, "killed/seen/v0")}
    assert inputs == {base64.b64encode(b"%d" % number).decode() for number in range(5)}
