"""`contacts`: which residues lie side by side in the folded protein? Read off the model's attention."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from ..contacts import ContactReader
from ..predict import Pass, Predictor
from ..tokenizer import CHAIN_BREAK
from .parameters import ALL, BlockNumbers, Blocks, Choice, about, check, chosen_blocks
from .plan import Plan, Protein, Task, everything, nothing_to_score, single_pass
from .schemas import numbers


@dataclass(frozen=True, kw_only=True)
class Contacts(Task):
    """Attention maps, symmetrised and corrected (amplify_lm/contacts.py): the higher, the likelier a contact.

    `contacts` is their mean over heads and blocks, [L, L], or with `maps: each` all of them, [n, heads, L, L], for a
    regression of one's own. No probabilities: what can be compared are the pairs of one protein. NaN at the `|` between
    chains. Contacts of close neighbours (fewer than six residues apart) say little, and are left out by convention.
    """

    name: ClassVar[str] = "contacts"
    answers: ClassVar = ({"contacts": numbers(2, 4, unknown=True)},)

    layer: BlockNumbers = field(default=ALL, metadata=about(Blocks(), "whose attention: 1 is the first, -1 the last"))
    maps: str = field(default="mean", metadata=about(Choice(("mean", "each")), "one map, or one of each head"))

    def __post_init__(self) -> None:
        check(self)

    def plan(self, protein: Protein, predictor: Predictor) -> Plan:
        blocks = chosen_blocks(self.layer, predictor.num_layers)
        if len(protein.sequence) < 2:
            raise nothing_to_score(protein, "a single residue has no contacts")
        kept = protein.ids[1:-1] != CHAIN_BREAK
        each = self.maps == "each"
        one = Pass(protein.ids, everything, attention=partial(ContactReader, kept, blocks, each))
        maps = len(blocks) * predictor.num_heads if each else 1
        return single_pass(one, maps * len(protein.sequence) ** 2, lambda contacts: {"contacts": contacts})
