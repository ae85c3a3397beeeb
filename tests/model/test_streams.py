"""Answers that are sent while they are computed, and bodies that are read meanwhile: over a real socket."""

import contextlib
import http.client
import json
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from amplify_lm.checkpoint import save_model

from tests.model.server_process import Server, serving, wait_for
from tests.model.serving_model import PROTEIN, tiny_model

LINES = "application/jsonlines"
LONG = "MKTAYIAKQR" * 100


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ml")
    save_model(tiny_model(), folder / "model")
    return folder


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[Server]:
    with serving(base) as one:
        yield one.ready()


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# ---- out -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["wt_marginal", "masked_marginal", "mutant_marginal"])
def test_a_streamed_scan_has_the_scores_of_the_scan_by_positions(server: Server, method: str) -> None:
    proteins = [{"id": "P1", "sequence": PROTEIN + "X" * 40 + PROTEIN}, {"sequence": "MKX|T"}]
    question = {"task": "score_variants", "inputs": proteins, "parameters": {"scan": True, "method": method}}
    whole = server.ask(question).json()["outputs"]
    answer = server.ask(question | {"stream": True})
    assert (answer.status_code, answer.headers["content-type"]) == (200, LINES)
    lines = lines_of(answer.text)
    for number, expected in enumerate(whole):
        parts = [line for line in lines if line["input"] == number]
        assert {part.get("id") for part in parts} == {expected["id"]}
        assert [position for part in parts for position in part["positions"]] == list(range(1, expected["length"] + 1))
        scores = [row for part in parts for row in part["scores"]]
        to_array = [np.array(rows, dtype=np.float32) for rows in (scores, expected["scores"])]
        np.testing.assert_allclose(to_array[0], to_array[1], atol=1e-5)
        sequence = "".join(part["residues"] for part in parts)
        assert sequence == (proteins[number]["sequence"])
    assert [line["input"] for line in lines] == sorted(line["input"] for line in lines)


@pytest.mark.parametrize(
    ("task", "parameters"),
    [("embed", {"layer": "all"}), ("perplexity", {"exact": True}), ("contacts", {}), ("logits", {})],
)
def test_other_answers_are_a_line_for_each_input(server: Server, task: str, parameters: dict[str, Any]) -> None:
    question = {"task": task, "inputs": [PROTEIN, "MKTAY"], "parameters": parameters}
    whole = server.ask(question).json()["outputs"]
    lines = lines_of(server.ask(question | {"stream": True}).text)
    for number, (line, expected) in enumerate(zip(lines, whole, strict=True)):
        assert line.pop("input") == number
        assert line.keys() == expected.keys()
        for key, value in expected.items():
            if isinstance(value, list):
                np.testing.assert_allclose(line[key], value, atol=1e-5)


