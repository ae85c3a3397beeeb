"""Answers that are sent while they are being computed, as JSON Lines; and bodies that are read meanwhile.

Two forms. *Out*: the body is whole, every input has been read and planned and the work admitted before the first
line, so that a refusal still has its status. *In and out*: JSON Lines of any length, read as they come and answered
input by input, each that is at fault by an `error` in its line; no more lies in the queue than a few groups of lines,
and where the queue is full the caller is made to wait instead of being refused.

What goes wrong after the first line has its place at the end: a last line `{"error": …}`, and a connection that is
broken off, so that nobody takes a part for the whole (InvokeEndpointWithResponseStream says ModelStreamError then,
InvokeEndpoint ModelError).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

from .batcher import Batcher, Job
from .bodies import read_line
from .pieces import Assembly, Piece, plan_pieces, workload
from .predict import Array, Predictor
from .request_errors import RequestError
from .tasks import Task

GROUP_BATCHES = 4  # of work that an in-and-out stream queues at a time; it has two groups there at most
GROUP_NUMBERS = 1024 * 1024
LONGEST_PAUSE_S = 5  # before a full queue is tried again

Put = Callable[[bytes], Awaitable[None]]
Lines = AsyncIterator[list[tuple[int, bytes]]]


class PiecesJob:
    """The work of some pieces, queued; `write` puts their lines as they are done. Raises RequestError as the queue."""

    def __init__(self, pieces: list[Piece], batcher: Batcher) -> None:
        self._batcher = batcher
        self._assembly = Assembly(pieces)
        self._done: asyncio.Queue[tuple[Piece, list[Array]] | None] = asyncio.Queue()
        work = workload(pieces)
        self.tokens = work.tokens
        self._hand_over(self._assembly.done())  # errors, and rows in which the model knows no residue
        self._job: Job | None = batcher.enter(work, self._receive) if work.num_passes else None

    async def write(self, put: Put) -> float:
        """Put all lines; returns the seconds that the first pass waited."""
        if self._job is None:
            await self._write(put)
            return 0.0
        writing = asyncio.create_task(self._write(put, endless=True))
        waiting = asyncio.create_task(self._batcher.finished(self._job))
        try:
            # Whichever fails first is raised; the writer ends after the last result.
            await asyncio.wait((writing, waiting), return_when=asyncio.FIRST_COMPLETED)
            waited = 0.0
            if not writing.done():
                waited = await waiting
                self._done.put_nowait(None)
            await writing
            return waited
        finally:
            writing.cancel()
            waiting.cancel()
            self.leave()

    def leave(self) -> None:
        """Give the place in the queue up."""
        if self._job is not None:
            self._batcher.leave(self._job)

    def _receive(self, result: Array) -> None:
        self._hand_over(self._assembly.add(result))

    def _hand_over(self, done: list[tuple[Piece, list[Array]]]) -> None:
        for one in done:
            self._done.put_nowait(one)

    async def _write(self, put: Put, endless: bool = False) -> None:
        """Lines are written on a thread; `endless` waits for more until there is None."""
        while endless or not self._done.empty():
            one = await self._done.get()
            if one is None:
                return
            piece, results = one
            await put(await asyncio.to_thread(piece.line, results))


class LinesJob:
    """An in-and-out stream: every line an input."""

    def __init__(self, task: Task, predictor: Predictor, batcher: Batcher, leaving: asyncio.Event) -> None:
        """`leaving` is set when the server is about to end: what was read is answered then, and no more is read."""
        self.inputs = 0
        self.tokens = 0
        self._task = task
        self._predictor = predictor
        self._batcher = batcher
        self._leaving = leaving
        self._most_tokens = min(GROUP_BATCHES * predictor.batch_tokens, batcher.queue_tokens)

    async def write(self, lines: Lines, put: Put) -> float:
        """Answer all lines; returns the seconds that passes waited for in the queue. Raises RequestError."""
        waited = 0.0
        previous: asyncio.Task[float] | None = None
        jobs: list[PiecesJob] = []
        try:
            async with contextlib.aclosing(self._until_leaving(lines)) as source:
                async for some in source:
                    numbered = list(enumerate(some, start=self.inputs))
                    self.inputs += len(some)
                    pieces = await asyncio.to_thread(self._plan, numbered)
                    for group in _groups(pieces, self._most_tokens):
                        jobs = [*jobs[-1:], await self._enter(group)]
                        if previous is not None:
                            waited += await previous
                        previous = asyncio.create_task(jobs[-1].write(put))
            if previous is not None:
                waited += await previous
        finally:
            if previous is not None:
                previous.cancel()
            for job in jobs:
                job.leave()
        if self._leaving.is_set():
            message = "this server is shutting down; send the lines that have no answer to another"
            raise RequestError(503, "draining", message, retry_after_s=2)
        if not self.inputs:
            raise RequestError(422, "nothing_to_score", "there are no inputs", where="inputs")
        return waited

    def _plan(self, numbered: list[tuple[int, tuple[int, bytes]]]) -> list[Piece]:
        pieces: list[Piece] = []
        for number, (line_number, line) in numbered:
            try:
                one = read_line(line, f"line {line_number}")
            except RequestError as error:
                pieces.append(Piece({"input": number}, error))
                continue
            pieces.extend(plan_pieces(self._task, [(number, one)], self._predictor, partial=True))
        return pieces

    async def _enter(self, pieces: list[Piece]) -> PiecesJob:
        """Queue them, however long that takes; what one request may never ask for becomes the error of its input."""
        while True:
            try:
                job = PiecesJob(pieces, self._batcher)
            except RequestError as error:
                if error.status != 429:
                    return PiecesJob(_refused(pieces, error), self._batcher)
                pause = min(LONGEST_PAUSE_S, error.retry_after_s or 1)
            else:
                self.tokens += job.tokens
                return job
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), pause)
            if self._leaving.is_set():
                raise RequestError(503, "draining", "this server is shutting down; try another", retry_after_s=2)

    async def _until_leaving(self, lines: Lines) -> AsyncGenerator[list[tuple[int, bytes]], None]:
        leaving = asyncio.create_task(self._leaving.wait())
        try:
            while True:
                getting = asyncio.ensure_future(anext(lines, None))
                await asyncio.wait((getting, leaving), return_when=asyncio.FIRST_COMPLETED)
                if not getting.done():
                    getting.cancel()
                    return
                some = getting.result()
                if some is None:
                    return
                yield some
        finally:
            leaving.cancel()


def _groups(pieces: list[Piece], most_tokens: int) -> Iterator[list[Piece]]:
    """The pieces in groups of some work each, an input's never parted: what is too much alone is alone."""
    group: list[Piece] = []
    spent = 0.0
    for _, of_input in itertools.groupby(pieces, key=lambda piece: piece.about["input"]):
        whole = list(of_input)
        work = workload(whole)
        share = max(work.tokens / most_tokens, work.numbers / GROUP_NUMBERS)
        if group and spent + share > 1:
            yield group
            group, spent = [], 0.0
        group += whole
        spent += share
    if group:
        yield group


def _refused(pieces: list[Piece], error: RequestError) -> list[Piece]:
    """One line for each input, with the error."""
    abouts = {piece.about["input"]: piece.about for piece in pieces}
    return [Piece(about, error) for about in abouts.values()]
