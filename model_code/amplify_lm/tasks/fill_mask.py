"""`fill_mask`: which residues would the model put here?"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np

from ..predict import Array, Pass, Predictor
from ..scoring import LETTER_IDS, LETTERS
from ..tokenizer import MASK, VOCABULARY
from .parameters import Whole, about, check
from .plan import Output, Plan, Protein, Task, log_probabilities, nothing_to_score, single_pass
from .schemas import TEXT, WHOLE, listed, numbers


@dataclass(frozen=True, kw_only=True)
class FillMask(Task):
    """The likeliest amino acids at each masked position; probabilities are among all 27 tokens."""

    name: ClassVar[str] = "fill_mask"
    answers: ClassVar = ({"positions": listed(WHOLE), "residues": listed(listed(TEXT)), "probabilities": numbers(2)},)

    top_k: int = field(default=5, metadata=about(Whole(1, len(LETTERS)), "how many amino acids at each position"))

    def __post_init__(self) -> None:
        check(self)

    def plan(self, protein: Protein, _predictor: Predictor) -> Plan:
        tokens = np.flatnonzero(protein.ids == MASK).tolist()
        if not tokens:
            message = "no masked position; write <mask> or _ where residues are to be filled in"
            raise nothing_to_score(protein, message)
        one = Pass(protein.ids, partial(log_probabilities, tokens))
        return single_pass(one, len(tokens) * len(VOCABULARY), partial(self._answer, tokens))

    def _answer(self, tokens: list[int], log_probabilities: Array) -> Output:
        of_letters = log_probabilities[:, LETTER_IDS]
        best = np.argsort(-of_letters, axis=1, kind="stable")[:, : self.top_k]
        return {
            "positions": tokens,
            "residues": [[LETTERS[i] for i in row] for row in best],
            "probabilities": np.exp(np.take_along_axis(of_letters, best, axis=1)),
        }
