"""The function that looks for runs without end and training without machines, run by Lambda of a real local AWS."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from local_aws import spot_market
from local_aws.processes import wait_until
from tests.local_aws.small_images import ROLE, make_bucket, push_image
from tests.local_aws.test_functions import code, invoke

BUCKET = "run-watch"
LAUNCH = (
    "import signal, time; signal.signal(signal.SIGTERM, lambda *_: exit(0)); "
    "print('[metric] step=1 rules_broken=2', flush=True); time.sleep(300)"
)


@pytest.fixture(scope="module")
def image(aws):
    make_bucket(aws, BUCKET)
    return push_image(aws, "watch-test", LAUNCH)


@pytest.fixture
def training(aws, image):
    """A running pipeline whose one step trains on spot: (its name, its run, its job). Stopped after the test."""
    name = f"w{uuid.uuid4().hex[:8]}"
    arguments = {
        "AlgorithmSpecification": {
            "TrainingImage": image,
            "TrainingInputMode": "File",
            "MetricDefinitions": [
                {"Name": "train:rules_broken", "Regex": r"\[metric\] .*\brules_broken=([-+.0-9e]+)"},
            ],
        },
        "RoleArn": ROLE,
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/model/"},
        "CheckpointConfig": {"S3Uri": f"s3://{BUCKET}/checkpoints/{name}/"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 1200},
    }
    definition = {"Version": "2020-12-01", "Steps": [{"Name": "Train", "Type": "Training", "Arguments": arguments}]}
    sagemaker = aws("sagemaker")
    sagemaker.create_pipeline(
        PipelineName=name,
        PipelineDefinition=json.dumps(definition),
        RoleArn=ROLE,
        ClientRequestToken=uuid.uuid4().hex * 2,
    )
    run = sagemaker.start_pipeline_execution(PipelineName=name)["PipelineExecutionArn"]

    def job():
        steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=run)["PipelineExecutionSteps"]
        return next((s["Metadata"]["TrainingJob"]["Arn"].rpartition("/")[2] for s in steps if "Metadata" in s), None)

    assert wait_until(lambda: job() is not None and state(aws, job()) == "Training", 60)
    yield name, run, job()
    sagemaker.stop_pipeline_execution(PipelineExecutionArn=run, ClientRequestToken=uuid.uuid4().hex * 2)
    ended = ("Stopped", "Failed")
    assert wait_until(
        lambda: sagemaker.describe_pipeline_execution(PipelineExecutionArn=run)["PipelineExecutionStatus"] in ended, 60
    )


def state(aws, job):
    return aws("sagemaker").describe_training_job(TrainingJobName=job)["SecondaryStatus"]


@pytest.fixture
def watch(aws):
    """watch(pipeline, …) runs the function over these pipelines; returns what it found."""
    made = []

    def run(*pipelines):
        name = f"watch{uuid.uuid4().hex[:8]}"
        variables = {"PIPELINE_NAMES": ",".join(pipelines), "METRIC_NAMESPACE": "amplify/watched"}
        aws("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=ROLE,
            Handler="watch_runs.handler",
            Code={"ZipFile": code()},
            Timeout=30,
            Environment={"Variables": variables},
        )
        made.append(name)
        return invoke(aws, name, {"source": "schedule"})

    yield run
    for name in made:
        aws("lambda").delete_function(FunctionName=name)


def told(aws, metric, pipeline):
    now = datetime.now(UTC)
    [point] = aws("cloudwatch").get_metric_statistics(
        Namespace="amplify/watched",
        MetricName=metric,
        Dimensions=[{"Name": "PipelineName", "Value": pipeline}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=5),
        Period=7200,
        Statistics=["Maximum"],
    )["Datapoints"]
    return point["Maximum"]


def test_training_that_breaks_rules_is_told_and_it_waits_once_it_lost_its_machines(aws, training, watch, local_aws):
    name, _, job = training
    found, failed = watch(name)
    assert not failed, found
    assert found[name]["WaitingMinutes"] == 0
    assert 0 < found[name]["OldestRunHours"] < 0.1
    assert told(aws, "OldestRunHours", name) == pytest.approx(found[name]["OldestRunHours"])

    metrics = aws("sagemaker").describe_training_job
    assert wait_until(lambda: metrics(TrainingJobName=job).get("FinalMetricDataList"), 30)
    found, failed = watch(name)
    assert not failed, found
    assert told(aws, "BrokenRules", name) == found[name]["BrokenRules"] == 2

    spot_market.interrupt(local_aws.folder, job, notice=5, pause=120)
    assert wait_until(lambda: state(aws, job) == "Interrupted", 30)
    found, failed = watch(name)
    assert not failed, found
    assert 0 < found[name]["WaitingMinutes"] < 5
    assert told(aws, "WaitingMinutes", name) == pytest.approx(found[name]["WaitingMinutes"])


def test_where_nothing_runs_all_are_0_and_a_pipeline_that_is_not_there_is_a_failure(aws, image, watch):
    name = f"idle{uuid.uuid4().hex[:8]}"
    fail = {"Name": "Refuse", "Type": "Fail", "Arguments": {"ErrorMessage": "no"}}
    aws("sagemaker").create_pipeline(
        PipelineName=name,
        PipelineDefinition=json.dumps({"Version": "2020-12-01", "Steps": [fail]}),
        RoleArn=ROLE,
        ClientRequestToken=uuid.uuid4().hex * 2,
    )
    found, failed = watch(name)
    assert not failed, found
    assert found == {name: {"OldestRunHours": 0, "WaitingMinutes": 0, "BrokenRules": 0}}
    error, failed = watch("no-such-pipeline")
    assert failed
    assert "no-such-pipeline" in error["errorMessage"]
