"""What a batch transform job does: its instances, its objects, its requests."""

import contextvars
import gzip
import http.client
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from local_aws import fleet, jobs, resources, serving_container
from local_aws.clients import client
from local_aws.jobs import JobError, JobStoppedError, Run
from local_aws.s3_files import S3Error, put_object, read_object, relative_key, split
from local_aws.serving_container import Place, Server, ServingError
from local_aws.transform_records import RecordError, assemble, payloads

logger = logging.getLogger("local_aws")

LOG_GROUP = "/aws/sagemaker/TransformJobs"
MEGABYTE = 1 << 20
INVOCATION_SECONDS, RETRIES = 600, 3  # AWS's defaults of ModelClientConfig
RETRY_SECONDS = (0.5, 1.0, 2.0)
EXECUTION_PARAMETERS_SECONDS = 2.0
STRATEGIES = {"MULTI_RECORD": "MultiRecord", "SINGLE_RECORD": "SingleRecord"}
MOST_FAULTS_TOLD = 3


class RequestError(Exception):
    """A request that the container did not answer with success, however often it was tried."""


@dataclass(frozen=True)
class Manner:
    """How the job asks: from the request, else from the container's /execution-parameters, else AWS's defaults."""

    at_once: int
    most_bytes: int | None
    strategy: str


def do(run: Run, request: Mapping[str, Any]) -> None:
    """All of it. Raises JobError, JobStoppedError, and what `jobs.failures_told` knows."""
    objects = list(_objects(run, request))
    if not objects:
        uri = request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
        raise JobError(f"ClientError: No S3 objects found under S3 URL {uri!r}.")
    run.check_stop()
    servers = _start(run, request)
    try:
        run.change(TransformStartTime=time.time())
        manner = _manner(request, servers[0])
        faults = _transform_all(run, request, objects, servers, manner)
    finally:
        grace = jobs.SHUTDOWN_GRACE_SECONDS if run.shutting_down else fleet.END_GRACE_SECONDS
        fleet.end_all(servers, grace)
    run.check_stop()
    if faults:
        told = "; ".join(faults[:MOST_FAULTS_TOLD]) + (" …" if len(faults) > MOST_FAULTS_TOLD else "")
        raise JobError(f"ClientError: {len(faults)} of {len(objects)} objects could not be transformed: {told}")


# ---- instances -------------------------------------------------------------------------------------------------------


def _start(run: Run, request: Mapping[str, Any]) -> list[Server]:
    """The job's instances, healthy. Raises JobError."""
    model = resources.find(run.scope, "model", "model", request["ModelName"])
    container = resources.container_of(run.scope, model)
    servers: list[Server] = []
    try:
        for _ in range(request["TransformResources"]["InstanceCount"]):
            place = _place(run, request)
            isolated = model["EnableNetworkIsolation"]
            servers.append(serving_container.start(run.scope, place, {}, container, isolated, run.stopping))
    except ServingError as error:
        fleet.end_all(servers, jobs.SHUTDOWN_GRACE_SECONDS)
        run.check_stop()
        raise JobError(f"AlgorithmError: {error}") from error
    except BaseException:
        fleet.end_all(servers, jobs.SHUTDOWN_GRACE_SECONDS)
        raise
    return servers


def _place(run: Run, request: Mapping[str, Any]) -> Place:
    instance = f"i-{uuid.uuid4().hex[:17]}"
    environment = {"SAGEMAKER_BATCH": "true"} | dict(request.get("Environment", {}))
    if "MaxPayloadInMB" in request:
        environment["SAGEMAKER_MAX_PAYLOAD_IN_MB"] = str(request["MaxPayloadInMB"])
    if "MaxConcurrentTransforms" in request:
        environment["SAGEMAKER_MAX_CONCURRENT_TRANSFORMS"] = str(request["MaxConcurrentTransforms"])
    for name, strategy in STRATEGIES.items():
        if request.get("BatchStrategy") == strategy:
            environment["SAGEMAKER_BATCH_STRATEGY"] = name
    return Place(
        folder=run.folder / instance,
        log_group=LOG_GROUP,
        log_stream=f"{run.name}/{instance}-{int(time.time())}",
        name=f"transform job {run.name}",
        environment=environment,
    )


def _manner(request: Mapping[str, Any], server: Server) -> Manner:
    """Raises JobError where the container's /execution-parameters make no sense."""
    offered: dict[str, Any] = {}
    if not {"MaxConcurrentTransforms", "MaxPayloadInMB", "BatchStrategy"} <= request.keys():
        offered = _execution_parameters(server)
    megabytes = request.get("MaxPayloadInMB", offered.get("MaxPayloadInMB", 6))
    strategy = request.get("BatchStrategy", STRATEGIES.get(offered.get("BatchStrategy", ""), "MultiRecord"))
    if request["TransformInput"].get("SplitType", "None") == "None":
        strategy = "MultiRecord"
    at_once = request.get("MaxConcurrentTransforms") or offered.get("MaxConcurrentTransforms", 1)
    if not (isinstance(megabytes, int) and isinstance(at_once, int) and at_once > 0):
        raise JobError(f"AlgorithmError: the container's /execution-parameters are no parameters: {offered}")
    return Manner(at_once, megabytes * MEGABYTE if megabytes else None, strategy)


