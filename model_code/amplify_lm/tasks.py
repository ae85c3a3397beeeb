"""The questions people ask of a protein model, one frozen dataclass each: parameters, checked; and how to answer.

`task.plan(protein, predictor)` says which passes through the model the answer takes and how to make the answer of what
they keep. Nothing runs here, so that many requests' passes can share batches, and a question's cost is known before
it is admitted.

| task | answer for each protein |
|---|---|
| embed | `embedding` [H], or [L, H] per residue |
| logits | `logits` [L + 2, 27], from `<bos>` to `<eos>`, columns in the tokenizer's order |
| fill_mask | at each `<mask>` or `_`: `positions` [m], `residues` and `probabilities` [m, top_k] |
| perplexity | `perplexity`, `loss` in nats a residue, `scored_residues` |
| score_variants | `variants` [n] and `scores` [n] in nats; with `scan`: `letters` [20] and `scores` [L, 20] |

Positions are 1-based and count the `|` between chains.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from .fasta import FastaError, clean
from .predict import Array, Pass, Predictor, Workload
from .request_errors import RequestError, echo, unknown_name
from .scoring import (
    LETTER_IDS,
    LETTERS,
    Variant,
    VariantError,
    mutated,
    read_variant,
    single_substitutions,
    variant_score,
)
from .tokenizer import CHAIN_BREAK, MASK, VOCABULARY, TokenIds, encode

Output = dict[str, Any]  # JSON's plain types and arrays


@dataclass(frozen=True, slots=True)
class Protein:
    """A protein of a request, clean and tokenised."""

    sequence: str
    """Upper-case residues; `_` stands at masked positions"""
    ids: TokenIds
    """[L + 2]"""
    num_unknown: int
    where: str
    """How an error message names it"""
    variants: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The passes that answer a question, and how what they keep, in order, becomes the answer."""

    work: Workload
    finish: Callable[[list[Array]], Output]


def read_protein(
    text: str, where: str, *, masks: bool, max_residues: int, variants: tuple[str, ...] | None = None
) -> Protein:
    """Clean and tokenise; with `masks`, `<mask>` and `_` stand for unknown positions.

    Raises RequestError: 400 for what is no protein, 413 for one that is longer than the model takes.
    """
    marked = "".join(text.split()).replace("<mask>", "_") if masks else text
    masked = [i for i, character in enumerate(marked) if character == "_"] if masks else []
    try:
        cleaned = clean(marked.replace("_", "X") if masks else marked, where)
    except FastaError as error:
        at = where if error.position is None else f"{where}, position {error.position}"
        raise RequestError(400, "bad_sequence", str(error).removeprefix(f"{at}: "), where=at) from None
    if len(cleaned.residues) > max_residues:
        message = f"{len(cleaned.residues)} residues; the model takes at most {max_residues}: cut the protein"
        raise RequestError(413, "sequence_too_long", message, where=where)
    ids = encode(cleaned.residues)
    letters = list(cleaned.residues)
    for i in masked:
        ids[i + 1] = MASK
        letters[i] = "_"
    return Protein("".join(letters), ids, cleaned.num_unknown - len(masked), where, variants)


# ---- the tasks -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Embed:
    """The output of one block, averaged over residues, at each residue, or at `<bos>`."""

    name: ClassVar = "embed"
    masks: ClassVar = True

    pooling: str = "mean"  # mean | per_residue | bos
    layer: int = -1  # 1 is the first block, -1 the last
    normalize: bool = False  # to Euclidean length 1

    def __post_init__(self) -> None:
        _check_choice("pooling", self.pooling, ("mean", "per_residue", "bos"))
        _check_whole("layer", self.layer)
        _check_boolean("normalize", self.normalize)

    @property
    def stacked(self) -> tuple[str, ...]:
        """Fields that have one shape for all proteins."""
        return () if self.pooling == "per_residue" else ("embedding",)

    def plan(self, protein: Protein, predictor: Predictor) -> Plan:
        layer = self.layer if self.layer > 0 else predictor.num_layers + 1 + self.layer
        if not 1 <= layer <= predictor.num_layers:
            wanted = f"1 to {predictor.num_layers}, or -{predictor.num_layers} to -1 counted from the last"
            raise _bad_parameter("layer", self.layer, wanted)
        rows = len(protein.sequence) if self.pooling == "per_residue" else 1
        one = Pass(protein.ids, partial(_pool, protein.ids, self.pooling, self.normalize), layer)
        return _single_pass(one, rows * predictor.hidden_size, lambda embedding: {"embedding": embedding})


