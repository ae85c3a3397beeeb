"""The way of the demo with a small recipe, and every way of leaving it that a person meets first."""

import csv
import io
import json
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from botocore.exceptions import ClientError

from local_aws import server
from local_aws.processes import descendants, wait_until
from operate.client import AmplifyClient, BusyError
from tests.e2e.conftest import LEARNING, Project
from tests.e2e.life_cycle import change_things_by_hand, deploy_again, release_what_cannot_start
from tests.e2e.living_project import LifeCycle

pytestmark = pytest.mark.e2e

ENDPOINT = "amplify-local"
PROTEIN = "MLEGKVKWFNSEKGFGFIEVEGQDDVFVHFSAIQGEGFKTLEEGQAVSFEIVEGNRGPQAANVTKEA"


def client(project: Project) -> AmplifyClient:
    return AmplifyClient(ENDPOINT, runtime=project.aws("sagemaker-runtime"))


def start(project: Project, *arguments: str) -> str:
    """Start a run and do not wait for it; returns the execution's ARN."""
    return json.loads(project.amplify("train", *arguments, "--json"))["execution"]


def status_of(project: Project, execution: str) -> str:
    described = project.aws("sagemaker").describe_pipeline_execution(PipelineExecutionArn=execution)
    return described["PipelineExecutionStatus"]


def runs_step(project: Project, execution: str, name: str) -> bool:
    listed = project.aws("sagemaker").list_pipeline_execution_steps(PipelineExecutionArn=execution)
    return any(step["StepName"] == name and step.get("Metadata") for step in listed["PipelineExecutionSteps"])


# ---- the way ---------------------------------------------------------------------------------------------------------


def test_the_trained_model_is_registered_released_and_in_service(project: Project) -> None:
    pin = json.loads((project.root / "releases" / "local.json").read_text())
    assert pin["evaluation"]["loss"] < pin["evaluation"]["baselines"]["letter_frequencies"]
    status = json.loads(project.amplify("status", "--json"))
    assert status["served"] == status["released"] == pin["model_package_arn"]
    assert set(status["stacks"]) == {
        f"amplify-local-{stack}" for stack in ("storage", "registry", "people", "training", "endpoint", "monitoring")
    }
    [container] = project.aws("sagemaker").describe_model_package(ModelPackageName=pin["model_package_arn"])[
        "InferenceSpecification"
    ]["Containers"]
    assert container["ImageDigest"] == pin["image_digest"]


def test_it_answers_by_boto3_and_by_the_command(project: Project) -> None:
    embeddings = client(project).embed([PROTEIN, PROTEIN[:30]])
    assert embeddings.shape == (2, 16)
    assert np.isfinite(embeddings).all()
    scan = client(project).scan(PROTEIN)
    assert scan.scores.shape == (len(PROTEIN), 20)
    printed = project.amplify("perplexity", "new.fasta")
    rows = list(csv.DictReader(io.StringIO(printed[printed.index("id,") :])))
    assert len(rows) == 60
    assert 1 < float(rows[0]["perplexity"]) < 20


def test_code_that_changes_after_the_deployment_changes_nothing_until_the_next(project: Project) -> None:
    serve, train = project.root / "model_code" / "serve.py", project.root / "model_code" / "train.py"
    before = client(project).embed([PROTEIN])
    texts = {path: path.read_text() for path in (serve, train)}
    try:
        for path in texts:
            path.write_text("raise SystemExit('the working tree runs')\n")
        project.amplify("down")
        project.amplify("up")
        sagemaker = project.aws("sagemaker")
        assert wait_until(
            lambda: sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointStatus"] == "InService", 60
        )
        np.testing.assert_array_equal(client(project).embed([PROTEIN]), before)
        project.amplify("train", *LEARNING, "--watch")
    finally:
        for path, text in texts.items():
            path.write_text(text)


def test_clients_notice_neither_a_deployment_of_nothing_new_nor_one_that_fails_nor_a_change_by_hand(
    project: Project,
) -> None:
    life = LifeCycle(project)
    with life.asked_without_a_pause() as requests:
        deploy_again(life)
        release_what_cannot_start(life, requests)
        change_things_by_hand(life, requests)
    assert life.tally.lost == []
    assert (life.tally.deployments, life.tally.rolled_back) == (2, 1)
    assert life.tally.requests > 100


