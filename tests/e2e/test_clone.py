"""The clone that all end-to-end tests, `make lifecycle` and `make rehearsal` work in is nobody's own."""

from pathlib import Path

import pytest

from local_aws import server
from operate.settings import read_settings
from tests.e2e.conftest import Trap, clone

pytestmark = pytest.mark.e2e


def test_a_clone_leaves_the_local_aws_and_the_pins_of_the_person_who_runs_the_tests_alone(
    tmp_path: Path, trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "mine"
    monkeypatch.setenv("AMPLIFY_LOCAL_DIR", str(mine / "state"))
    monkeypatch.setenv("AMPLIFY_RELEASES_DIR", str(mine / "releases"))
    monkeypatch.setenv("AMPLIFY_LOCAL_USER", "me")
    made = clone(tmp_path, trap)
    try:
        made.amplify("up")
        assert server.status(made.state) is not None
        assert not mine.exists()
    finally:
        server.stop(made.state)
        server.stop(mine / "state")
    default, found = read_settings({}, made.root), read_settings(made.environ, made.root)
    assert (found.state, found.releases, found.local_user) == (default.state, default.releases, None)
