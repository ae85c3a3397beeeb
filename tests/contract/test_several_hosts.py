"""The seam between a job's hosts and the container: the real training on two instances of local AWS is one training."""

import hashlib
import io
import json
import os
import random
import re
import signal
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import prepare
import pytest
from amplify_lm.settings import read_recipe
from botocore.config import Config

from local_aws import server
from local_aws.processes import Process, descendants, wait_until
from stacks.bundle import archive
from tests.local_aws import small_images
from tests.stacks.synthesis import ROOT

BUCKET = "several-hosts"
REPOSITORY = "amplify-hosts"
GROUP = "/aws/sagemaker/TrainingJobs"
LONG = {"steps": 100_000, "decay_steps": 100_000, "checkpoint_every": 20}

Aws = Callable[[str], Any]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """A local AWS with the project's own code as an image and a dataset of 200 proteins."""
    folder = tmp_path_factory.mktemp("hosts")
    running = server.start(folder / "local")
    session = boto3.Session(aws_access_key_id=running.account, aws_secret_access_key="x", region_name=running.region)
    config = Config(proxies={}, retries={"total_max_attempts": 1})
    clients = lambda service: session.client(service, endpoint_url=running.endpoint_url, config=config)  # noqa: E731
    try:
        put_code(clients, running)
        put_dataset(clients, folder)
        yield clients
    finally:
        server.stop(folder / "local")


def put_code(aws: Aws, running: server.LocalAws) -> None:
    bundle = archive(ROOT / "model_code")
    sha256 = hashlib.sha256(bundle).hexdigest()
    assets = f"cdk-hnb659fds-assets-{running.account}-{running.region}"
    aws("s3").create_bucket(Bucket=assets)
    aws("s3").put_object(Bucket=assets, Key=f"{sha256}.zip", Body=bundle)
    aws("ecr").create_repository(repositoryName=REPOSITORY)
    image = f"{small_images.REGISTRY}/{REPOSITORY}:cpu-{sha256}"
    build = small_images.start_build(aws, small_images.make_project(aws, image))
    assert small_images.ended(aws, build)["buildStatus"] == "SUCCEEDED"


def put_dataset(aws: Aws, folder: Path) -> None:
    """Proteins with something to learn, prepared as the pipeline's first step does it."""
    chance = random.Random(0)
    proteins = [
        "".join(chance.choice(["LAG", "VSE", "RTID"]) for _ in range(chance.randint(5, 40))) for _ in range(200)
    ]
    (folder / "proteins").mkdir()
    (folder / "proteins" / "a.fasta").write_text("".join(f">{i}\n{s}\n" for i, s in enumerate(proteins)))
    (folder / "dataset").mkdir()
    prepare.prepare(folder / "proteins", folder / "dataset", read_recipe("tiny"))
    aws("s3").create_bucket(Bucket=BUCKET)
    for path in (folder / "dataset").rglob("*"):
        if path.is_file():
            key = f"dataset/{path.relative_to(folder / 'dataset').as_posix()}"
            aws("s3").put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    aws("s3").put_object(Bucket=BUCKET, Key="init/init.json", Body=b'{"init": "scratch"}')


def start(aws: Aws, instances: int, checkpoints: str | None = None, **overrides: object) -> str:
    name = f"hosts-{uuid.uuid4().hex[:8]}"
    sha256 = hashlib.sha256(archive(ROOT / "model_code")).hexdigest()
    account = aws("sts").get_caller_identity()["Account"]

    def channel(name: str, prefix: str) -> dict[str, Any]:
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{prefix}"}
        return {"ChannelName": name, "DataSource": {"S3DataSource": source}}

    aws("sagemaker").create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={
            "TrainingImage": f"{account}.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}:cpu-{sha256}",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "train:loss", "Regex": "train_loss=([-+.0-9e]+)"}],
        },
        RoleArn=f"arn:aws:iam::{account}:role/any",
        HyperParameters={"recipe": "tiny", "overrides": json.dumps(overrides)},
        InputDataConfig=[channel("train", "dataset/"), channel("init", "init/")],
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out/"},
        CheckpointConfig={"S3Uri": f"s3://{BUCKET}/checkpoints/{checkpoints or name}/"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": instances, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 300},
        EnableNetworkIsolation=True,
    )
    return name