# ---- what the endpoint refuses, through InvokeEndpoint ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type", "status", "words"),
    [
        (b"", "application/json", 400, "empty"),
        (b'{"task": ', "application/json", 400, "JSON"),
        (b'{"task": "fold", "inputs": ["MK"]}', "application/json", 400, "fold"),
        (b'{"task": "embed", "inputs": 7}', "application/json", 400, "inputs"),
        (b'{"task": "embed", "inputs": ["MK7"]}', "application/json", 400, "7"),
        (json.dumps({"task": "embed", "inputs": ["M" * 2047]}).encode(), "application/json", 413, "2047"),
        (b"MK", "image/png", 415, "image/png"),
    ],
    ids=["empty", "broken-json", "unknown-task", "wrong-type", "digits", "too-long", "unknown-content-type"],
)
def test_a_refusal_says_what_where_and_what_is_wanted(
    project: Project, body: bytes, content_type: str, status: int, words: str
) -> None:
    with pytest.raises(ClientError) as error:
        project.aws("sagemaker-runtime").invoke_endpoint(EndpointName=ENDPOINT, Body=body, ContentType=content_type)
    response = error.value.response
    assert (response["Error"]["Code"], response["OriginalStatusCode"]) == ("ModelError", status)
    said = json.loads(response["OriginalMessage"])
    assert said["code"]
    assert words in said["message"] + said.get("where", "")


def test_a_full_queue_says_how_long_to_wait_and_patience_gets_its_answer(project: Project) -> None:
    sagemaker = project.aws("sagemaker")
    package = json.loads((project.root / "releases" / "local.json").read_text())["model_package_arn"]
    container = {"ModelPackageName": package, "Environment": {"AMPLIFY_QUEUE_TOKENS": "20000"}}
    sagemaker.create_model(
        ModelName="small", ExecutionRoleArn="arn:aws:iam::123456789012:role/any", PrimaryContainer=container
    )
    variant = {"VariantName": "model", "ModelName": "small", "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName="small", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="small", EndpointConfigName="small")
    try:
        assert wait_until(
            lambda: sagemaker.describe_endpoint(EndpointName="small")["EndpointStatus"] == "InService", 60
        )
        runtime = project.aws("sagemaker-runtime")

        def ask(patience_s: float) -> object:
            try:
                return AmplifyClient("small", runtime=runtime, patience_s=patience_s).perplexity(
                    [PROTEIN * 2], exact=True
                )
            except BusyError as error:
                return error

        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(ask, [0.0] * 12))
            refusals = [answer for answer in answers if isinstance(answer, BusyError)]
            assert refusals
            assert {(refusal.status, refusal.retry_after_s is not None) for refusal in refusals} == {(429, True)}
            assert not any(isinstance(answer, BusyError) for answer in pool.map(ask, [120.0] * 6))
    finally:
        sagemaker.delete_endpoint(EndpointName="small")


# ---- runs that do not end well ---------------------------------------------------------------------------------------


def test_an_unknown_key_of_the_recipe_is_named_with_its_nearest_neighbour(project: Project) -> None:
    printed = project.amplify("train", "--recipe", "tiny", "--set", "stepz=3", "--watch", fails=True)
    assert "stepz" in printed
    assert "steps" in printed
    assert "→" in printed


def test_a_corrupt_fasta_is_named_with_its_place(project: Project) -> None:
    bucket = project.output("storage", "DataBucketName")
    project.aws("s3").put_object(Bucket=bucket, Key="damaged/one.fasta", Body=b">ok\nMKV\n\x1f\x8b\x00\xffnonsense")
    printed = project.amplify("train", *LEARNING, "--data", f"s3://{bucket}/damaged/", "--watch", fails=True)
    assert "one.fasta" in printed
    assert "→" in printed