def _execution_parameters(server: Server) -> dict[str, Any]:
    """What the container would like; a container that knows no such path likes anything."""
    try:
        status, content = server.get("/execution-parameters", EXECUTION_PARAMETERS_SECONDS)
        offered = json.loads(content) if status == 200 else {}
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    return offered if isinstance(offered, dict) else {}


# ---- objects ---------------------------------------------------------------------------------------------------------


def _objects(run: Run, request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(URI, path of its output below S3OutputPath) of every input."""
    source = request["TransformInput"]["DataSource"]["S3DataSource"]
    if source["S3DataType"] == "ManifestFile":
        for uri in _manifest(read_object(run.scope, source["S3Uri"])):
            yield uri, split(uri)[1]
        return
    bucket, prefix = split(source["S3Uri"])
    s3 = client("s3", run.scope.account, run.scope.region)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            if not item["Key"].endswith("/"):
                yield f"s3://{bucket}/{item['Key']}", relative_key(item["Key"], prefix)


def _manifest(text: bytes) -> list[str]:
    """The URIs that a ManifestFile lists: a prefix, then keys below it. Raises JobError."""
    try:
        head, *names = json.loads(text)
        prefix = str(head["prefix"])
    except (ValueError, TypeError, KeyError) as error:
        raise JobError(f'ClientError: The manifest is not a list of {{"prefix": …}} and names: {error}') from None
    return [prefix + str(name) for name in names]


def _transform_all(
    run: Run, request: Mapping[str, Any], objects: list[tuple[str, str]], servers: list[Server], manner: Manner
) -> list[str]:
    """Every object, several at once; returns what went wrong, by object. Raises JobError, JobStoppedError."""
    at_once = manner.at_once * len(servers)
    turns, lock = cycle(servers), threading.Lock()
    slots = {server: threading.Semaphore(manner.at_once) for server in servers}

    def ask(payload: bytes) -> bytes:
        with lock:
            server = next(turns)
        with slots[server]:
            return _ask(run, request, server, payload)

    def one(uri: str, path: str, ask_all: Callable[[Iterator[bytes]], list[bytes]]) -> str | None:
        try:
            _transform(run, request, uri, path, manner, ask_all)
        except (RecordError, RequestError, S3Error) as error:
            logger.warning("transform job %s: %s: %s", run.name, uri, error)
            return f"{uri}: {error}"
        return None

    with ThreadPoolExecutor(at_once) as requests, ThreadPoolExecutor(at_once) as files:

        def ask_all(bodies: Iterator[bytes]) -> list[bytes]:
            futures = [requests.submit(contextvars.copy_context().run, ask, body) for body in bodies]
            try:
                return [future.result() for future in futures]
            finally:
                for future in futures:
                    future.cancel()

        outcomes = [files.submit(contextvars.copy_context().run, one, uri, path, ask_all) for uri, path in objects]
        try:
            return [fault for outcome in outcomes if (fault := outcome.result()) is not None]
        finally:
            for outcome in outcomes:
                outcome.cancel()


def _transform(
    run: Run,
    request: Mapping[str, Any],
    uri: str,
    path: str,
    manner: Manner,
    ask_all: Callable[[Iterator[bytes]], list[bytes]],
) -> None:
    """One object. Raises RecordError, RequestError, S3Error, JobStoppedError."""
    run.check_stop()
    source, output = request["TransformInput"], request["TransformOutput"]
    content = read_object(run.scope, uri)
    if source.get("CompressionType") == "Gzip":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise RecordError(f"it is not compressed by gzip: {error}") from error
    answers = ask_all(payloads(content, source.get("SplitType", "None"), manner.strategy, manner.most_bytes))
    target = f"{output['S3OutputPath'].rstrip('/')}/{path}.out"
    whole = assemble(answers, output.get("AssembleWith", "None"))
    put_object(run.scope, target, whole, output.get("KmsKeyId"), output.get("Accept", "application/octet-stream"))


def _ask(run: Run, request: Mapping[str, Any], server: Server, payload: bytes) -> bytes:
    """The container's answer, asked again where that may help. Raises RequestError, JobError, JobStoppedError."""
    config = request.get("ModelClientConfig", {})
    seconds = config.get("InvocationsTimeoutInSeconds", INVOCATION_SECONDS)
    retries = config.get("InvocationsMaxRetries", RETRIES)
    headers = {"content-type": request["TransformInput"].get("ContentType", "application/octet-stream")}
    if "Accept" in request["TransformOutput"]:
        headers["accept"] = request["TransformOutput"]["Accept"]
    for attempt in range(retries + 1):
        run.check_stop()
        try:
            status, _, content = server.ask(headers, payload, seconds)
            if status < 400:
                return content
            said = f"the container answered {status}: {content.decode(errors='replace')[:300]}"
            if status < 500 and status != 429:
                break
        except TimeoutError:
            said = f"the container did not answer within {seconds} seconds"
        except (OSError, http.client.HTTPException) as error:
            run.check_stop()
            said = f"the container closed the connection without an answer ({error or type(error).__name__})"
            if not server.runs() or isinstance(error, ConnectionRefusedError):
                log = server.container.tail(serving_container.LOG_LINES)
                raise JobError(f"AlgorithmError: the container ended during the job. Its log's end:\n{log}") from error
        if attempt < retries and run.stopping.wait(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]):
            raise JobStoppedError
    raise RequestError(said)
