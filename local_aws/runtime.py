"""InvokeEndpoint: a request goes to a container, and its answer comes back as SageMaker Runtime gives it.

What the container refuses becomes a ModelError (424) with its status and its own words; what it does not answer in
time becomes one too. Every invocation is counted as CloudWatch counts it, off the request's path.
"""

import http.client
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from local_aws import endpoints
from local_aws.clients import client
from local_aws.endpoints import CHANGING
from local_aws.errors import SageMakerError
from local_aws.serving_container import Server, log_group
from local_aws.settings import HOST
from local_aws.store import Scope

logger = logging.getLogger("local_aws")

Answer = tuple[int, dict[str, str], bytes]

MOST_BYTES = 25 * 1024 * 1024  # of a request's and an answer's body; AWS's limit for real-time inference
ANSWER_SECONDS = 60.0  # AWS's limit for a real-time container
NAMESPACE = "AWS/SageMaker"
FLUSH_SECONDS = 1.0
FORWARDED = (
    *("content-type", "accept", "x-amzn-sagemaker-custom-attributes", "x-amzn-sagemaker-inference-id"),
    *("x-amzn-sagemaker-session-id", "x-amzn-sagemaker-target-model"),
)
RETURNED = ("content-type", "x-amzn-sagemaker-custom-attributes", "x-amzn-sagemaker-new-session-id")


def invoke(scope: Scope, name: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Have endpoint `name` answer. Raises SageMakerError for a request that never reaches a container."""
    server = _server(scope, name, headers.get("x-amzn-sagemaker-target-variant"))
    if len(body) > MOST_BYTES:
        raise SageMakerError("ValidationError", f"The body has {len(body)} bytes; at most {MOST_BYTES} are taken.")
    given = {header: headers[header] for header in FORWARDED if header in headers}
    began = time.monotonic()
    try:
        status, answered, content = _ask(server, given, body)
    except TimeoutError:
        metrics.count(scope, name, server.variant, 504, time.monotonic() - began)
        return _model_error(scope, name, server, 0, f"Your invocation timed out after {ANSWER_SECONDS:g} seconds")
    except (OSError, http.client.HTTPException) as error:
        metrics.count(scope, name, server.variant, 503, time.monotonic() - began)
        said = f"the container closed the connection without an answer ({error or type(error).__name__})"
        return _model_error(scope, name, server, 503, said)
    metrics.count(scope, name, server.variant, status, time.monotonic() - began)
    if status >= 400:
        return _model_error(scope, name, server, status, content.decode(errors="replace"))
    if len(content) > MOST_BYTES:
        said = f"the answer has {len(content)} bytes; at most {MOST_BYTES} are passed on"
        return _model_error(scope, name, server, 500, said)
    kept = {header: answered[header] for header in RETURNED if header in answered}
    return 200, kept | {"x-amzn-invoked-production-variant": server.variant}, content


def error_answer(status: int, code: str, members: Mapping[str, Any]) -> Answer:
    """An error as SageMaker Runtime answers it: the code in a header, the members as JSON."""
    return status, {"content-type": "application/json", "x-amzn-errortype": code}, json.dumps(members).encode()


def _server(scope: Scope, name: str, variant: str | None) -> Server:
    """Raises SageMakerError where the endpoint is not there, not in service, or its container is being replaced."""
    try:
        status = endpoints.find(scope, name)["EndpointStatus"]
    except SageMakerError:
        raise SageMakerError(
            "ValidationError", f"Endpoint {name} of account {scope.account} not found.", status=400
        ) from None
    server = endpoints.server_for(scope, name, variant)
    if server is not None:
        return server
    if status in (*CHANGING, "InService"):
        raise SageMakerError(
            "ServiceUnavailable", f"Endpoint {name} ({status}) has no container that answers now.", status=503
        )
    raise SageMakerError("ValidationError", f"Endpoint {name} is {status}, not InService.", status=400)


def _ask(server: Server, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("POST", "/invocations", body, dict(headers))
        response = connection.getresponse()
        content = response.read()
        return response.status, {key.lower(): value for key, value in response.getheaders()}, content
    finally:
        connection.close()


def _model_error(scope: Scope, name: str, server: Server, status: int, said: str) -> Answer:
    side = "client" if 400 <= status < 500 else "server"
    received = f'Received {side} error ({status}) from {server.variant} with message "{said}".'
    stream = f"arn:aws:logs:{scope.region}:{scope.account}:log-group:{log_group(name)}:log-stream:{server.log_stream}"
    members = {
        "Message": f"{received} See {log_group(name)} in account {scope.account} for more information.",
        "OriginalMessage": said,
        "OriginalStatusCode": status,
        "LogStreamArn": stream,
    }
    return error_answer(424, "ModelError", members)


# ---- metrics ---------------------------------------------------------------------------------------------------------


class _Metrics:
    """What was counted and not yet sent, by account, region, endpoint and variant."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[Scope, str, str], Counter[str]] = {}
        self._latencies: dict[tuple[Scope, str, str], list[float]] = {}
        self._thread: threading.Thread | None = None

    def count(self, scope: Scope, endpoint: str, variant: str, status: int, seconds: float) -> None:
        key = (scope, endpoint, variant)
        with self._lock:
            counts = self._counts.setdefault(key, Counter())
            counts["Invocations"] += 1
            counts["Invocation4XXErrors"] += 400 <= status < 500
            counts["Invocation5XXErrors"] += status >= 500
            self._latencies.setdefault(key, []).append(seconds * 1e6)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="endpoint metrics", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(FLUSH_SECONDS)
            with self._lock:
                counts, self._counts = self._counts, {}
                latencies, self._latencies = self._latencies, {}
            for key, counted in counts.items():
                try:
                    self._send(*key, counted, latencies[key])
                except Exception:
                    logger.exception("metrics of endpoint %s cannot be stored", key[1])

    def _send(self, scope: Scope, endpoint: str, variant: str, counts: Counter[str], latencies: list[float]) -> None:
        about = {
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}],
            "Timestamp": datetime.now(UTC),
        }
        data = [{"MetricName": name, "Value": float(count), "Unit": "Count"} for name, count in counts.items()]
        data.append({"MetricName": "ModelLatency", "Values": latencies[-150:], "Unit": "Microseconds"})
        cloudwatch = client("cloudwatch", scope.account, scope.region)
        cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=[datum | about for datum in data])


metrics = _Metrics()
