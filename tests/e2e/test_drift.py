"""Drift, the whole way on local AWS: an endpoint that captures what it is asked, and the job that looks at it."""

import json
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local_aws import server
from local_aws.processes import wait_until
from stacks.config import Drift
from tests.e2e.conftest import LEARNING, Project, Trap, clone, importing, proteins

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

LIMITS = Drift()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> Iterator[Project]:
    """The project of a person who switched capture and drift on for `local`, with a model in service."""
    made = clone(tmp_path_factory.mktemp("drift"), trap)
    file = made.root / "environments.py"
    text = file.read_text()
    for old, new in (
        importing("Capture", "Drift"),
        (
            'endpoint=RealTime(instance_type="ml.m5.xlarge"),',
            'endpoint=RealTime(instance_type="ml.m5.xlarge", capture=Capture(percent=100)),\n'
            "    monitoring=Monitoring(monthly_budget_usd=1, drift=Drift()),",
        ),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text)
    try:
        made.amplify("up")
        made.amplify("deploy")
        for name, count, seed, flags in (("known.fasta", 400, 1, ()), ("new.fasta", 60, 2, ("--held-out",))):
            (made.root / name).write_text(proteins(count, seed))
            made.amplify("data", "add", name, *flags)
        made.amplify("train", *LEARNING, "--watch")
        made.amplify("approve", "--yes")
        made.amplify("deploy")
        yield made
        assert trap.seen == [], "somebody met the person's own AWS"
    finally:
        server.stop(made.state)


def ask(project: Project, name: str, fasta: str) -> None:
    (project.root / name).write_text(fasta)
    project.amplify("perplexity", name)


def run(project: Project) -> dict[str, Any]:
    """Start the drift pipeline as its schedule would; returns the newest report."""
    sagemaker, s3 = project.aws("sagemaker"), project.aws("s3")
    started = sagemaker.start_pipeline_execution(
        PipelineName=project.output("monitoring", "DriftPipelineName"), ClientRequestToken=uuid.uuid4().hex * 2
    )["PipelineExecutionArn"]

    def status() -> str:
        return sagemaker.describe_pipeline_execution(PipelineExecutionArn=started)["PipelineExecutionStatus"]

    assert wait_until(lambda: status() in ("Succeeded", "Failed"), 200)
    steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=started)["PipelineExecutionSteps"]
    assert status() == "Succeeded", steps
    bucket = project.output("storage", "ArtifactBucketName")
    found = s3.list_objects_v2(Bucket=bucket, Prefix=project.output("monitoring", "DriftReportPrefix"))["Contents"]
    newest = max(found, key=lambda one: one["Key"])["Key"]
    return json.loads(s3.get_object(Bucket=bucket, Key=newest)["Body"].read())


def captured(project: Project) -> int:
    bucket = project.output("storage", "ArtifactBucketName")
    found = project.aws("s3").list_objects_v2(Bucket=bucket, Prefix="captured/amplify-local/model/")
    return sum(one["Size"] for one in found.get("Contents", []))


def metric(project: Project, name: str) -> float:
    now = datetime.now(UTC)
    points = project.aws("cloudwatch").get_metric_statistics(
        Namespace="amplify/local",
        MetricName=name,
        Dimensions=[{"Name": "EndpointName", "Value": "amplify-local"}],
        StartTime=now - timedelta(hours=2),
        EndTime=now + timedelta(minutes=5),
        Period=14_400,
        Statistics=["Maximum"],
    )["Datapoints"]
    return max(point["Maximum"] for point in points)


def test_what_people_ask_is_captured_and_rings_once_it_is_no_longer_what_the_model_was_trained_on(
    watched: Project,
) -> None:
    ask(watched, "usual.fasta", proteins(80, seed=3))
    assert wait_until(lambda: captured(watched) > 1000, 60)
    usual = run(watched)
    assert (usual["verdict"], usual["distinct_proteins"], usual["broken"]) == ("judged", 80, {})
    assert metric(watched, "ResidueDivergence") < LIMITS.max_residue_divergence
    assert metric(watched, "LengthShift") < LIMITS.max_length_shift

    before, chance = captured(watched), random.Random(4)
    odd = "".join(f">o{i}\n{''.join(chance.choices('WC', k=250))}\n" for i in range(200))
    ask(watched, "odd.fasta", odd)
    assert wait_until(lambda: captured(watched) > before + 200 * 250, 60)
    drifted = run(watched)
    assert drifted["distinct_proteins"] == 280
    assert metric(watched, "ResidueDivergence") > LIMITS.max_residue_divergence
    assert metric(watched, "LengthShift") > LIMITS.max_length_shift
    states = {
        alarm["MetricName"]: alarm["AlarmName"]
        for alarm in watched.aws("cloudwatch").describe_alarms()["MetricAlarms"]
        if alarm.get("Namespace") == "amplify/local" and alarm["MetricName"] in ("ResidueDivergence", "LengthShift")
    }
    assert set(states) == {"ResidueDivergence", "LengthShift"}
