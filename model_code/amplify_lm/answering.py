"""One request of the server: read, planned, run in the batcher, written; or refused.

Reading, planning and writing are on threads of their own, away from the model's and from the event loop's.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from .outbox import Outbox, Spooled
from .refusals import Observed
from .request_errors import RequestError
from .streamed_answer import StreamedAnswer
from .uploads import Upload

if TYPE_CHECKING:  # torch takes a second or two; /ping answers before
    from .batcher import Batcher
    from .bodies import AnswerType, ContentType
    from .bodies import Request as Question
    from .predict import Predictor


class Answering:
    """Answers requests with one model."""

    def __init__(self, predictor: Predictor, batcher: Batcher, leaving: asyncio.Event) -> None:
        """`leaving` is set when the server is about to end."""
        self._predictor = predictor
        self._batcher = batcher
        self._leaving = leaving
        self._spooled = Spooled()

    async def answer(self, request: Request, upload: Upload, observed: Observed, held: ExitStack) -> Response:
        """The answer. Of a stream its beginning, which takes over what is `held`.

        Raises RequestError; and ClientDisconnect where the caller leaves before, with the work dropped.
        """
        from . import bodies

        content_type, accept = request.headers.get("content-type"), request.headers.get("accept")
        about = bodies.read_content_type(content_type)
        if about.format == "lines" and about.stream:
            bodies.choose_answer_type(accept, content_type, stream=True)
            return self._stream_lines(about, upload, observed, held)
        body = await upload.read()
        answering = asyncio.create_task(self._predict(body, content_type, accept, upload, observed, held))
        gone = asyncio.create_task(upload.disconnected())
        try:
            await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise ClientDisconnect
            return answering.result()
        finally:
            answering.cancel()
            gone.cancel()

    async def _predict(
        self,
        body: bytes,
        content_type: str | None,
        accept: str | None,
        upload: Upload,
        observed: Observed,
        held: ExitStack,
    ) -> Response:
        import inference

        from . import bodies

        bodies.choose_answer_type(accept, content_type)  # before anything is read for nothing
        question = await asyncio.to_thread(inference.input_fn, body, content_type)
        form = bodies.choose_answer_type(accept, content_type, stream=question.stream)
        bodies.check_answer_type(question, form)
        observed.task, observed.inputs = question.task.name, len(question.inputs)
        if question.stream:
            return await self._stream(question, upload, observed, held)
        work = await asyncio.to_thread(inference.plan_request, question, self._predictor)
        workload = work.workload()
        observed.tokens = workload.tokens
        if not workload.num_passes:  # of a partial request, every input of which is at fault
            return _written(bodies.write_answer(work.finish([]), form), form)
        try:
            results, observed.waited_s = await self._batcher.submit(workload)
        except RequestError as error:
            if not question.partial or error.status != 413:
                raise
            return _written(bodies.write_answer(work.refused(error), form), form)
        return _written(await asyncio.to_thread(lambda: bodies.write_answer(work.finish(results), form)), form)

    async def _stream(self, question: Question, upload: Upload, observed: Observed, held: ExitStack) -> Response:
        """Admit the whole work, then answer in pieces."""
        from .pieces import plan_pieces
        from .streams import PiecesJob

        pieces = await asyncio.to_thread(
            plan_pieces, question.task, list(enumerate(question.inputs)), self._predictor, partial=question.partial
        )
        job = PiecesJob(pieces, self._batcher)
        held.callback(job.leave)
        observed.tokens = job.tokens
        outbox = Outbox(self._spooled)

        async def produce() -> None:
            observed.waited_s = await job.write(outbox.put)

        return StreamedAnswer(produce, outbox, upload, observed, held)

    def _stream_lines(self, about: ContentType, upload: Upload, observed: Observed, held: ExitStack) -> Response:
        """Answer lines as they come."""
        from .streams import LinesJob
        from .tasks import read_task

        task = read_task(about.task, about.parameters)
        observed.task = task.name
        job = LinesJob(task, self._predictor, self._batcher, self._leaving)
        outbox = Outbox(self._spooled)

        async def produce() -> None:
            try:
                observed.waited_s = await job.write(upload.lines(), outbox.put)
            finally:
                observed.inputs, observed.tokens = job.inputs, job.tokens

        return StreamedAnswer(produce, outbox, upload, observed, held)


def _written(content: bytes, form: AnswerType) -> Response:
    return Response(content, media_type=form.media_type)