def test_the_first_rows_of_a_scan_come_long_before_the_last(server: Server) -> None:
    question = {"task": "score_variants", "inputs": [LONG], "parameters": {"scan": True}, "stream": True}
    with server.client.stream("POST", "/invocations", json=question) as answer:
        lines = answer.iter_lines()  # a generator that is let go closes the answer
        assert json.loads(next(lines))["positions"][0] == 1
        assert server.metric("queue_tokens") > 500_000  # of the million that the scan takes
    wait_for(lambda: server.metric("queue_tokens") == 0)  # the caller has left, and so has the work
    assert server.metric("requests_in_flight") == 0


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        ({"task": "embed", "inputs": ["MK4"], "stream": True}, {}, 400, "bad_sequence"),
        ({"task": "embed", "inputs": ["MK"], "stream": 1}, {}, 400, "bad_request"),
        ({"task": "embed", "inputs": ["MK"], "stream": True}, {"accept": "application/x-npz"}, 406, "not_acceptable"),
        ({"task": "embed", "inputs": ["MK"], "stream": True}, {"accept": "application/json"}, 406, "not_acceptable"),
        (
            {"task": "score_variants", "inputs": ["M" * 2046] * 3, "parameters": {"scan": True}, "stream": True},
            {},
            413,
            "too_much_work",
        ),
        ("", {"content_type": f"{LINES}; stream=true"}, 422, "nothing_to_score"),
        ("\n \n", {"content_type": f"{LINES}; stream=true"}, 422, "nothing_to_score"),
        ("M" * 2_000_000, {"content_type": f"{LINES}; stream=true"}, 413, "body_too_large"),
        ('"M"', {"content_type": f"{LINES}; stream=true; task=embedd"}, 400, "bad_request"),
        ('"M"', {"content_type": f"{LINES}; stream=yes"}, 400, "bad_request"),
        ('"M"', {"content_type": f"{LINES}; stream=true", "accept": "application/json"}, 406, "not_acceptable"),
        ('"M"', {"content_type": f"{LINES}; stream=true", "content_encoding": "gzip"}, 415, "unsupported_media_type"),
    ],
)
def test_what_is_refused_before_the_first_line_has_its_status(
    server: Server, content: Any, headers: dict[str, str], status: int, code: str
) -> None:
    answer = server.ask(content, **headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert server.metric("requests_in_flight") == 0


def test_a_partial_stream_has_each_error_in_its_place(server: Server) -> None:
    inputs = [PROTEIN, {"id": "b", "sequence": "MK4"}, "MKT"]
    lines = lines_of(server.ask({"task": "embed", "inputs": inputs, "stream": True, "partial": True}).text)
    assert [(line["input"], "error" in line) for line in lines] == [(0, False), (1, True), (2, False)]
    assert (lines[1]["id"], lines[1]["error"]["where"]) == ("b", "inputs[1] (b), position 3")


@pytest.mark.parametrize("body", [b">a\nMKT\n>b\nMKV\n", b"id,sequence\na,MKT\nb,MKV\n"])
def test_fasta_and_csv_are_answered_as_streams_too(server: Server, body: bytes) -> None:
    media_type = "text/x-fasta" if body.startswith(b">") else "text/csv"
    lines = lines_of(server.ask(body, content_type=f"{media_type}; task=perplexity; stream=true").text)
    assert [(line["input"], line["id"], line["length"]) for line in lines] == [(0, "a", 3), (1, "b", 3)]


# ---- in and out ------------------------------------------------------------------------------------------------------


def sent_slowly(server: Server, content_type: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", "/invocations")
    connection.putheader("content-type", content_type)
    connection.putheader("transfer-encoding", "chunked")
    connection.endheaders()
    return connection


def send(connection: http.client.HTTPConnection, data: bytes) -> None:
    connection.send(b"%x\r\n%s\r\n" % (len(data), data))


def test_a_line_is_answered_while_the_next_ones_are_still_to_come(server: Server) -> None:
    connection = sent_slowly(server, f"{LINES}; task=perplexity; stream=true")
    send(connection, b'"MKT"\n{"id": "b", "sequ')
    with connection.sock.makefile("rb") as answer:  # before the body has ended, which http.client does not foresee
        first = next(line for line in answer if line.startswith(b"{"))
        assert json.loads(first)["input"] == 0
        send(connection, b'ence": "MKV"}\n')
        connection.send(b"0\r\n\r\n")
        second = next(line for line in answer if line.startswith(b"{"))
        assert (json.loads(second)["input"], json.loads(second)["id"]) == (1, "b")
        assert next(line for line in answer if line == b"0\r\n")
    connection.close()


def test_a_body_longer_than_any_other_may_be_is_answered_line_by_line(server: Server) -> None:
    """8 MB in, 60 MB out, by a caller who reads nothing before all is sent: one who might wait for ever."""
    rng = np.random.default_rng(2)
    proteins = ["".join(rng.choice(list(PROTEIN), size=4000 // 2)) for _ in range(3)] + ["MKT"] * 30_000
    body = "".join(
        json.dumps({"id": f"protein-{i}", "sequence": one}) + " " * 200 + "\n" for i, one in enumerate(proteins)
    )
    assert len(body) > 6 * 1024 * 1024
    answer = server.ask(body, content_type=f"{LINES}; task=logits; stream=true")
    lines = lines_of(answer.text)
    assert [(line["input"], line["id"]) for line in lines] == [(i, f"protein-{i}") for i in range(len(proteins))]
    alone = server.ask({"task": "logits", "inputs": [proteins[0]]}).json()["outputs"][0]["logits"]
    np.testing.assert_allclose(lines[0]["logits"], alone, atol=1e-5)
    memory = server.peak_memory_mb()
    assert memory is None or memory < 900


def test_each_line_at_fault_has_its_error_and_the_others_their_answers(server: Server) -> None:
    body = b'"MKT"\n\n{"id": "b", "sequence": "MK4"}\n{\n"\xff"\n' + b'"MKV"'
    lines = lines_of(server.ask(body, content_type=f"{LINES}; task=embed; stream=true").text)
    assert [line["input"] for line in lines] == [0, 1, 2, 3, 4]
    errors = {line["input"]: line["error"]["where"] for line in lines if "error" in line}
    assert errors == {1: "line 3 (b), position 3", 2: "line 4", 3: "line 5"}


def test_a_line_that_is_too_much_work_is_refused_alone(base: Path) -> None:
    with serving(base, AMPLIFY_QUEUE_TOKENS="20000") as server:
        server.ready()
        body = "\n".join(json.dumps(one) for one in ("MKT", LONG, "MKV"))
        lines = lines_of(server.ask(body, content_type=f"{LINES}; task=score_variants; scan=true; stream=true").text)
        assert [line["input"] for line in lines] == [0, 1, 2]
        assert lines[1]["error"]["code"] == "too_much_work"


def test_a_stream_waits_for_room_in_a_full_queue_instead_of_being_refused(base: Path) -> None:
    question = {"task": "perplexity", "inputs": [LONG[:300]], "parameters": {"exact": True}}  # 90,600 tokens
    with serving(base, AMPLIFY_QUEUE_TOKENS="100000") as server, ThreadPoolExecutor(2) as callers:
        server.ready()
        before = callers.submit(server.ask, question)
        wait_for(lambda: server.metric("queue_tokens") > 50_000)
        body = "\n".join([json.dumps(LONG[:300])] * 3)
        stream = server.ask(body, content_type=f"{LINES}; task=perplexity; exact=true; stream=true")
        assert [line["scored_residues"] for line in lines_of(stream.text)] == [300] * 3
        assert before.result().status_code == 200


# ---- what goes wrong meanwhile ---------------------------------------------------------------------------------------


def test_sigterm_answers_the_lines_that_were_read_and_says_that_the_rest_was_not(base: Path) -> None:
    with serving(base) as server:
        server.ready()
        connection = sent_slowly(server, f"{LINES}; task=perplexity; stream=true")
        send(connection, b'"MKT"\n"MKV"\n')
        with connection.sock.makefile("rb") as answer:
            read = [json.loads(next(line for line in answer if line.startswith(b"{")))]
            server.process.send_signal(signal.SIGTERM)
            rest = [json.loads(line) for line in answer if line.startswith(b"{")]
        connection.close()
        code, printed = server.ended()
    assert [one.get("input") for one in (*read, *rest)] == [0, 1, None]
    assert rest[-1]["error"]["code"] == "draining"
    assert code == 0, printed
    assert "Traceback" not in printed


def test_a_stream_that_outlasts_the_drain_ends_broken_so_that_nobody_takes_it_for_whole(base: Path) -> None:
    question = {"task": "score_variants", "inputs": [LONG * 2], "parameters": {"scan": True}, "stream": True}
    with serving(base) as server:
        server.ready()
        with server.client.stream("POST", "/invocations", json=question) as answer:
            lines = answer.iter_lines()
            read = [json.loads(next(lines))]
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError):
                read.extend(map(json.loads, lines))
        assert read[-1]["error"]["code"] == "draining"
        assert server.ended()[0] == 0


def test_a_caller_who_leaves_takes_the_stream_along(server: Server) -> None:
    before = server.metric("cancelled_requests_total")
    connection = sent_slowly(server, f"{LINES}; task=score_variants; scan=true; stream=true")
    send(connection, json.dumps(LONG).encode() + b"\n")
    wait_for(lambda: server.metric("queue_tokens") > 0)
    connection.close()
    wait_for(lambda: server.metric("requests_in_flight") == 0)
    assert server.metric("queue_tokens") == 0
    assert server.metric("cancelled_requests_total") == before + 1
    assert server.metric("bodies_bytes") == 0


def test_a_caller_who_reads_nothing_does_not_hold_up_the_others(server: Server) -> None:
    question = json.dumps({"task": "logits", "inputs": ["MKTAYIAKQR" * 20] * 500, "stream": True}).encode()
    head = f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: {len(question)}\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + question)
        wait_for(lambda: server.metric("requests_in_flight") == 1)
        start = time.monotonic()
        assert server.ask({"sequence": "MKT"}).status_code == 200
        assert time.monotonic() - start < 20
    with contextlib.suppress(httpx.TransportError):
        wait_for(lambda: server.metric("requests_in_flight") == 0)


def test_streams_are_logged_when_they_end_with_what_they_took(server: Server) -> None:
    answer = server.ask('"MKT"\n"MKVAY"\n', content_type=f"{LINES}; task=perplexity; stream=true")
    request_id = answer.headers["x-request-id"]
    logged = wait_for(lambda: next((one for one in server.events() if one.get("request_id") == request_id), None))
    assert (logged["status"], logged["task"], logged["inputs"], logged["tokens"]) == (200, "perplexity", 2, 12)
