"""InvokeEndpoint: a request goes to an instance, and its answer comes back as SageMaker Runtime gives it.

What the container refuses becomes a ModelError (424) with its status and its own words; what it does not answer in
time becomes one too.
"""

import http.client
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_aws import data_capture, endpoint_life, endpoint_metrics, endpoints, event_stream, resources, store
from local_aws.data_capture import Exchange
from local_aws.endpoint_life import Taken
from local_aws.endpoints import CHANGING
from local_aws.errors import SageMakerError
from local_aws.serverless import MOST_BYTES as MOST_SERVERLESS_BYTES
from local_aws.serving_container import log_group
from local_aws.store import Record, Scope

logger = logging.getLogger("local_aws")

Answer = tuple[int, dict[str, str], bytes]

MOST_BYTES = 25 * 1024 * 1024  # of a request's and an answer's body; AWS's limit for real-time inference
ANSWER_SECONDS = 60.0  # AWS's limit for a real-time container
REFUSALS, REFUSED_SECONDS = 10, 0.05
FORWARDED = (
    *("content-type", "accept", "x-amzn-sagemaker-custom-attributes", "x-amzn-sagemaker-inference-id"),
    *("x-amzn-sagemaker-session-id", "x-amzn-sagemaker-target-model"),
)
RETURNED = ("content-type", "x-amzn-sagemaker-custom-attributes", "x-amzn-sagemaker-new-session-id")


@dataclass(frozen=True)
class Said:
    """What an instance answered; or, in `message`, why it did not: `status` is 0 (too late) or 503 (it broke off, after
    the part of an answer that `content` then is)."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    message: str | None = None
    refused: bool = False  # nobody listened: the container had ended, and never saw the request

    @property
    def succeeded(self) -> bool:
        return self.message is None and self.status < 400

    @property
    def words(self) -> str:
        return self.message if self.message is not None else self.content.decode(errors="replace")


def invoke(scope: Scope, name: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Have endpoint `name` answer. Raises SageMakerError for a request that never reaches a container."""
    began = time.monotonic()
    taken, answered = _invoke(scope, name, headers, headers.get("accept"), body, began)
    if not answered.succeeded:
        return _model_error(scope, name, taken, answered)
    kept = {header: answered.headers[header] for header in RETURNED if header in answered.headers}
    return 200, kept | {"x-amzn-invoked-production-variant": taken.variant.name}, answered.content