def test_a_corrupt_file_among_the_proteins_can_be_found_and_removed(project: Project) -> None:
    bucket = project.output("storage", "DataBucketName")
    project.aws("s3").put_object(Bucket=bucket, Key="proteins/broken.fasta", Body=b">ok\nMKV\n\x1f\x8b\x00\xffnonsense")
    try:
        printed = project.amplify("train", *LEARNING, "--watch", fails=True)
        assert "broken.fasta" in printed
        assert "amplify data list" in printed
        assert "remove" in printed
        assert "known.fasta" in project.amplify("data", "remove", "brokn.fasta", "--yes", fails=True)
        assert "Removed" in project.amplify("data", "remove", "broken.fasta", "--yes")
    finally:
        project.aws("s3").delete_object(Bucket=bucket, Key="proteins/broken.fasta")
    assert "broken" not in project.amplify("data", "list")
    versions = project.aws("s3").list_object_versions(Bucket=bucket, Prefix="proteins/broken.fasta")["Versions"]
    assert versions  # a removal can be undone


def test_data_that_is_gone_is_told_with_what_to_do(project: Project) -> None:
    bucket = project.output("storage", "DataBucketName")
    printed = project.amplify("train", *LEARNING, "--data", f"s3://{bucket}/nothing/", "--watch", fails=True)
    assert f"s3://{bucket}/nothing/" in printed
    assert "amplify data list" in printed
    assert "make demo" in printed


def test_a_bucket_emptied_during_the_run_ends_it_with_what_is_missing(project: Project) -> None:
    s3, bucket = project.aws("s3"), project.output("storage", "ArtifactBucketName")
    execution = start(project, *LEARNING)
    prefix = f"runs/{execution.rpartition('/')[2]}/"
    over = threading.Event()

    def keep_deleting() -> None:
        while not over.wait(0.05):
            for found in s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", []):
                s3.delete_object(Bucket=bucket, Key=found["Key"])

    deleting = threading.Thread(target=keep_deleting)
    deleting.start()
    try:
        printed = project.amplify("watch", execution, fails=True)
    finally:
        over.set()
        deleting.join()
    assert f"s3://{bucket}/{prefix}" in printed
    assert "→" in printed


def test_a_model_that_has_learnt_nothing_is_not_registered(project: Project) -> None:
    before = project.aws("sagemaker").list_model_packages(ModelPackageGroupName="amplify-local")
    short = ["--recipe", "tiny", "--set", "steps=2", "--set", "decay_steps=2", "--set", "warmup_steps=1"]
    printed = project.amplify("train", *short, "--watch", fails=True)
    assert "Not registered" in printed
    assert "letter frequencies" in printed
    after = project.aws("sagemaker").list_model_packages(ModelPackageGroupName="amplify-local")
    assert len(after["ModelPackageSummaryList"]) == len(before["ModelPackageSummaryList"])


def test_a_run_that_is_stopped_keeps_nothing_running(project: Project) -> None:
    execution = start(project, "--recipe", "tiny", "--set", "steps=100000")
    assert wait_until(lambda: runs_step(project, execution, "Train"), 60)
    project.amplify("stop", execution)
    assert wait_until(lambda: status_of(project, execution) == "Stopped", 60)
    assert "stopped" in project.amplify("watch", execution, fails=True)


def test_a_killed_server_takes_everything_along_and_the_next_one_goes_on(project: Project) -> None:
    execution = start(project, "--recipe", "tiny", "--set", "steps=100000")
    assert wait_until(lambda: runs_step(project, execution, "Train"), 60)
    running = server.status(project.state)
    assert running is not None
    below = descendants(running.pid)
    assert below
    os.kill(running.pid, signal.SIGKILL)
    assert wait_until(lambda: not any(process.runs() for process in below), 20)
    assert "not running" in project.amplify("status")
    project.amplify("up")
    assert "local AWS stopped" in " ".join(project.amplify("runs", "--json").split())
    sagemaker = project.aws("sagemaker")
    assert wait_until(lambda: sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointStatus"] == "InService", 60)
    assert client(project).embed([PROTEIN]).shape == (1, 16)


# ---- the end ---------------------------------------------------------------------------------------------------------


def test_down_leaves_no_process_and_no_port_and_up_brings_everything_back(project: Project) -> None:
    running = server.status(project.state)
    assert running is not None
    below = descendants(running.pid)
    assert below  # the endpoint
    assert "stopped" in project.amplify("down")
    assert not any(process.runs() for process in below)
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", running.port))
    project.amplify("up")
    sagemaker = project.aws("sagemaker")
    assert wait_until(lambda: sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointStatus"] == "InService", 60)
    assert project.trap.seen == []
