"""Training jobs, seen from boto3: what their containers are given, what comes back, and every way they can end."""

import io
import json
import tarfile
import uuid

import pytest
from botocore.exceptions import ClientError

from local_aws import server
from local_aws.processes import wait_until
from tests.local_aws.small_images import ROLE, make_bucket, push_image

BUCKET = "training-job-tests"
TERMINAL = ("Completed", "Failed", "Stopped")

# A training container that tells what it was given, and then does what its hyper-parameter "order" says.
LAUNCH = """
import json, os, pathlib, signal, sys, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
read = lambda name: json.loads((base / "input/config" / name).read_text())
parameters = read("hyperparameters.json")
files = lambda folder: {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}
print("arguments", sys.argv[1:])
given = {name: read(name) for name in ("hyperparameters.json", "inputdataconfig.json", "resourceconfig.json")}
given |= {"data": files(base / "input/data"), "checkpoints": files(base / "checkpoints")}
given["environment"] = dict(os.environ)
(base / "model/given.json").write_text(json.dumps(given))
order = parameters.get("order", "")
if order == "fail":
    (base / "output/failure").write_text("the learning rate is not a number")
    sys.exit(3)
if order == "crash":
    raise RuntimeError("nobody wrote a failure file")
if order == "checkpoint":
    (base / "checkpoints/step-2").mkdir(parents=True)
    (base / "checkpoints/step-2/weights").write_text("two")
    while not (base / "input/data/../../stop").exists():
        time.sleep(0.1)
if order == "metrics":
    print("step 1 loss=2.5\\nstep 2 loss=oops\\nstep 3 loss=1.25e0\\nspeed=7", end="")
if order == "wait":
    def end(*_):
        (base / "model/given.json").write_text("saved on SIGTERM")
        sys.exit(0)
    signal.signal(signal.SIGTERM, end)
    print("waiting")
    time.sleep(300)
"""


@pytest.fixture(scope="module")
def image(aws):
    make_bucket(aws, BUCKET)
    return push_image(aws, "training-test", LAUNCH)


def request(image, order="", **changes):
    name = changes.pop("TrainingJobName", f"job-{uuid.uuid4().hex[:8]}")
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {"TrainingImage": image, "TrainingInputMode": "File"},
        "RoleArn": ROLE,
        "HyperParameters": {"order": order, "learning-rate": "1e-3"},
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out/"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **changes,
    }


def channel(name, prefix, **changes):
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{prefix}"}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **changes}


def start(aws, *arguments, **changes):
    asked = request(*arguments, **changes)
    aws("sagemaker").create_training_job(**asked)
    return asked["TrainingJobName"]


def described(aws, name):
    return aws("sagemaker").describe_training_job(TrainingJobName=name)


def ended(aws, name):
    assert wait_until(lambda: described(aws, name)["TrainingJobStatus"] in TERMINAL, 60), described(aws, name)
    return described(aws, name)


