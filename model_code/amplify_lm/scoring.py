"""Variant effects: what people write (`A42G`, `A42G:L50P`) and the log-likelihood ratios that score it.

Score of a variant M of substitutions, from the model's log-probabilities log p(letter at i | context) (Meier et al.
2021, "Language models enable zero-shot prediction of the effects of mutations on protein function"):

    sum over i in M of  log p(mutant letter at i | context) - log p(wild-type letter at i | context)

The context is the wild type (`wt_marginal`: one pass for everything), the wild type with all positions of M masked
(`masked_marginal`), or the mutant itself (`mutant_marginal`). Above 0: the model finds the mutant likelier.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .tokenizer import CHAIN_BREAK, VOCABULARY, TokenIds

LETTERS = "ACDEFGHIKLMNPQRSTVWY"  # the standard amino acids, in the order of a scan's columns
_TOKEN_OF = {letter: token_id for token_id, letter in enumerate(VOCABULARY) if token_id > CHAIN_BREAK}
LETTER_IDS = np.array([_TOKEN_OF[letter] for letter in LETTERS])
_SUBSTITUTION = re.compile(r"([A-Z])([1-9][0-9]{0,5})([A-Z])", re.ASCII)


class VariantError(ValueError):
    """A variant that cannot be read, or that does not fit its protein; the message says what stands there."""


@dataclass(frozen=True, slots=True)
class Substitution:
    """One residue replaced by another, as in `A42G`. The position is 1-based and counts `|` too."""

    wild_type: str
    position: int
    mutant: str

    @property
    def mutant_id(self) -> int:
        return _TOKEN_OF[self.mutant]

    @property
    def wild_type_id(self) -> int:
        return _TOKEN_OF[self.wild_type]


Variant = tuple[Substitution, ...]


def read_variant(text: str, sequence: str) -> Variant:
    """The substitutions of `A42G` or `A42G:L50P`, checked against the protein that they change.

    Raises VariantError for what is not of that form, a position outside the protein, a wild-type letter other than
    the one that stands there, a letter that the model does not know, and a position named twice.
    """
    parts = text.strip().upper().split(":")
    substitutions = tuple(_read_substitution(part, sequence) for part in parts)
    positions = [one.position for one in substitutions]
    if twice := next((position for position in positions if positions.count(position) > 1), None):
        raise VariantError(f"position {twice} is changed twice")
    return substitutions


def _read_substitution(text: str, sequence: str) -> Substitution:
    match = _SUBSTITUTION.fullmatch(text)
    if match is None:
        raise VariantError("substitutions like A42G are wanted (wild type, position, mutant), several joined by ':'")
    wild_type, position, mutant = match[1], int(match[2]), match[3]
    if position > len(sequence):
        raise VariantError(f"position {position} is outside the protein, which has {len(sequence)} residues")
    there = sequence[position - 1]
    if wild_type != there:
        raise VariantError(f"the wild type at position {position} is {there!r}, not {wild_type!r}")
    for letter in (wild_type, mutant):
        if letter not in _TOKEN_OF:
            raise VariantError(f"the model does not know {letter!r}; one of {''.join(sorted(_TOKEN_OF))} is wanted")
    return Substitution(wild_type, position, mutant)


def mutated(ids: TokenIds, substitutions: Variant) -> TokenIds:
    """A protein's token ids [L + 2] with the substitutions made (position i is token i, as `<bos>` is token 0)."""
    changed = ids.copy()
    for one in substitutions:
        changed[one.position] = one.mutant_id
    return changed


def single_substitutions(sequence: str) -> list[Variant]:
    """All changes of one residue that the model knows into another standard amino acid, by position, then letter."""
    return [
        (Substitution(there, position, letter),)
        for position, there in enumerate(sequence, start=1)
        if there in _TOKEN_OF
        for letter in LETTERS
        if letter != there
    ]


def variant_score(log_probabilities: Iterable[NDArray[np.float32]], variant: Variant) -> float:
    """The variant's score in nats, from log-probabilities [V] at the position of each of its substitutions."""
    return sum(
        float(row[one.mutant_id]) - float(row[one.wild_type_id])
        for row, one in zip(log_probabilities, variant, strict=True)
    )
