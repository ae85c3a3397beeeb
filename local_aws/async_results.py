"""What becomes of an asynchronous request: its object in S3, its message to SNS, its part in the metrics."""

import base64
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from local_aws import endpoint_life, endpoint_metrics, store
from local_aws.clients import client
from local_aws.endpoint_metrics import REQUESTS, Published, datum
from local_aws.errors import SageMakerError
from local_aws.s3_files import S3Error, put_object
from local_aws.store import Record, Scope

logger = logging.getLogger("local_aws")

MOST_BYTES_IN_A_MESSAGE = 128 * 1024
BACKLOG_SECONDS = 10.0  # how often the backlog is published while it stays the same


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a request ended. `failure` is its reason; `variant` and `config` whom it went to, if it came to that."""

    variant: str | None
    config: str = ""
    failure: str | None = None
    status: int | None = None
    content: bytes = b""
    content_type: str = "application/octet-stream"
    download_seconds: float = 0.0
    model_seconds: float = 0.0
    download_failed: bool = False
    expired: bool = False


def locations(output: Mapping[str, Any], request: Mapping[str, Any], identity: str) -> dict[str, str]:
    """Where the answer, and a failure, will be."""
    extension = f"/{request['S3OutputPathExtension'].strip('/')}" if "S3OutputPathExtension" in request else ""
    name = request.get("Filename", f"{identity}.out")
    found = {"OutputLocation": f"{output['S3OutputPath'].rstrip('/')}{extension}/{name}"}
    if "S3FailurePath" in output:
        failure = f"{name.rpartition('.')[0] or name}-error.out"
        found["FailureLocation"] = f"{output['S3FailurePath'].rstrip('/')}{extension}/{failure}"
    return found


def conclude(scope: Scope, record: Record, outcome: Outcome) -> None:
    """Put the answer or the failure where it belongs, tell SNS, and count."""
    began, counts = time.monotonic(), Counter[str]()
    failure = outcome.failure
    try:
        kms_key = record["OutputConfig"].get("KmsKeyId")
        if failure is None:
            put_object(scope, record["OutputLocation"], outcome.content, kms_key, outcome.content_type)
        elif "FailureLocation" in record:
            content = outcome.content or failure.encode()
            put_object(scope, record["FailureLocation"], content, kms_key, outcome.content_type)
    except S3Error as error:
        counts["ResponseUploadFailures"] += 1
        failure = failure or f"ClientError: The answer could not be uploaded: {error}"
        logger.warning("asynchronous request of endpoint %s: %s", record["EndpointName"], error)
    upload_seconds = time.monotonic() - began
    counts["NotificationFailures"] += not _notify(scope, record, outcome, failure)
    _count(scope, record, outcome, failure, counts, upload_seconds)


# ---- SNS -------------------------------------------------------------------------------------------------------------


def _notify(scope: Scope, record: Record, outcome: Outcome, failure: str | None) -> bool:
    """Whether the topic, if there is one, was told."""
    config = record["OutputConfig"].get("NotificationConfig", {})
    topic = config.get("SuccessTopic" if failure is None else "ErrorTopic")
    if not topic:
        return True
    which = "SUCCESS_NOTIFICATION_TOPIC" if failure is None else "ERROR_NOTIFICATION_TOPIC"
    with_body = which in config.get("IncludeInferenceResponseIn", [])
    text = json.dumps(message(scope, record, outcome, failure, with_body=with_body))
    try:
        client("sns", scope.account, scope.region).publish(TopicArn=topic, Message=text)
    except (ClientError, BotoCoreError, SageMakerError) as error:
        logger.warning("asynchronous request of endpoint %s: %s: %s", record["EndpointName"], topic, error)
        return False
    return True


def message(scope: Scope, record: Record, outcome: Outcome, failure: str | None, *, with_body: bool) -> dict[str, Any]:
    """The notification, in AWS's form (developer guide, "Check prediction results")."""
    asked = {
        "contentType": record.get("ContentType"),
        "accept": record.get("Accept"),
        "customAttributes": record.get("CustomAttributes"),
        "endpointName": record["EndpointName"],
        "inputLocation": record.get("InputLocation"),
    }
    answered: dict[str, Any] = {}
    if failure is None:
        answered |= {"contentType": outcome.content_type, "outputLocation": record["OutputLocation"]}
    elif "FailureLocation" in record:
        answered |= {"contentType": outcome.content_type, "outputLocation": record["FailureLocation"]}
    if with_body and outcome.content and len(outcome.content) <= MOST_BYTES_IN_A_MESSAGE:
        answered["responseBody"] = _body(outcome.content)
    return {
        "awsRegion": scope.region,
        "eventTime": _iso(time.time()),
        "receivedTime": _iso(record["CreationTime"]),
        "invocationStatus": "Completed" if failure is None else "Failed",
        **({} if failure is None else {"failureReason": failure}),
        "requestParameters": {name: value for name, value in asked.items() if value is not None},
        **({"responseParameters": answered} if answered else {}),
        "inferenceId": record["InferenceId"],
        "eventVersion": "1.0",
        "eventSource": "aws:sagemaker",
        "eventName": "InferenceResult",
    }