def objects(aws, prefix):
    return {item["Key"] for item in aws("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])}


def model_of(aws, job):
    """(member names, text of given.json) of a job's model.tar.gz."""
    key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{BUCKET}/")
    content = io.BytesIO(aws("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())
    with tarfile.open(fileobj=content) as archive:
        return archive.getnames(), archive.extractfile("given.json").read().decode()


def log_of(aws, name):
    logs = aws("logs")
    group = "/aws/sagemaker/TrainingJobs"
    try:
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
    except logs.exceptions.ResourceNotFoundException:
        return []  # no job has written a line yet
    return [
        event["message"]
        for stream in streams
        for event in logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])["events"]
    ]


# ---- what a container is given, and what becomes of what it makes ----------------------------------------------------


def test_the_container_finds_parameters_data_and_machines_where_sagemaker_puts_them(aws, image):
    for key, text in (("in/train/a.fasta", "A"), ("in/train/deep/b.fasta", "B"), ("in/one.bin", "one")):
        aws("s3").put_object(Bucket=BUCKET, Key=key, Body=text.encode())
    channels = [channel("train", "in/train/"), channel("init", "in/one.bin", ContentType="x/y")]
    name = start(aws, image, InputDataConfig=channels, Environment={"MINE": "1"}, Tags=[{"Key": "a", "Value": "b"}])
    job = ended(aws, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Completed", "Completed")
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/out/{name}/output/model.tar.gz"
    names, text = model_of(aws, job)
    given = json.loads(text)
    assert names == ["given.json"]
    assert given["data"] == {"train/a.fasta": "A", "train/deep/b.fasta": "B", "init/one.bin": "one"}
    assert given["hyperparameters.json"] == {"order": "", "learning-rate": "1e-3"}
    assert given["inputdataconfig.json"]["init"]["ContentType"] == "x/y"
    machines = given["resourceconfig.json"]
    assert machines["current_host"] in machines["hosts"]
    assert machines["current_instance_type"] == "ml.m5.large"
    assert given["environment"]["MINE"] == "1"
    assert given["environment"]["TRAINING_JOB_NAME"] == name
    assert log_of(aws, name)[0] == "arguments ['train']"


def test_the_record_tells_the_job_s_life_as_aws_does(aws, image):
    job = ended(aws, start(aws, image))
    steps = [transition["Status"] for transition in job["SecondaryStatusTransitions"]]
    assert steps == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert all(transition["EndTime"] >= transition["StartTime"] for transition in job["SecondaryStatusTransitions"])
    assert job["CreationTime"] <= job["TrainingStartTime"] <= job["TrainingEndTime"]
    assert job["BillableTimeInSeconds"] == job["TrainingTimeInSeconds"] >= 1
    waiter = aws("sagemaker").get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName=job["TrainingJobName"], WaiterConfig={"Delay": 1, "MaxAttempts": 1})


def test_checkpoints_of_an_earlier_attempt_are_there_and_new_ones_are_stored_while_it_runs(aws, image):
    aws("s3").put_object(Bucket=BUCKET, Key="kept/step-1/weights", Body=b"one")
    before = aws("s3").head_object(Bucket=BUCKET, Key="kept/step-1/weights")["LastModified"]
    name = start(aws, image, "checkpoint", CheckpointConfig={"S3Uri": f"s3://{BUCKET}/kept"})
    assert wait_until(lambda: "kept/step-2/weights" in objects(aws, "kept/"), 30)
    assert described(aws, name)["TrainingJobStatus"] == "InProgress"
    aws("sagemaker").stop_training_job(TrainingJobName=name)
    text = model_of(aws, ended(aws, name))[1]
    assert json.loads(text)["checkpoints"] == {"step-1/weights": "one"}
    assert aws("s3").get_object(Bucket=BUCKET, Key="kept/step-2/weights")["Body"].read() == b"two"
    after = aws("s3").head_object(Bucket=BUCKET, Key="kept/step-1/weights")["LastModified"]
    assert after == before, "what came from S3 is not put there again"


def test_metrics_are_found_in_the_log_by_their_expressions_and_what_is_no_number_is_passed_over(aws, image):
    definitions = [{"Name": "loss", "Regex": r"loss=(\S+)"}, {"Name": "speed", "Regex": "speed=([0-9]+)"}]
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File", "MetricDefinitions": definitions}
    job = ended(aws, start(aws, image, "metrics", AlgorithmSpecification=algorithm))
    assert {each["MetricName"]: each["Value"] for each in job["FinalMetricDataList"]} == {"loss": 1.25, "speed": 7.0}
    dimension = [{"Name": "Host", "Value": f"{job['TrainingJobName']}/algo-1"}]
    found = aws("cloudwatch").list_metrics(Namespace="/aws/sagemaker/TrainingJobs", Dimensions=dimension)
    assert {metric["MetricName"] for metric in found["Metrics"]} == {"loss", "speed"}


def test_a_network_isolated_job_has_no_credentials_to_reach_aws_with(aws, image):
    isolated = ended(aws, start(aws, image, EnableNetworkIsolation=True))
    open_ = ended(aws, start(aws, image))
    assert "AWS_ACCESS_KEY_ID" not in json.loads(model_of(aws, isolated)[1])["environment"]
    assert "AWS_ACCESS_KEY_ID" in json.loads(model_of(aws, open_)[1])["environment"]


# ---- the other ways to end -------------------------------------------------------------------------------------------


def test_a_failure_is_told_in_the_container_s_own_words(aws, image):
    job = ended(aws, start(aws, image, "fail"))
    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: the learning rate is not a number, exit code: 3"
    assert "ModelArtifacts" not in job or not objects(aws, f"out/{job['TrainingJobName']}/")


def test_a_crash_without_a_failure_file_shows_the_end_of_the_log(aws, image):
    reason = ended(aws, start(aws, image, "crash"))["FailureReason"]
    assert "RuntimeError: nobody wrote a failure file" in reason
    assert reason.endswith("exit code: 1")


def test_a_stopped_job_gets_its_signal_and_keeps_what_it_saved_then(aws, image):
    name = start(aws, image, "wait")
    assert wait_until(lambda: "waiting" in log_of(aws, name), 30)
    aws("sagemaker").stop_training_job(TrainingJobName=name)
    job = ended(aws, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert model_of(aws, job)[1] == "saved on SIGTERM"
    with pytest.raises(ClientError, match="training job is in status Stopped"):
        aws("sagemaker").stop_training_job(TrainingJobName=name)


def test_a_job_that_outlives_its_time_is_stopped_and_says_so(aws, image):
    job = ended(aws, start(aws, image, "wait", StoppingCondition={"MaxRuntimeInSeconds": 2}))
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert model_of(aws, job)[1] == "saved on SIGTERM"


def test_data_that_is_not_there_fails_the_job_with_the_uri_and_the_role(aws, image):
    job = ended(aws, start(aws, image, InputDataConfig=[channel("train", "nothing/here/")]))
    assert job["TrainingJobStatus"] == "Failed"
    for words in (f"s3://{BUCKET}/nothing/here/", ROLE, "No S3 objects found"):
        assert words in job["FailureReason"]


def test_an_image_that_nobody_pushed_fails_the_job(aws, image):
    algorithm = {"TrainingImage": image.replace("training-test", "nobody"), "TrainingInputMode": "File"}
    reason = ended(aws, start(aws, image, AlgorithmSpecification=algorithm))["FailureReason"]
    assert reason.startswith("ClientError: Cannot use the image")
    assert "nobody" in reason


def test_a_killed_server_tells_of_the_job_it_took_with_it_and_keeps_its_checkpoint(
    own_folder, clients_of, kill_9, on_disk
):
    running = server.start(own_folder)
    own = clients_of(running)
    make_bucket(own, BUCKET)
    image = push_image(own, "training-test", LAUNCH)
    name = start(own, image, "checkpoint", CheckpointConfig={"S3Uri": f"s3://{BUCKET}/kept"})
    assert wait_until(lambda: "kept/step-2/weights" in objects(own, "kept/"), 30)
    on_disk(own)
    kill_9(running)
    own = clients_of(server.start(own_folder))
    job = described(own, name)
    assert job["TrainingJobStatus"] == "Failed"
    assert "start it again" in job["FailureReason"]
    assert job["SecondaryStatusTransitions"][-1]["Status"] == "Failed"
    assert "kept/step-2/weights" in objects(own, "kept/")


# ---- requests that are refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds. It must be present"),
        (
            {
                "EnableManagedSpotTraining": True,
                "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59},
            },
            "greater than or equal to MaxRuntimeInSeconds",
        ),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90}},
            "EnableManagedSpotTraining is false",
        ),
        (
            {"InputDataConfig": [channel("train", "in/"), channel("train", "in/")]},
            "Duplicate channel names are not allowed",
        ),
        ({"CheckpointConfig": {"S3Uri": "s3://b/k", "LocalPath": "/tmp/elsewhere"}}, "must lie below /opt/ml"),
        ({"CheckpointConfig": {"S3Uri": "s3://b/k", "LocalPath": "/opt/ml/../x"}}, "must lie below /opt/ml"),
        ({"RoleArn": "nobody-at-all-but-long-enough"}, "regular expression pattern"),
    ],
)
def test_what_aws_refuses_is_refused_before_anything_runs(aws, image, changes, words):
    asked = request(image, **changes)
    with pytest.raises(ClientError, match=words) as refused:
        aws("sagemaker").create_training_job(**asked)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(ClientError, match="Requested resource not found"):
        described(aws, asked["TrainingJobName"])


