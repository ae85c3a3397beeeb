"""SageMaker's four handler functions: a model folder; a body in, a prediction, a body out. No sockets: see serve.py.

`predict_fn` runs one request by itself, for notebooks, scripts and tests; the server plans requests with
`plan_request`, runs them together in its batcher, and finishes them with `Work.finish`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from amplify_lm import bodies
from amplify_lm.bodies import Answer, Request
from amplify_lm.predict import Array, Predictor, Workload
from amplify_lm.request_errors import RequestError
from amplify_lm.tasks import Output, Plan, Protein, read_protein


def model_fn(model_dir: str | Path, batch_tokens: int = 0) -> Predictor:
    """Load the model of a folder and run it once; `batch_tokens` 0 is what suits the device.

    Raises CheckpointError or UnusableModelError.
    """
    predictor = Predictor.load(Path(model_dir), batch_tokens)
    predictor.warm_up()
    return predictor


def input_fn(body: bytes | str, content_type: str | None = bodies.JSON) -> Request:
    """Read a request's body. Raises RequestError."""
    return bodies.read_request(body.encode() if isinstance(body, str) else body, content_type)


def predict_fn(request: Request, predictor: Predictor) -> Answer:
    """Answer one request. Raises RequestError for sequences and parameters that do not fit the model."""
    work = plan_request(request, predictor)
    return work.finish(list(predictor.run_all(work.workload().passes)))


def output_fn(answer: Answer, accept: str | None = bodies.JSON) -> tuple[bytes, str]:
    """The answer's body and its media type. Raises RequestError where no format of ours is accepted."""
    form = bodies.choose_answer_type(accept, bodies.JSON)
    bodies.check_answer_type(answer.request, form)
    return bodies.write_answer(answer, form), form.media_type


Part = tuple[Protein, Plan] | RequestError
"""One input, planned; or, of a partial request, what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Work:
    """A request, planned: a part for each input."""

    request: Request
    parts: tuple[Part, ...]

    def workload(self) -> Workload:
        """The passes of all inputs; to be taken once."""
        return Workload.joined([part[1].work for part in self.parts if not isinstance(part, RequestError)])

    def finish(self, results: list[Array]) -> Answer:
        """The answer, of what the passes kept, in order."""
        rest = iter(results)
        named = any(one.name is not None for one in self.request.inputs)
        outputs = []
        for one, part in zip(self.request.inputs, self.parts, strict=True):
            about: Output = {"id": one.name} if named else {}
            if isinstance(part, RequestError):
                outputs.append(about | {"error": part.body()})
                continue
            protein, plan = part
            output = plan.finish(list(itertools.islice(rest, plan.work.num_passes)))
            about |= {"length": len(protein.sequence), "unknown": protein.num_unknown}
            outputs.append(about | output)
        return Answer(self.request, tuple(outputs))

    def refused(self, error: RequestError) -> Answer:
        """The answer to a partial request whose work as a whole cannot be done: the error of every input."""
        parts = [part if isinstance(part, RequestError) else error for part in self.parts]
        return Work(self.request, tuple(parts)).finish([])


def plan_request(request: Request, predictor: Predictor) -> Work:
    """Clean, tokenise and plan every input. Raises RequestError for the first that is wrong, unless it is partial."""
    parts: list[Part] = []
    for one in request.inputs:
        try:
            protein = read_protein(
                one.text,
                one.where,
                masks=request.task.masks,
                max_residues=predictor.max_residues,
                variants=one.variants,
            )
            parts.append((protein, request.task.plan(protein, predictor)))
        except RequestError as error:
            if not request.partial:
                raise
            parts.append(error)
    return Work(request, tuple(parts))
