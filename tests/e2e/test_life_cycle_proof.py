"""The life of a deployed project in full, as `make lifecycle` shows it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from local_aws import server
from tests.e2e.conftest import Trap, clone
from tests.e2e.life_cycle import prove

pytestmark = [pytest.mark.e2e, pytest.mark.proof]  # ten minutes; `make test` goes through a part of it


def test_no_request_is_lost_from_the_first_deployment_to_the_one_after_the_destruction(
    tmp_path: Path, trap: Trap, record_property: Callable[[str, object], None]
) -> None:
    project = clone(tmp_path, trap)
    try:
        tally = prove(project, lambda _line: None)
    finally:
        server.stop(project.state)
    record_property("tally", str(tally))
    assert tally.lost == []
    assert tally.rolled_back == 3
    assert tally.requests > 1_000
    assert trap.seen == []
