"""The endpoint's server: SageMaker's serving contract over HTTP, one process, one model.

    GET  /ping                  200 once the model is loaded and has run; 503 before, while draining, and when it fails
    POST /invocations           a request's body (amplify_lm/bodies.py) → its answer, or {"code", "message", "where"}
    GET  /execution-parameters  how batch transform should call
    GET  /metrics               Prometheus text

It listens before the model is loaded. SIGTERM drains: what was admitted is answered, what comes is refused with 503,
and within 30 seconds the process ends with exit code 0. A model that cannot be served ends it with exit code 1.

Run by `launch.py serve`, or `python serve.py`. Environment: SAGEMAKER_BASE_DIR, SAGEMAKER_BIND_TO_PORT,
AMPLIFY_BIND_HOST, AMPLIFY_QUEUE_TOKENS, AMPLIFY_BATCH_TOKENS, AMPLIFY_LONGEST_WAIT_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import uvicorn
from amplify_lm import container
from amplify_lm.container import Container
from amplify_lm.request_errors import RequestError
from amplify_lm.telemetry import Telemetry, log
from amplify_lm.uploads import Held, Upload
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:  # torch takes a second or two; /ping answers before
    from amplify_lm.batcher import Batcher
    from amplify_lm.predict import Predictor

MAX_REQUESTS = 256  # in flight
DRAIN_SECONDS = 25  # SIGKILL comes 30 s after SIGTERM
LARGEST_SCAN_TOKENS = 2048 * 2048  # a masked-marginal scan of the longest protein
MAX_ANSWER_NUMBERS = 16 * 1024 * 1024  # float32: 64 MB

Phase = Literal["loading", "ready", "draining"]


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Where the server listens and how much it takes on."""

    host: str = "127.0.0.1"
    port: int = 8080
    queue_tokens: int = 2 * LARGEST_SCAN_TOKENS
    batch_tokens: int = 0  # 0: what suits the device (amplify_lm/predict.py)
    longest_wait_s: int = 45  # InvokeEndpoint gives up after 60 s, computing and the way there included

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"SAGEMAKER_BIND_TO_PORT is {self.port}; a port from 0 to 65535 is wanted")
        if self.queue_tokens < 1:
            raise ValueError(f"AMPLIFY_QUEUE_TOKENS is {self.queue_tokens}; at least 1 is wanted")
        if self.batch_tokens < 0:
            raise ValueError(f"AMPLIFY_BATCH_TOKENS is {self.batch_tokens}; 0 (the device's default) or more is wanted")
        if self.longest_wait_s < 1:
            raise ValueError(f"AMPLIFY_LONGEST_WAIT_S is {self.longest_wait_s}; at least 1 is wanted")

    @classmethod
    def from_environment(cls) -> Self:
        """The one place where the server reads its environment."""
        return cls(
            host=os.environ.get("AMPLIFY_BIND_HOST", cls.host),
            port=_whole("SAGEMAKER_BIND_TO_PORT", cls.port),
            queue_tokens=_whole("AMPLIFY_QUEUE_TOKENS", cls.queue_tokens),
            batch_tokens=_whole("AMPLIFY_BATCH_TOKENS", cls.batch_tokens),
            longest_wait_s=_whole("AMPLIFY_LONGEST_WAIT_S", cls.longest_wait_s),
        )


def _whole(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}; a whole number is wanted") from None


@dataclass(slots=True)
class Observed:
    """What is known of a request when it is logged."""

    code: str = ""
    task: str = "unknown"
    inputs: int = 0
    tokens: int = 0
    waited_s: float = 0.0


