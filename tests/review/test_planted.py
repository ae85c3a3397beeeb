"""Every planted change gets the verdict that the table wants: six in `make test`, all in `make proof`."""

import pytest

from review.rules import AREAS
from tests.review.planted import SAMPLE, TABLE, VARIANTS
from tests.review.workshop import Planted, outcome, tree

BY_NAME = {planted.name: planted for planted in TABLE}


@pytest.mark.parametrize("name", SAMPLE)
def test_a_planted_change_is_judged_as_it_should_be(name: str) -> None:
    _judge(BY_NAME[name])


@pytest.mark.proof
@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in SAMPLE])
def test_every_planted_change_is_judged_as_it_should_be(name: str) -> None:
    _judge(BY_NAME[name])


def _judge(planted: Planted) -> None:
    found = outcome(planted, VARIANTS)
    assert (found.misses, found.false_alarms) == ([], [])


def test_the_table_has_at_least_forty_changes_of_every_kind() -> None:
    assert len(BY_NAME) == len(TABLE) >= 40
    assert {planted.verdict for planted in TABLE} == {"ok", "look", "stop"}
    assert {which for planted in TABLE for which in planted.expect} == set(AREAS)


def test_every_planted_change_still_finds_its_place_in_the_source() -> None:
    """All of them, without a synthesis: whoever rewrites a construct hears of it at once."""
    with tree() as folder:
        for planted in TABLE:
            texts: dict[str, str] = {}
            for file, old, new in (*VARIANTS.get(planted.starts_from, ()), *planted.edits):
                text = texts.get(file) or (folder / file).read_text(encoding="utf-8")
                assert text.count(old) == 1, f"{planted.name}: {file} holds {text.count(old)} times {old!r}"
                texts[file] = text.replace(old, new)
