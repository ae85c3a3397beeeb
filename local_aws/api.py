"""SageMaker and SageMaker Runtime over HTTP: one request in, one answer out; and their start and end with the server.

Requests run in threads: they call the same server (S3, ECR), whose event loop has to stay free to answer.
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

from local_aws import (
    async_inference,
    async_results,
    authorization,
    data_capture,
    endpoint_configs,
    endpoint_life,
    endpoint_metrics,
    endpoints,
    executions,
    identity,
    jobs,
    pipelines,
    processing,
    registry,
    resources,
    runtime,
    scaling_loop,
    store,
    training,
    transform,
    validation,
)
from local_aws.errors import SageMakerError, not_emulated
from local_aws.ministack_hooks.requests import access_key, account, region
from local_aws.settings import Settings
from local_aws.store import Scope

logger = logging.getLogger("local_aws")

Answer = tuple[int, dict[str, str], bytes]
Operation = Callable[[Scope, dict[str, Any]], dict[str, Any]]

OPERATIONS: dict[str, Operation] = {
    **resources.OPERATIONS,
    **registry.OPERATIONS,
    **training.OPERATIONS,
    **processing.OPERATIONS,
    **transform.OPERATIONS,
    **endpoint_configs.OPERATIONS,
    **endpoints.OPERATIONS,
    **pipelines.OPERATIONS,
    **executions.OPERATIONS,
}
INVOCATIONS = {  # the last part of the path → the operation, and who answers it
    "invocations": ("InvokeEndpoint", runtime.invoke),
    "async-invocations": ("InvokeEndpointAsync", async_inference.invoke),
    "invocations-response-stream": ("InvokeEndpointWithResponseStream", runtime.invoke_with_stream),
}
INVOCATION = re.compile(rf"/endpoints/([^/]+)/({'|'.join(INVOCATIONS)})")
JSON_TYPE = "application/x-amz-json-1.1"
SHUTDOWN_SECONDS = 5.0

# Two pools: sixty-second inferences must not keep a DescribeEndpoint waiting.
_control = ThreadPoolExecutor(16, thread_name_prefix="sagemaker")
_invocations = ThreadPoolExecutor(64, thread_name_prefix="sagemaker-runtime")


async def handle(
    _method: str, path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, list[str]]
) -> Answer:
    """Answer one request that is signed for SageMaker."""
    scope, caller = Scope(account(), region()), access_key(headers, query)
    loop = asyncio.get_running_loop()
    if match := INVOCATION.fullmatch(path):
        invocation = (scope, caller, unquote(match[1]), match[2], headers, body)
        return await loop.run_in_executor(_invocations, _invoke, *invocation)
    name = headers.get("x-amz-target", "").rpartition(".")[2]
    return await loop.run_in_executor(_control, _answer, scope, caller, name, body)


def call(scope: Scope, name: str, request: dict[str, Any]) -> dict[str, Any]:
    """Do an operation, as pipelines and CloudFormation ask for it too. Raises SageMakerError."""
    authorization.check(scope, name, request)
    validation.check(name, request)
    if name not in OPERATIONS:
        raise not_emulated(name)
    with identity.as_the_service():
        return validation.answer(name, OPERATIONS[name](scope, request))


def restore(settings: Settings) -> None:
    """Read what the last server kept, tell of the jobs it lost, and start its endpoints again."""
    store.open_store(settings.sagemaker)
    jobs.clear_folders()
    training.end_interrupted()
    processing.end_interrupted()
    transform.end_interrupted()
    executions.end_interrupted()
    executions.use(call)
    endpoint_life.restore()
    async_inference.restore()
    endpoint_metrics.sources.append(async_results.Backlogs(async_inference.queue_of).look)
    endpoint_metrics.start()
    data_capture.start()
    scaling_loop.start()


def shutdown() -> None:
    """End every job and endpoint, within five seconds."""
    executions.shut_down()
    async_inference.shut_down()
    endpoint_life.shut_down()
    jobs.shut_down(SHUTDOWN_SECONDS)


def _answer(scope: Scope, caller: str, name: str, body: bytes) -> Answer:
    try:
        try:
            request = json.loads(body or b"{}")
        except ValueError as error:
            raise SageMakerError("SerializationException", f"The request's body is not JSON: {error}") from None
        with authorization.called_by(caller):
            return 200, {"Content-Type": JSON_TYPE}, json.dumps(call(scope, name, request)).encode()
    except SageMakerError as error:
        return error.status, {"Content-Type": JSON_TYPE}, _error_body(error)
    except Exception as error:
        logger.exception("%s failed", name)
        failure = SageMakerError("InternalFailure", f"a bug of local AWS, see server.log: {error!r}")
        return 500, {"Content-Type": JSON_TYPE}, _error_body(failure)


def _error_body(error: SageMakerError) -> bytes:
    return json.dumps({"__type": error.code, "message": str(error)}).encode()


def _invoke(scope: Scope, caller: str, endpoint: str, kind: str, headers: Mapping[str, str], body: bytes) -> Answer:
    operation, invoke = INVOCATIONS[kind]
    try:
        with authorization.called_by(caller):
            about = {"EndpointName": endpoint, "TargetModel": headers.get("x-amzn-sagemaker-target-model")}
            authorization.check(scope, operation, about)
        return invoke(scope, endpoint, headers, body)
    except SageMakerError as error:
        status = 403 if error.code == "AccessDeniedException" else error.status
        return runtime.error_answer(status, error.code, {"Message": str(error)})
    except Exception as error:
        logger.exception("invocation of %s failed", endpoint)
        return runtime.error_answer(500, "InternalFailure", {"Message": f"a bug of local AWS: {error!r}"})