class Endpoint:
    """The model, its batcher and the four routes; `exit` is set when the process should end."""

    def __init__(self, model_dir: Path, settings: ServeSettings) -> None:
        self.phase: Phase = "loading"
        self.failure: Exception | None = None
        self.exit = asyncio.Event()
        self._model_dir = model_dir
        self._settings = settings
        self._telemetry = Telemetry()
        self._predictor: Predictor | None = None
        self._batcher: Batcher | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests = 0
        self._held = Held()

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/ping", self.ping),
                Route("/invocations", self.invocations, methods=["POST"]),
                Route("/execution-parameters", self.execution_parameters),
                Route("/metrics", self.metrics),
            ],
            exception_handlers={HTTPException: _no_such_route},
            lifespan=self._lifespan,
        )

    # ---- life ----

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        # Here, and not before: uvicorn sets its own handlers first, which would cut requests off.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._begin_drain)
        self._start(self._load())
        yield
        for task in self._tasks:
            task.cancel()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _load(self) -> None:
        """Load the model and run it once, then be ready; or end the process with what is wrong with it."""
        start = time.monotonic()
        try:
            self._predictor = await asyncio.to_thread(_load_predictor, self._model_dir, self._settings.batch_tokens)
        except Exception as error:
            self.failure = error
            self.exit.set()
            return
        from amplify_lm.batcher import Batcher

        self._batcher = Batcher(
            self._predictor.run,
            batch_tokens=self._predictor.batch_tokens,
            queue_tokens=self._settings.queue_tokens,
            queue_numbers=MAX_ANSWER_NUMBERS,
            longest_wait_s=self._settings.longest_wait_s,
        )
        self._start(self._batcher.work())
        if self.phase == "loading":
            self.phase = "ready"
            log("ready", seconds=round(time.monotonic() - start, 3), **self._details())

    def _begin_drain(self) -> None:
        if self.phase == "draining":
            return
        log("draining", requests=self._requests)
        self.phase = "draining"
        self._start(self._drain())

    async def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._requests and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        if self._requests and self._batcher:
            self._batcher.fail_all(_unavailable("draining"))
        self.exit.set()

    # ---- routes ----

    async def ping(self, _request: Request) -> Response:
        healthy = self._batcher is None or self._batcher.healthy
        status = 200 if self.phase == "ready" and healthy else 503
        return JSONResponse({"status": self.phase if healthy else "unhealthy", **self._details()}, status)

    async def execution_parameters(self, _request: Request) -> Response:
        return JSONResponse({"MaxConcurrentTransforms": 4, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": 6})

    async def metrics(self, _request: Request) -> Response:
        return PlainTextResponse(self._telemetry.prometheus(self._gauges()), media_type="text/plain; version=0.0.4")

    async def invocations(self, request: Request) -> Response:
        """Answer one request, whatever it is; count and log it."""
        start = time.monotonic()
        request_id = uuid.uuid4().hex
        observed = Observed()
        upload = Upload(request, self._held)
        try:
            response = await self._respond(request, request_id, upload, observed)
        finally:
            upload.release()
        response.headers["X-Request-Id"] = request_id
        seconds = time.monotonic() - start
        self._telemetry.request(observed.task, response.status_code, seconds, observed.waited_s)
        log(
            "request",
            request_id=request_id,
            status=response.status_code,
            code=observed.code,
            task=observed.task,
            inputs=observed.inputs,
            tokens=observed.tokens,
            queue_ms=round(1000 * observed.waited_s, 1),
            total_ms=round(1000 * seconds, 1),
        )
        return response

    # ---- one request ----

    async def _respond(self, request: Request, request_id: str, upload: Upload, observed: Observed) -> Response:
        """The answer or the refusal. What is neither is a bug: its trace goes to the log, never to the caller."""
        try:
            try:
                with self._counted():
                    return await self._answer(request, upload, observed)
            except RequestError as error:
                observed.code = error.code
                whole = await upload.discard()
                return _refusal(error, close=not whole)
        except ClientDisconnect:
            observed.code = "client_gone"
            return Response(status_code=499)
        except Exception:
            observed.code = "internal"
            traceback.print_exc()
            message = f"internal error; the server's log has it under request {request_id}"
            return JSONResponse({"code": "internal", "message": message, "where": ""}, 500)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Hold a place among the requests in flight. Raises RequestError where there is none."""
        if self.phase != "ready":
            raise _unavailable(self.phase)
        if self._requests >= MAX_REQUESTS:
            message = f"{self._requests} requests are in flight already"
            raise RequestError(429, "queue_full", message, retry_after_s=1)
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def _answer(self, request: Request, upload: Upload, observed: Observed) -> Response:
        """The answer, unless the caller leaves before: then ClientDisconnect is raised and the work is dropped."""
        body = await upload.read()
        content_type, accept = request.headers.get("content-type"), request.headers.get("accept")
        answering = asyncio.create_task(self._predict(body, content_type, accept, observed))
        gone = asyncio.create_task(_until_disconnected(request))
        try:
            await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise ClientDisconnect
            return answering.result()
        finally:
            answering.cancel()
            gone.cancel()

    async def _predict(self, body: bytes, content_type: str | None, accept: str | None, observed: Observed) -> Response:
        """Read, plan, run, write. All but the run is on threads of its own, away from the model's and the loop's."""
        import inference
        from amplify_lm import bodies

        assert self._predictor is not None
        assert self._batcher is not None
        media_type = bodies.choose_answer_type(accept, content_type)
        request = await asyncio.to_thread(inference.input_fn, body, content_type)
        bodies.check_answer_type(request, media_type)
        observed.task, observed.inputs = request.task.name, len(request.inputs)
        work = await asyncio.to_thread(inference.plan_request, request, self._predictor)
        workload = work.workload()
        observed.tokens = workload.tokens
        if not workload.num_passes:  # of a partial request, every input of which is at fault
            return Response(bodies.write_answer(work.finish([]), media_type), media_type=media_type)
        try:
            results, observed.waited_s = await self._batcher.submit(workload)
        except RequestError as error:
            if not request.partial or error.status != 413:
                raise
            return Response(bodies.write_answer(work.refused(error), media_type), media_type=media_type)
        content = await asyncio.to_thread(lambda: bodies.write_answer(work.finish(results), media_type))
        return Response(content, media_type=media_type)

    # ---- what is said outside ----

    def _details(self) -> dict[str, str | int]:
        if self._predictor is None:
            return {}
        model = self._predictor.model
        return {
            "device": str(self._predictor.device),
            "dtype": str(model.decoder.weight.dtype).removeprefix("torch."),
            "parameters": model.num_parameters,
            "max_residues": self._predictor.max_residues,
        }

    def _gauges(self) -> dict[str, float]:
        values: dict[str, float] = {
            "ready": self.phase == "ready",
            "requests_in_flight": self._requests,
            "bodies_bytes": self._held.bytes,
        }
        if self._batcher is not None:
            totals = self._batcher.totals
            values |= {
                "queue_tokens": self._batcher.waiting_tokens,
                "queue_limit_tokens": self._batcher.queue_tokens,
                "batches_total": totals.batches,
                "model_tokens_total": totals.tokens,
                "model_busy_seconds_total": totals.busy_s,
                "cancelled_requests_total": totals.cancelled,
            }
        return {name: float(value) for name, value in values.items()}


def _load_predictor(model_dir: Path, batch_tokens: int) -> Predictor:
    import inference

    return inference.model_fn(model_dir, batch_tokens)


async def _until_disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _unavailable(phase: Phase) -> RequestError:
    message = {"loading": "the model is being loaded", "draining": "this server is shutting down; try another"}
    return RequestError(503, phase, message.get(phase, "the model failed"), retry_after_s=2)


def _refusal(error: RequestError, *, close: bool) -> Response:
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    if close:
        headers["Connection"] = "close"
    return JSONResponse(error.body(), error.status, headers)


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    wanted = "POST /invocations, GET /ping, GET /metrics or GET /execution-parameters is wanted"
    body = {"code": code, "message": f"{request.method} {request.url.path[:60]}: {wanted}", "where": "path"}
    return JSONResponse(body, error.status_code, error.headers)


async def _serve(endpoint: Endpoint, listener: socket.socket) -> None:
    config = uvicorn.Config(
        endpoint.app(), lifespan="on", log_level="warning", access_log=False, timeout_graceful_shutdown=4
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    exiting = asyncio.create_task(endpoint.exit.wait())
    await asyncio.wait((serving, exiting), return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    exiting.cancel()
    await serving


def main(box: Container) -> None:
    """Serve `box.model` until SIGTERM. Raises what keeps the model from being served, and OSError for the port."""
    settings = ServeSettings.from_environment()
    endpoint = Endpoint(box.model, settings)
    with socket.create_server((settings.host, settings.port)) as listener:
        host, port = listener.getsockname()[:2]
        log("listening", host=host, port=port)
        asyncio.run(_serve(endpoint, listener))
    if endpoint.failure is not None:
        raise endpoint.failure
    log("stopped")


if __name__ == "__main__":
    sys.exit(container.run(main))
