"""`logits`: what the model says, as it says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..predict import Pass, Predictor
from ..tokenizer import VOCABULARY
from .plan import Plan, Protein, Task, everything, single_pass
from .schemas import numbers


@dataclass(frozen=True, kw_only=True)
class Logits(Task):
    """The decoder's output at every token, [L + 2, 27], from `<bos>` to `<eos>`; columns in the tokenizer's order."""

    name: ClassVar[str] = "logits"
    answers: ClassVar = ({"logits": numbers(2)},)

    def plan(self, protein: Protein, _predictor: Predictor) -> Plan:
        one = Pass(protein.ids, everything)
        return single_pass(one, len(protein.ids) * len(VOCABULARY), lambda logits: {"logits": logits})
