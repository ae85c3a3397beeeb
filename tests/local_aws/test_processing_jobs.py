"""Processing jobs, seen from boto3: files in, files out, and every way they can end."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError

from local_aws import server
from local_aws.processes import wait_until
from tests.local_aws.small_images import ROLE, make_bucket, push_image

BUCKET = "processing-job-tests"

# A processing container that does what its argument says and notes how it was called.
LAUNCH = """
import json, os, pathlib, signal, sys, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
order, *rest = sys.argv[1:]
out = base / "processing/output/result"
found = {str(p.relative_to(base)): p.read_text() for p in sorted((base / "processing").rglob("*")) if p.is_file()}
config = json.loads((base / "config/processingjobconfig.json").read_text())
(out / "told.json").write_text(json.dumps({"arguments": rest, "files": found, "name": config["ProcessingJobName"],
                                           "isolated": "AWS_ACCESS_KEY_ID" not in os.environ}))
if order == "fail":
    (base / "output/message").write_text("three records are broken: a.fasta:7")
    sys.exit(2)
if order == "say":
    (base / "output/message").write_text("12 records, 1 rejected")
if order == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("waiting")
    time.sleep(300)
"""


@pytest.fixture(scope="module")
def image(aws):
    make_bucket(aws, BUCKET)
    aws("s3").put_object(Bucket=BUCKET, Key="in/a/one.txt", Body=b"one")
    return push_image(aws, "processing-test", LAUNCH)


def request(image, *arguments, mode="EndOfJob", source="in/", **changes):
    name = changes.pop("ProcessingJobName", f"job-{uuid.uuid4().hex[:8]}")
    s3_input = {"S3Uri": f"s3://{BUCKET}/{source}", "LocalPath": "/opt/ml/processing/input/text"}
    s3_output = {"S3Uri": f"s3://{BUCKET}/out/{name}", "LocalPath": "/opt/ml/processing/output/result"}
    return {
        "ProcessingJobName": name,
        "AppSpecification": {"ImageUri": image, "ContainerArguments": [*arguments]},
        "RoleArn": ROLE,
        "ProcessingInputs": [
            {"InputName": "text", "S3Input": {**s3_input, "S3DataType": "S3Prefix", "S3InputMode": "File"}}
        ],
        "ProcessingOutputConfig": {
            "Outputs": [{"OutputName": "result", "S3Output": {**s3_output, "S3UploadMode": mode}}]
        },
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 30}
        },
        **changes,
    }


def start(aws, *arguments, **changes):
    asked = request(*arguments, **changes)
    aws("sagemaker").create_processing_job(**asked)
    return asked["ProcessingJobName"]


def ended(aws, name):
    def described():
        return aws("sagemaker").describe_processing_job(ProcessingJobName=name)

    assert wait_until(lambda: described()["ProcessingJobStatus"] in ("Completed", "Failed", "Stopped"), 60), described()
    return described()


def told(aws, name):
    body = aws("s3").get_object(Bucket=BUCKET, Key=f"out/{name}/told.json")["Body"]
    return json.loads(body.read())


def outputs(aws, name):
    return {item["Key"] for item in aws("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"out/{name}/").get("Contents", [])}


def test_inputs_arguments_and_outputs_go_where_the_request_says(aws, image):
    isolated = {"EnableNetworkIsolation": True}
    name = start(aws, image, "say", "--windows", "256", NetworkConfig=isolated)
    job = ended(aws, name)
    assert (job["ProcessingJobStatus"], job["ExitMessage"]) == ("Completed", "12 records, 1 rejected")
    assert job["ProcessingStartTime"] <= job["ProcessingEndTime"]
    assert told(aws, name) == {
        "arguments": ["--windows", "256"],
        "files": {"processing/input/text/a/one.txt": "one"},
        "name": name,
        "isolated": True,
    }


def test_an_entry_point_of_the_job_s_own_is_run_in_place_of_the_image_s(aws, image):
    app = {"ImageUri": image, "ContainerEntrypoint": ["python3", "/opt/amplify/launch.py"]}
    name = start(aws, image, AppSpecification={**app, "ContainerArguments": ["nothing", "7"]})
    assert ended(aws, name)["ProcessingJobStatus"] == "Completed"
    assert told(aws, name)["arguments"] == ["7"]


def test_a_failure_is_told_in_the_container_s_own_words_and_its_outputs_are_not_stored(aws, image):
    name = start(aws, image, "fail")
    job = ended(aws, name)
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: three records are broken: a.fasta:7, exit code: 2"
    assert job["ExitMessage"] == "three records are broken: a.fasta:7"
    assert outputs(aws, name) == set()


def test_a_continuous_output_is_stored_while_the_job_runs_and_what_stops_keeps_it(aws, image):
    name = start(aws, image, "wait", mode="Continuous")
    assert wait_until(lambda: outputs(aws, name) == {f"out/{name}/told.json"}, 30)
    aws("sagemaker").stop_processing_job(ProcessingJobName=name)
    assert ended(aws, name)["ProcessingJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="processing job is in status Stopped"):
        aws("sagemaker").stop_processing_job(ProcessingJobName=name)


def test_a_job_that_outlives_its_time_fails_and_says_so(aws, image):
    job = ended(aws, start(aws, image, "wait", StoppingCondition={"MaxRuntimeInSeconds": 1}))
    assert job["ProcessingJobStatus"] == "Failed"
    assert "longer than its MaxRuntimeInSeconds, 1" in job["FailureReason"]


def test_an_input_that_is_not_there_fails_the_job(aws, image):
    reason = ended(aws, start(aws, image, "say", source="nothing/"))["FailureReason"]
    assert f"s3://{BUCKET}/nothing/" in reason
    assert "No S3 objects found" in reason


def test_a_killed_server_tells_of_the_job_it_took_with_it(own_folder, clients_of, kill_9):
    running = server.start(own_folder)
    own = clients_of(running)
    make_bucket(own, BUCKET)
    own("s3").put_object(Bucket=BUCKET, Key="in/one.txt", Body=b"one")
    name = start(own, push_image(own, "processing-test", LAUNCH), "wait", mode="Continuous")
    assert wait_until(lambda: outputs(own, name), 30)
    kill_9(running)
    job = ended(clients_of(server.start(own_folder)), name)
    assert job["ProcessingJobStatus"] == "Failed"
    assert "start it again" in job["FailureReason"]


def changed(member, **changes):
    """A change of the request: the one input's or output's S3 part, with `changes`."""
    asked = request("image")
    part = asked["ProcessingInputs"][0] if member == "input" else asked["ProcessingOutputConfig"]["Outputs"][0]
    part["S3Input" if member == "input" else "S3Output"] |= changes
    return {name: asked[name] for name in ("ProcessingInputs", "ProcessingOutputConfig")}


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        (changed("input", LocalPath="/tmp/x"), "ValidationException", "must lie below /opt/ml/processing"),
        (changed("output", LocalPath="/opt/ml/model"), "ValidationException", "must lie below /opt/ml/processing"),
        (changed("input", S3DataType="ManifestFile"), "NotEmulated", "another source than an S3Prefix"),
        (changed("input", S3CompressionType="Gzip"), "NotEmulated", "with compression"),
        (
            {"ProcessingInputs": changed("input")["ProcessingInputs"] * 2},
            "ValidationException",
            "input names of a processing job must differ",
        ),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_runs(aws, image, changes, code, words):
    with pytest.raises(ClientError, match=words) as refused:
        start(aws, image, "say", **changes)
    assert refused.value.response["Error"]["Code"] == code


def test_a_name_is_taken_once_and_a_job_nobody_made_is_not_found(aws, image):
    name = start(aws, image, "say")
    with pytest.raises(ClientError, match="already exists"):
        start(aws, image, "say", ProcessingJobName=name)
    with pytest.raises(ClientError, match="Could not find requested job with name: nobody"):
        aws("sagemaker").describe_processing_job(ProcessingJobName="nobody")
    ended(aws, name)
    listed = aws("sagemaker").list_processing_jobs(NameContains=name)["ProcessingJobSummaries"]
    assert [job["ProcessingJobStatus"] for job in listed] == ["Completed"]
