"""A started server under hostile requests, and under four times its load; `make test` has samples (test_serve.py)."""

from pathlib import Path

import pytest

from tests.model import fuzz_proof, overload_proof
from tests.model.serving_model import put_model


@pytest.mark.proof
def test_two_thousand_hostile_requests_get_no_5xx_and_harm_no_good_one(tmp_path: Path) -> None:
    put_model(tmp_path, None)
    found, unwell, _ = fuzz_proof.run(tmp_path, bodies=2000, seed=2)
    assert found.total() == 2000
    assert unwell == 0
    assert {status for status in found if status.isdigit()} <= {
        "200",
        "400",
        "404",
        "405",
        "406",
        "413",
        "415",
        "422",
        "429",
    }


@pytest.mark.proof
def test_overload_is_refused_at_once_and_what_is_admitted_is_answered(tmp_path: Path) -> None:
    put_model(tmp_path, None)
    tally, _, _ = overload_proof.run(tmp_path, duration=20, seed=2)
    assert tally.lost == 0
    assert tally.rejected_s
    assert tally.accepted_s
    assert tally.without_retry_after == 0
