"""Gates between two environments, each open and shut by what lies in the source's account."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from environments import LOCAL
from operate import golden, promotion_gates
from operate.aws import Aws
from operate.ledger import LIVE, release_id
from operate.promotion_gates import Gate, Source
from stacks.config import Drift, Monitoring
from tests.operate.release_pins import pin

AT, LATER, EARLIER = "2026-11-20T10:00:00+00:00", "2026-11-21T10:00:00+00:00", "2026-11-19T10:00:00+00:00"


@pytest.fixture
def source(aws: Aws) -> Source:
    """An environment that looks for drift, with one release and nothing else in its bucket."""
    bucket = f"gates-{time.monotonic_ns()}"
    aws.client("s3").create_bucket(Bucket=bucket)
    released = pin()
    artifact = released["artifact"] | {"s3_uri": f"s3://{bucket}/runs/r/model.tar.gz"}
    environment = replace(LOCAL, monitoring=Monitoring(drift=Drift()))
    return Source(aws=aws, environment=environment, pin=released | {"artifact": artifact})


def put(source: Source, key: str, document: dict[str, Any]) -> None:
    source.s3.put_object(Bucket=source.bucket, Key=key, Body=json.dumps(document).encode())


def live(source: Source, **changed: Any) -> None:
    entry = {"release": release_id(source.pin), "at": AT, "smoke": "amplify-local answered 1 golden requests"}
    put(source, LIVE, entry | changed)


def report(source: Source, **changed: Any) -> None:
    measured = {"residue_divergence": {"at_least": 0.0}}
    put(source, "drift/2026/report.json", {"verdict": "judged", "to": LATER, "measures": measured} | changed)


def test_what_is_live_opens_and_another_release_or_none_does_not(source: Source) -> None:
    assert not promotion_gates._live(source).passed
    live(source)
    assert promotion_gates._live(source).passed
    live(source, release="another")
    assert not promotion_gates._live(source).passed
    put(source, LIVE, {})
    assert not promotion_gates._live(source).passed


def test_golden_answers_of_this_release_open_and_none_or_no_numbers_do_not(source: Source) -> None:
    def kept(*answers: Any) -> Gate:
        requests = [{"task": "embed"}] * len(answers)
        of = {"artifact_sha256": source.pin["artifact"]["sha256"], "image_digest": source.pin["image_digest"]}
        told = {"endpoint": "e", "recorded_at": AT, "requests": requests, "answers": list(answers)}
        put(source, golden.key_of(source.pin), of | told)
        return promotion_gates._smoke(source)

    assert not promotion_gates._smoke(source).passed
    live(source)
    assert kept([0.5]).passed
    assert AT in kept([0.5]).evidence
    assert not kept().passed
    assert not kept([float("nan")]).passed
    live(source, smoke="")
    assert not kept([0.5]).passed


def test_a_report_about_this_release_opens_and_any_other_does_not(source: Source) -> None:
    live(source)
    assert not promotion_gates._drift(source).passed
    report(source)
    assert promotion_gates._drift(source).passed
    for other in (
        {"to": EARLIER},
        {"to": "yesterday"},
        {"measures": {}, "verdict": "too few proteins to judge"},
        {"measures": {"nobody_knows_it": {"at_least": 0.1}}},
    ):
        report(source, **other)
        assert not promotion_gates._drift(source).passed, other


def test_a_loss_within_the_margin_on_the_same_proteins_opens(source: Source) -> None:
    def gate(loss: float, heldout: str = "a") -> Gate:
        new = source.pin | {"evaluation": {"loss": loss, "proteins": 10, "heldout_sha256": "a"}}
        before = source.pin | {"evaluation": {"loss": 2.5, "proteins": 10, "heldout_sha256": heldout}}
        return promotion_gates._evaluation(replace(source, pin=new), before, 0.01)

    assert gate(2.5).passed
    assert gate(2.51).passed
    assert not gate(2.52).passed
    assert not gate(2.4, heldout="b").passed
    assert promotion_gates._evaluation(source, None, 0.0).passed


def test_who_answers_for_a_gate_is_said_beside_what_was_found() -> None:
    gate = Gate(name="drift", passed=False, evidence="no report", accepted="looked at it by hand")
    assert gate.open
    assert gate.line == "! drift       no report — accepted: looked at it by hand"
    assert not Gate(name="drift", passed=False, evidence="no report").open
