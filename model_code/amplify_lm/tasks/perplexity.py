"""`perplexity`: how natural does a protein look to the model?"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np

from ..predict import Array, Pass, Predictor, Workload
from ..tokenizer import CHAIN_BREAK
from .parameters import Switch, about, check
from .plan import Output, Plan, Protein, Task, nothing_to_score, own_log_probabilities, single_pass, with_masks
from .schemas import NUMBER, WHOLE


@dataclass(frozen=True, kw_only=True)
class Perplexity(Task):
    """exp of the mean negative log-probability of the residues that the model knows.

    From one pass, which sees each residue that it scores; or `exact`, the pseudo-perplexity (Salazar et al. 2020,
    "Masked language model scoring"), which masks each residue in a pass of its own.
    """

    name: ClassVar[str] = "perplexity"
    answers: ClassVar = ({"perplexity": NUMBER, "loss": NUMBER, "scored_residues": WHOLE},)
    masks: ClassVar[bool] = False

    exact: bool = field(default=False, metadata=about(Switch(), "mask each residue in a pass of its own"))

    def __post_init__(self) -> None:
        check(self)

    def plan(self, protein: Protein, _predictor: Predictor) -> Plan:
        ids = protein.ids
        tokens = np.flatnonzero(ids > CHAIN_BREAK).tolist()
        if not tokens:
            raise nothing_to_score(protein, "none of its residues is one that the model knows")
        if not self.exact:
            one = Pass(ids, partial(own_log_probabilities, tokens, ids[tokens]))
            return single_pass(one, len(tokens), _answer)
        passes = (Pass(with_masks(ids, [at]), partial(own_log_probabilities, [at], ids[[at]])) for at in tokens)
        count = len(tokens)
        work = Workload(passes, num_passes=count, tokens=count * len(ids), numbers=count)
        return Plan(work, lambda results: _answer(np.concatenate(results)))


def _answer(log_probabilities: Array) -> Output:
    loss = -float(np.mean(log_probabilities, dtype=np.float64))
    return {"perplexity": float(np.exp(loss)), "loss": loss, "scored_residues": len(log_probabilities)}
