"""Many requests, one model: requests' passes share batches, and every request gets its fair part of the machine.

All of the queue lives on the event loop, so there are no locks; batches run on one thread of their own. A request with
a thousand passes (a scan) and a request with one take turns by tokens served: the one who had least so far comes next.
The queue is bounded in tokens, the unit of work, and in numbers kept, the unit of memory: over the bound a request is
refused at once, with the time after which there should be room. So is one that would be quickly done, had not so many
others to be done before that its caller would have given up.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from .predict import Array, Pass, Workload
from .request_errors import RequestError

LONGEST_RETRY_S = 60  # SageMaker gives a request 60 s


@dataclass(eq=False, slots=True)
class Job:
    """A request in the queue: what it has still to send, and what has come back."""

    work: Workload
    next_pass: Pass | None
    tokens_served: int
    """Sent to the model so far, counted on from where the others stood as this request came"""
    tokens_waiting: int
    done: asyncio.Future[None]
    receive: Callable[[Array], None]
    """Is given what each pass keeps, in order, on the event loop"""
    num_received: int = 0
    queued_at: float = field(default_factory=time.monotonic)
    started_at: float | None = None
    left: bool = False

    def take(self) -> Pass:
        taken = self.next_pass
        assert taken is not None
        self.next_pass = next(self.work.passes, None)
        self.tokens_served += len(taken.ids)
        self.tokens_waiting -= len(taken.ids)
        return taken


@dataclass(slots=True)
class Totals:
    """Counters since the start."""

    batches: int = 0
    tokens: int = 0
    busy_s: float = 0.0
    cancelled: int = 0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.busy_s if self.busy_s else 0.0


class Batcher:
    """Runs workloads through `run` (a batch of passes → what each keeps); `work()` is a task of the event loop."""

    def __init__(
        self,
        run: Callable[[Sequence[Pass]], list[Array]],
        *,
        batch_tokens: int,
        queue_tokens: int,
        queue_numbers: int,
        longest_wait_s: float = math.inf,
    ) -> None:
        self.totals = Totals()
        self.healthy = True
        self.queue_tokens = queue_tokens
        self.queue_numbers = queue_numbers
        self.longest_wait_s = longest_wait_s
        self._run = run
        self._batch_tokens = batch_tokens
        self._jobs: list[Job] = []
        self._numbers = 0
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    @property
    def waiting_tokens(self) -> int:
        return sum(job.tokens_waiting for job in self._jobs)

    async def submit(self, work: Workload) -> tuple[list[Array], float]:
        """What the passes keep, in order, and the seconds that the first of them waited.

        Raises RequestError: 413 for what would not fit an empty queue, 429 for what does not fit now. A cancelled
        call leaves the queue; a pass that is being computed then is computed for nothing.
        """
        results: list[Array] = []
        job = self.enter(work, results.append)
        return results, await self.finished(job)

    def enter(self, work: Workload, receive: Callable[[Array], None]) -> Job:
        """Queue the passes; `receive` is given what each keeps, as it comes. Whoever enters has to `leave` again.

        Raises RequestError as `submit`.
        """
        self._admit(work)
        served = min((job.tokens_served for job in self._jobs), default=0)
        done = asyncio.get_running_loop().create_future()
        job = Job(work, next(work.passes), served, work.tokens, done, receive)
        self._jobs.append(job)
        self._numbers += work.numbers
        self._wake.set()
        return job

    async def finished(self, job: Job) -> float:
        """Wait for the last pass, and leave; returns the seconds that the first one waited."""
        try:
            await job.done
        except asyncio.CancelledError:
            self.totals.cancelled += 1
            raise
        finally:
            self.leave(job)
        return (job.started_at or job.queued_at) - job.queued_at

    def leave(self, job: Job) -> None:
        """Give up the job's place and memory, whether it is done or not; once is enough."""
        if job.left:
            return
        job.left = True
        self._numbers -= job.work.numbers
        if job in self._jobs:
            self._jobs.remove(job)
        if not job.done.cancel() and not job.done.cancelled():
            job.done.exception()  # seen, or asyncio would complain of one that nobody waited for

    def _admit(self, work: Workload) -> None:
        if work.tokens > self.queue_tokens:
            message = f"{work.tokens} tokens of work ({work.num_passes} passes); one request may have"
            raise RequestError(413, "too_much_work", f"{message} {self.queue_tokens}: split it")
        if work.numbers > self.queue_numbers:
            message = f"the answer has {work.numbers} numbers; one request may have {self.queue_numbers}: split it"
            raise RequestError(413, "answer_too_large", message)
        waiting = self.waiting_tokens
        if waiting + work.tokens > self.queue_tokens or self._numbers + work.numbers > self.queue_numbers:
            message = f"the queue is full ({waiting} tokens of {self.queue_tokens} wait)"
            raise RequestError(429, "queue_full", message, retry_after_s=self._retry_after(work.tokens))
        self._refuse_to_wait(work.tokens)

    def _refuse_to_wait(self, tokens: int) -> None:
        """Fair turns: before this many tokens of one request are through, each other one has had as many, or all of its
        own. A request that alone takes longer than the limit knows that it is for callers who wait (async, batch)."""
        speed = self.totals.tokens_per_second
        if not speed or tokens / speed > self.longest_wait_s:
            return
        wait = sum(min(job.tokens_waiting, tokens) for job in self._jobs) / speed
        if wait > self.longest_wait_s:
            message = f"{len(self._jobs)} requests are before this one, which would wait for some {wait:.0f} s"
            excess = max(1, math.ceil(wait - self.longest_wait_s))
            raise RequestError(429, "queue_full", message, retry_after_s=min(LONGEST_RETRY_S, excess))

    def _retry_after(self, tokens: int) -> int:
        """Seconds until the queue has room for so many tokens, at the speed measured so far."""
        excess = max(self.waiting_tokens + tokens - self.queue_tokens, self._batch_tokens)
        speed = self.totals.tokens_per_second
        return min(LONGEST_RETRY_S, max(1, math.ceil(excess / speed))) if speed else 1

    async def work(self) -> None:
        """Run batches until cancelled. A batch that fails fails its requests, not the batcher."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                batch = self._next_batch()
                if not batch:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                start = time.monotonic()
                try:
                    results = await loop.run_in_executor(self._thread, self._run, [one for _, one in batch])
                except Exception as error:
                    self._fail([job for job, _ in batch], error)
                    continue
                self._account(batch, time.monotonic() - start)
                self._hand_out(batch, results)
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def fail_all(self, error: RequestError) -> None:
        """Give up on every request that waits."""
        self._fail(list(self._jobs), error, healthy=self.healthy)

    def _next_batch(self) -> list[tuple[Job, Pass]]:
        """Passes within the token budget, each time from the request that was served least."""
        turn = [(job.tokens_served, i) for i, job in enumerate(self._jobs) if job.next_pass is not None]
        heapq.heapify(turn)
        jobs = list(self._jobs)
        batch: list[tuple[Job, Pass]] = []
        room = self._batch_tokens
        while turn:
            _, i = heapq.heappop(turn)
            job = jobs[i]
            assert job.next_pass is not None
            if len(job.next_pass.ids) > room:
                continue  # sits this batch out, and with least served comes first in the next
            room -= len(job.next_pass.ids)
            job.started_at = job.started_at or time.monotonic()
            batch.append((job, job.take()))
            if job.next_pass is not None:
                heapq.heappush(turn, (job.tokens_served, i))
        return batch

    def _account(self, batch: list[tuple[Job, Pass]], seconds: float) -> None:
        self.healthy = True
        self.totals.batches += 1
        self.totals.tokens += sum(len(one.ids) for _, one in batch)
        self.totals.busy_s += seconds

    def _hand_out(self, batch: list[tuple[Job, Pass]], results: list[Array]) -> None:
        for (job, _), result in zip(batch, results, strict=True):
            if job.left:
                continue
            job.receive(result)
            job.num_received += 1
            if job.num_received == job.work.num_passes and not job.done.done():
                self._jobs.remove(job)
                job.done.set_result(None)

    def _fail(self, jobs: list[Job], error: Exception, healthy: bool = False) -> None:
        self.healthy = healthy
        for job in dict.fromkeys(jobs):
            if job in self._jobs:
                self._jobs.remove(job)
            if not job.done.done():
                job.done.set_exception(error)
