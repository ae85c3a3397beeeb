"""Killed at many random moments, by one and by two processes: a run leaves the bytes of one that nobody disturbed."""

from pathlib import Path

import pytest

from tests.model.resume_proof import run


@pytest.mark.proof
def test_twenty_kills_leave_what_no_kill_leaves(tmp_path: Path) -> None:
    """`make test` has a sample: tests/model/test_train.py."""
    assert run(tmp_path, kills=20, seed=2, processes=(1, 2)) == (20, 20)
