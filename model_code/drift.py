"""Compare what people ask an endpoint about with what its model was trained on.

    launch.py drift --captured s3://<bucket>/captured/<endpoint>/<variant>/ --endpoint <name>
                    --namespace amplify/<env> [--hours 24]

reads the captured requests of the last hours from S3 by itself: the folders are named by the hour, which a job's input
cannot be, and there may be none. Reads processing/input/model/model.tar.gz for the baseline (its manifest.json, and
its metrics.json for the loss) and the model. Writes processing/output/drift/<date>/drift-<time>.json, and metrics.
No requests, or too few to judge, is a report like any other and no failure. The report holds figures only, and nothing
of any protein.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from amplify_lm import checkpoint, distributed, drift_measures
from amplify_lm.captured import Census, Seen
from amplify_lm.checkpoint_sources import unpack
from amplify_lm.container import Arguments, Container
from amplify_lm.dataset import ShardWriter, Split, cut
from amplify_lm.drift_measures import LEAST_PROTEINS, QUANTILES, BaselineError, Measure
from amplify_lm.loss import measure
from evaluate import TOKENS_PER_PASS, read_json

BESIDE_THE_WEIGHTS = ("recipe.json", "manifest.json", "metrics.json")  # window and baseline
MOST_BYTES = 1 << 30  # of capture files; a busy day's sample is smaller
MOST_DISTINCT = 50_000
SAMPLE_PROTEINS = 200
SAMPLE_TOKENS = 100_000  # minutes on a CPU with the largest model


class DriftError(ValueError):
    """Captured requests or metrics that AWS does not hand over or take."""


@dataclass(frozen=True, slots=True)
class Read:
    """How much of the captured requests was read."""

    objects: int
    bytes: int
    everything: bool


def main(box: Container, arguments: list[str]) -> None:
    """Write report and metrics. Raises CheckpointError, BaselineError or DriftError."""
    parser = Arguments(prog="launch.py drift")
    for name in ("--captured", "--endpoint", "--namespace"):
        parser.add_argument(name, required=True)
    parser.add_argument("--hours", type=int, default=24)
    given = parser.parse_args(arguments)
    until = datetime.now(UTC)
    census, read = read_captured(given.captured, until - timedelta(hours=given.hours), until)
    with tempfile.TemporaryDirectory(prefix="drift-") as scratch:
        unpack(box.processing_input("model") / "model.tar.gz", Path(scratch) / "model", also=BESIDE_THE_WEIGHTS)
        report = report_on(census, Path(scratch))
    about = {
        "format": 1,
        "endpoint": given.endpoint,
        "from": (until - timedelta(hours=given.hours)).isoformat(timespec="seconds"),
        "to": until.isoformat(timespec="seconds"),
        "captured": {"objects": read.objects, "bytes": read.bytes, "everything": read.everything},
    }
    path = box.processing_output("drift") / f"{until:%Y-%m-%d}" / f"drift-{until:%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about | report, indent=1) + "\n")
    send_metrics(given.namespace, given.endpoint, metrics_of(report), until)
    print(f"[drift] {summary(report)}", flush=True)


# ---- what was asked --------------------------------------------------------------------------------------------------


def hours_between(since: datetime, until: datetime) -> Iterator[str]:
    """`2026/11/25/07/` for every hour that the time touches: how data capture names its folders, in UTC."""
    hour = since.replace(minute=0, second=0, microsecond=0)
    while hour <= until:
        yield f"{hour:%Y/%m/%d/%H}/"
        hour += timedelta(hours=1)


def read_captured(uri: str, since: datetime, until: datetime) -> tuple[Census, Read]:
    """Every captured request of this time, up to MOST_BYTES. Raises DriftError where S3 refuses."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket or not prefix:
        raise DriftError(f"--captured is {uri!r}; s3://<bucket>/<prefix>/ is wanted")
    folder = prefix.rstrip("/") + "/"
    read = Read(0, 0, True)
    census = Census()
    try:
        s3 = boto3.client("s3")
        for hour in hours_between(since, until):
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder + hour):
                for item in page.get("Contents", []):
                    if read.bytes + item["Size"] > MOST_BYTES:
                        return census, Read(read.objects, read.bytes, False)
                    lines = s3.get_object(Bucket=bucket, Key=item["Key"])["Body"].iter_lines()
                    for number, line in enumerate(lines, start=1):
                        census.add(line, f"{item['Key'].removeprefix(folder)}, line {number}", MOST_DISTINCT)
                    read = Read(read.objects + 1, read.bytes + item["Size"], True)
    except (ClientError, BotoCoreError) as error:
        raise DriftError(f"the captured requests below {uri} cannot be read: {error}") from error
    return census, read


# ---- how far it is from the baseline ---------------------------------------------------------------------------------


def report_on(census: Census, scratch: Path) -> dict[str, Any]:
    """The measures of what was asked against the model in `scratch/model`. Raises BaselineError, CheckpointError."""
    proteins = [protein for _, protein in sorted(census.distinct.items())]  # by hash: in the same order every time
    report: dict[str, Any] = {
        "requests": census.requests,
        "proteins": census.proteins,
        "distinct_proteins": len(proteins),
        "records": census.records,
        "broken": dict(sorted(census.broken.items())),
        "broken_examples": census.broken_examples,
    }
    if len(proteins) < LEAST_PROTEINS:
        report["verdict"] = "too few proteins to judge" if census.records else "no captured requests"
        report["wanted_proteins"] = LEAST_PROTEINS
        return report
    folder = scratch / "model"
    manifest = read_json(folder / "manifest.json")
    report["lengths_of_requests"] = _quantiles(proteins)
    measures: dict[str, Measure] = {}
    if manifest:
        measures |= _against_the_manifest(proteins, manifest)
        report["lengths_of_training"] = {name: manifest["lengths"].get(name) for name in QUANTILES}
    perplexity, increase = _perplexity(proteins, folder, scratch / "sample")
    if increase is not None:
        measures["loss_increase"] = increase
    report["verdict"] = "judged" if measures else "the model has no baseline: it was not trained here"
    report["perplexity"] = None if perplexity is None else round(perplexity, 6)
    return report | {"measures": {name: one.as_json() for name, one in measures.items()}}


