"""The server as a real process on a real socket: its life, its limits, and callers who mean no good."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import inference
import numpy as np
import pytest
from amplify_lm.checkpoint import save_model
from amplify_lm.serve_settings import ServeSettings
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.server_process import MODEL_CODE, Server, serving, wait_for
from tests.model.serving_model import PROTEIN, tiny_model

MEGABYTE = 1024 * 1024
LONG_SCAN = {"task": "score_variants", "inputs": ["MKTAYIAKQR" * 200], "parameters": {"scan": True}}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ml")
    save_model(tiny_model(), folder / "model")
    return folder


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[Server]:
    with serving(base) as one:
        yield one.ready()


# ---- life ------------------------------------------------------------------------------------------------------------


def test_ping_answers_503_at_once_and_200_when_the_model_has_run(base: Path) -> None:
    with serving(base) as server:
        first = server.client.get("/ping")
        assert (first.status_code, first.json()["status"]) == (503, "loading")
        refused = server.ask({"sequence": "MKT"})
        assert (refused.status_code, refused.json()["code"]) == (503, "loading")
        server.ready()
        details = server.client.get("/ping").json()
        assert details == {
            "status": "ready",
            "device": "cpu",
            "dtype": "float32",
            "parameters": tiny_model().num_parameters,
            "max_residues": 2046,
        }
        assert server.ask({"sequence": "MKT"}).status_code == 200


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: os.truncate(folder / "model.safetensors", 3000), "truncated or corrupt"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json"),
    ],
    ids=["no weights", "no configuration", "half the weights", "broken configuration"],
)
def test_a_model_that_cannot_be_loaded_ends_the_process_with_one_clear_line(
    tmp_path: Path, break_it: Callable[[Path], object], said: str
) -> None:
    save_model(tiny_model(), tmp_path / "model")
    break_it(tmp_path / "model")
    with serving(tmp_path) as server:
        code, printed = server.ended()
    errors = [line for line in printed.splitlines() if not line.startswith("{")]
    assert (code, len(errors)) == (1, 1)
    assert errors[0].startswith(f"error: {tmp_path / 'model'}")
    assert said in errors[0]


def test_a_port_that_is_taken_ends_the_process_with_one_clear_line(base: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment = os.environ | {
            "SAGEMAKER_BASE_DIR": str(base),
            "SAGEMAKER_BIND_TO_PORT": str(taken.getsockname()[1]),
        }
        ended = subprocess.run(
            [sys.executable, "serve.py"], cwd=MODEL_CODE, env=environment, capture_output=True, text=True, timeout=60
        )
    assert ended.returncode == 1
    assert "Address already in use" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("SAGEMAKER_BIND_TO_PORT", "70000", "a port from 0 to 65535 is wanted"),
        ("SAGEMAKER_BIND_TO_PORT", "http", "a whole number is wanted"),
        ("AMPLIFY_QUEUE_TOKENS", "0", "at least 1 is wanted"),
        ("AMPLIFY_BATCH_TOKENS", "-1", "0 (the device's default) or more is wanted"),
        ("AMPLIFY_LONGEST_WAIT_S", "0", "at least 1 is wanted"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_what_is_wanted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, wanted: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=re.escape(wanted)) as refusal:
        ServeSettings.from_environment()
    assert name in str(refusal.value)


def test_sigterm_answers_what_was_admitted_refuses_what_comes_and_ends_with_0(base: Path) -> None:
    question = {"task": "perplexity", "inputs": ["MKTAYIAKQR" * 20], "parameters": {"exact": True}}
    with serving(base) as server, ThreadPoolExecutor(8) as callers:
        server.ready()
        answers = [callers.submit(server.ask, question) for _ in range(8)]
        wait_for(lambda: server.metric("requests_in_flight") == 8 or any(answer.done() for answer in answers))
        server.process.send_signal(signal.SIGTERM)
        server.event("draining")
        refusals = []
        with contextlib.suppress(httpx.TransportError):  # the port closes when the last admitted one is answered
            refusals = [server.client.get("/ping"), server.ask({"sequence": "MKT"})]
        assert [answer.result().status_code for answer in answers] == [200] * 8
        losses = [answer.result().json()["outputs"][0]["loss"] for answer in answers]
        assert max(losses) - min(losses) < 1e-5
        assert [one.status_code for one in refusals] in ([], [503, 503])
        code, printed = server.ended()
    assert code == 0, printed
    assert "Traceback" not in printed


def test_a_request_that_outlasts_the_drain_is_told_so_before_sigkill_would_come(base: Path) -> None:
    with serving(base) as server, ThreadPoolExecutor(1) as callers:
        server.ready()
        answer = callers.submit(server.ask, LONG_SCAN)
        wait_for(lambda: server.metric("queue_tokens") > 0)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.event("draining")
        assert server.ask({"sequence": "MKT"}).json()["code"] == "draining"
        assert server.client.get("/ping").status_code == 503
        response = answer.result()
        assert (response.status_code, response.json()["code"]) == (503, "draining")
        code, printed = server.ended()
        assert code == 0, printed
        assert time.monotonic() - start < 30  # SageMaker's limit, the contract itself


def test_a_killed_servers_port_is_free_for_the_next_one(base: Path) -> None:
    with serving(base) as first:
        first.ready().ask({"sequence": "MKT"})
        first.process.kill()
        assert first.ended()[0] == -signal.SIGKILL
        with serving(base, SAGEMAKER_BIND_TO_PORT=str(first.port)) as second:
            assert second.ready().ask({"sequence": "MKT"}).status_code == 200


# ---- answers ---------------------------------------------------------------------------------------------------------


def test_many_callers_at_once_each_get_what_they_would_get_alone(server: Server, base: Path) -> None:
    rng = np.random.default_rng(11)
    proteins = ["".join(rng.choice(list(PROTEIN), size=rng.integers(1, 150))) for _ in range(64)]
    with ThreadPoolExecutor(32) as callers:
        answers = list(callers.map(lambda one: server.ask({"task": "embed", "inputs": [one]}), proteins))
    predictor = inference.model_fn(base / "model")
    for protein, answer in zip(proteins, answers, strict=True):
        request = inference.input_fn(json.dumps({"task": "embed", "inputs": [protein]}))
        alone = inference.predict_fn(request, predictor).outputs[0]["embedding"]
        np.testing.assert_allclose(answer.json()["outputs"][0]["embedding"], alone, rtol=0, atol=2e-6 + 1e-5)
    assert server.metric("batches_total") < server.metric("model_tokens_total")


def test_answers_come_in_the_format_that_is_accepted(server: Server) -> None:
    for accept in ("application/json", "application/jsonlines", "application/x-npz"):
        answer = server.ask({"task": "embed", "inputs": ["MKT"]}, accept=accept)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, accept)


def test_batch_transform_is_told_how_to_call(server: Server) -> None:
    assert server.client.get("/execution-parameters").json() == {
        "MaxConcurrentTransforms": 4,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": 6,
    }


def test_a_short_request_is_answered_while_a_scan_runs_and_a_caller_who_leaves_takes_the_work_along(
    base: Path,
) -> None:
    with serving(base) as server:
        server.ready()
        with socket.create_connection(("127.0.0.1", server.port)) as impatient:
            content = json.dumps(LONG_SCAN).encode()
            head = f"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: {len(content)}\r\n"
            impatient.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + content)
            wait_for(lambda: server.metric("queue_tokens") > 0)
        wait_for(lambda: server.metric("cancelled_requests_total") == 1)
        assert server.metric("queue_tokens") == 0
        with ThreadPoolExecutor(1) as callers:
            scan = callers.submit(server.ask, LONG_SCAN)
            wait_for(lambda: server.metric("queue_tokens") > 0)
            assert server.ask({"sequence": "MKT"}).status_code == 200
            assert not scan.done()
            server.process.kill()
            assert isinstance(scan.exception(), httpx.TransportError)


def test_a_full_queue_answers_429_with_the_time_to_wait_and_loses_nothing_that_was_admitted(base: Path) -> None:
    question = {"task": "perplexity", "inputs": ["MKTAYIAKQR" * 20], "parameters": {"exact": True}}  # 40,400 tokens
    with serving(base, AMPLIFY_QUEUE_TOKENS="50000") as server, ThreadPoolExecutor(24) as callers:
        server.ready()
        answers = list(callers.map(lambda _: server.ask(question), range(24)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}
        for answer in answers:
            if answer.status_code == 429:
                assert answer.json()["code"] == "queue_full"
                assert int(answer.headers["retry-after"]) == answer.json()["retry_after_s"] >= 1
        assert server.ask(question).status_code == 200
        too_much = server.ask(LONG_SCAN)
        assert (too_much.status_code, too_much.json()["code"]) == (413, "too_much_work")
        mixed = server.ask(LONG_SCAN | {"inputs": [*LONG_SCAN["inputs"], "M1"], "partial": True})
        assert [one["error"]["code"] for one in mixed.json()["outputs"]] == ["too_much_work", "bad_sequence"]
        nothing = server.ask(LONG_SCAN | {"inputs": ["M1"], "partial": True})
        assert [one["error"]["code"] for one in nothing.json()["outputs"]] == ["bad_sequence"]


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "headers", "content", "status", "code"),
    [
        ("POST", "/invocations", {}, b"", 400, "bad_body"),
        ("POST", "/invocations", {}, b"{", 400, "bad_body"),
        ("POST", "/invocations", {}, b'{"sequence":"\xff"}', 400, "bad_body"),
        ("POST", "/invocations", {}, b"[" * 200_000, 400, "bad_body"),
        ("POST", "/invocations", {}, b'{"task":"embedd","inputs":["M"]}', 400, "bad_request"),
        ("POST", "/invocations", {}, b'{"task":"embed","inputs":["M4"]}', 400, "bad_sequence"),
        ("POST", "/invocations", {"accept": "text/html"}, b'{"sequence":"M"}', 406, "not_acceptable"),
        ("POST", "/invocations", {}, b'{"sequence":"%s"}' % (b"M" * 100_000), 413, "sequence_too_long"),
        ("POST", "/invocations", {}, b" " * (6 * MEGABYTE + 1), 413, "body_too_large"),
        ("POST", "/invocations", {"content-type": "image/png"}, b"x", 415, "unsupported_media_type"),
        ("POST", "/invocations", {"content-encoding": "gzip"}, b"x", 415, "unsupported_media_type"),
        ("POST", "/invocations", {}, b'{"task":"embed","inputs":[]}', 422, "nothing_to_score"),
        ("GET", "/invocations", {}, b"", 405, "method_not_allowed"),
        ("GET", "/elsewhere", {}, b"", 404, "not_found"),
    ],
)
def test_a_refusal_has_its_status_and_a_body_that_says_why(
    server: Server, method: str, path: str, headers: dict[str, str], content: bytes, status: int, code: str
) -> None:
    sent = {"content-type": "application/json"} | headers
    answer = server.client.request(method, path, content=content, headers=sent)
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code)
    assert set(body) == {"code", "message", "where"}
    assert body["message"]


def test_a_body_of_exactly_the_limit_is_read(server: Server) -> None:
    question = b'{"sequence":"MKT"}'
    assert server.ask(question + b" " * (6 * MEGABYTE - len(question))).status_code == 200


def test_an_endless_upload_without_a_length_is_cut_off(server: Server) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b" " * MEGABYTE

    def cut_off() -> int:
        return sum(one.get("code") == "body_too_large" for one in server.events())

    before = cut_off()
    with contextlib.suppress(httpx.TransportError):  # the answer may be lost with the connection
        server.client.post("/invocations", content=endless(), headers={"content-type": "application/json"})
    wait_for(lambda: cut_off() == before + 1)
    assert server.ask({"sequence": "MKT"}).status_code == 200


def test_a_length_that_is_a_lie_of_gigabytes_is_refused_before_it_is_read(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.settimeout(20)
        line.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert line.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_stalled_uploads_hold_no_more_than_their_share_of_memory_and_others_are_served(server: Server) -> None:
    size = 6 * MEGABYTE
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
    with contextlib.ExitStack() as stack:
        for _ in range(21):  # of 6 MB less 1: the 128 MB that all bodies may hold are all but full
            line = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            line.sendall(head + b" " * (size - 1))
        wait_for(lambda: server.metric("requests_in_flight") == 21)
        wait_for(lambda: server.metric("bodies_bytes") == 21 * (size - 1))
        assert server.ask({"sequence": "MKT"}).status_code == 200
        large = server.ask(b" " * (3 * MEGABYTE))
        assert (large.status_code, large.json()["code"]) == (429, "queue_full")
    wait_for(lambda: server.metric("bodies_bytes") == 0)


@settings(deadline=None, max_examples=80)
@given(
    content=st.binary(max_size=80)
    | st.text(max_size=80).map(str.encode)
    | st.from_regex(r'\{"task": ?"(embed|logits|fill_mask)", ?"inputs": ?\[.{0,30}\]\}').map(str.encode),
    content_type=st.sampled_from(["application/json", "application/jsonlines", "text/x-fasta", "text/csv"])
    | st.from_regex(r"[ -~]{0,20}", fullmatch=True),
    accept=st.sampled_from(["*/*", "application/x-npz"]) | st.from_regex(r"[ -~]{0,20}", fullmatch=True),
)
def test_no_request_is_answered_with_5xx(server: Server, content: bytes, content_type: str, accept: str) -> None:
    headers = {"content-type": content_type.strip(), "accept": accept.strip()}
    answer = server.client.post("/invocations", content=content, headers=headers)
    assert answer.status_code in (200, 400, 406, 413, 415, 422)
    assert server.client.get("/ping").status_code == 200


# ---- what is said outside --------------------------------------------------------------------------------------------


def test_logs_and_metrics_count_requests_and_never_hold_a_sequence_or_a_name(server: Server) -> None:
    secret = "WCWCHMWCWC"
    good = server.ask({"task": "embed", "inputs": [{"id": "SECRETNAME", "sequence": secret}]})
    bad = server.ask({"task": "embed", "inputs": [{"id": "SECRETNAME", "sequence": secret + "5"}]})
    wait_for(
        lambda: (
            {good.headers["x-request-id"], bad.headers["x-request-id"]}
            <= {one.get("request_id") for one in server.events()}
        )
    )
    logged = {one["request_id"]: one for one in server.events() if one["event"] == "request"}
    assert logged[good.headers["x-request-id"]]["tokens"] == len(secret) + 2
    assert logged[bad.headers["x-request-id"]]["code"] == "bad_sequence"
    text = "".join(server.lines) + server.client.get("/metrics").text
    assert secret not in text
    assert "SECRETNAME" not in text
    assert 'amplify_requests_total{task="embed",status="200"}' in text


def test_the_server_listens_before_it_pays_for_torch_and_never_imports_transformers(base: Path) -> None:
    program = (
        "import sys, serve; assert 'torch' not in sys.modules; "
        f"import inference; inference.model_fn({str(base / 'model')!r}); "
        "assert not {'transformers', 'tokenizers', 'boto3'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=MODEL_CODE, check=True, timeout=120)
