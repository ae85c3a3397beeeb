"""`score_variants`: what does the model think of a mutation? The formulas are in amplify_lm/scoring.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, cast

import numpy as np

from ..predict import Array, Pass, Predictor, Workload
from ..request_errors import RequestError, echo
from ..scoring import LETTERS, Variant, VariantError, mutated, read_variant, single_substitutions, variant_score
from ..tokenizer import VOCABULARY, TokenIds
from .parameters import Choice, Switch, VariantList, about, check
from .plan import Output, Plan, Protein, Task, log_probabilities, nothing_to_score, with_masks
from .schemas import TEXT, listed, numbers

STREAMED_POSITIONS = 16  # of a scan in one line of a stream
METHODS = ("wt_marginal", "masked_marginal", "mutant_marginal")

Context = Variant | tuple[int, ...]
"""What tells passes apart: nothing, the masked positions, or the mutant."""


@dataclass(frozen=True, kw_only=True)
class ScoreVariants(Task):
    """Log-likelihood ratios in nats: of a list, `variants` [n] and `scores` [n]; of a scan, `scores` [L, 20].

    The columns of a scan are its `letters`; a row is 0 at the wild type, and NaN where the model does not know what
    stands there. In a stream a scan comes by positions: `positions`, their `residues`, and `scores` [n, 20].
    """

    name: ClassVar[str] = "score_variants"
    answers: ClassVar = (
        {"variants": listed(TEXT), "scores": numbers(1)},
        {"letters": TEXT, "scores": numbers(2, unknown=True)},
    )
    masks: ClassVar[bool] = False

    variants: Sequence[str] | None = field(
        default=None, metadata=about(VariantList(), "of every protein; one may bring its own instead")
    )
    scan: bool = field(default=False, metadata=about(Switch(), "every single substitution instead of a list"))
    method: str = field(default="masked_marginal", metadata=about(Choice(METHODS), "what the model sees meanwhile"))

    def __post_init__(self) -> None:
        check(self)

    def plan(self, protein: Protein, _predictor: Predictor) -> Plan:
        variants = protein.variants if protein.variants is not None else self.variants
        if self._scans(protein):
            every = _every(protein)
            return self._plan(
                protein,
                every,
                lambda scores: {"letters": LETTERS, "scores": _table(protein.sequence, 1, every, scores)},
            )
        if not variants:
            message = "no variants; give parameters.variants, or scan: true for all substitutions"
            raise nothing_to_score(protein, message)
        read = [_read_variant(text, protein) for text in variants]
        return self._plan(
            protein, read, lambda scores: {"variants": list(variants), "scores": np.array(scores, dtype=np.float32)}
        )

    def stream(self, protein: Protein, predictor: Predictor) -> Sequence[Plan]:
        if not self._scans(protein):
            return [self.plan(protein, predictor)]
        of_position: dict[int, list[Variant]] = {}
        for variant in _every(protein):
            of_position.setdefault(variant[0].position, []).append(variant)
        length = len(protein.sequence)
        step = length if self.method == "wt_marginal" else STREAMED_POSITIONS  # one pass gives all positions at once
        parts = [range(first, min(first + step, length + 1)) for first in range(1, length + 1, step)]
        return [self._plan_positions(protein, part, of_position) for part in parts]

    def _scans(self, protein: Protein) -> bool:
        variants = protein.variants if protein.variants is not None else self.variants
        if self.scan and variants:
            raise RequestError(400, "bad_parameter", "give variants or scan, not both", where="parameters.scan")
        return self.scan

    def _plan_positions(self, protein: Protein, part: range, of_position: dict[int, list[Variant]]) -> Plan:
        every = [variant for position in part for variant in of_position.get(position, ())]
        residues = protein.sequence[part.start - 1 : part.stop - 1]

        def answer(scores: list[float]) -> Output:
            table = _table(residues, part.start, every, scores)
            return {"letters": LETTERS, "positions": list(part), "residues": residues, "scores": table}

        return self._plan(protein, every, answer)

    def _plan(self, protein: Protein, read: Sequence[Variant], answer: Callable[[list[float]], Output]) -> Plan:
        """One pass for each context, however many variants share it."""
        positions: dict[Context, set[int]] = {}
        for variant in read:
            positions.setdefault(self._context(variant), set()).update(one.position for one in variant)
        kept = {context: sorted(at) for context, at in positions.items()}

        def finish(results: list[Array]) -> Output:
            rows = {
                context: dict(zip(at, array, strict=True))
                for (context, at), array in zip(kept.items(), results, strict=True)
            }
            scores = []
            for variant in read:
                seen = rows[self._context(variant)]
                scores.append(variant_score([seen[one.position] for one in variant], variant))
            return answer(scores)

        passes = (Pass(self._ids(protein.ids, context), partial(log_probabilities, at)) for context, at in kept.items())
        numbers = sum(len(at) for at in kept.values()) * len(VOCABULARY)
        work = Workload(passes, num_passes=len(kept), tokens=len(kept) * len(protein.ids), numbers=numbers)
        return Plan(work, finish)

    def _context(self, variant: Variant) -> Context:
        if self.method == "wt_marginal":
            return ()
        if self.method == "masked_marginal":
            return tuple(sorted(one.position for one in variant))
        return variant

    def _ids(self, ids: TokenIds, context: Context) -> TokenIds:
        if self.method == "wt_marginal":
            return ids
        if self.method == "masked_marginal":
            return with_masks(ids, cast(tuple[int, ...], context))
        return mutated(ids, cast(Variant, context))


def _every(protein: Protein) -> list[Variant]:
    every = single_substitutions(protein.sequence)
    if not every:
        raise nothing_to_score(protein, "none of its residues is one that the model knows")
    return every


def _table(residues: str, first: int, every: Sequence[Variant], scores: Sequence[float]) -> Array:
    """Scores [n, 20] of the residues that stand from position `first` on."""
    table = np.full((len(residues), len(LETTERS)), np.nan, dtype=np.float32)
    for (one,), score in zip(every, scores, strict=True):
        table[one.position - first, LETTERS.index(one.mutant)] = score
    for i, letter in enumerate(residues):
        if letter in LETTERS:
            table[i, LETTERS.index(letter)] = 0.0
    return table


def _read_variant(text: str, protein: Protein) -> Variant:
    try:
        return read_variant(text, protein.sequence)
    except VariantError as error:
        where = f"{protein.where}, variant {echo(text)}"
        raise RequestError(400, "bad_variant", str(error), where=where) from None
