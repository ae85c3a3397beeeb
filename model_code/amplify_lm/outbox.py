"""Lines of an answer on their way out, to a caller who may not read them yet.

Whoever sends a long body first and reads the answer afterwards (batch transform may) would otherwise wait for us while
we wait for them. So what is not fetched lies in memory up to a megabyte, then in a temporary file; over the limit of
all answers together, the writer has to wait for the reader.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import deque
from dataclasses import dataclass

IN_MEMORY_BYTES = 1024 * 1024
MAX_SPOOLED_BYTES = 1024 * 1024 * 1024  # of all answers
SEGMENT_BYTES = 16 * 1024 * 1024  # a little more: whole lines
PART_BYTES = 64 * 1024


@dataclass(slots=True)
class Spooled:
    """What the outboxes of all requests hold together."""

    bytes: int = 0


class Outbox:
    """A pipe for one answer: `put` at one end, `get` at the other."""

    def __init__(self, spooled: Spooled) -> None:
        self._spooled = spooled
        self._segments = deque([_Segment()])  # several, so that what was read takes no room on the disk
        self._ended = False
        self._changed = asyncio.Event()

    async def put(self, data: bytes) -> None:
        """Add to the answer; waits where too much lies about unread."""
        while self._segments[0].unread and self._spooled.bytes + len(data) > MAX_SPOOLED_BYTES:
            await self._change()
        if self._segments[-1].written > SEGMENT_BYTES:
            self._segments.append(_Segment())
        self._segments[-1].write(data)
        self._spooled.bytes += len(data)
        self._changed.set()

    def end(self) -> None:
        """Nothing follows."""
        self._ended = True
        self._changed.set()

    async def get(self) -> bytes:
        """The next part, once it is there; empty at the end."""
        while not self._segments[0].unread:
            if len(self._segments) > 1:
                self._segments.popleft().close()
            elif self._ended:
                return b""
            else:
                await self._change()
        data = self._segments[0].next_part()
        self._spooled.bytes -= len(data)
        self._changed.set()
        return data

    def release(self) -> None:
        """Give back what is held, read or not."""
        while self._segments:
            segment = self._segments.popleft()
            self._spooled.bytes -= segment.unread
            segment.close()

    async def _change(self) -> None:
        # Never both ends at once: the writer waits where something is unread, the reader where nothing is.
        self._changed.clear()
        await self._changed.wait()


class _Segment:
    """A part of the answer in a file of its own."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  (see `close`)
        self.written = 0
        self._read = 0

    @property
    def unread(self) -> int:
        return self.written - self._read

    def write(self, data: bytes) -> None:
        self._file.seek(self.written)
        self._file.write(data)
        self.written += len(data)

    def next_part(self) -> bytes:
        self._file.seek(self._read)
        data = self._file.read(PART_BYTES)
        self._read += len(data)
        return data

    def close(self) -> None:
        self._file.close()
