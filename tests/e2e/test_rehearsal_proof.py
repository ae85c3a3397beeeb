"""Releases through three accounts in full, as `make rehearsal` shows it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Trap
from tests.e2e.rehearsal import rehearse, shorten_waits
from tests.e2e.three_accounts import three_accounts

pytestmark = [pytest.mark.e2e, pytest.mark.proof]  # half an hour; `make test` goes from dev to staging


def test_releases_go_forward_and_back_and_no_request_is_lost_or_wrong(
    tmp_path: Path, trap: Trap, record_property: Callable[[str, object], None]
) -> None:
    with three_accounts(tmp_path, trap) as made:
        shorten_waits(made)
        tally = rehearse(made, lambda _line: None)
    record_property("tally", str(tally))
    assert (tally.lost, tally.wrong) == ([], [])
    assert (tally.releases, tally.roll_backs) == (9, 3)
    assert tally.requests > 1_000
    assert trap.seen == []
