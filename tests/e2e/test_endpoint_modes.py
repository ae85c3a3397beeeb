"""The other modes of an endpoint, deployed for real on local AWS: one approved model, served on demand, from a queue,
by several instances, and in jobs."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from local_aws import server
from local_aws.processes import wait_until
from tests.e2e.conftest import ROOT, SECONDS, Project, importing

pytestmark = [pytest.mark.e2e, pytest.mark.proof]  # minutes; `make test` goes through one mode

NAME = "amplify-local"
CDK = ROOT / "node_modules" / ".bin" / "cdk"
PROTEIN = "MLEGKVKWFNSEKGFGFIEVEGQDDVFVHFSAIQGEGFKTLEEGQAVSFEIVEGNRGPQAANVTKEA"
BODY = json.dumps({"task": "perplexity", "inputs": [{"sequence": PROTEIN}]}).encode()
REALTIME = 'endpoint=RealTime(instance_type="ml.m5.xlarge")'


@pytest.fixture(scope="module")
def serve(project: Project) -> Iterator[Callable[[str], None]]:
    """serve(settings): the endpoint stack is taken away and deployed with them; as it was, afterwards."""
    file = project.root / "environments.py"
    before = file.read_text()
    assert REALTIME in before, "the local environment serves in real time"

    def serve(settings: str) -> None:
        destroy(project)
        text = before.replace(*importing("Async", "Batch", "Serverless"))
        assert text != before
        file.write_text(text.replace(REALTIME, f"endpoint={settings}", 1))
        project.amplify("deploy")

    yield serve
    destroy(project)
    file.write_text(before)
    project.amplify("deploy")


def destroy(project: Project) -> None:
    kept = {name: os.environ[name] for name in ("PATH", "HOME")}  # the project's own HOME is a trap
    done = subprocess.run(
        [str(CDK), "--app", f"{sys.executable} app.py", "destroy", "local/endpoint", "--force"],
        cwd=project.root,
        env=kept | server.client_environment(project.state) | {"CI": "1", "CDK_VALIDATION": "false"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def ask(project: Project) -> dict[str, Any]:
    answer = project.aws("sagemaker-runtime").invoke_endpoint(
        EndpointName=NAME, ContentType="application/json", Body=BODY
    )
    found: dict[str, Any] = json.loads(answer["Body"].read())
    return found


def read(project: Project, uri: str) -> bytes | None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    s3 = project.aws("s3")
    try:
        content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except s3.exceptions.NoSuchKey:
        return None
    return content


@pytest.fixture(scope="module")
def expected(project: Project) -> dict[str, Any]:
    """What the model says in real time."""
    return ask(project)


def test_on_demand_it_says_the_same(project: Project, expected: dict, serve: Callable[[str], None]) -> None:
    serve("Serverless(memory_mb=4096, max_concurrency=2)")
    assert ask(project) == expected
    [variant] = project.aws("sagemaker").describe_endpoint(EndpointName=NAME)["ProductionVariants"]
    assert variant["CurrentServerlessConfig"]["MaxConcurrency"] == 2


def test_from_a_queue_it_says_the_same_and_tells_the_topic(
    project: Project, expected: dict, serve: Callable[[str], None]
) -> None:
    serve('Async(instance_type="ml.m5.xlarge", allow_cpu=True, min_instances=0)')
    sns, sqs = project.aws("sns"), project.aws("sqs")
    queue = sqs.create_queue(QueueName="answers")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=project.output("endpoint", "SuccessTopicArn"), Protocol="sqs", Endpoint=arn)
    bucket, prefix = project.output("storage", "ArtifactBucketName"), project.output("endpoint", "InputPrefix")
    project.aws("s3").put_object(Bucket=bucket, Key=f"{prefix}one.json", Body=BODY)
    answer = project.aws("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=NAME, ContentType="application/json", InputLocation=f"s3://{bucket}/{prefix}one.json"
    )
    assert wait_until(lambda: read(project, answer["OutputLocation"]) is not None, 60)
    assert json.loads(read(project, answer["OutputLocation"]) or b"") == expected
    assert answer["OutputLocation"].startswith(f"s3://{bucket}/{project.output('endpoint', 'OutputPrefix')}")
    (project.root / "one.fasta").write_text(f">one\n{PROTEIN}\n")
    [printed] = json.loads(project.amplify("perplexity", "one.fasta", "--json"))
    assert printed["perplexity"] == pytest.approx(expected["outputs"][0]["perplexity"], abs=1e-3)
    told: list[dict[str, Any]] = []

    def hears() -> bool:
        told.extend(json.loads(each["Body"]) for each in sqs.receive_message(QueueUrl=queue).get("Messages", []))
        return bool(told)

    assert wait_until(hears, 20)
    assert json.loads(told[0]["Message"])["invocationStatus"] == "Completed"
    [target] = project.aws("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")[
        "ScalableTargets"
    ]
    assert (target["MinCapacity"], target["ResourceId"]) == (0, f"endpoint/{NAME}/variant/model")


def test_several_instances_share_the_requests(project: Project, expected: dict, serve: Callable[[str], None]) -> None:
    serve('RealTime(instance_type="ml.m5.xlarge", min_instances=2, max_instances=3)')
    [variant] = project.aws("sagemaker").describe_endpoint(EndpointName=NAME)["ProductionVariants"]
    assert variant["CurrentInstanceCount"] == 2
    for _ in range(6):
        assert ask(project) == expected
    [policy] = project.aws("application-autoscaling").describe_scaling_policies(ServiceNamespace="sagemaker")[
        "ScalingPolicies"
    ]
    assert policy["PolicyType"] == "TargetTrackingScaling"


def test_a_job_says_the_same_of_every_line(project: Project, expected: dict, serve: Callable[[str], None]) -> None:
    serve('Batch(instance_type="ml.m5.xlarge", named_packages=True)')
    bucket = project.output("storage", "ArtifactBucketName")
    source, target = (project.output("endpoint", f"{which}Prefix") for which in ("Input", "Output"))
    s3, sagemaker = project.aws("s3"), project.aws("sagemaker")
    s3.put_object(Bucket=bucket, Key=f"{source}many.jsonl.gz", Body=gzip.compress(b"\n".join([BODY] * 5)))
    sagemaker.create_transform_job(
        TransformJobName="many",
        ModelName=project.output("endpoint", "ModelName"),
        BatchStrategy="SingleRecord",
        TransformInput={
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{source}"}},
            "ContentType": "application/json",
            "SplitType": "Line",
            "CompressionType": "Gzip",
        },
        TransformOutput={"S3OutputPath": f"s3://{bucket}/{target}", "AssembleWith": "Line"},
        TransformResources={"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
    )

    def job() -> dict[str, Any]:
        described: dict[str, Any] = sagemaker.describe_transform_job(TransformJobName="many")
        return described

    assert wait_until(lambda: job()["TransformJobStatus"] != "InProgress", 120)
    assert job()["TransformJobStatus"] == "Completed", job()
    lines = (read(project, f"s3://{bucket}/{target}many.jsonl.gz.out") or b"").splitlines()
    assert [json.loads(line) for line in lines] == [expected] * 5
    the_command_asks_a_job(project, expected)


def the_command_asks_a_job(project: Project, expected: dict[str, Any]) -> None:
    """`amplify batch`: whole files, bad records, other packages, a job that somebody else waits for."""
    records = [
        {"id": "good", "sequence": PROTEIN},
        {"id": "bad", "sequence": "MK1"},
        {"id": "also", "sequence": PROTEIN},
    ]
    (project.root / "mixed.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    told = project.amplify("batch", "mixed.jsonl", "--task", "perplexity", fails=True)
    assert "1 records have no answer: mixed.perplexity.failures.csv" in told
    head, *rows = (project.root / "mixed.perplexity.csv").read_text().splitlines()
    assert head == "id,perplexity,loss,scored_residues"
    [output] = expected["outputs"]
    assert [row.split(",")[:2] for row in rows] == [[name, str(output["perplexity"])] for name in ("good", "also")]
    assert "line 2\",bad_sequence,'1' is not a residue" in (project.root / "mixed.perplexity.failures.csv").read_text()

    told = project.amplify("batch", "new.fasta", "--package", "latest", "--json")
    said = json.loads(next(line for line in told.splitlines() if line.startswith("{")))
    assert (said["answered"], said["failed"]) == (60, 0)
    assert project.aws("sagemaker").list_models(NameContains=said["job"])["Models"] == [], "made for the job alone"
    again = project.amplify("batch", "new.fasta", "--job", said["job"], "--out", "again.npz")
    assert "again.npz: answers for 60 of 60 records" in again
    with np.load(project.root / "new.embed.npz") as first, np.load(project.root / "again.npz") as second:
        assert (first["embeddings"] == second["embeddings"]).all()
        assert first["ids"].tolist() == [f"p{number}" for number in range(60)]
    assert "was started for other records" in project.amplify("batch", "known.fasta", "--job", said["job"], fails=True)
    assert "was not stopped" in project.amplify("stop", said["job"], fails=True)
    assert "has no version 99" in project.amplify("batch", "new.fasta", "--package", "99", fails=True)
    pending = project.aws("sagemaker").create_model_package(**another_package(project))["ModelPackageArn"]
    refused = project.amplify("batch", "new.fasta", "--package", pending, fails=True)
    assert "is PendingManualApproval: jobs run approved packages" in refused
    project.aws("sagemaker").delete_model_package(ModelPackageName=pending)

    bucket = project.output("storage", "DataBucketName")
    of_prefix = project.amplify("batch", f"s3://{bucket}/heldout/", "--task", "perplexity")
    assert "heldout.perplexity.csv: answers for 60 of 60 records" in of_prefix
    assert "Nothing lies below" in project.amplify("batch", f"s3://{bucket}/nosuch/", fails=True)


def another_package(project: Project) -> dict[str, Any]:
    """The released model once more, which nobody has looked at."""
    sagemaker = project.aws("sagemaker")
    [newest] = sagemaker.list_model_packages(ModelPackageGroupName=NAME, MaxResults=1)["ModelPackageSummaryList"]
    package = sagemaker.describe_model_package(ModelPackageName=newest["ModelPackageArn"])
    kept = {member: package[member] for member in ("InferenceSpecification", "ModelMetrics")}
    return {"ModelPackageGroupName": NAME, "ModelApprovalStatus": "PendingManualApproval", **kept}
