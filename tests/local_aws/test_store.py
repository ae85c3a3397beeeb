"""Records survive the death of the server at any moment, and are never seen half written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local_aws.store import Scope, Store

HERE = Scope("123456789012", "us-east-1")
THERE = Scope("222222222222", "us-east-1")


def test_what_was_kept_is_there_for_the_next_server(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(HERE, "model", "m", {"ModelName": "m", "CreationTime": 1.5})
    store.change(HERE, "model", "m", Owner="me")
    assert Store(tmp_path).get(HERE, "model", "m") == {"ModelName": "m", "CreationTime": 1.5, "Owner": "me"}


def test_accounts_regions_and_kinds_do_not_see_each_other(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(HERE, "model", "m", {})
    assert store.get(THERE, "model", "m") is None
    assert store.get(Scope(HERE.account, "eu-west-1"), "model", "m") is None
    assert store.get(HERE, "endpoint", "m") is None
    assert [scope for scope, _, _ in store.everywhere("model")] == [HERE]


def test_a_change_to_none_drops_the_member(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(HERE, "endpoint", "e", {"FailureReason": "no"})
    assert store.change(HERE, "endpoint", "e", FailureReason=None) == {}


def test_names_that_file_systems_confuse_stay_apart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    names = ["a", "A", "a/b", "a_b", "../a", "x" * 300, "arn:aws:sagemaker:us-east-1:1:pipeline/p/execution/e"]
    for name in names:
        store.put(HERE, "model", name, {"Name": name})
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len({file.name.lower() for file in files}) == len(names)
    assert {record["Name"] for record in Store(tmp_path).all(HERE, "model")} == set(names)


def test_a_deleted_record_does_not_come_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(HERE, "model", "m", {})
    store.delete(HERE, "model", "m")
    assert Store(tmp_path).all(HERE, "model") == []
    with pytest.raises(KeyError):
        store.delete(HERE, "model", "m")


def test_a_record_that_cannot_be_written_is_not_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(TypeError):
        store.put(HERE, "model", "m", {"Body": b"bytes"})
    assert store.get(HERE, "model", "m") is None
    assert Store(tmp_path).all(HERE, "model") == []


def test_records_come_oldest_first_also_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for time, name in enumerate("cab"):
        store.put(HERE, "model", name, {"Name": name, "CreationTime": time})
    assert [record["Name"] for record in Store(tmp_path).all(HERE, "model")] == ["c", "a", "b"]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(HERE, "model", "m", {})
    [file] = tmp_path.rglob("*.json")
    file.write_text("{")
    with pytest.raises(ValueError, match=rf"{file.name}.*move it away"):
        Store(tmp_path)


WRITER = """
import sys
from pathlib import Path
from local_aws.store import Scope, Store
store = Store(Path(sys.argv[1]))
for number in range(10**9):
    store.put(Scope("123456789012", "us-east-1"), "model", f"m{number % 3}", {"Number": number, "Body": "x" * 100_000})
    print(number, flush=True)
"""


def test_a_writer_killed_at_work_leaves_what_it_had_told(tmp_path: Path) -> None:
    """Killed by SIGKILL while it writes: each record is whole, and no older than the last number it printed."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        told = [next(writer.stdout) for _ in range(50)]
        os.kill(writer.pid, signal.SIGKILL)
        told += writer.stdout.read().splitlines()
    records = Store(tmp_path).all(HERE, "model")
    assert max(record["Number"] for record in records) >= int(told[-1])
    assert {len(record["Body"]) for record in records} == {100_000}