def ended(aws: Aws, name: str) -> dict[str, Any]:
    def job() -> dict[str, Any]:
        return aws("sagemaker").describe_training_job(TrainingJobName=name)

    assert wait_until(lambda: job()["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"), 180), log(aws, name)
    return job()


def log(aws: Aws, name: str) -> list[str]:
    try:
        streams = aws("logs").describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]
    except aws("logs").exceptions.ResourceNotFoundException:
        return []
    return [
        event["message"]
        for stream in streams
        for event in aws("logs").get_log_events(logGroupName=GROUP, logStreamName=stream["logStreamName"])["events"]
    ]


def losses(aws: Aws, job: dict[str, Any]) -> dict[str, list[float]]:
    """The training curve of a job's model."""
    key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{BUCKET}/")
    content = io.BytesIO(aws("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())
    with tarfile.open(fileobj=content) as model:
        assert sorted(model.getnames()) == sorted(set(model.getnames()))
        file = model.extractfile("metrics.json")
        assert file is not None
        curve = json.loads(file.read())["curve"]
    return {key: [point[key] for point in curve if key in point] for key in ("train_loss", "validation_loss")}


def training_processes(job: str) -> list[Process]:
    """The processes of this job that train, on whichever host: torchrun gave them a rank."""
    found = []
    for process in descendants(os.getpid()):
        try:
            variables = environment(process)
        except OSError:
            continue
        if f"\0TRAINING_JOB_NAME={job}\0".encode() in variables and b"\0RANK=" in variables:
            found.append(process)
    return found


def test_two_instances_train_the_same_model_as_one(aws: Aws) -> None:
    """Same proteins, windows and masks in every step; sums over two processes differ in their last bits only."""
    one, two = (ended(aws, name) for name in [start(aws, 1), start(aws, 2)])
    assert (one["TrainingJobStatus"], two["TrainingJobStatus"]) == ("Completed", "Completed"), two
    assert any("2 processes on cpu" in line for line in log(aws, two["TrainingJobName"]))
    curves = [losses(aws, job) for job in (one, two)]
    assert curves[0]["train_loss"][-1] < curves[0]["train_loss"][0] - 0.3
    for key in curves[0]:
        assert curves[1][key] == pytest.approx(curves[0][key], abs=1e-5)


def test_a_stop_saves_one_checkpoint_with_which_one_instance_goes_on(aws: Aws) -> None:
    name = start(aws, 2, **LONG)
    assert wait_until(lambda: any("step=20 " in line for line in log(aws, name)), 90), log(aws, name)
    aws("sagemaker").stop_training_job(TrainingJobName=name)
    job = ended(aws, name)
    assert job["TrainingJobStatus"] == "Stopped"
    [stopped] = [line for line in log(aws, name) if "stopped by a signal after step" in line]
    step = int(re.findall(r"after step (\d+)", stopped)[0])
    keys = [each["Key"] for each in aws("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"checkpoints/{name}/")["Contents"]]
    assert len([key for key in keys if f"step-{step:08d}-" in key]) == 1

    more = start(aws, 1, checkpoints=name, **LONG)
    assert wait_until(lambda: any(f"resuming at step {step} " in line for line in log(aws, more)), 90), log(aws, more)
    aws("sagemaker").stop_training_job(TrainingJobName=more)
    ended(aws, more)


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the job's processes by their environment, in /proc")
def test_a_training_process_that_is_killed_ends_the_job_and_its_host_is_named_first(aws: Aws) -> None:
    name = start(aws, 2, **LONG)
    assert wait_until(lambda: any("step=20 " in line for line in log(aws, name)), 90), log(aws, name)
    [second] = [process for process in training_processes(name) if b"\0RANK=1\0" in environment(process)]
    second.signal(signal.SIGKILL)
    job = ended(aws, name)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: algo-2: a training process failed"), job["FailureReason"]
    assert any("another process of the run is gone" in line for line in log(aws, name)), "algo-1 says what it saw"


def environment(process: Process) -> bytes:
    return b"\0" + Path(f"/proc/{process.pid}/environ").read_bytes()
