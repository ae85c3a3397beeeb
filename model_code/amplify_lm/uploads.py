"""Bodies on their way in: within the limit of one, the limit of all, and the time that one may take.

A refused body is read to its end all the same, up to a bound, and thrown away: a server that closes on a client who is
still sending takes its own answer back, and the client would see a broken connection instead of the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from .request_errors import RequestError

MAX_BODY_BYTES = 6 * 1024 * 1024  # InvokeEndpoint's own limit
MAX_HELD_BYTES = 128 * 1024 * 1024  # of all requests in flight
MAX_DISCARDED_BYTES = 8 * MAX_BODY_BYTES
BODY_SECONDS = 20


@dataclass(slots=True)
class Held:
    """What the bodies of all requests in flight hold together."""

    bytes: int = 0


class Upload:
    """One request's body. `release` gives back what it holds, once the body is no longer needed."""

    def __init__(self, request: Request, held: Held) -> None:
        self.complete = False
        self._request = request
        self._held = held
        self._own_bytes = 0

    async def read(self) -> bytes:
        """The whole body. Raises RequestError (400 too slow, 413 too large, 415 compressed, 429 no room)."""
        encoding = self._request.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":  # unpacked, six megabytes may be six gigabytes
            message = f"Content-Encoding {encoding[:40]!r}; send the body as it is"
            raise RequestError(415, "unsupported_media_type", message, where="Content-Encoding")
        length = self._request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > MAX_BODY_BYTES:
            raise _too_large()
        chunks = []
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in self._chunks():
                    self._hold(len(chunk))
                    chunks.append(chunk)
        except TimeoutError:
            message = f"the body did not arrive within {BODY_SECONDS} s"
            raise RequestError(400, "bad_body", message, where="body") from None
        return b"".join(chunks)

    async def discard(self) -> bool:
        """Throw the rest away; False where it is too long, or too slow, to wait for its end."""
        length = self._request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > MAX_DISCARDED_BYTES:
            return False
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in self._chunks():
                    size += len(chunk)
                    if size > MAX_DISCARDED_BYTES:
                        return False
        except TimeoutError:
            return False
        return True

    def release(self) -> None:
        self._held.bytes -= self._own_bytes
        self._own_bytes = 0

    def _hold(self, size: int) -> None:
        if self._own_bytes + size > MAX_BODY_BYTES:
            raise _too_large()
        if self._held.bytes + size > MAX_HELD_BYTES:
            raise RequestError(429, "queue_full", "too many large requests are in flight", retry_after_s=1)
        self._own_bytes += size
        self._held.bytes += size

    async def _chunks(self) -> AsyncIterator[bytes]:
        while not self.complete:
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            self.complete = not message.get("more_body", False)
            yield message.get("body", b"")


def _too_large() -> RequestError:
    return RequestError(413, "body_too_large", f"over {MAX_BODY_BYTES} bytes: split the request", where="body")
