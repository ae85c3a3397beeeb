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
MAX_LINE_BYTES = 1024 * 1024  # of a body that is read line by line, and may be of any length


@dataclass(slots=True)
class Held:
    """What the bodies of all requests in flight hold together."""

    bytes: int = 0


class Upload:
    """One request's body. `release` gives back what it holds, once the body is no longer needed."""

    def __init__(self, request: Request, held: Held) -> None:
        self.finished = asyncio.Event()
        """Set when the whole body has been read"""
        self._request = request
        self._held = held
        self._own_bytes = 0

    async def read(self) -> bytes:
        """The whole body. Raises RequestError (400 too slow, 413 too large, 415 compressed, 429 no room)."""
        self._check_encoding()
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

    async def lines(self) -> AsyncIterator[list[tuple[int, bytes]]]:
        """The lines that are not blank, with their numbers from 1, as they arrive: never an empty list.

        Raises RequestError as `read`; the limits are those of a line: its length, and the time until it is there.
        """
        self._check_encoding()
        loop, chunks = asyncio.get_running_loop(), self._chunks()
        rest, number, deadline = b"", 0, loop.time() + BODY_SECONDS
        try:
            while not self.finished.is_set():
                async with asyncio.timeout_at(deadline):
                    chunk = await anext(chunks)
                *whole, rest = (rest + chunk).split(b"\n")
                if self.finished.is_set():
                    whole.append(rest)
                if max(map(len, (*whole, rest))) > MAX_LINE_BYTES:
                    message = f"line {number + 1} has over {MAX_LINE_BYTES} bytes"
                    raise RequestError(413, "body_too_large", message, where="body")
                self._hold(len(rest) - self._own_bytes)
                found = [(number + i, line) for i, line in enumerate(whole, start=1) if line.strip()]
                number += len(whole)
                if found:
                    yield found
                    deadline = loop.time() + BODY_SECONDS
        except TimeoutError:
            message = f"line {number + 1} did not arrive within {BODY_SECONDS} s"
            raise RequestError(400, "bad_body", message, where="body") from None

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

    async def disconnected(self) -> None:
        """Wait until the whole body has come and, after it, its sender has gone."""
        await self.finished.wait()
        while (await self._request.receive())["type"] != "http.disconnect":
            pass

    def release(self) -> None:
        self._held.bytes -= self._own_bytes
        self._own_bytes = 0

    def _check_encoding(self) -> None:
        encoding = self._request.headers.get("content-encoding", "identity").lower()
        if encoding != "identity":  # unpacked, six megabytes may be six gigabytes
            message = f"Content-Encoding {encoding[:40]!r}; send the body as it is"
            raise RequestError(415, "unsupported_media_type", message, where="Content-Encoding")

    def _hold(self, size: int) -> None:
        if self._own_bytes + size > MAX_BODY_BYTES:
            raise _too_large()
        if self._held.bytes + size > MAX_HELD_BYTES:
            raise RequestError(429, "queue_full", "too many large requests are in flight", retry_after_s=1)
        self._own_bytes += size
        self._held.bytes += size

    async def _chunks(self) -> AsyncIterator[bytes]:
        while not self.finished.is_set():
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            if not message.get("more_body", False):
                self.finished.set()
            yield message.get("body", b"")


def _too_large() -> RequestError:
    return RequestError(413, "body_too_large", f"over {MAX_BODY_BYTES} bytes: split the request", where="body")