@dataclass(frozen=True, kw_only=True)
class Logits:
    """The decoder's output at every token."""

    name: ClassVar = "logits"
    masks: ClassVar = True
    stacked: ClassVar[tuple[str, ...]] = ()

    def plan(self, protein: Protein, _predictor: Predictor) -> Plan:
        one = Pass(protein.ids, _everything)
        return _single_pass(one, len(protein.ids) * len(VOCABULARY), lambda logits: {"logits": logits})


@dataclass(frozen=True, kw_only=True)
class FillMask:
    """The likeliest amino acids at each masked position; probabilities are among all 27 tokens."""

    name: ClassVar = "fill_mask"
    masks: ClassVar = True
    stacked: ClassVar[tuple[str, ...]] = ()

    top_k: int = 5

    def __post_init__(self) -> None:
        _check_whole("top_k", self.top_k, at_least=1, at_most=len(LETTERS))

    def plan(self, protein: Protein, _predictor: Predictor) -> Plan:
        tokens = np.flatnonzero(protein.ids == MASK).tolist()
        if not tokens:
            raise _nothing(protein, "no masked position; write <mask> or _ where residues are to be filled in")
        one = Pass(protein.ids, partial(_log_probabilities, tokens))
        return _single_pass(one, len(tokens) * len(VOCABULARY), partial(self._answer, tokens))

    def _answer(self, tokens: list[int], log_probabilities: Array) -> Output:
        of_letters = log_probabilities[:, LETTER_IDS]
        best = np.argsort(-of_letters, axis=1, kind="stable")[:, : self.top_k]
        return {
            "positions": tokens,
            "residues": [[LETTERS[i] for i in row] for row in best],
            "probabilities": np.exp(np.take_along_axis(of_letters, best, axis=1)),
        }


@dataclass(frozen=True, kw_only=True)
class Perplexity:
    """exp of the mean negative log-probability of the residues that the model knows.

    From one pass, which sees each residue that it scores; or `exact`, the pseudo-perplexity (Salazar et al. 2020),
    which masks each residue in a pass of its own.
    """

    name: ClassVar = "perplexity"
    masks: ClassVar = False
    stacked: ClassVar[tuple[str, ...]] = ()

    exact: bool = False

    def __post_init__(self) -> None:
        _check_boolean("exact", self.exact)

    def plan(self, protein: Protein, _predictor: Predictor) -> Plan:
        ids = protein.ids
        tokens = np.flatnonzero(ids > CHAIN_BREAK).tolist()
        if not tokens:
            raise _nothing(protein, "none of its residues is one that the model knows")
        if not self.exact:
            one = Pass(ids, partial(_own_log_probabilities, tokens, ids[tokens]))
            return _single_pass(one, len(tokens), _perplexity)
        passes = (Pass(_masked(ids, [at]), partial(_own_log_probabilities, [at], ids[[at]])) for at in tokens)
        count = len(tokens)
        work = Workload(passes, num_passes=count, tokens=count * len(ids), numbers=count)
        return Plan(work, lambda results: _perplexity(np.concatenate(results)))


