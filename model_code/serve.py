"""The endpoint's server: SageMaker's serving contract over HTTP, one process, one model.

    GET  /ping                  200 once the model is loaded and has run; 503 before, while draining, and when it fails
    POST /invocations           a request's body (amplify_lm/bodies/) → its answer, or {"code", "message", "where"}
    GET  /execution-parameters  how batch transform should call
    GET  /metrics               Prometheus text
    GET  /openapi.json          all of this for machines

It listens before the model is loaded. SIGTERM drains: what was admitted is answered, what comes is refused with 503,
and within 30 seconds the process ends with exit code 0. A model that cannot be served ends it with exit code 1.

Run by `launch.py serve`, or `python serve.py`. Environment: SAGEMAKER_BASE_DIR, SAGEMAKER_BIND_TO_PORT,
AMPLIFY_BIND_HOST, AMPLIFY_QUEUE_TOKENS, AMPLIFY_BATCH_TOKENS, AMPLIFY_LONGEST_WAIT_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import time
import uuid
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import uvicorn
from amplify_lm import container
from amplify_lm.answering import Answering
from amplify_lm.container import Container
from amplify_lm.refusals import Observed, refused
from amplify_lm.request_errors import RequestError
from amplify_lm.serve_settings import ServeSettings
from amplify_lm.telemetry import Telemetry, log
from amplify_lm.uploads import Held, Upload
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:  # torch takes a second or two; /ping answers before
    from amplify_lm.batcher import Batcher
    from amplify_lm.predict import Predictor

MAX_REQUESTS = 256  # in flight
DRAIN_SECONDS = 22  # SIGKILL comes 30 s after SIGTERM; the batch that runs by then has the rest
MAX_ANSWER_NUMBERS = 16 * 1024 * 1024  # float32: 64 MB

Phase = Literal["loading", "ready", "draining"]


class Endpoint:
    """The model, its batcher and the four routes; `exit` is set when the process should end."""

    def __init__(self, model_dir: Path, settings: ServeSettings) -> None:
        self.phase: Phase = "loading"
        self.failure: Exception | None = None
        self.exit = asyncio.Event()
        self._leaving = asyncio.Event()
        self._model_dir = model_dir
        self._settings = settings
        self._telemetry = Telemetry()
        self._predictor: Predictor | None = None
        self._answering: Answering | None = None
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
                Route("/openapi.json", self.openapi),
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
        self._answering = Answering(self._predictor, self._batcher, self._leaving)
        self._start(self._batcher.work())
        if self.phase == "loading":
            self.phase = "ready"
            log("ready", seconds=round(time.monotonic() - start, 3), **self._details())

    def _begin_drain(self) -> None:
        if self.phase == "draining":
            return
        log("draining", requests=self._requests)
        self.phase = "draining"
        self._leaving.set()
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

    async def openapi(self, _request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(_document))

    async def invocations(self, request: Request) -> Response:
        """Answer one request, whatever it is; count and log it at its end, which a stream has later."""
        observed = Observed(uuid.uuid4().hex)
        upload = Upload(request, self._held)
        with contextlib.ExitStack() as held:
            held.callback(self._tell_of, observed, time.monotonic())
            held.callback(upload.release)
            try:
                if self._answering is None or self.phase != "ready":
                    raise _unavailable(self.phase)
                self._count(held)
                response = await self._answering.answer(request, upload, observed, held)
            except Exception as error:
                response = await refused(error, upload, observed)
            observed.status = response.status_code
            response.headers["X-Request-Id"] = observed.request_id
            return response

    def _count(self, held: contextlib.ExitStack) -> None:
        """Hold a place among the requests in flight. Raises RequestError where there is none."""
        if self._requests >= MAX_REQUESTS:
            message = f"{self._requests} requests are in flight already"
            raise RequestError(429, "queue_full", message, retry_after_s=1)
        self._requests += 1

        def give_back() -> None:
            self._requests -= 1

        held.callback(give_back)

    def _tell_of(self, observed: Observed, start: float) -> None:
        seconds = time.monotonic() - start
        self._telemetry.request(observed.task, observed.status, seconds, observed.waited_s)
        log(
            "request",
            request_id=observed.request_id,
            status=observed.status,
            code=observed.code,
            task=observed.task,
            inputs=observed.inputs,
            tokens=observed.tokens,
            queue_ms=round(1000 * observed.waited_s, 1),
            total_ms=round(1000 * seconds, 1),
        )

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


def _document() -> dict[str, Any]:
    from amplify_lm import openapi

    return openapi.document()


def _load_predictor(model_dir: Path, batch_tokens: int) -> Predictor:
    import inference

    return inference.model_fn(model_dir, batch_tokens)


def _unavailable(phase: Phase) -> RequestError:
    message = {"loading": "the model is being loaded", "draining": "this server is shutting down; try another"}
    return RequestError(503, phase, message.get(phase, "the model failed"), retry_after_s=2)


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    wanted = "POST /invocations, GET /ping, GET /metrics, GET /openapi.json or GET /execution-parameters is wanted"
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
