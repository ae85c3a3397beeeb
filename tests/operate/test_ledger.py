"""The record of releases, in a bucket and in Parameter Store of a real local AWS."""

import time

import pytest

from environments import DEV
from operate.aws import Aws
from operate.commands_release import earlier
from operate.errors import OperateError
from operate.ledger import HISTORY, Ledger, release_id
from tests.operate.release_pins import pin


@pytest.fixture
def ledger(aws: Aws) -> Ledger:
    """An empty record, in an account of the test's own."""
    bucket = f"record-{time.monotonic_ns()}"
    aws.client("s3").create_bucket(Bucket=bucket)
    return Ledger(aws, bucket)


def test_nothing_is_live_before_the_first_release(ledger: Ledger) -> None:
    assert (ledger.live(), ledger.live_in_bucket(), ledger.entries()) == (None, None, [])


def test_a_release_that_went_live_is_told_by_parameter_and_bucket(ledger: Ledger) -> None:
    ledger.write(pin(version=1), "live", "Ada")
    ledger.write(pin(version=2), "live", "Grace")
    live, there = ledger.live(), ledger.live_in_bucket()
    assert live is not None
    assert there is not None
    assert live["release"] == there["release"] == release_id(pin(version=2))
    assert (live["by"], there["pin"]) == ("Grace", pin(version=2))
    assert [entry["pin"]["model_package_version"] for entry in ledger.entries()] == [2, 1]


def test_a_failed_release_is_refused_until_its_pin_changes_and_changes_nothing_that_is_live(ledger: Ledger) -> None:
    ledger.write(pin(version=1), "live", "Ada")
    ledger.write(pin(version=2), "failed", "Ada", "alarm x is in ALARM")
    live = ledger.live()
    assert live is not None
    assert live["release"] == release_id(pin(version=1))
    assert ledger.failure_of(pin(version=2)) == "alarm x is in ALARM"
    assert ledger.failure_of(pin(version=1)) is None
    assert ledger.failure_of(pin(version=2, approved_by="Grace")) is None


def test_a_release_that_failed_once_and_was_live_later_is_not_refused(ledger: Ledger) -> None:
    ledger.write(pin(version=1), "failed", "Ada", "x")
    ledger.write(pin(version=1), "live", "Ada")
    assert ledger.failure_of(pin(version=1)) is None


def test_what_was_live_once_can_be_gone_back_to_although_it_failed_later(ledger: Ledger) -> None:
    ledger.write(pin(version=1), "live", "Ada")
    ledger.write(pin(version=2), "live", "Ada")
    ledger.write(pin(version=1), "failed", "Ada", "alarm x rang all the while")
    assert ledger.failure_of(pin(version=1)) is None


def test_a_folder_made_by_hand_is_passed_over_and_a_damaged_entry_is_named(ledger: Ledger, aws: Aws) -> None:
    ledger.write(pin(version=1), "live", "Ada")
    s3, bucket = aws.client("s3"), ledger._bucket
    s3.put_object(Bucket=bucket, Key=HISTORY, Body=b"")
    assert len(ledger.entries()) == 1
    for content in (b"{", b"[]", b""):
        s3.put_object(Bucket=bucket, Key=f"{HISTORY}2.json", Body=content)
        with pytest.raises(OperateError, match=r"releases/history/2\.json is no document of ours"):
            ledger.entries()


def test_the_identity_of_a_release_is_of_all_that_its_pin_says() -> None:
    assert release_id(pin()) == release_id(pin())
    assert len({release_id(one) for one in (pin(), pin(approved_by="Grace"), pin(version=2), pin(DEV, loss=2.4))}) == 4


# ---- going back ------------------------------------------------------------------------------------------------------


def versions(ledger: Ledger, pinned: int, to: str | None = None) -> int:
    found: int = earlier(ledger, pin(version=pinned), to)["pin"]["model_package_version"]
    return found


def test_back_is_to_the_release_before_and_the_roll_back_of_a_roll_back_is_forward(ledger: Ledger) -> None:
    for version in (1, 2):
        ledger.write(pin(version=version), "live", "Ada")
    assert versions(ledger, pinned=2) == 1
    ledger.write(pin(version=1), "live", "Ada")
    assert versions(ledger, pinned=1) == 2


def test_from_a_release_that_failed_back_is_to_what_is_live(ledger: Ledger) -> None:
    for version in (1, 2):
        ledger.write(pin(version=version), "live", "Ada")
    ledger.write(pin(version=3), "failed", "Ada", "alarm")
    assert versions(ledger, pinned=3) == 2
    assert versions(ledger, pinned=2) == 1


def test_any_release_that_was_live_can_be_named_and_no_other(ledger: Ledger) -> None:
    for version in (1, 2, 3):
        ledger.write(pin(version=version), "live", "Ada")
    ledger.write(pin(version=4), "failed", "Ada", "alarm")
    assert versions(ledger, pinned=3, to=release_id(pin(version=1))) == 1
    with pytest.raises(OperateError, match="No release"):
        versions(ledger, pinned=3, to=release_id(pin(version=4)))


def test_before_the_first_release_there_is_nothing_to_go_back_to(ledger: Ledger) -> None:
    with pytest.raises(OperateError, match="No other release was ever live"):
        earlier(ledger, None, None)
    ledger.write(pin(version=1), "live", "Ada")
    with pytest.raises(OperateError, match="No other release was ever live"):
        earlier(ledger, pin(version=1), None)
