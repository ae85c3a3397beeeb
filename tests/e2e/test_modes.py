"""The model of the real-time endpoint, served by the same commands in another mode: from a queue."""

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local_aws.processes import wait_until
from tests.e2e.conftest import Project, importing

pytestmark = pytest.mark.e2e

SERVED = 'endpoint=RealTime(instance_type="ml.m5.xlarge")'
QUEUED = 'endpoint=Async(instance_type="ml.m5.xlarge", allow_cpu=True, min_instances=1)'
PROTEIN = "MLEGKVKWFNSEKGF"
REQUEST = {"task": "perplexity", "inputs": [{"id": "p", "sequence": PROTEIN}]}


def take_the_endpoint_away(project: Project) -> None:
    """As `cdk destroy` does: a mode is changed by a new endpoint."""
    cloudformation = project.aws("cloudformation")
    cloudformation.delete_stack(StackName="amplify-local-endpoint")

    def gone() -> bool:
        try:
            [stack] = cloudformation.describe_stacks(StackName="amplify-local-endpoint")["Stacks"]
        except ClientError as error:
            return "does not exist" in str(error)
        return bool(stack["StackStatus"] == "DELETE_COMPLETE")

    assert wait_until(gone, 60)


def choose(project: Project, before: str, after: str) -> None:
    """Edit environments.py as a person does, and deploy."""
    file = project.root / "environments.py"
    text = file.read_text(encoding="utf-8")
    assert text.count(before) == 1
    text = text.replace(before, after)
    old, new = importing("Async")
    assert old in text
    file.write_text(text if new in text else text.replace(old, new), encoding="utf-8")
    project.amplify("deploy")


def test_the_released_model_answers_from_a_queue_as_it_did_at_once(project: Project, tmp_path: Path) -> None:
    proteins = tmp_path / "proteins.fasta"
    proteins.write_text(f">p\n{PROTEIN}\n")
    at_once = float(project.amplify("perplexity", str(proteins)).split(",")[-1])
    take_the_endpoint_away(project)
    choose(project, SERVED, QUEUED)
    try:
        s3, bucket = project.aws("s3"), project.output("storage", "ArtifactBucketName")
        key = project.output("endpoint", "InputPrefix") + "request.json"
        s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(REQUEST).encode())
        asked = project.aws("sagemaker-runtime").invoke_endpoint_async(
            EndpointName="amplify-local", InputLocation=f"s3://{bucket}/{key}", ContentType="application/json"
        )
        answer = asked["OutputLocation"].removeprefix(f"s3://{bucket}/")
        assert answer.startswith(project.output("endpoint", "OutputPrefix"))
        assert wait_until(lambda: s3.list_objects_v2(Bucket=bucket, Prefix=answer)["KeyCount"] == 1, 60)
        [output] = json.loads(s3.get_object(Bucket=bucket, Key=answer)["Body"].read())["outputs"]
        assert output["perplexity"] == pytest.approx(at_once, rel=1e-3)

        by_the_command = float(project.amplify("perplexity", str(proteins)).split(",")[-1])
        assert by_the_command == pytest.approx(at_once, rel=1e-3)
    finally:
        take_the_endpoint_away(project)
        choose(project, QUEUED, SERVED)
    assert float(project.amplify("perplexity", str(proteins)).split(",")[-1]) == pytest.approx(at_once, rel=1e-3)