@dataclass(frozen=True, kw_only=True)
class ScoreVariants:
    """Log-likelihood ratios of variants (amplify_lm/scoring.py), of a list or of all single substitutions."""

    name: ClassVar = "score_variants"
    masks: ClassVar = False
    stacked: ClassVar[tuple[str, ...]] = ()

    variants: Sequence[str] | None = None  # of every protein of the request; a protein may bring its own instead
    scan: bool = False
    method: str = "masked_marginal"  # wt_marginal | masked_marginal | mutant_marginal

    def __post_init__(self) -> None:
        if self.variants is not None:
            check_variants(self.variants, "parameters.variants")
        _check_boolean("scan", self.scan)
        _check_choice("method", self.method, ("wt_marginal", "masked_marginal", "mutant_marginal"))

    def plan(self, protein: Protein, _predictor: Predictor) -> Plan:
        variants = protein.variants if protein.variants is not None else self.variants
        if self.scan and variants:
            raise RequestError(400, "bad_parameter", "give variants or scan, not both", where="parameters.scan")
        if self.scan:
            every = single_substitutions(protein.sequence)
            if not every:
                raise _nothing(protein, "none of its residues is one that the model knows")
            return self._plan(protein, every, partial(_scan_answer, protein.sequence, every))
        if not variants:
            raise _nothing(protein, "no variants; give parameters.variants, or scan: true for all substitutions")
        read = [_read_variant(text, protein) for text in variants]
        return self._plan(
            protein, read, lambda scores: {"variants": list(variants), "scores": np.array(scores, dtype=np.float32)}
        )

    def _plan(self, protein: Protein, read: Sequence[Variant], answer: Callable[[list[float]], Output]) -> Plan:
        """One pass for each context, however many variants share it."""
        positions: dict[Variant | tuple[int, ...], set[int]] = {}
        for variant in read:
            positions.setdefault(self._context(variant), set()).update(one.position for one in variant)
        kept = {context: sorted(at) for context, at in positions.items()}

        def finish(results: list[Array]) -> Output:
            rows = {
                context: dict(zip(at, array, strict=True))
                for (context, at), array in zip(kept.items(), results, strict=True)
            }
            scores = [_score(rows[self._context(variant)], variant) for variant in read]
            return answer(scores)

        passes = (
            Pass(self._ids(protein.ids, context), partial(_log_probabilities, at)) for context, at in kept.items()
        )
        numbers = sum(len(at) for at in kept.values()) * len(VOCABULARY)
        work = Workload(passes, num_passes=len(kept), tokens=len(kept) * len(protein.ids), numbers=numbers)
        return Plan(work, finish)

    def _context(self, variant: Variant) -> Variant | tuple[int, ...]:
        """What tells the passes of this method apart: nothing, the masked positions, or the mutant."""
        if self.method == "wt_marginal":
            return ()
        if self.method == "masked_marginal":
            return tuple(sorted(one.position for one in variant))
        return variant

    def _ids(self, ids: TokenIds, context: Variant | tuple[int, ...]) -> TokenIds:
        if self.method == "wt_marginal":
            return ids
        if self.method == "masked_marginal":
            return _masked(ids, cast(tuple[int, ...], context))
        return mutated(ids, cast(Variant, context))


Task = Embed | Logits | FillMask | Perplexity | ScoreVariants
TASKS: dict[str, type[Task]] = {task.name: task for task in (Embed, Logits, FillMask, Perplexity, ScoreVariants)}


def read_task(name: object, parameters: Mapping[str, Any]) -> Task:
    """The task of a request. Raises RequestError for a name or a parameter that does not exist, naming the nearest."""
    if not isinstance(name, str):
        raise RequestError(400, "bad_request", f"a string is wanted, not {echo(name)}", where="task")
    if name not in TASKS:
        raise RequestError(400, "bad_request", unknown_name("task", name, TASKS), where="task")
    known = [field.name for field in dataclasses.fields(TASKS[name])]
    for key in parameters:
        if key not in known:
            message = unknown_name(f"parameter of {name}", key, known) if known else f"{name} takes no parameters"
            raise RequestError(400, "bad_parameter", message, where=f"parameters.{key[:40]}")
    return TASKS[name](**parameters)


