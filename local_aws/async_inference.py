"""InvokeEndpointAsync: requests wait in a queue on the disk; instances take them, and answers go to S3 and SNS.

A request is answered at least once: one that a killed server, or a container that died, was at goes back to the
front of the queue, three times at most, because it may be what kills them.
https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference.html
"""

import base64
import json
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.session import get_session

from local_aws import async_results, endpoint_life, resources, store, validation
from local_aws.async_results import Outcome
from local_aws.endpoint_life import Taken
from local_aws.errors import SageMakerError, not_emulated
from local_aws.fleet import CONFIG
from local_aws.identity import acting_as
from local_aws.runtime import Answer, Said, ask, endpoint_of, received
from local_aws.s3_files import S3Error, read_object
from local_aws.store import Record, Scope

logger = logging.getLogger("local_aws")

KIND = "async-request"
SHAPE: Any = get_session().get_service_model("sagemaker-runtime").operation_model("InvokeEndpointAsync").input_shape
MOST_INLINE_BYTES = 128_000
MOST_INPUT_BYTES = 1 << 30
MOST_WAITING = 10_000  # of one endpoint: each is a file on this disk
MOST_ATTEMPTS = 3
TTL_SECONDS, TIMEOUT_SECONDS = 21_600, 900  # AWS's defaults
CONCURRENCY = 4  # where MaxConcurrentInvocationsPerInstance is not given, SageMaker chooses; so do we
LOOK_SECONDS = 0.1  # between two looks for an instance that has time


@dataclass
class Queue:
    """The requests of one endpoint that wait (`ids`, oldest first) or are being answered."""

    scope: Scope
    endpoint: str
    ids: deque[str] = field(default_factory=deque)
    at_work: int = 0
    condition: threading.Condition = field(default_factory=threading.Condition)

    def size(self) -> int:
        with self.condition:
            return len(self.ids) + self.at_work

    def oldest(self) -> float | None:
        """When the request that waits longest came."""
        with self.condition:
            first = self.ids[0] if self.ids else None
        record = store.current().get(self.scope, KIND, first) if first else None
        return None if record is None else float(record["CreationTime"])


_queues: dict[tuple[Scope, str], Queue] = {}
_lock = threading.Lock()
_stopping = threading.Event()


