"""The Python client, over HTTP as boto3 speaks it."""

import io
import json
from typing import Any

import numpy as np
import pytest

from operate.client import AmplifyClient, BusyError, FailedError, RefusedError
from operate.client.errors import read_failure
from tests.operate.endpoint_server import NO_STREAMS, TIMED_OUT, Answer, refusal, serving

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


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
        "parameters": {"pooling": "mean", "layer": -1, "normalize": False},
    }


def test_a_scan_has_a_row_for_each_residue_and_nan_where_the_model_has_no_opinion() -> None:
    scores = np.array([[0.0] * 20, [np.nan] * 20, [-1.5] * 20], dtype=np.float32)
    with serving(npz(length=np.array([3]), letters=np.array([LETTERS]), scores_0=scores)) as endpoint:
        scan = AmplifyClient("e", runtime=endpoint.client()).scan({"id": "p", "sequence": "a x\nC*"})
    assert (scan.sequence, scan.letters) == ("AXC", LETTERS)
    assert np.array_equal(scan.scores, scores, equal_nan=True)
    frame = scan.frame()
    assert frame.loc[(3, "C"), "A"] == -1.5
    assert frame.index.names == ["position", "residue"]


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


def lengths(request: dict[str, Any]) -> Answer:
    """As if the perplexity were the length of the sequence."""
    return npz(perplexity=np.array([float(len(one)) for one in request["inputs"]]))


def test_many_proteins_are_cut_into_requests_and_come_back_in_their_order() -> None:
    told: list[tuple[int, int]] = []
    proteins = ["M" * (1 + number % 2_000) for number in range(300)]
    with serving(lengths) as endpoint:
        client = AmplifyClient("e", runtime=endpoint.client(), progress=lambda *counts: told.append(counts))
        found = client.perplexity(proteins)
    assert found.tolist() == [float(len(one)) for one in proteins]
    sent = [json.loads(request["body"])["inputs"] for request in endpoint.requests]
    assert len(sent) > 2
    assert all(sum(len(one) + 2 for one in inputs) <= 20_000 for inputs in sent)
    assert told[-1] == (300, 300)
    assert told == sorted(told)


def test_the_protein_at_fault_is_named_by_the_callers_number_whatever_request_it_was_in() -> None:
    def refusing(request: dict[str, Any]) -> Answer:
        if "B5" not in request["inputs"]:
            return lengths(request)
        where = f"inputs[{request['inputs'].index('B5')}], position 2"
        return refusal(400, code="bad_sequence", message="'5' is not a residue", where=where)

    proteins = ["M" * 1_500] * 40
    proteins[33] = "B5"
    with serving(refusing) as endpoint, pytest.raises(RefusedError) as caught:
        AmplifyClient("e", runtime=endpoint.client()).perplexity(proteins)
    assert caught.value.where == "inputs[33], position 2"


@pytest.mark.parametrize(
    "refused", [refusal(413, code="too_much_work", message="no", where="inputs"), Answer(TIMED_OUT, b"")]
)
def test_what_is_too_much_for_one_request_is_asked_in_halves_and_alone_it_is_an_error(refused: Answer) -> None:
    def at_most_two(request: dict[str, Any]) -> Answer:
        return lengths(request) if len(request["inputs"]) <= 2 else refused

    with serving(at_most_two) as endpoint:
        found = AmplifyClient("e", runtime=endpoint.client()).perplexity(["M" * n for n in (1, 2, 3, 4, 5, 6, 7)])
    assert found.tolist() == [1, 2, 3, 4, 5, 6, 7]
    with serving(refused) as endpoint, pytest.raises((RefusedError, FailedError)) as caught:
        AmplifyClient("e", runtime=endpoint.client()).perplexity(["M"])
    assert caught.value.code in ("too_much_work", "timeout")
    assert len(endpoint.requests) == 1


def line(**part: Any) -> bytes:
    return json.dumps({"input": 0, **part}).encode() + b"\n"


