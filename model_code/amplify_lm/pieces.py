"""An answer in pieces, each a line of a stream that is made as soon as its own passes are done.

A scan is many pieces, a few positions each; every other answer is one. Pieces keep their order: that of the inputs,
and of the positions within one. No sockets and no clocks here: see streams.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .bodies import Input, as_line
from .predict import Array, Predictor, Workload
from .request_errors import RequestError
from .tasks import Output, Plan, Task, read_protein


@dataclass(frozen=True, slots=True)
class Piece:
    """One line: what it says of its input, and the plan of the rest; or the error that stands in its place."""

    about: Output
    plan: Plan | RequestError

    @property
    def num_passes(self) -> int:
        return 0 if isinstance(self.plan, RequestError) else self.plan.work.num_passes

    def line(self, results: list[Array]) -> bytes:
        if isinstance(self.plan, RequestError):
            return as_line(self.about | {"error": self.plan.body()})
        return as_line(self.about | self.plan.finish(results))


def plan_pieces(task: Task, inputs: Iterable[tuple[int, Input]], predictor: Predictor, *, partial: bool) -> list[Piece]:
    """The pieces of numbered inputs. Raises RequestError for the first that is wrong, unless it is partial."""
    pieces: list[Piece] = []
    for number, one in inputs:
        about: Output = {"input": number} | ({} if one.name is None else {"id": one.name})
        try:
            pieces.extend(_pieces_of(task, one, about, predictor))
        except RequestError as error:
            if not partial:
                raise
            pieces.append(Piece(about, error))
    return pieces


def _pieces_of(task: Task, one: Input, about: Output, predictor: Predictor) -> Iterator[Piece]:
    protein = read_protein(
        one.text, one.where, masks=task.masks, max_residues=predictor.max_residues, variants=one.variants
    )
    about = about | {"length": len(protein.sequence), "unknown": protein.num_unknown}
    return (Piece(about, plan) for plan in task.stream(protein, predictor))


def workload(pieces: Sequence[Piece]) -> Workload:
    """The passes of all pieces; to be taken once."""
    return Workload.joined([piece.plan.work for piece in pieces if not isinstance(piece.plan, RequestError)])


class Assembly:
    """Puts what passes keep, as it comes, to the pieces that it belongs to."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._open = deque(pieces)
        self._results: list[Array] = []

    def done(self) -> list[tuple[Piece, list[Array]]]:
        """The pieces that need nothing more, from the first that is open."""
        done = []
        while self._open and len(self._results) >= self._open[0].num_passes:
            done.append((self._open.popleft(), self._results))
            self._results = []
        return done

    def add(self, result: Array) -> list[tuple[Piece, list[Array]]]:
        """Take what the next pass kept; returns the pieces that are done with it."""
        self._results.append(result)
        return self.done()