def invoke_with_stream(scope: Scope, name: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """The same with the answer as an event stream. Its parts come when the container is done, all at once.

    An answer that was broken off is a stream as well: what came of it, and a ModelStreamError at its end.
    """
    began = time.monotonic()
    taken, answered = _invoke(scope, name, headers, headers.get("x-amzn-sagemaker-accept"), body, began)
    broken = not answered.succeeded and bool(answered.content) and answered.message is not None
    if not answered.succeeded and not broken:
        return _model_error(scope, name, taken, answered)
    about = {"content-type": event_stream.CONTENT_TYPE, "x-amzn-invoked-production-variant": taken.variant.name}
    if "content-type" in answered.headers:
        about["x-amzn-sagemaker-content-type"] = answered.headers["content-type"]
    if attributes := answered.headers.get("x-amzn-sagemaker-custom-attributes"):
        about["x-amzn-sagemaker-custom-attributes"] = attributes
    failure = event_stream.model_stream_error("StreamBroken", answered.words) if broken else b""
    return 200, about, event_stream.encode(answered.content) + failure


def error_answer(status: int, code: str, members: Mapping[str, Any]) -> Answer:
    """An error as SageMaker Runtime answers it: the code in a header, the members as JSON."""
    return status, {"content-type": "application/json", "x-amzn-errortype": code}, json.dumps(members).encode()


def endpoint_of(scope: Scope, name: str) -> tuple[Record, Record]:
    """(endpoint, its configuration in service). Raises SageMakerError where there is none."""
    try:
        record = endpoint_life.find(scope, name)
    except SageMakerError:
        raise SageMakerError(
            "ValidationError", f"Endpoint {name} of account {scope.account} not found.", status=400
        ) from None
    return record, store.current().get(scope, endpoint_life.CONFIG, record["EndpointConfigName"]) or {}


def ask(taken: Taken, headers: Mapping[str, str], body: bytes, seconds: float) -> Said:
    """Have an instance answer within `seconds`, and give it back."""
    try:
        return Said(*taken.server.ask(headers, body, seconds))
    except TimeoutError:
        return Said(0, {}, b"", f"Your invocation timed out after {seconds:g} seconds")
    except ConnectionRefusedError as error:
        return Said(503, {}, b"", f"the container does not listen ({error})", refused=True)
    except http.client.IncompleteRead as error:
        return Said(503, {}, error.partial, "the container closed the connection before its answer was whole")
    except (OSError, http.client.HTTPException) as error:
        words = f"the container closed the connection without an answer ({error or type(error).__name__})"
        return Said(503, {}, b"", words)
    finally:
        taken.release()


def _invoke(
    scope: Scope, name: str, headers: Mapping[str, str], accept: str | None, body: bytes, began: float
) -> tuple[Taken, Said]:
    record, config = endpoint_of(scope, name)
    if "AsyncInferenceConfig" in config:
        raise SageMakerError(
            "ValidationError", f"Endpoint {name} is asynchronous: ask it with InvokeEndpointAsync.", status=400
        )
    most = MOST_BYTES
    if any("ServerlessConfig" in variant for variant in config.get("ProductionVariants", [])):
        most = MOST_SERVERLESS_BYTES
    if len(body) > most:
        raise SageMakerError("ValidationError", f"The body has {len(body)} bytes; at most {most} are taken.")
    given = {header: headers[header] for header in FORWARDED if header in headers}
    given |= {"accept": accept} if accept else {}
    for _ in range(REFUSALS):
        taken = _take(scope, name, record, headers.get("x-amzn-sagemaker-target-variant"))
        instances, asked = len(taken.variant.servers), time.monotonic()
        answered = ask(taken, given, body, ANSWER_SECONDS)
        if not answered.refused:
            break
        time.sleep(REFUSED_SECONDS)  # until it is noticed that this instance has ended
    if answered.succeeded and len(answered.content) > most:
        words = f"the answer has {len(answered.content)} bytes; at most {most} are passed on"
        answered = Said(500, {}, b"", words)
    seconds = time.monotonic() - asked
    key = endpoint_metrics.Key(scope, name, taken.variant.name, taken.config)
    overhead = max(0.0, time.monotonic() - began - seconds)
    endpoint_metrics.count(key, answered.status or 504, seconds, overhead, instances)
    if answered.succeeded:
        exchange = Exchange(
            headers.get("content-type", "application/octet-stream"),
            body,
            answered.headers.get("content-type", "application/octet-stream"),
            answered.content,
            headers.get("x-amzn-sagemaker-custom-attributes"),
            headers.get("x-amzn-sagemaker-inference-id"),
        )
        role = resources.role_of_model(scope, taken.variant.settings["ModelName"])
        data_capture.offer(scope, name, taken.variant.name, endpoints.capture_of(scope, record), exchange, role)
    return taken, answered


def _take(scope: Scope, name: str, record: Record, variant: str | None) -> Taken:
    """Raises SageMakerError where the endpoint is not in service, or its containers are being replaced."""
    taken = endpoint_life.acquire(scope, name, variant)
    if taken is not None:
        return taken
    status = record["EndpointStatus"]
    if status in (*CHANGING, "InService"):
        raise SageMakerError(
            "ServiceUnavailable", f"Endpoint {name} ({status}) has no container that answers now.", status=503
        )
    raise SageMakerError("ValidationError", f"Endpoint {name} is {status}, not InService.", status=400)


def received(variant: str, answered: Said) -> str:
    """What happened, in the words of a ModelError."""
    side = "client" if 400 <= answered.status < 500 else "server"
    return f'Received {side} error ({answered.status}) from {variant} with message "{answered.words}".'


def _model_error(scope: Scope, name: str, taken: Taken, answered: Said) -> Answer:
    group, stream = log_group(name), taken.server.log_stream
    what = received(taken.variant.name, answered)
    members = {
        "Message": f"{what} See {group} in account {scope.account} for more information.",
        "OriginalMessage": answered.words,
        "OriginalStatusCode": answered.status,
        "LogStreamArn": f"arn:aws:logs:{scope.region}:{scope.account}:log-group:{group}:log-stream:{stream}",
    }
    return error_answer(424, "ModelError", members)
