"""A server that speaks InvokeEndpoint's wire format, for a real boto3 client to talk to."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
from botocore.config import Config

from local_aws import event_stream

TIMED_OUT, NO_STREAMS = -1, -2
"""Statuses of what SageMaker says in the container's place."""


@dataclass
class Answer:
    """What the container says: its status and its body."""

    status: int
    body: bytes
    content_type: str = "application/json"


@dataclass
class FakeSageMaker:
    """Answers in order, the last one for ever; keeps what it was sent."""

    answers: "list[Answer | Callable[[dict[str, Any]], Answer]]"
    """Each as it is, or made of the request."""
    url: str = ""
    requests: list[Mapping[str, Any]] = field(default_factory=list)

    def client(self) -> Any:
        return boto3.client(
            "sagemaker-runtime",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )


def refusal(status: int, **body: object) -> Answer:
    """A refusal as the serving contract words it."""
    return Answer(status, json.dumps(body).encode())


@contextmanager
def serving(*answers: Answer | Callable[[dict[str, Any]], Answer]) -> Iterator[FakeSageMaker]:
    """A running server with these answers. To whom wants a stream it sends a whole answer as one."""
    fake = FakeSageMaker(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fake.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
            answer = fake.answers.pop(0) if len(fake.answers) > 1 else fake.answers[0]
            if callable(answer):
                answer = answer(json.loads(body))
            if answer.status == 200 and self.path.endswith("-response-stream"):
                self._send(200, event_stream.encode(answer.body), {"Content-Type": event_stream.CONTENT_TYPE})
                return
            if answer.status == 200:
                self._send(200, answer.body, {"Content-Type": answer.content_type})
                return
            if answer.status == TIMED_OUT:
                message = "Your invocation timed out while waiting for a response from container primary."
                self._send(424, json.dumps({"Message": message}).encode(), {"x-amzn-ErrorType": "ModelError"})
                return
            if answer.status == NO_STREAMS:
                message = "Serverless endpoints have no response streams"
                self._send(400, json.dumps({"Message": message}).encode(), {"x-amzn-ErrorType": "ValidationError"})
                return
            # SageMaker wraps every refusal of the container in a ModelError, status 424.
            wrapped = {
                "Message": "Received an error from the model container",
                "OriginalStatusCode": answer.status,
                "OriginalMessage": answer.body.decode(),
                "LogStreamArn": "arn",
            }
            self._send(424, json.dumps(wrapped).encode(), {"x-amzn-ErrorType": "ModelError"})

        def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield fake
        server.shutdown()
        thread.join()
