"""What a transform job can be asked: the server's tasks and their parameters, and how much work a record is.

Tasks and parameters are the server's (model_code/amplify_lm/tasks/; a contract test holds this table to it): a wrong
one is refused here, before instances are paid for.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from operate.batch_records import Record
from operate.errors import OperateError

SWITCH, VARIANTS = "true or false", 'a list such as ["A42G","A42G:L50P"]'
BLOCKS = "a whole number (1 is the first block, -1 the last), a list such as [1,-1], or all"

Wanted = tuple[str, ...] | range | str
"""One of these, a whole number of this range, or what the words say."""

PARAMETERS: dict[str, dict[str, Wanted]] = {
    "embed": {"pooling": ("mean", "per_residue", "bos"), "layer": BLOCKS, "normalize": SWITCH},
    "logits": {},
    "fill_mask": {"top_k": range(1, 21)},
    "perplexity": {"exact": SWITCH},
    "score_variants": {
        "variants": VARIANTS,
        "scan": SWITCH,
        "method": ("wt_marginal", "masked_marginal", "mutant_marginal"),
    },
    "contacts": {"layer": BLOCKS, "maps": ("mean", "each")},
}
TASKS = (*PARAMETERS, "scan")
"""`scan` is score_variants of every single substitution."""

REQUEST_TOKENS = 200_000
"""Work of a request, in tokens of model passes: seconds on a GPU, a minute or two on CPUs."""
REQUEST_NUMBERS = 500_000
"""Numbers in the answer to a request: some five megabytes of JSON."""
REQUEST_RECORDS = 200
WIDTH, DEPTH, HEADS = 1_024, 32, 15
"""Of an embedding, in blocks and in heads at most, in the published models (640 and 960 wide)."""
LETTERS, TOKENS = 20, 27


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of every record."""

    task: str
    """The server's word."""
    parameters: Mapping[str, Any]

    def request(self, records: Sequence[Record]) -> bytes:
        """The body about these records, on one line: a bad record gets its error, the others their answers."""
        body = {
            "task": self.task,
            "parameters": self.parameters,
            "partial": True,
            "inputs": [one.as_input() for one in records],
        }
        return json.dumps(body, separators=(",", ":")).encode()

    def tokens(self, record: Record) -> int:
        """The work of a record, as the server counts it; of what is no protein, something of that size."""
        length = len(record.sequence)
        return self._passes(record, length) * (length + 2)

    def numbers(self, record: Record) -> int:
        """About how many numbers the answer holds."""
        length = len(record.sequence)
        if self.task == "embed":
            return self._blocks(-1) * WIDTH * (length if self.parameters.get("pooling") == "per_residue" else 1)
        if self.task == "contacts":
            return length**2 * (self._blocks("all") * HEADS if self.parameters.get("maps") == "each" else 1)
        if self.task == "logits":
            return TOKENS * (length + 2)
        if self.task == "score_variants":
            return LETTERS * length if self.parameters.get("scan") else len(self._variants(record))
        return 10 * length if self.task == "fill_mask" else 1

    def _blocks(self, default: int | str) -> int:
        layer = self.parameters.get("layer", default)
        return DEPTH if layer == "all" else len(layer) if isinstance(layer, list) else 1

    def _passes(self, record: Record, length: int) -> int:
        if self.task == "perplexity":
            return length if self.parameters.get("exact") else 1
        method = self.parameters.get("method", "masked_marginal")
        if self.task != "score_variants" or method == "wt_marginal":
            return 1
        if self.parameters.get("scan"):
            return length * (LETTERS - 1 if method == "mutant_marginal" else 1)
        return len(set(self._variants(record)))

    def _variants(self, record: Record) -> Sequence[str]:
        return record.variants if record.variants is not None else self.parameters.get("variants") or ()


def question(task: str, settings: Sequence[str]) -> Question:
    """A task and its `KEY=VALUE` settings. Raises OperateError with every fault."""
    if task not in TASKS:
        raise OperateError(f"There is no task {task!r}.", todo=f"Give --task {', '.join(TASKS)}.")
    name = "score_variants" if task == "scan" else task
    parameters: dict[str, Any] = {"scan": True} if task == "scan" else {}
    faults = []
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator or not key.strip():
            faults.append(f"--set {setting!r} is no KEY=VALUE")
            continue
        value = _value(text)
        known = PARAMETERS[name].get(key.strip())
        if known is None:
            faults.append(f"{task} has no parameter {key.strip()!r}: {_listed(PARAMETERS[name])}")
        elif not _fits(value, known):
            faults.append(f"{key.strip()} is {text!r}: {_in_words(known)} is wanted")
        elif task == "scan" and key.strip() in ("scan", "variants"):
            faults.append(f"scan is of every substitution: give --task score_variants for {key.strip()}")
        parameters[key.strip()] = value
    if name == "score_variants" and parameters.get("scan") and parameters.get("variants"):
        faults.append("variants and scan exclude one another")
    if faults:
        raise OperateError("; ".join(faults) + ".", todo="Mend the settings of the task: --set KEY=VALUE.")
    return Question(name, parameters)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _fits(value: Any, known: Wanted) -> bool:
    if known == SWITCH:
        return isinstance(value, bool)
    if isinstance(known, range):
        return isinstance(value, int) and not isinstance(value, bool) and value in known
    if known == BLOCKS:
        blocks = value if isinstance(value, list) else [value]
        return value == "all" or (bool(blocks) and all(_fits(block, range(-1000, 1001)) for block in blocks))
    if known == VARIANTS:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return value in known


def _in_words(known: Wanted) -> str:
    if isinstance(known, range):
        return f"a whole number from {known.start} to {known.stop - 1}"
    return known if isinstance(known, str) else " or ".join(known)


def _listed(parameters: Mapping[str, Any]) -> str:
    return f"it has {', '.join(parameters)}" if parameters else "it has none"
