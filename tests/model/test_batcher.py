"""The queue between requests and the model: shared batches, fair turns, bounds, cancelled requests."""

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from amplify_lm.batcher import Batcher
from amplify_lm.predict import Array, Pass, Predictor, Workload
from amplify_lm.request_errors import RequestError
from amplify_lm.tokenizer import encode

from tests.model.serving_model import tiny_model


class Model:
    """Stands where the model does: keeps a pass's first id and its length, notes each batch, waits at a gate."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.broken = False

    def run(self, passes: Sequence[Pass]) -> list[Array]:
        self.gate.wait(10)
        if self.broken:
            raise RuntimeError("out of memory")
        self.batches.append(["".join(chr(i) for i in one.ids[:1]) for one in passes])
        return [np.array([one.ids[0], len(one.ids)], dtype=np.float32) for one in passes]


def workload(name: str, passes: int, tokens: int = 10, numbers: int = 1) -> Workload:
    """Passes whose ids begin with the letter `name`."""
    ids = np.full(tokens, ord(name), dtype=np.uint8)
    several: Iterator[Pass] = (Pass(ids, lambda rows: rows) for _ in range(passes))
    return Workload(several, num_passes=passes, tokens=passes * tokens, numbers=numbers)


def with_batcher(
    test: Callable[[Batcher, Model], Awaitable[None]],
    *,
    batch_tokens: int = 40,
    queue_tokens: int = 1000,
    longest_wait_s: float = math.inf,
) -> None:
    """Run an asynchronous test against a working batcher."""

    async def run() -> None:
        model = Model()
        bounds = {"batch_tokens": batch_tokens, "queue_tokens": queue_tokens, "queue_numbers": 100}
        batcher = Batcher(model.run, **bounds, longest_wait_s=longest_wait_s)
        working = asyncio.create_task(batcher.work())
        try:
            async with asyncio.timeout(20):
                await test(batcher, model)
        finally:
            model.gate.set()
            working.cancel()

    asyncio.run(run())


async def started(batcher: Batcher, *works: Workload) -> list[asyncio.Task[tuple[list[Array], float]]]:
    """Submit each in turn, and let it reach the queue."""
    tasks = []
    for work in works:
        tasks.append(asyncio.create_task(batcher.submit(work)))
        await asyncio.sleep(0)
    return tasks


async def busy(batcher: Batcher, model: Model) -> asyncio.Task[Any]:
    """Close the gate behind a first batch, so that everything after waits in the queue."""
    model.gate.clear()
    (task,) = await started(batcher, workload("-", 1, tokens=40))
    while batcher.waiting_tokens:
        await asyncio.sleep(0.001)
    return task


def refused(work: Coroutine[Any, Any, object], status: int) -> Awaitable[RequestError]:
    async def check() -> RequestError:
        with pytest.raises(RequestError) as refusal:
            await work
        assert refusal.value.status == status
        return refusal.value

    return check()


def test_requests_that_wait_share_a_batch_and_get_their_own_results_in_order() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        first = await busy(batcher, model)
        tasks = await started(batcher, workload("a", 1, 10), workload("b", 2, 7), workload("c", 1, 12))
        model.gate.set()
        await asyncio.gather(first, *tasks)
        assert sorted(model.batches[1]) == ["a", "b", "b", "c"]
        for task, (name, lengths) in zip(tasks, [("a", [10]), ("b", [7, 7]), ("c", [12])], strict=True):
            assert [list(result) for result in task.result()[0]] == [[ord(name), length] for length in lengths]

    with_batcher(test)


def test_a_short_request_does_not_wait_for_the_end_of_a_scan() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        first = await busy(batcher, model)
        scan, short = await started(batcher, workload("s", 40), workload("x", 1))
        model.gate.set()
        await short
        assert not scan.done()
        assert "x" in model.batches[1]
        await asyncio.gather(first, scan)

    with_batcher(test)


def test_two_scans_get_equal_parts_of_every_batch_even_when_one_came_later() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        first = await busy(batcher, model)
        (early,) = await started(batcher, workload("e", 20))
        while len(model.batches) < 3:  # the early one alone for a while
            model.gate.set()
            await asyncio.sleep(0)
        (late,) = await started(batcher, workload("l", 4))
        await asyncio.gather(first, early, late)
        shared = [batch for batch in model.batches if "l" in batch]
        assert [sorted(batch) for batch in shared] == [["e", "e", "l", "l"]] * 2

    with_batcher(test)


def test_a_long_pass_that_did_not_fit_comes_first_in_the_next_batch() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        first = await busy(batcher, model)
        tasks = await started(batcher, workload("a", 1, 10), workload("L", 1, 40), workload("b", 9, 10))
        model.gate.set()
        await asyncio.gather(first, *tasks)
        assert model.batches[1:3] == [["a", "b", "b", "b"], ["L"]]

    with_batcher(test)


def test_no_batch_is_over_the_token_budget() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        sizes = [3, 40, 17, 22, 9, 31, 8]
        tasks = await started(batcher, *(workload(chr(97 + i), 3, size) for i, size in enumerate(sizes)))
        await asyncio.gather(*tasks)
        of = {chr(97 + i): size for i, size in enumerate(sizes)}
        assert max(sum(of[name] for name in batch) for batch in model.batches) <= 40
        assert batcher.totals.tokens == 3 * sum(sizes)

    with_batcher(test)


def test_a_full_queue_refuses_at_once_and_takes_requests_again_when_it_has_room() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        first = await busy(batcher, model)
        tasks = await started(batcher, workload("a", 9))
        refusal = await refused(batcher.submit(workload("b", 2)), 429)
        assert refusal.code == "queue_full"
        assert refusal.retry_after_s is not None
        assert 1 <= refusal.retry_after_s <= 60
        tasks += await started(batcher, workload("c", 1))
        model.gate.set()
        await asyncio.gather(first, *tasks)
        await batcher.submit(workload("b", 2))

    with_batcher(test, queue_tokens=100)


def test_who_would_wait_longer_than_its_caller_does_is_told_at_once_and_a_long_scan_in_the_queue_is_no_reason() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        first = await busy(batcher, model)
        batcher.totals.tokens, batcher.totals.busy_s = 10, 1.0  # as measured so far: ten tokens a second
        tasks = await started(batcher, workload("s", 90))  # 90 s of work, of which 1 s before a short one has its turn
        tasks += await started(batcher, workload("a", 1), workload("b", 1))
        refusal = await refused(batcher.submit(workload("c", 1)), 429)
        assert "would wait for some 3 s" in refusal.message
        assert refusal.retry_after_s == 1
        model.gate.set()
        await asyncio.gather(first, *tasks)
        await batcher.submit(workload("c", 1))

    with_batcher(test, longest_wait_s=2.5)


def test_answers_that_would_not_fit_in_memory_together_are_refused_too() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        first = await busy(batcher, model)
        tasks = await started(batcher, workload("a", 1, numbers=60))
        await refused(batcher.submit(workload("b", 1, numbers=60)), 429)
        model.gate.set()
        await asyncio.gather(first, *tasks)
        await batcher.submit(workload("b", 1, numbers=60))

    with_batcher(test)


def test_what_no_queue_could_take_is_refused_as_too_large_with_the_limit() -> None:
    async def test(batcher: Batcher, _model: Model) -> None:
        assert "1000: split it" in (await refused(batcher.submit(workload("a", 101)), 413)).message
        assert "100: split it" in (await refused(batcher.submit(workload("a", 1, numbers=101)), 413)).message

    with_batcher(test)


def test_a_cancelled_request_leaves_the_queue_and_its_passes_are_never_run() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        first = await busy(batcher, model)
        gone, stays = await started(batcher, workload("g", 50), workload("s", 2))
        gone.cancel()
        await asyncio.sleep(0)
        assert batcher.waiting_tokens == 20
        model.gate.set()
        await asyncio.gather(first, stays)
        assert not any("g" in batch for batch in model.batches)
        assert batcher.totals.cancelled == 1

    with_batcher(test)


def test_a_request_cancelled_while_its_batch_runs_harms_no_other() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        model.gate.clear()
        gone, stays = await started(batcher, workload("g", 6), workload("s", 6))
        while batcher.waiting_tokens > 80:  # until a batch of 40 is on the model
            await asyncio.sleep(0.001)
        gone.cancel()
        model.gate.set()
        results, _ = await stays
        assert len(results) == 6

    with_batcher(test)


def test_a_failing_batch_fails_its_requests_and_the_next_request_is_served() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        model.broken = True
        with pytest.raises(RuntimeError, match="out of memory"):
            await batcher.submit(workload("a", 100))
        assert not batcher.healthy
        assert batcher.waiting_tokens == 0
        model.broken = False
        await batcher.submit(workload("b", 1))
        assert batcher.healthy

    with_batcher(test)


def test_giving_up_tells_every_request_that_waits() -> None:
    async def test(batcher: Batcher, model: Model) -> None:
        first = await busy(batcher, model)
        tasks = await started(batcher, workload("a", 3), workload("b", 3))
        batcher.fail_all(RequestError(503, "draining", "shutting down"))
        assert {(await refused(task_result(task), 503)).code for task in (first, *tasks)} == {"draining"}

    async def task_result(task: asyncio.Task[Any]) -> object:
        return await task

    with_batcher(test)


def test_sixty_concurrent_requests_each_get_what_they_get_alone() -> None:
    """The real model behind the batcher: no request ever sees another's numbers."""
    predictor = Predictor(tiny_model())
    rng = np.random.default_rng(3)
    proteins = [encode("".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), size=rng.integers(1, 120)))) for _ in range(60)]

    def work_of(ids: np.ndarray) -> Workload:
        passes = [Pass(ids, lambda rows: rows), Pass(ids, lambda rows: rows[0, 0], layers=(1,))]
        return Workload(iter(passes), num_passes=2, tokens=2 * len(ids), numbers=1)

    async def everything() -> list[tuple[list[Array], float]]:
        batcher = Batcher(predictor.run, batch_tokens=512, queue_tokens=100_000, queue_numbers=100)
        working = asyncio.create_task(batcher.work())
        answers = await asyncio.gather(*(batcher.submit(work_of(ids)) for ids in proteins))
        assert batcher.totals.batches < 60
        working.cancel()
        return answers

    for ids, (results, _) in zip(proteins, asyncio.run(everything()), strict=True):
        for given, alone in zip(results, (predictor.run([one])[0] for one in work_of(ids).passes), strict=True):
            np.testing.assert_allclose(given, alone, rtol=0, atol=1e-5)
