"""The response of a stream: lines as they come, and an end from which a caller can tell whether it has all of them.

The status is sent with the first line. What goes wrong before has a status of its own; what goes wrong afterwards is a
last line `{"error": …}` and a connection that is broken off.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .outbox import Outbox
from .refusals import Observed, as_refusal, internal, refused
from .uploads import Upload

SEND_SECONDS = 60  # until a caller who reads nothing is given up


class StreamedAnswer(Response):
    """Runs `produce`, which fills the outbox, and sends what is in it; `held` is given back at the end."""

    media_type = "application/jsonlines"

    def __init__(
        self,
        produce: Callable[[], Awaitable[None]],
        outbox: Outbox,
        upload: Upload,
        observed: Observed,
        held: ExitStack,
    ) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers()  # without a body there is no length: it is sent in chunks
        self._produce = produce
        self._outbox = outbox
        self._upload = upload
        self._observed = observed
        held.callback(outbox.release)
        self._held = held.pop_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            producing = asyncio.ensure_future(self._produce())
            producing.add_done_callback(lambda _: self._outbox.end())
            delivering = asyncio.create_task(self._deliver(producing, scope, receive, send))
            gone = asyncio.create_task(self._upload.disconnected())
            try:
                await asyncio.wait((delivering, gone), return_when=asyncio.FIRST_COMPLETED)
                if delivering.done():
                    delivering.result()
                else:
                    self._observed.code = "client_gone"
            finally:
                for task in (producing, delivering, gone):
                    task.cancel()
                # Nothing of them touches what is given back; and an error that nobody was left to be told is seen.
                await asyncio.gather(producing, delivering, gone, return_exceptions=True)

    async def _deliver(self, producing: asyncio.Future[None], scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        try:
            while part := await self._outbox.get():
                if not started:
                    await self._start(send)
                    started = True
                await self._send(send, part)
            error = producing.exception()
            if error is not None and not started:
                response = await refused(error, self._upload, self._observed)
                self._observed.status = response.status_code
                response.headers["X-Request-Id"] = self._observed.request_id
                await response(scope, receive, send)
            elif isinstance(error, ClientDisconnect):
                self._observed.code = "client_gone"
            elif error is not None:
                said = as_refusal(error, self._observed) or internal(self._observed)
                await self._send(send, json.dumps({"error": said.body()}).encode() + b"\n")
                await self._upload.discard()  # and no end: the connection is closed as broken
            else:
                if not started:
                    await self._start(send)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            self._observed.code = "client_slow"
        except ClientDisconnect:
            self._observed.code = "client_gone"

    async def _start(self, send: Send) -> None:
        self._observed.status = 200
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})

    async def _send(self, send: Send, part: bytes) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await send({"type": "http.response.body", "body": part, "more_body": True})