def _body(content: bytes) -> dict[str, str]:
    try:
        return {"content": content.decode(), "encoding": "UTF-8"}
    except UnicodeDecodeError:
        return {"content": base64.b64encode(content).decode(), "encoding": "BASE64"}


def _iso(seconds: float) -> str:
    at = datetime.fromtimestamp(seconds, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


# ---- metrics: https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html ---------------------------


def _count(
    scope: Scope, record: Record, outcome: Outcome, failure: str | None, counts: Counter[str], upload_seconds: float
) -> None:
    endpoint = record["EndpointName"]
    if outcome.variant is not None and outcome.status is not None:
        key = endpoint_metrics.Key(scope, endpoint, outcome.variant, outcome.config)
        endpoint_metrics.count(key, outcome.status, outcome.model_seconds)
    counts |= Counter(
        InvocationsProcessed=1,
        InvocationFailures=int(failure is not None),
        RequestDownloadFailures=int(outcome.download_failed),
        ExpiredRequests=int(outcome.expired),
    )
    now = time.time()
    total = now - record["CreationTime"]
    times = {
        "TotalProcessingTime": total,
        "TimeInBacklog": max(0.0, total - outcome.download_seconds - outcome.model_seconds - upload_seconds),
        "RequestDownloadLatency": outcome.download_seconds,
        "ResponseUploadLatency": upload_seconds,
    }
    about = {"EndpointName": endpoint} | ({"VariantName": outcome.variant} if outcome.variant else {})
    waiting: list[Published] = [
        (scope, REQUESTS, datum(name, Counter({float(number): 1}), "Count", now, **about))
        for name, number in counts.items()
    ]
    waiting += [
        (scope, REQUESTS, datum(name, Counter({seconds * 1e6: 1}), "Microseconds", now, **about))
        for name, seconds in times.items()
    ]
    endpoint_metrics.publish(waiting)


class Waiting(Protocol):
    """A queue, as its metrics see it."""

    def size(self) -> int:
        """How many requests wait or are being answered."""

    def oldest(self) -> float | None:
        """When the one that waits longest came."""


class Backlogs:
    """Publishes the backlog of each asynchronous endpoint when it changes, and now and then while it does not."""

    def __init__(self, queue_of: Callable[[Scope, str], Waiting | None]) -> None:
        self._queue_of = queue_of
        self._last: dict[tuple[Scope, str], tuple[float, int, int]] = {}

    def look(self) -> Iterable[Published]:
        instances: Counter[tuple[Scope, str]] = Counter()
        for scope, endpoint, fleet in endpoint_life.running():
            config = store.current().get(scope, endpoint_life.CONFIG, fleet.config) or {}
            if "AsyncInferenceConfig" in config:
                instances[scope, endpoint] += sum(fleet.counts().values())
        self._last = {key: last for key, last in self._last.items() if key in instances}
        for (scope, endpoint), running in instances.items():
            queue = self._queue_of(scope, endpoint)
            size, oldest = (queue.size(), queue.oldest()) if queue is not None else (0, None)
            now = time.monotonic()
            at, *before = self._last.get((scope, endpoint), (0.0, -1, -1))
            if before == [size, running] and now < at + BACKLOG_SECONDS:
                continue
            self._last[scope, endpoint] = (now, size, running)
            for name, value, unit in (
                ("ApproximateBacklogSize", size, "Count"),
                ("ApproximateBacklogSizePerInstance", size / max(1, running), "Count"),
                ("HasBacklogWithoutCapacity", int(size > 0 and running == 0), "Count"),
                ("ApproximateAgeOfOldestRequest", 0 if oldest is None else time.time() - oldest, "Seconds"),
            ):
                each = datum(name, Counter({float(value): 1}), unit, time.time(), EndpointName=endpoint)
                yield scope, REQUESTS, each
