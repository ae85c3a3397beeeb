"""The HTTP of SageMaker, also for what boto3 would never send: unknown operations, broken bodies, odd paths."""

import http.client
import json

import pytest
from botocore.exceptions import ClientError

SCOPE = "123456789012/20260101/us-east-1/sagemaker/aws4_request"
AUTHORIZATION = f"AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders=host, Signature=0"


@pytest.fixture
def post(local_aws):
    """post(operation, body, path="/") -> (status, answer)"""

    def send(operation, body, path="/"):
        connection = http.client.HTTPConnection("127.0.0.1", local_aws.port, timeout=30)
        headers = {"Authorization": AUTHORIZATION, "Content-Type": "application/x-amz-json-1.1"}
        connection.request("POST", path, body, headers | {"X-Amz-Target": f"SageMaker.{operation}"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer

    return send


def test_an_operation_that_sagemaker_does_not_have_is_unknown(post):
    status, answer = post("ListEverything", b"{}")
    assert (status, answer["__type"]) == (400, "UnknownOperationException")
    assert "ListEverything" in answer["message"]


def test_an_operation_that_is_not_emulated_says_so(aws):
    with pytest.raises(ClientError, match="ListHubs is not emulated by local AWS") as refused:
        aws("sagemaker").list_hubs()
    assert refused.value.response["Error"]["Code"] == "NotEmulated"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"MaxResults": 1,}'])
def test_a_body_that_is_not_json_is_refused(post, body):
    status, answer = post("ListModels", body)
    assert (status, answer["__type"]) == (400, "SerializationException")


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"null", b"7", b'{"MaxResults": "ten"}', b'{"Colour": 1}'])
def test_json_of_another_shape_is_a_fault_of_the_request_and_no_bug(post, body):
    status, answer = post("ListModels", body)
    assert (status, answer["__type"]) == (400, "ValidationException")


def test_no_body_is_an_empty_request(post):
    assert post("ListModels", b"")[0] == 200


@pytest.mark.parametrize("path", ["invocations", "async-invocations", "invocations-response-stream"])
def test_every_way_of_invocation_tells_that_there_is_no_such_endpoint(post, path):
    status, answer = post("", b"{}", f"/endpoints/e/{path}")
    assert status == 400
    assert answer["Message"] == "Endpoint e of account 123456789012 not found."


def test_an_endpoint_that_nobody_made_is_not_found(aws):
    with pytest.raises(ClientError, match="Endpoint nobody of account 123456789012 not found") as refused:
        aws("sagemaker-runtime").invoke_endpoint(EndpointName="nobody", Body=b"{}")
    assert refused.value.response["Error"]["Code"] == "ValidationError"
