"""The drift job on local AWS: the pipeline of the stacks, the project's own code, captured files, real metrics."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from local_aws.processes import wait_until
from stacks.bundle import archive
from stacks.config import Drift
from stacks.drift_definition import DriftSurroundings, drift_definition
from tests.local_aws.small_images import ASSETS, REGISTRY, ROLE, ended, make_bucket, make_project, start_build
from tests.model.capture_files import SHARES, asking, baseline, entropy, proteins, write_artefact
from tests.stacks.synthesis import ROOT

BUCKET, ENDPOINT, PIPELINE = "drift-artifacts", "amplify-drift", "amplify-drift-drift"
CAPTURED = f"captured/{ENDPOINT}/model/"
LIMITS = Drift()
SECONDS = 150


@pytest.fixture(scope="module")
def image(aws):
    """The image of this tree's model_code, as a deployment lays it down."""
    bundle = archive(ROOT / "model_code")
    sha256 = hashlib.sha256(bundle).hexdigest()
    make_bucket(aws, ASSETS)
    aws("s3").put_object(Bucket=ASSETS, Key=f"{sha256}.zip", Body=bundle)
    aws("ecr").create_repository(repositoryName=ENDPOINT)
    uri = f"{REGISTRY}/{ENDPOINT}:cpu-{sha256}"
    build = start_build(aws, make_project(aws, uri))
    assert ended(aws, build)["buildStatus"] == "SUCCEEDED"
    return uri


@pytest.fixture(scope="module")
def model(aws, tmp_path_factory):
    """A released model whose baseline is known."""
    archive_ = tmp_path_factory.mktemp("model") / "model.tar.gz"
    write_artefact(archive_, baseline(proteins(2_000, seed=1)), entropy(SHARES))
    make_bucket(aws, BUCKET)
    aws("s3").put_object(Bucket=BUCKET, Key="runs/a/model/model.tar.gz", Body=archive_.read_bytes())
    return f"s3://{BUCKET}/runs/a/model/model.tar.gz"


@pytest.fixture(scope="module")
def pipeline(aws, image, model):
    around = DriftSurroundings(
        image_uri=image,
        model_uri=model,
        captured_uri=f"s3://{BUCKET}/{CAPTURED}",
        report_uri=f"s3://{BUCKET}/drift/",
        endpoint_name=ENDPOINT,
        metric_namespace="amplify/drift",
        role_arn=ROLE,
        key_arn="arn:aws:kms:us-east-1:123456789012:key/any",
        tags={"project": "amplify"},
        vpc=None,
    )
    definition = json.dumps(drift_definition(LIMITS, around))
    aws("sagemaker").create_pipeline(
        PipelineName=PIPELINE, PipelineDefinition=definition, RoleArn=ROLE, ClientRequestToken="d" * 32
    )
    return PIPELINE


def run(aws, pipeline):
    """Start it, wait for its end; returns the newest report."""
    sagemaker = aws("sagemaker")
    execution = sagemaker.start_pipeline_execution(PipelineName=pipeline)["PipelineExecutionArn"]

    def described():
        return sagemaker.describe_pipeline_execution(PipelineExecutionArn=execution)

    assert wait_until(lambda: described()["PipelineExecutionStatus"] in ("Succeeded", "Failed"), SECONDS)
    steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=execution)["PipelineExecutionSteps"]
    assert described()["PipelineExecutionStatus"] == "Succeeded", steps
    reports = aws("s3").list_objects_v2(Bucket=BUCKET, Prefix="drift/")["Contents"]
    newest = max(reports, key=lambda one: (one["LastModified"], one["Key"]))["Key"]
    assert newest.split("/")[1] == f"{datetime.now(UTC):%Y-%m-%d}" or datetime.now(UTC).hour == 0
    return json.loads(aws("s3").get_object(Bucket=BUCKET, Key=newest)["Body"].read())


def metric(aws, name, namespace="amplify/drift", **dimensions):
    """The largest value of the last hour; None where there is none."""
    now = datetime.now(UTC)
    named = dimensions or {"EndpointName": ENDPOINT}
    points = aws("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in named.items()],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=5),
        Period=7200,
        Statistics=["Maximum"],
    )["Datapoints"]
    return max((point["Maximum"] for point in points), default=None)


def put(aws, name, lines):
    key = f"{CAPTURED}{datetime.now(UTC):%Y/%m/%d/%H}/{name}.jsonl"
    aws("s3").put_object(Bucket=BUCKET, Key=key, Body="".join(f"{line}\n" for line in lines).encode())


def test_the_job_reads_what_was_captured_reports_and_tells_cloudwatch_when_it_is_beyond_the_limits(aws, pipeline):
    nothing = run(aws, pipeline)
    assert nothing["verdict"] == "no captured requests"
    assert metric(aws, "Requests") == 0
    assert metric(aws, "ResidueDivergence") is None

    put(aws, "usual", [asking([one]) for one in proteins(60, seed=2)])
    usual = run(aws, pipeline)
    assert (usual["verdict"], usual["requests"], usual["broken"]) == ("judged", 60, {})
    assert metric(aws, "ResidueDivergence") < LIMITS.max_residue_divergence
    assert metric(aws, "LossIncrease") < LIMITS.max_loss_increase

    odd = proteins(400, seed=3, low=600, high=900, shares=SHARES | {"W": 60.0, "C": 60.0})
    put(aws, "odd", ["{", *(asking([one]) for one in odd)])
    drifted = run(aws, pipeline)
    assert drifted["broken"] == {"not_json": 1}
    assert metric(aws, "ResidueDivergence") > LIMITS.max_residue_divergence
    assert metric(aws, "LengthShift") > LIMITS.max_length_shift
    assert metric(aws, "LossIncrease") > LIMITS.max_loss_increase


def test_a_run_that_fails_is_counted_where_the_alarm_looks(aws, pipeline, model):
    aws("s3").delete_object(Bucket=BUCKET, Key=model.split("/", 3)[3])
    sagemaker = aws("sagemaker")
    execution = sagemaker.start_pipeline_execution(PipelineName=pipeline)["PipelineExecutionArn"]
    ends = ("Succeeded", "Failed")
    assert wait_until(
        lambda: (
            sagemaker.describe_pipeline_execution(PipelineExecutionArn=execution)["PipelineExecutionStatus"] in ends
        ),
        SECONDS,
    )
    of_it = {"namespace": "AWS/Sagemaker/ModelBuildingPipeline", "PipelineName": pipeline}
    assert wait_until(lambda: metric(aws, "ExecutionFailed", **of_it) == 1, 10)
    assert metric(aws, "ExecutionStarted", **of_it) == 1
    assert metric(aws, "ExecutionDuration", **of_it) > 0