LONG = "M" * 200
PARTS = [
    line(letters=LETTERS, positions=list(range(first, first + 50)), scores=[[None] + [float(first)] * 19] * 50)
    for first in (1, 51, 101, 151)
]


def test_a_long_scan_comes_as_a_stream_that_is_begun_again_where_it_breaks_off() -> None:
    told: list[tuple[int, int]] = []
    broken, failed = Answer(200, b"".join(PARTS[:2])), Answer(200, PARTS[0] + line(error={"message": "draining"}))
    with serving(broken, failed, Answer(200, b"".join(PARTS))) as endpoint:
        client = AmplifyClient("e", runtime=endpoint.client(), progress=lambda *counts: told.append(counts))
        scan = client.scan({"id": "p", "sequence": LONG})
    assert [request["path"].rpartition("/")[2] for request in endpoint.requests] == ["invocations-response-stream"] * 3
    assert scan.scores.shape == (200, 20)
    assert np.isnan(scan.scores[:, 0]).all()
    assert scan.scores[::50, 1].tolist() == [1, 51, 101, 151]
    assert told[-1] == (200, 200)


def test_where_nothing_streams_a_long_scan_is_asked_for_whole() -> None:
    whole = npz(letters=np.array([LETTERS]), scores=np.zeros((1, 200, 20), dtype=np.float32))
    with serving(Answer(NO_STREAMS, b""), whole) as endpoint:
        scan = AmplifyClient("e", runtime=endpoint.client()).scan(LONG)
    assert scan.scores.shape == (200, 20)
    assert endpoint.requests[1]["path"].endswith("/invocations")


def test_proteins_of_different_length_are_arrays_of_their_own() -> None:
    first, second = np.ones((3, 4), dtype=np.float32), np.zeros((5, 4), dtype=np.float32)
    with serving(npz(length=np.array([3, 5]), embedding_0=first, embedding_1=second)) as endpoint:
        found = AmplifyClient("e", runtime=endpoint.client()).embed_residues(["MKT", "MLEGK"], layer=(1, -1))
    assert [one.shape for one in found] == [(3, 4), (5, 4)]
    assert json.loads(endpoint.requests[0]["body"])["parameters"]["layer"] == [1, -1]


def test_masks_come_back_as_a_table() -> None:
    residues, probabilities = np.array([["A", "L"], ["Q", "K"]]), np.array([[0.5, 0.25], [0.75, 0.125]])
    answer = npz(positions_0=np.array([2, 5]), residues_0=residues, probabilities_0=probabilities)
    with serving(answer) as endpoint:
        [found] = AmplifyClient("e", runtime=endpoint.client()).fill_mask(["M_TA_"], top_k=2)
    rows = found.frame().to_dict("records")
    assert rows[1] == {"position": 2, "rank": 2, "residue": "L", "probability": 0.25}
    assert len(rows) == 4


@pytest.mark.parametrize("content", [b"", b"PK no zip", b"{}", npz(perplexity=np.array([1.0, 2.0])).body])
def test_an_answer_that_is_none_is_a_failure(content: bytes) -> None:
    with serving(Answer(200, content)) as endpoint, pytest.raises(FailedError, match="not one of this API"):
        AmplifyClient("e", runtime=endpoint.client()).perplexity(["MKT"])


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"code": "bad_sequence", "message": "m", "where": "inputs[0]"}', RefusedError, 400),
        (b'{"code": "too_much_work", "message": "m", "where": "inputs[0]"}', RefusedError, 413),
        (b'{"code": "queue_full", "message": "m", "where": "", "retry_after_s": 3}', BusyError, 503),
        (b'{"code": "internal", "message": "m", "where": ""}', FailedError, 500),
        (b"InternalServerError: the container ended", FailedError, 500),
    ],
)
def test_what_an_async_endpoint_keeps_of_a_failure_is_the_same_error(
    content: bytes, kind: type[Exception], status: int
) -> None:
    error = read_failure(content)
    assert isinstance(error, kind)
    assert error.status == status
