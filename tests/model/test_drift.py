"""The drift job against a real S3 and CloudWatch: what it reads and reports; nothing that people send breaks it."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import drift
import pytest
from amplify_lm.container import Container

from stacks.config import Drift
from tests.model import s3_server
from tests.model.capture_files import SHARES, asking, baseline, captured, entropy, make_job, proteins

PREFIX = "captured/amplify-dev/model/"
TRAINING = baseline(proteins(3_000, seed=1))
LIMITS = Drift()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with s3_server.serve(tmp_path_factory.mktemp("ministack")) as environment:
        yield environment


@pytest.fixture
def bucket(server: dict[str, str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    name = f"captures-{abs(hash(request.node.name)) % 10**9}"
    boto3.client("s3").create_bucket(Bucket=name)
    return name


def put(bucket: str, *lines: str, at: datetime | None = None, name: str = "00-01-002-a.jsonl") -> None:
    """One capture file, in the folder of its hour."""
    hour = at or datetime.now(UTC)
    body = "".join(f"{line}\n" for line in lines).encode()
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{PREFIX}{hour:%Y/%m/%d/%H}/{name}", Body=body)


def run(box: Container, bucket: str, namespace: str = "amplify/dev") -> dict[str, Any]:
    where = ["--captured", f"s3://{bucket}/{PREFIX}", "--endpoint", "amplify-dev", "--namespace", namespace]
    drift.main(box, where)
    [report] = (box.base / "processing" / "output" / "drift").rglob("*.json")
    found: dict[str, Any] = json.loads(report.read_text())
    assert report.parent.name == found["to"][:10]
    return found


def metrics(namespace: str) -> dict[str, float]:
    cloudwatch = boto3.client("cloudwatch")
    found = {}
    for metric in cloudwatch.list_metrics(Namespace=namespace)["Metrics"]:
        assert metric["Dimensions"] == [{"Name": "EndpointName", "Value": "amplify-dev"}]
        now = datetime.now(UTC)
        [point] = cloudwatch.get_metric_statistics(
            Namespace=namespace,
            MetricName=metric["MetricName"],
            Dimensions=metric["Dimensions"],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=7200,
            Statistics=["Maximum"],
        )["Datapoints"]
        found[metric["MetricName"]] = point["Maximum"]
    return found


def job(folder: Path, **changed: Any) -> Container:
    return make_job(folder, **({"manifest": TRAINING, "validation_loss": entropy(SHARES)} | changed))


def test_requests_like_the_training_set_are_within_every_limit(tmp_path: Path, bucket: str) -> None:
    put(bucket, *(asking([one]) for one in proteins(60, seed=2)))
    report = run(job(tmp_path), bucket, "amplify/same")
    assert (report["verdict"], report["requests"], report["distinct_proteins"]) == ("judged", 60, 60)
    assert report["captured"]["objects"] == 1
    told = metrics("amplify/same")
    assert told["Requests"] == 60
    assert told["BrokenShare"] == 0
    assert told["LengthShift"] < LIMITS.max_length_shift
    assert told["ResidueDivergence"] < LIMITS.max_residue_divergence
    assert told["UnknownIncrease"] < LIMITS.max_unknown_increase
    assert told["LossIncrease"] < LIMITS.max_loss_increase
    assert told["Perplexity"] == pytest.approx(math.exp(entropy(SHARES)), rel=0.05)


def test_other_proteins_are_beyond_the_limits_in_the_report_and_in_the_metrics(tmp_path: Path, bucket: str) -> None:
    shares = SHARES | {"W": 40.0, "C": 40.0}
    given = proteins(40, seed=3, low=600, high=900, shares=shares)
    put(bucket, *(asking([one, f"{one}XXXXXXXXXXXXXXXXXXXXXXXX"]) for one in given))
    report = run(job(tmp_path), bucket, "amplify/other")
    told = metrics("amplify/other")
    for metric, measure, limit in (
        ("LengthShift", "length_shift", LIMITS.max_length_shift),
        ("ResidueDivergence", "residue_divergence", LIMITS.max_residue_divergence),
        ("UnknownIncrease", "unknown_increase", LIMITS.max_unknown_increase),
        ("LossIncrease", "loss_increase", LIMITS.max_loss_increase),
    ):
        assert told[metric] == pytest.approx(report["measures"][measure]["at_least"])
        assert told[metric] > limit


def test_without_captured_requests_the_job_says_so_and_ends_well(tmp_path: Path, bucket: str) -> None:
    report = run(job(tmp_path), bucket, "amplify/none")
    assert (report["verdict"], report["requests"]) == ("no captured requests", 0)
    assert metrics("amplify/none") == {"Requests": 0, "Proteins": 0}


def test_a_few_requests_are_counted_and_not_judged_however_odd_they_are(tmp_path: Path, bucket: str) -> None:
    put(bucket, *[asking(["W" * 2_000])] * 500, asking(["WWW", "CCC"]))
    report = run(job(tmp_path), bucket, "amplify/few")
    assert (report["verdict"], report["distinct_proteins"]) == ("too few proteins to judge", 3)
    assert metrics("amplify/few") == {"Requests": 501, "Proteins": 502, "BrokenShare": 0}


def test_broken_records_are_counted_among_good_ones(tmp_path: Path, bucket: str) -> None:
    put(bucket, *(asking([one]) for one in proteins(40, seed=4)), "{", "[]", captured("\x00\x01"), asking(["M*K"]))
    report = run(job(tmp_path), bucket, "amplify/broken")
    assert report["broken"] == {"bad_body": 1, "bad_sequence": 1, "no_capture_data": 1, "not_json": 1}
    assert metrics("amplify/broken")["BrokenShare"] == pytest.approx(4 / 44)
    assert report["verdict"] == "judged"


def test_requests_of_other_times_and_variants_are_left_alone(tmp_path: Path, bucket: str) -> None:
    now = datetime.now(UTC)
    put(bucket, asking(["MKT"]), at=now - timedelta(hours=30))
    put(bucket, asking(["MKA", "MKC"]), at=now - timedelta(hours=3))
    boto3.client("s3").put_object(
        Bucket=bucket, Key=f"{PREFIX.replace('/model/', '/shadow/')}{now:%Y/%m/%d/%H}/a.jsonl", Body=asking(["MKT"])
    )
    assert run(job(tmp_path), bucket)["proteins"] == 2


def test_the_report_holds_no_letter_of_what_was_asked(tmp_path: Path, bucket: str) -> None:
    given = proteins(40, seed=5)
    put(
        bucket, *(captured(json.dumps({"task": "embed", "inputs": [{"id": "patient7", "sequence": s}]})) for s in given)
    )
    text = json.dumps(run(job(tmp_path), bucket))
    assert "patient7" not in text
    assert not any(one[:12] in text for one in given)


def test_a_model_from_elsewhere_has_no_baseline_and_its_perplexity_is_told_all_the_same(
    tmp_path: Path, bucket: str
) -> None:
    put(bucket, *(asking([one]) for one in proteins(40, seed=6)))
    report = run(job(tmp_path, manifest=None, validation_loss=None), bucket, "amplify/fetched")
    assert report["verdict"] == "the model has no baseline: it was not trained here"
    assert report["measures"] == {}
    assert set(metrics("amplify/fetched")) == {"Requests", "Proteins", "BrokenShare", "Perplexity"}


def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, bucket: str) -> None:
    put(bucket, *(asking([one]) for one in proteins(40, seed=7)))
    with pytest.raises(drift.BaselineError, match="not one that `prepare` wrote"):
        run(job(tmp_path, manifest={"letter_counts": {}}), bucket)


def test_reading_stops_at_its_limit_and_says_so(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bucket, asking(["MKT"]), name="a.jsonl")
    put(bucket, asking(["MKA"]), name="b.jsonl")
    monkeypatch.setattr(drift, "MOST_BYTES", len(asking(["MKT"])) + 10)
    report = run(job(tmp_path), bucket)
    assert report["captured"]["everything"] is False
    assert report["proteins"] == 1


def test_a_bucket_that_is_not_there_is_named(tmp_path: Path, bucket: str) -> None:
    with pytest.raises(drift.DriftError, match="s3://no-such-bucket/x/ cannot be read"):
        drift.main(job(tmp_path), ["--captured", "s3://no-such-bucket/x/", "--endpoint", "e", "--namespace", "n"])
    with pytest.raises(drift.DriftError, match="s3://<bucket>/<prefix>/ is wanted"):
        drift.read_captured("here", datetime.now(UTC), datetime.now(UTC))


def test_the_folders_are_those_of_every_hour_that_the_time_touches() -> None:
    since = datetime(2026, 11, 24, 22, 59, tzinfo=UTC)
    assert list(drift.hours_between(since, since + timedelta(hours=2))) == [
        *("2026/11/24/22/", "2026/11/24/23/", "2026/11/25/00/")
    ]