@pytest.mark.parametrize("expression", ["loss=[0-9", "loss=[0-9]+"])
def test_an_expression_that_can_find_no_number_is_refused(aws, image, expression):
    metric = [{"Name": "loss", "Regex": expression}]
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File", "MetricDefinitions": metric}
    with pytest.raises(ClientError, match="MetricDefinition loss"):
        start(aws, image, AlgorithmSpecification=algorithm)


def test_a_name_is_taken_once(aws, image):
    name = start(aws, image)
    with pytest.raises(ClientError, match="already exists") as refused:
        start(aws, image, TrainingJobName=name)
    assert refused.value.response["Error"]["Code"] == "ResourceInUse"
    ended(aws, name)


def test_what_is_not_emulated_is_refused_and_not_passed_over(aws, image):
    pipe = [channel("train", "in/", InputMode="Pipe")]
    for changes, words in (
        ({"InputDataConfig": pipe}, "Pipe mode"),
        ({"OutputDataConfig": {"S3OutputPath": "s3://b/", "CompressionType": "NONE"}}, "uncompressed"),
    ):
        with pytest.raises(ClientError, match=words) as refused:
            start(aws, image, **changes)
        assert refused.value.response["Error"]["Code"] == "NotEmulated"
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


# ---- lists -----------------------------------------------------------------------------------------------------------


def test_jobs_are_listed_by_name_and_status_page_by_page(aws, image):
    stem = f"list-{uuid.uuid4().hex[:6]}"
    names = [
        start(aws, image, "fail" if number == 1 else "", TrainingJobName=f"{stem}-{number}") for number in range(3)
    ]
    for name in names:
        ended(aws, name)
    sagemaker = aws("sagemaker")
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains=stem.upper(), SortBy="Name", SortOrder="Descending", PaginationConfig={"PageSize": 2}
    )
    shown = [[job["TrainingJobName"] for job in page["TrainingJobSummaries"]] for page in pages]
    assert shown == [names[:0:-1], names[:1]]
    failed = sagemaker.list_training_jobs(NameContains=stem, StatusEquals="Failed")["TrainingJobSummaries"]
    assert [job["TrainingJobName"] for job in failed] == names[1:2]
    with pytest.raises(ClientError, match="Invalid pagination token"):
        sagemaker.list_training_jobs(NextToken="tomorrow")
