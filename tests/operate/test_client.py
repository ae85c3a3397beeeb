"""The Python client, over HTTP as boto3 speaks it."""

import io
import json

import numpy as np
import pytest

from operate.client import AmplifyClient, BusyError, FailedError, RefusedError
from tests.operate.endpoint_server import Answer, refusal, serving


def npz(**arrays: object) -> Answer:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return Answer(200, stream.getvalue(), "application/x-npz")


def test_embeddings_come_back_as_one_array_with_all_digits() -> None:
    embedding = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    with serving(npz(embedding=embedding, length=np.array([3, 4]))) as endpoint:
        found = AmplifyClient("amplify-local", runtime=endpoint.client()).embed(["MKT", "MLEG"])
    assert found.dtype == np.float32
    assert np.array_equal(found, embedding)
    [request] = endpoint.requests
    assert request["path"] == "/endpoints/amplify-local/invocations"
    assert json.loads(request["body"]) == {
        "task": "embed",
        "inputs": ["MKT", "MLEG"],
        "parameters": {"normalize": False},
    }


def test_a_scan_has_a_row_for_each_residue_and_nan_where_the_model_has_no_opinion() -> None:
    scores = [[0.0] * 20, [None] * 20, [-1.5] * 20]
    output = {"id": "p", "length": 3, "letters": list("ACDEFGHIKLMNPQRSTVWY"), "scores": scores}
    with serving(Answer(200, json.dumps({"task": "score_variants", "outputs": [output]}).encode())) as endpoint:
        scan = AmplifyClient("e", runtime=endpoint.client()).scan({"id": "p", "sequence": "a x\nC*"})
    assert scan.sequence == "AXC"
    assert scan.scores.shape == (3, 20)
    assert np.isnan(scan.scores[1]).all()
    assert scan.scores[2, 0] == -1.5


def test_a_refusal_carries_the_endpoints_own_code_message_and_place() -> None:
    answer = refusal(400, code="bad_sequence", message="'5' is not a residue", where="inputs[1] (P1), position 3")
    with serving(answer) as endpoint, pytest.raises(RefusedError) as caught:
        AmplifyClient("e", runtime=endpoint.client()).perplexity(["MK", "MK5"])
    error = caught.value
    assert (error.status, error.code, error.where) == (400, "bad_sequence", "inputs[1] (P1), position 3")
    assert str(error) == "inputs[1] (P1), position 3: '5' is not a residue"


def test_a_model_that_is_a_component_of_its_endpoint_is_named_in_every_request() -> None:
    with serving(npz(perplexity=np.array([12.5]))) as endpoint:
        AmplifyClient("e", inference_component="model-7", runtime=endpoint.client()).perplexity(["MKT"])
        AmplifyClient("e", runtime=endpoint.client()).perplexity(["MKT"])
    named = [request["headers"].get("X-Amzn-SageMaker-Inference-Component") for request in endpoint.requests]
    assert named == ["model-7", None]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_endpoint_is_asked_again_after_the_time_that_it_names(status: int) -> None:
    busy = refusal(status, code="queue_full", message="the queue is full", where="", retry_after_s=0)
    with serving(busy, busy, npz(perplexity=np.array([12.5]))) as endpoint:
        found = AmplifyClient("e", runtime=endpoint.client()).perplexity(["MKT"])
    assert found.tolist() == [12.5]
    assert len(endpoint.requests) == 3


def test_an_endpoint_that_stays_busy_for_longer_than_the_patience_is_reported_with_its_retry_time() -> None:
    busy = refusal(429, code="queue_full", message="the queue is full", where="", retry_after_s=30)
    with serving(busy) as endpoint, pytest.raises(BusyError, match="the queue is full") as caught:
        AmplifyClient("e", runtime=endpoint.client(), patience_s=5).embed(["MKT"])
    assert caught.value.retry_after_s == 30
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"[]", b""])
def test_an_answer_outside_the_contract_is_a_failure_not_a_crash(body: bytes) -> None:
    with serving(Answer(502, body)) as endpoint, pytest.raises(FailedError) as caught:
        AmplifyClient("e", runtime=endpoint.client()).embed(["MKT"])
    assert caught.value.status == 502


def test_a_refusal_is_not_sent_again() -> None:
    with serving(refusal(413, code="sequence_too_long", message="too long", where="inputs[0]")) as endpoint:
        with pytest.raises(RefusedError):
            AmplifyClient("e", runtime=endpoint.client()).embed(["M" * 3000])
        assert len(endpoint.requests) == 1


def test_one_protein_where_a_list_is_wanted_is_refused_before_it_is_sent_letter_by_letter() -> None:
    with serving(npz(embedding=np.zeros((1, 2)))) as endpoint:
        with pytest.raises(TypeError, match="give a list"):
            AmplifyClient("e", runtime=endpoint.client()).embed("MKT")
        assert endpoint.requests == []