def _quantiles(proteins: list[Seen]) -> dict[str, float]:
    lengths = np.array([protein.length for protein in proteins])
    return {name: float(np.quantile(lengths, at)) for name, at in QUANTILES.items()}


def _against_the_manifest(proteins: list[Seen], manifest: dict[str, Any]) -> dict[str, Measure]:
    try:
        residues = sum(manifest["residues"].values())
        unknown = sum(manifest["unknown"].values()) / residues
        lengths, letters = manifest["lengths"], manifest["letter_counts"]
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise BaselineError(f"the artefact's manifest.json is not one that `prepare` wrote: {error!r}") from None
    return {
        "length_shift": drift_measures.length_shift(proteins, lengths),
        "residue_divergence": drift_measures.residue_divergence(proteins, letters),
        "unknown_increase": drift_measures.unknown_increase(proteins, unknown),
    }


def _perplexity(proteins: list[Seen], folder: Path, scratch: Path) -> tuple[float | None, Measure | None]:
    """Of the model on a sample of what was asked, and its loss against that at the end of training, if that is known.

    None where too few proteins can be measured.
    """
    model = checkpoint.load_model(folder)
    window = int(read_json(folder / "recipe.json").get("window", model.config.max_length))
    with ShardWriter(scratch) as writer:
        for protein in _sample([one for one in proteins if one.is_whole]):
            writer.write(protein.ids)
    if not writer.shards:
        return None, None
    split = Split(scratch)
    windows = cut(split.lengths(np.arange(len(split))), window)
    with distributed.processes() as here:
        model = model.to(here.device)
        per_pass = TOKENS_PER_PASS[here.device.type]
        measured = [
            measure(model, split, windows.take(np.flatnonzero(windows.proteins == number).tolist()), per_pass, here)
            for number in range(len(split))
        ]
    measured = [one for one in measured if one.masked]  # of a very short protein no residue may be asked for
    if len(measured) < LEAST_PROTEINS:
        return None, None
    nats, masked = (np.array([float(getattr(one, name)) for one in measured]) for name in ("nats", "masked"))
    loss = float(nats.sum() / masked.sum())
    if not math.isfinite(loss):
        raise checkpoint.CheckpointError(f"the model's loss on requests is {loss}: its weights are not usable")
    baseline = _loss_at_the_end_of_training(folder)
    increase = None if baseline is None else drift_measures.loss_increase(nats, masked, baseline)
    return math.exp(loss), increase


def _sample(proteins: Iterable[Seen]) -> list[Seen]:
    """The first by hash, which is as good as drawn: up to so many proteins and tokens."""
    chosen: list[Seen] = []
    tokens = 0
    for protein in proteins:
        if tokens + len(protein.ids) <= SAMPLE_TOKENS:
            chosen.append(protein)
            tokens += len(protein.ids)
        if len(chosen) == SAMPLE_PROTEINS:
            break
    return chosen


def _loss_at_the_end_of_training(folder: Path) -> float | None:
    """The last validation loss of the artefact's training curve; None for a model that was not trained here."""
    curve = read_json(folder / "metrics.json").get("curve", [])
    losses = [point["validation_loss"] for point in curve if isinstance(point, dict) and "validation_loss" in point]
    return float(losses[-1]) if losses else None


# ---- what is told ----------------------------------------------------------------------------------------------------


def metrics_of(report: dict[str, Any]) -> dict[str, float]:
    """CloudWatch's name → value. A difference that was not measured is not there, and leaves its alarm as it is."""
    broken, records = sum(report["broken"].values()), report["records"]
    found: dict[str, float] = {"Requests": report["requests"], "Proteins": report["proteins"]}
    if records:
        found["BrokenShare"] = broken / records
    names = {
        "length_shift": "LengthShift",
        "residue_divergence": "ResidueDivergence",
        "unknown_increase": "UnknownIncrease",
        "loss_increase": "LossIncrease",
    }
    measures = report.get("measures", {})
    found |= {name: measures[key]["at_least"] for key, name in names.items() if key in measures}
    if report.get("perplexity") is not None:
        found["Perplexity"] = report["perplexity"]
    return found


def send_metrics(namespace: str, endpoint: str, values: dict[str, float], at: datetime) -> None:
    """One datum each, of dimension EndpointName. Raises DriftError where CloudWatch refuses."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    data: list[Any] = [
        {
            "MetricName": name,
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint}],
            "Timestamp": at,
            "Value": value,
            "Unit": "Count" if name in ("Requests", "Proteins") else "None",
        }
        for name, value in values.items()
    ]
    try:
        boto3.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=data)
    except (ClientError, BotoCoreError) as error:
        raise DriftError(f"the metrics cannot be sent to {namespace}: {error}") from error


def summary(report: dict[str, Any]) -> str:
    """The figures on one line."""
    broken = sum(report["broken"].values())
    text = f"{report['verdict']}: {report['requests']:,} requests, {report['distinct_proteins']:,} different proteins"
    if broken:
        text += f", {broken:,} records that cannot be read"
    for name, one in report.get("measures", {}).items():
        text += f", {name} {one['value']:.4f} (at least {one['at_least']:.4f})"
    return text