def check_variants(value: object, where: str) -> tuple[str, ...]:
    """A list of variants as text. Raises RequestError where it is none."""
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        message = f'a list of variants like ["A42G", "A42G:L50P"] is wanted, not {echo(value)}'
        raise RequestError(400, "bad_parameter", message, where=where)
    return tuple(value)


# ---- what a pass keeps (run on the model's thread) -------------------------------------------------------------------


def _everything(rows: Tensor) -> Tensor:
    return rows


def _pool(ids: TokenIds, pooling: str, normalize: bool, rows: Tensor) -> Tensor:
    if pooling == "bos":
        pooled = rows[0]
    elif pooling == "per_residue":
        pooled = rows[1:-1]
    else:
        inside = torch.from_numpy(ids[1:-1] != CHAIN_BREAK).to(rows.device)
        pooled = rows[1:-1][inside].mean(0)
    return torch.nn.functional.normalize(pooled, dim=-1) if normalize else pooled


def _log_probabilities(tokens: Sequence[int], logits: Tensor) -> Tensor:
    return logits[torch.as_tensor(tokens, device=logits.device)].log_softmax(-1)


def _own_log_probabilities(tokens: Sequence[int], ids: TokenIds, logits: Tensor) -> Tensor:
    """log p of the residue that stands at each of the positions."""
    own = torch.from_numpy(ids.astype(np.int64)).to(logits.device)
    return _log_probabilities(tokens, logits).gather(1, own[:, None]).squeeze(1)


# ---- plans and answers -----------------------------------------------------------------------------------------------


def _single_pass(one: Pass, numbers: int, answer: Callable[[Array], Output]) -> Plan:
    work = Workload(iter([one]), num_passes=1, tokens=len(one.ids), numbers=numbers)
    return Plan(work, lambda results: answer(results[0]))


def _masked(ids: TokenIds, tokens: Sequence[int]) -> TokenIds:
    masked = ids.copy()
    masked[list(tokens)] = MASK
    return masked


def _perplexity(log_probabilities: Array) -> Output:
    loss = -float(np.mean(log_probabilities, dtype=np.float64))
    return {"perplexity": float(np.exp(loss)), "loss": loss, "scored_residues": len(log_probabilities)}


def _score(rows: Mapping[int, Array], variant: Variant) -> float:
    return variant_score([rows[one.position] for one in variant], variant)


def _scan_answer(sequence: str, every: Sequence[Variant], scores: list[float]) -> Output:
    """Scores [L, 20]; 0 at the wild type, NaN where the model does not know what stands there."""
    table = np.full((len(sequence), len(LETTERS)), np.nan, dtype=np.float32)
    for (one,), score in zip(every, scores, strict=True):
        table[one.position - 1, LETTERS.index(one.mutant)] = score
    for i, letter in enumerate(sequence):
        if letter in LETTERS:
            table[i, LETTERS.index(letter)] = 0.0
    return {"letters": LETTERS, "scores": table}


def _read_variant(text: str, protein: Protein) -> Variant:
    try:
        return read_variant(text, protein.sequence)
    except VariantError as error:
        where = f"{protein.where}, variant {echo(text)}"
        raise RequestError(400, "bad_variant", str(error), where=where) from None


# ---- checks ----------------------------------------------------------------------------------------------------------


def _nothing(protein: Protein, message: str) -> RequestError:
    return RequestError(422, "nothing_to_score", message, where=protein.where)


def _bad_parameter(name: str, value: object, wanted: str) -> RequestError:
    message = f"{name} is {echo(value)}; {wanted} is wanted"
    return RequestError(400, "bad_parameter", message, where=f"parameters.{name}")


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise _bad_parameter(name, value, " or ".join(choices))


def _check_boolean(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise _bad_parameter(name, value, "true or false")


def _check_whole(name: str, value: object, at_least: int = -1000, at_most: int = 1000) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value <= at_most:
        raise _bad_parameter(name, value, f"a whole number from {at_least} to {at_most}")