def invoke(scope: Scope, name: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Take a request into the queue. Raises SageMakerError where it cannot be one."""
    record, config = endpoint_of(scope, name)
    if "AsyncInferenceConfig" not in config:
        raise _refused(f"Endpoint {name} is not asynchronous: ask it with InvokeEndpoint.")
    if record["EndpointStatus"] in ("Creating", "Failed", "Deleting"):
        raise _refused(f"Endpoint {name} is {record['EndpointStatus']}, not InService.")
    request = _request(name, headers)
    if ("InputLocation" in request) == bool(body):
        raise _refused("Give either InputLocation or a Body, not both and not neither.")
    if len(body) > MOST_INLINE_BYTES:
        raise _refused(f"The body has {len(body)} bytes; at most {MOST_INLINE_BYTES} are taken: put it into S3.")
    if request.get("InputLocation", "s3:").startswith("https:"):
        raise not_emulated("An InputLocation over https")
    queue = _queue(scope, name)
    if queue.size() >= MOST_WAITING:
        raise SageMakerError(
            "ServiceUnavailable", f"The queue of endpoint {name} holds {MOST_WAITING} requests already.", status=503
        )
    identity, output = str(uuid.uuid4()), config["AsyncInferenceConfig"]["OutputConfig"]
    kept = request | {"CreationTime": time.time(), "Attempts": 0, "OutputConfig": output}
    kept.setdefault("InferenceId", str(uuid.uuid4()))
    kept |= async_results.locations(output, request, identity)
    kept |= {"Body": base64.b64encode(body).decode()} if body else {}
    with store.current().lock:
        store.current().put(scope, KIND, identity, kept)
    with queue.condition:
        queue.ids.append(identity)
        queue.condition.notify()
    answered = {"content-type": "application/json", "x-amzn-sagemaker-outputlocation": kept["OutputLocation"]}
    if "FailureLocation" in kept:
        answered["x-amzn-sagemaker-failurelocation"] = kept["FailureLocation"]
    return 202, answered, json.dumps({"InferenceId": kept["InferenceId"]}).encode()


def restore() -> None:
    """Take up the requests that an earlier server had not answered."""
    _stopping.clear()
    left = sorted(store.current().everywhere(KIND), key=lambda each: float(each[2]["CreationTime"]))
    for scope, identity, record in left:
        queue = _queue(scope, record["EndpointName"])
        with queue.condition:
            queue.ids.append(identity)
            queue.condition.notify()


def shut_down() -> None:
    """Answer nothing any more: what is being answered will be asked again by the next server."""
    _stopping.set()


def queue_of(scope: Scope, endpoint: str) -> Queue | None:
    """The queue of an endpoint that was asked already."""
    with _lock:
        return _queues.get((scope, endpoint))


def _refused(message: str) -> SageMakerError:
    return SageMakerError("ValidationError", message, status=400)


def _request(name: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """The request's members from its headers. Raises SageMakerError that names every fault."""
    members = {
        member: headers[shape.serialization["name"].lower()]
        for member, shape in SHAPE.members.items()
        if shape.serialization.get("location") == "header" and shape.serialization["name"].lower() in headers
    }
    request: dict[str, Any] = validation.convert(SHAPE, {"EndpointName": name, **members})
    if faults := list(validation.find_faults(SHAPE, request)):
        raise _refused(str(validation.fault_error(faults)))
    return request


def _queue(scope: Scope, endpoint: str) -> Queue:
    with _lock:
        queue = _queues.get((scope, endpoint))
        if queue is None:
            queue = _queues[scope, endpoint] = Queue(scope, endpoint)
            threading.Thread(target=_serve, args=[queue], name=f"async {endpoint}", daemon=True).start()
        return queue


# ---- from the queue to an instance -----------------------------------------------------------------------------------


def _serve(queue: Queue) -> None:
    """Give the oldest request to an instance that has time, for as long as there are any."""
    while not _stopping.is_set():
        try:
            with queue.condition:
                queue.condition.wait_for(lambda: bool(queue.ids), timeout=1.0)
                if not queue.ids:
                    continue
            if not _give_one(queue):
                _expire(queue)
                _stopping.wait(LOOK_SECONDS)
        except Exception:
            logger.exception("the queue of endpoint %s: a bug of local AWS", queue.endpoint)
            _stopping.wait(1.0)


def _give_one(queue: Queue) -> bool:
    """Whether an instance took the oldest request."""
    record = store.current().get(queue.scope, endpoint_life.KIND, queue.endpoint)
    if record is None or record["EndpointStatus"] == "Deleting":
        _drop(queue)
        return False
    config = store.current().get(queue.scope, CONFIG, record["EndpointConfigName"]) or {}
    client_config = config.get("AsyncInferenceConfig", {}).get("ClientConfig", {})
    most = client_config.get("MaxConcurrentInvocationsPerInstance", CONCURRENCY)
    taken = endpoint_life.acquire(queue.scope, queue.endpoint, None, most)
    if taken is None:
        return False
    with queue.condition:
        identity = queue.ids.popleft() if queue.ids else None
        queue.at_work += identity is not None
    if identity is None:
        taken.release()
        return False
    work = threading.Thread(target=_work, args=[queue, identity, taken], name=f"async {identity}", daemon=True)
    work.start()
    return True


def _expire(queue: Queue) -> None:
    """Fail the requests that waited longer than they may."""
    with queue.condition:
        ids = list(queue.ids)
    for identity in ids:
        record = store.current().get(queue.scope, KIND, identity)
        if record is None:
            continue
        ttl = record.get("RequestTTLSeconds", TTL_SECONDS)
        if time.time() - record["CreationTime"] > ttl:
            with queue.condition:
                queue.ids.remove(identity)
            reason = f"ClientError: The request expired: it waited longer than {ttl} seconds."
            outcome = Outcome(variant=None, failure=reason, expired=True)
            with acting_as(_role_of(queue)):
                async_results.conclude(queue.scope, record, outcome)
            store.current().delete(queue.scope, KIND, identity)


def _role_of(queue: Queue) -> str | None:
    """The role of the endpoint's model, for a request that no instance has met."""
    record = store.current().get(queue.scope, endpoint_life.KIND, queue.endpoint) or {}
    config = store.current().get(queue.scope, CONFIG, record.get("EndpointConfigName", "")) or {}
    models = [variant.get("ModelName", "") for variant in config.get("ProductionVariants", [])]
    return resources.role_of_model(queue.scope, models[0]) if models else None


def _drop(queue: Queue) -> None:
    """The endpoint is gone, and its requests with it."""
    with queue.condition:
        ids, queue.ids = list(queue.ids), deque()
    for identity in ids:
        store.current().delete(queue.scope, KIND, identity)


def _work(queue: Queue, identity: str, taken: Taken) -> None:
    try:
        record = store.current().get(queue.scope, KIND, identity)
        assert record is not None, "only its worker deletes it"
        with acting_as(resources.role_of_model(queue.scope, taken.variant.settings["ModelName"])):
            _work_on(queue, identity, record, taken)
    except Exception:
        logger.exception("asynchronous request %s: a bug of local AWS", identity)
    finally:
        with queue.condition:
            queue.at_work -= 1


def _work_on(queue: Queue, identity: str, record: Record, taken: Taken) -> None:
    """One attempt at a request, and what becomes of it."""
    attempts = record["Attempts"] + 1
    record = store.current().change(queue.scope, KIND, identity, Attempts=attempts)
    try:
        outcome = _answer(queue.scope, record, taken)
    except ConnectionRefusedError:  # it had ended before, and never saw the request
        _stopping.wait(LOOK_SECONDS)
        _again(queue, identity, attempts - 1)
        return
    if outcome is None and (attempts < MOST_ATTEMPTS or _stopping.is_set()):
        _again(queue, identity, attempts - _stopping.is_set())  # that we end is not its fault
        return
    if outcome is None:
        said = f"the container ended {attempts} times while it was at this request, which is not tried again"
        outcome = Outcome(variant=taken.variant.name, failure=f"InternalServerError: {said}", status=503)
    async_results.conclude(queue.scope, record, outcome)
    store.current().delete(queue.scope, KIND, identity)


def _again(queue: Queue, identity: str, attempts: int) -> None:
    store.current().change(queue.scope, KIND, identity, Attempts=attempts)
    with queue.condition:
        queue.ids.appendleft(identity)
        queue.condition.notify()


def _answer(scope: Scope, record: Record, taken: Taken) -> Outcome | None:
    """What an instance makes of a request; None where it ended meanwhile. The instance is given back.

    Raises ConnectionRefusedError where it had ended before.
    """
    began = time.monotonic()
    try:
        body = base64.b64decode(record["Body"]) if "Body" in record else read_object(scope, record["InputLocation"])
        if len(body) > MOST_INPUT_BYTES:
            raise S3Error(f"{record['InputLocation']} has {len(body)} bytes; at most {MOST_INPUT_BYTES} are taken")
    except S3Error as error:
        taken.release()
        reason = f"ClientError: The input could not be downloaded: {error}"
        return Outcome(variant=taken.variant.name, config=taken.config, failure=reason, download_failed=True)
    downloaded = time.monotonic()
    answered = ask(taken, _headers(record), body, record.get("InvocationTimeoutSeconds", TIMEOUT_SECONDS))
    if answered.refused:
        raise ConnectionRefusedError
    if answered.status == 503 and answered.message is not None:
        return None
    return _outcome(taken, answered, downloaded - began, time.monotonic() - downloaded)


def _outcome(taken: Taken, answered: Said, download_seconds: float, model_seconds: float) -> Outcome:
    failure = None if answered.succeeded else f"ClientError: {received(taken.variant.name, answered)}"
    return Outcome(
        variant=taken.variant.name,
        config=taken.config,
        failure=failure,
        status=answered.status or 504,
        content=answered.content or answered.words.encode(),
        content_type=answered.headers.get("content-type", "application/octet-stream"),
        download_seconds=download_seconds,
        model_seconds=model_seconds,
    )


def _headers(record: Record) -> dict[str, str]:
    names = {
        "ContentType": "content-type",
        "Accept": "accept",
        "CustomAttributes": "x-amzn-sagemaker-custom-attributes",
        "InferenceId": "x-amzn-sagemaker-inference-id",
    }
    return {header: record[member] for member, header in names.items() if member in record}
