"""Requests that are ours, and whose they are."""

import importlib.metadata

import pytest

from local_aws.ministack_hooks import requests
from tests.local_aws.ministack_hooks.calls import request


def test_it_is_the_version_that_the_hooks_were_made_for():
    assert importlib.metadata.version("ministack") == "1.5.33"


def test_control_plane_requests_reach_our_handler_with_their_account_and_region(ministack):
    seen = []

    async def handle(method, path, headers, body, query):
        seen.append((method, path, headers["x-amz-target"], body, requests.account(), requests.region()))
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, b"{}"

    requests.route_sagemaker(handle)
    answer = request(ministack, "sagemaker", "/", b'{"A": 1}', **{"x-amz-target": "SageMaker.ListModels"})
    assert answer.status_code == 200
    assert seen == [("POST", "/", "SageMaker.ListModels", b'{"A": 1}', "222222222222", "eu-west-1")]


@pytest.mark.parametrize("status", [200, 424])
def test_a_models_answer_keeps_its_own_content_type_and_bytes(ministack, status):
    async def handle(method, path, headers, body, query):
        return status, {"Content-Type": "application/json; charset=latin-1"}, b"\x00" + body

    requests.route_sagemaker(handle)
    answer = request(ministack, "sagemaker", "/endpoints/amplify-local/invocations", b"MKV")
    assert answer.status_code == status
    assert answer.content == b"\x00MKV"
    assert answer.headers["content-type"] == "application/json; charset=latin-1"


def test_a_bucket_called_endpoints_is_still_s3s(ministack):
    async def handle(method, path, headers, body, query):
        raise AssertionError("not for SageMaker")

    requests.route_sagemaker(handle)
    assert "NoSuchBucket" in request(ministack, "s3", "/endpoints/key?uploads").text


def test_a_request_scope_is_that_of_the_code_inside_it():
    with requests.request_scope("333333333333", "eu-central-1"):
        assert (requests.account(), requests.region()) == ("333333333333", "eu-central-1")


def test_application_auto_scaling_reaches_our_handler(ministack):
    async def handle(method, path, headers, body, query):
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, b'{"seen": true}'

    requests.route_application_auto_scaling(handle)
    target = {"x-amz-target": "AnyScaleFrontendService.RegisterScalableTarget"}
    assert request(ministack, "application-autoscaling", "/", b"{}", **target).json() == {"seen": True}
