"""The questions people ask of a protein model: one file, one frozen dataclass for each.

`task.plan(protein, predictor)` says which passes through the model the answer takes and how to make the answer of what
they keep. A new task is a file here and a place in `TASKS`; parameters, refusals and the API's description follow.

| task | answer for each protein |
|---|---|
| embed | `embedding` [H], or [L, H] per residue; of several blocks [n, H] or [n, L, H] |
| logits | `logits` [L + 2, 27], from `<bos>` to `<eos>`, columns in the tokenizer's order |
| fill_mask | at each `<mask>` or `_`: `positions` [m], `residues` and `probabilities` [m, top_k] |
| perplexity | `perplexity`, `loss` in nats a residue, `scored_residues` |
| score_variants | `variants` [n] and `scores` [n] in nats; with `scan`: `letters` [20] and `scores` [L, 20] |
| contacts | `contacts` [L, L], or [n, heads, L, L] with `maps: each` |

Positions are 1-based and count the `|` between chains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..request_errors import RequestError, echo, unknown_name
from .contacts import Contacts
from .embed import Embed
from .fill_mask import FillMask
from .logits import Logits
from .parameters import kinds
from .perplexity import Perplexity
from .plan import Output, Plan, Protein, Task, read_protein
from .score_variants import ScoreVariants

__all__ = ["TASKS", "Logits", "Output", "Plan", "Protein", "Task", "read_protein", "read_task"]

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Embed, Logits, FillMask, Perplexity, ScoreVariants, Contacts)
}


def read_task(name: object, parameters: Mapping[str, Any]) -> Task:
    """The task of a request. Raises RequestError for a name or a parameter that does not exist, naming the nearest."""
    if not isinstance(name, str):
        raise RequestError(400, "bad_request", f"a string is wanted, not {echo(name)}", where="task")
    if name not in TASKS:
        raise RequestError(400, "bad_request", unknown_name("task", name, TASKS), where="task")
    known = kinds(TASKS[name])
    for key in parameters:
        if key not in known:
            message = unknown_name(f"parameter of {name}", key, known) if known else f"{name} takes no parameters"
            raise RequestError(400, "bad_parameter", message, where=f"parameters.{key[:40]}")
    return TASKS[name](**parameters)
