"""docs/serving.md, asked: every example's answer has the form that the page shows."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from amplify_lm.checkpoint import save_model
from amplify_lm.tasks import TASKS

from local_aws import event_stream
from tests.model.server_process import Server, serving
from tests.model.serving_model import tiny_model

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
EXAMPLE = r"```http\nPOST /invocations\nContent-Type: ([^\n]*)\n\n((?:(?!```).)*)```\n```json\n(.*?)```"
EXAMPLES = re.findall(EXAMPLE, PAGE, re.DOTALL)
MORE = "more of the same"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("ml")
    save_model(tiny_model(), folder / "model")
    with serving(folder) as one:
        yield one.ready()


def shown(text: str) -> list[Any]:
    """The documents of an example's answer; `…` is a value that stands for more."""
    text, decoder, found = text.replace("…", json.dumps(MORE)).strip(), json.JSONDecoder(), []
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


def assert_alike(given: Any, form: Any, where: str = "") -> None:
    if isinstance(form, dict):
        assert list(given) == list(form), where
        for key, value in form.items():
            assert_alike(given[key], value, f"{where}.{key}")
    elif isinstance(form, list) and MORE in form:
        assert len(given) >= len(form) - 1, where
        for one in given:
            assert_alike(one, form[0] if not isinstance(form[0], str) else one, f"{where}[]")
    elif isinstance(form, list):
        assert len(given) == len(form), where
        for i, (one, value) in enumerate(zip(given, form, strict=True)):
            assert_alike(one, value, f"{where}[{i}]")
    elif isinstance(form, float):
        assert isinstance(given, int | float), where
    else:
        assert given == form, where


@pytest.mark.parametrize(("content_type", "body", "form"), EXAMPLES)
def test_an_example_is_answered_as_the_page_shows(server: Server, content_type: str, body: str, form: str) -> None:
    answer = server.ask(body, content_type=content_type)
    expected = shown(form)
    given = [json.loads(line) for line in answer.text.splitlines()]
    assert (answer.status_code >= 400) == ("code" in expected[0])
    assert len(given) == len(expected)
    for one, value in zip(given, expected, strict=True):
        assert_alike(one, value)


def test_the_page_has_every_task_and_every_path() -> None:
    assert len(EXAMPLES) > 10
    for task in TASKS:
        assert f"### `{task}`" in PAGE
    for path in ("/ping", "/invocations", "/execution-parameters", "/metrics", "/openapi.json"):
        assert path in PAGE


@pytest.fixture
def endpoint(server: Server) -> Iterator[str]:
    """SageMaker Runtime's wire format in front of the server: the event stream, made as local AWS makes it."""

    class Runtime(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = httpx.post(
                f"http://127.0.0.1:{server.port}/invocations",
                content=body,
                headers={"content-type": self.headers["Content-Type"]},
                timeout=60,
            )
            content = event_stream.encode(answer.content)
            self.send_response(200)
            self.send_header("content-type", event_stream.CONTENT_TYPE)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Runtime) as runtime:
        thread = threading.Thread(target=runtime.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{runtime.server_address[1]}"
        runtime.shutdown()
        thread.join()


def test_the_pages_python_reads_a_stream_to_its_end(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "NO_PROXY": "*",
    }.items():
        monkeypatch.setenv(name, value)
    [program] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(program, names)
    assert len(names["rows"]) == 60
    assert names["rest"] == b""
    assert capsys.readouterr().out.splitlines()[0] == "16 of 60 positions"
