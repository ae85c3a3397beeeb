"""What every task is made of: a protein, read and tokenised, and a plan for it.

A plan says which passes through the model an answer takes, and how the answer is made of what they keep. Nothing runs
here, so that many requests' passes can share batches, and a question's cost is known before it is admitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..fasta import FastaError, clean
from ..predict import Array, Pass, Predictor, Workload
from ..request_errors import RequestError
from ..tokenizer import MASK, TokenIds, encode
from .schemas import Schema

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


class Task:
    """A question with its parameters: a frozen dataclass that checks them when it is made."""

    name: ClassVar[str]
    masks: ClassVar[bool] = True
    """Whether `<mask>` and `_` may stand in a protein"""
    answers: ClassVar[Sequence[Mapping[str, Schema]]]
    """The forms of an answer: its fields as JSON schema"""

    @property
    def stacked(self) -> tuple[str, ...]:
        """Fields of the answer that have one shape for all proteins."""
        return ()

    def plan(self, protein: Protein, predictor: Predictor) -> Plan:
        """Raises RequestError for what does not fit the protein or the model."""
        raise NotImplementedError

    def stream(self, protein: Protein, predictor: Predictor) -> Sequence[Plan]:
        """The same answer in parts, each to be sent as soon as its own passes are done."""
        return [self.plan(protein, predictor)]


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


# ---- plans -----------------------------------------------------------------------------------------------------------


def single_pass(one: Pass, numbers: int, answer: Callable[[Array], Output]) -> Plan:
    """An answer that takes one pass, which keeps so many numbers."""
    work = Workload(iter([one]), num_passes=1, tokens=len(one.ids), numbers=numbers)
    return Plan(work, lambda results: answer(results[0]))


def with_masks(ids: TokenIds, tokens: Sequence[int]) -> TokenIds:
    """The protein with `<mask>` at these tokens."""
    masked = ids.copy()
    masked[list(tokens)] = MASK
    return masked


def nothing_to_score(protein: Protein, message: str) -> RequestError:
    """The refusal of a well-formed question that asks for nothing."""
    return RequestError(422, "nothing_to_score", message, where=protein.where)


# ---- what a pass keeps (run on the model's thread) -------------------------------------------------------------------


def everything(rows: Tensor) -> Tensor:
    return rows


def log_probabilities(tokens: Sequence[int], logits: Tensor) -> Tensor:
    """log p of every token of the alphabet at each of the positions."""
    return logits[torch.as_tensor(tokens, device=logits.device)].log_softmax(-1)


def own_log_probabilities(tokens: Sequence[int], ids: TokenIds, logits: Tensor) -> Tensor:
    """log p of the residue that stands at each of the positions."""
    own = torch.from_numpy(ids.astype(np.int64)).to(logits.device)
    return log_probabilities(tokens, logits).gather(1, own[:, None]).squeeze(1)
