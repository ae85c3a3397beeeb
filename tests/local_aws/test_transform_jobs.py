"""Batch transform jobs: what is sent, what is put together, what bad objects, slow and dying containers come to."""

import gzip
import json
import uuid

import pytest
from botocore.exceptions import ClientError

from local_aws import server
from local_aws.processes import wait_until
from local_aws.transform_records import RecordError, assemble, payloads
from tests.local_aws.small_endpoints import new_name
from tests.local_aws.small_images import ROLE, make_bucket, push_image, put_archive

BUCKET = "transform-tests"

# Answers in capitals; fails, sleeps and dies as it is told by a record; tells what it was given by "requests".
SERVE = """
import http.server, json, os, pathlib, threading, time
offered = os.environ.get("OFFERED")
seen, at_once, most, lock, tries = [], 0, 0, threading.Lock(), {}
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        if self.path == "/execution-parameters":
            return self.answer(200, offered.encode()) if offered else self.answer(404, b"")
        self.answer(200, b"")
    def do_POST(self):
        global at_once, most
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            at_once += 1
            most = max(most, at_once)
            seen.append(len(body))
            tries[body] = tries.get(body, 0) + 1
        try:
            if b"bad" in body:
                return self.answer(400, b"a bad record")
            if b"broken" in body:
                return self.answer(500, b"broken")
            if b"twice" in body and tries[body] < 3:
                return self.answer(503, b"later")
            if b"die" in body:
                os._exit(3)
            if b"sleep" in body:
                time.sleep(1)
            if b"slow" in body:
                time.sleep(4)
            if body == b"requests":
                told = {"sizes": seen, "most": most}
                told |= {"type": self.headers["Content-Type"], "accept": self.headers["Accept"]}
                names = [name for name in os.environ if name.startswith("SAGEMAKER_")]
                told["environment"] = {name: os.environ[name] for name in names}
                return self.answer(200, json.dumps(told).encode())
            self.answer(200, body.upper())
        finally:
            with lock:
                at_once -= 1
    def log_message(self, *_):
        print("asked", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def image(aws):
    make_bucket(aws, BUCKET)
    return push_image(aws, "transform-test", SERVE)


def make_model(aws, image, environment=None):
    name = new_name()
    url = put_archive(aws, BUCKET, "model.tar.gz", text="x")
    container = {"Image": image, "ModelDataUrl": url, "Environment": environment or {}}
    aws("sagemaker").create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    return name


def begin(aws, image, objects, *, source=None, output=None, environment=None, instances=1, kind="S3Prefix", **request):
    """Start a job over (name, content) of objects; its name, which is also the prefix of its input."""
    name = f"t{uuid.uuid4().hex[:8]}"
    for key, content in objects.items():
        aws("s3").put_object(Bucket=BUCKET, Key=f"{name}/{key}", Body=content)
    data = {"S3DataSource": {"S3DataType": kind, "S3Uri": f"s3://{BUCKET}/{name}/{'manifest' * (kind != 'S3Prefix')}"}}
    aws("sagemaker").create_transform_job(
        TransformJobName=name,
        ModelName=make_model(aws, image, environment),
        TransformInput={"DataSource": data, **(source or {})},
        TransformOutput={"S3OutputPath": f"s3://{BUCKET}/out-{name}/", **(output or {})},
        TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": instances},
        **request,
    )
    return name


def described(aws, name):
    return aws("sagemaker").describe_transform_job(TransformJobName=name)


def ended(aws, name, seconds=40):
    assert wait_until(lambda: described(aws, name)["TransformJobStatus"] not in ("InProgress", "Stopping"), seconds)
    return described(aws, name)


def outputs(aws, name):
    listed = aws("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"out-{name}/").get("Contents", [])
    return {
        item["Key"].removeprefix(f"out-{name}/"): aws("s3").get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
        for item in listed
    }


def test_each_object_is_answered_beside_its_name(aws, image):
    key = aws("kms").create_key()["KeyMetadata"]["Arn"]
    output = {"Accept": "text/csv", "KmsKeyId": key}
    name = begin(aws, image, {"a.csv": b"one\ntwo\n", "deep/b.csv": b"three"}, output=output)
    job = ended(aws, name)
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    assert job["TransformStartTime"] <= job["TransformEndTime"]
    assert outputs(aws, name) == {"a.csv.out": b"ONE\nTWO\n", "deep/b.csv.out": b"THREE"}
    head = aws("s3").head_object(Bucket=BUCKET, Key=f"out-{name}/a.csv.out")
    assert (head["SSEKMSKeyId"], head["ContentType"]) == (key, "text/csv")
    listed = aws("sagemaker").list_transform_jobs(NameContains=name)["TransformJobSummaries"]
    assert [each["TransformJobName"] for each in listed] == [name]
    assert wait_until(
        lambda: any(
            "asked" in event["message"]
            for event in aws("logs").filter_log_events(logGroupName="/aws/sagemaker/TransformJobs")["events"]
        ),
        20,
    )


def test_lines_are_sent_one_by_one_or_as_many_as_fit_and_put_together_in_their_order(aws, image):
    lines = b"".join(b"line %d\n" % number for number in range(50))
    source = {"SplitType": "Line", "ContentType": "application/jsonlines"}
    for strategy, requests in (("SingleRecord", 50), ("MultiRecord", 1)):
        name = begin(
            aws,
            image,
            {"a": lines, "z": b"requests"},
            source=source,
            output={"AssembleWith": "Line", "Accept": "application/json"},
            BatchStrategy=strategy,
            MaxConcurrentTransforms=1,
        )
        assert ended(aws, name)["TransformJobStatus"] == "Completed"
        found = outputs(aws, name)
        assert found["a.out"] == lines.upper()
        told = json.loads(found["z.out"])
        assert (told["type"], told["accept"]) == ("application/jsonlines", "application/json")
        assert len(told["sizes"]) == requests + 1


@pytest.mark.parametrize(
    ("content", "split", "strategy", "most", "expected"),
    [
        (b"a\nb\n", "None", "MultiRecord", 10, [b"a\nb\n"]),
        (b"a\nb\n", "Line", "SingleRecord", 10, [b"a", b"b"]),
        (b"a\nb\n", "Line", "MultiRecord", 3, [b"a\nb"]),
        (b"a\nb\nc", "Line", "MultiRecord", 3, [b"a\nb", b"c"]),
        (b"a\n\nc\n", "Line", "SingleRecord", 10, [b"a", b"", b"c"]),
        (b"", "Line", "MultiRecord", 10, []),
        (b"a\r\nb", "Line", "MultiRecord", None, [b"a\r\nb"]),
    ],
)
def test_records_are_whole_and_none_is_lost(content, split, strategy, most, expected):
    assert list(payloads(content, split, strategy, most)) == expected


def test_a_record_that_is_too_large_alone_is_named():
    with pytest.raises(RecordError, match="record 2 has 5 bytes"):
        list(payloads(b"a\nbbbbb\n", "Line", "MultiRecord", 4))
    with pytest.raises(RecordError, match="the object has 9 bytes"):
        list(payloads(b"a\nbbbbb\nc", "None", "MultiRecord", 4))


def test_answers_are_joined_as_they_are_or_on_lines_of_their_own():
    assert assemble([b"a", b"b\n"], "None") == b"ab\n"
    assert assemble([b"a", b"b\n"], "Line") == b"a\nb\n"


def test_requests_go_to_all_instances_as_many_at_once_as_each_may_get(aws, image):
    objects = {**{f"{number}": b"sleep" for number in range(8)}, "z1": b"requests", "z2": b"requests"}
    name = begin(aws, image, objects, instances=2, MaxConcurrentTransforms=2, MaxPayloadInMB=1)
    assert ended(aws, name)["TransformJobStatus"] == "Completed"
    found = outputs(aws, name)
    assert len(found) == 10
    told = [json.loads(found[f"{key}.out"]) for key in ("z1", "z2")]
    assert [each["most"] for each in told] == [2, 2]
    assert all(len(each["sizes"]) >= 5 for each in told), "each instance got half of the objects"
    streams = aws("logs").describe_log_streams(logGroupName="/aws/sagemaker/TransformJobs", logStreamNamePrefix=name)
    assert len(streams["logStreams"]) == 2


def test_the_container_may_say_how_it_wants_to_be_asked_and_learns_what_the_job_says(aws, image):
    offered = {"MaxConcurrentTransforms": 3, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": 1}
    objects = {**{f"{number}": b"sleep\nsleep\n" for number in range(3)}, "z": b"requests"}
    source = {"SplitType": "Line"}
    environment = {"OFFERED": json.dumps(offered)}
    name = begin(aws, image, objects, source=source, environment=environment, Environment={"MINE": "1"})
    assert ended(aws, name)["TransformJobStatus"] == "Completed"
    told = json.loads(outputs(aws, name)["z.out"])
    assert max(told["sizes"][:-1]) == len(b"sleep"), "single records"
    assert told["most"] == 3
    assert told["environment"]["SAGEMAKER_BATCH"] == "true"
    assert "SAGEMAKER_BATCH_STRATEGY" not in told["environment"]
    name = begin(
        aws,
        image,
        {"z": b"requests"},
        source=source,
        environment=environment,
        BatchStrategy="SingleRecord",
        MaxConcurrentTransforms=1,
        MaxPayloadInMB=2,
    )
    ended(aws, name)
    environment = json.loads(outputs(aws, name)["z.out"])["environment"]
    assert environment["SAGEMAKER_BATCH_STRATEGY"] == "SINGLE_RECORD"
    assert environment["SAGEMAKER_MAX_PAYLOAD_IN_MB"] == "2"


def test_a_bad_object_has_no_output_and_the_others_have(aws, image):
    objects = {"good": b"one\ntwo\n", "poor": b"one\nbad\n", "late": b"three\n", "huge": b"x" * (2 << 20)}
    name = begin(aws, image, objects, source={"SplitType": "Line"}, BatchStrategy="SingleRecord", MaxPayloadInMB=1)
    job = ended(aws, name)
    assert job["TransformJobStatus"] == "Failed"
    assert "2 of 4 objects" in job["FailureReason"]
    assert "/poor: the container answered 400: a bad record" in job["FailureReason"]
    assert "/huge: record 1 has 2097152 bytes" in job["FailureReason"]
    assert outputs(aws, name) == {"good.out": b"ONETWO", "late.out": b"THREE"}


def test_what_may_help_is_tried_again_as_often_as_the_job_says(aws, image):
    name = begin(aws, image, {"a": b"twice"}, ModelClientConfig={"InvocationsMaxRetries": 2})
    assert ended(aws, name)["TransformJobStatus"] == "Completed"
    name = begin(aws, image, {"a": b"twice"}, ModelClientConfig={"InvocationsMaxRetries": 1})
    assert "answered 503: later" in ended(aws, name)["FailureReason"]
    config = {"InvocationsMaxRetries": 0, "InvocationsTimeoutInSeconds": 1}
    name = begin(aws, image, {"a": b"slow"}, ModelClientConfig=config)
    assert "did not answer within 1 seconds" in ended(aws, name)["FailureReason"]


def test_a_container_that_ends_or_does_not_come_up_fails_the_job_with_its_log(aws, image):
    job = ended(aws, begin(aws, image, {"a": b"die"}))
    assert job["TransformJobStatus"] == "Failed"
    assert "the container ended during the job" in job["FailureReason"]
    broken = push_image(aws, "transform-test", "import sys; sys.exit('no such luck')")
    job = ended(aws, begin(aws, broken, {"a": b"x"}))
    assert "no such luck" in job["FailureReason"]


def test_compressed_objects_and_manifests_are_read(aws, image):
    name = begin(aws, image, {"a.gz": gzip.compress(b"zipped")}, source={"CompressionType": "Gzip"})
    ended(aws, name)
    assert outputs(aws, name) == {"a.gz.out": b"ZIPPED"}
    assert (
        "not compressed"
        in ended(aws, begin(aws, image, {"a": b"x"}, source={"CompressionType": "Gzip"}))["FailureReason"]
    )
    listed = [{"prefix": f"s3://{BUCKET}/lists/"}, "one", "two"]
    for each in ("one", "two", "three"):
        aws("s3").put_object(Bucket=BUCKET, Key=f"lists/{each}", Body=each.encode())
    name = begin(aws, image, {"manifest": json.dumps(listed).encode()}, kind="ManifestFile")
    assert ended(aws, name)["TransformJobStatus"] == "Completed"
    assert outputs(aws, name) == {"lists/one.out": b"ONE", "lists/two.out": b"TWO"}
    assert "not a list" in ended(aws, begin(aws, image, {"manifest": b"{}"}, kind="ManifestFile"))["FailureReason"]


def test_nothing_to_transform_is_a_failure(aws, image):
    assert "No S3 objects found" in ended(aws, begin(aws, image, {}))["FailureReason"]


def test_a_job_that_is_stopped_stops_and_its_container_with_it(aws, image):
    name = begin(aws, image, {f"{number}": b"sleep" for number in range(100)})
    assert wait_until(lambda: "TransformStartTime" in described(aws, name), 20)
    aws("sagemaker").stop_transform_job(TransformJobName=name)
    assert ended(aws, name)["TransformJobStatus"] == "Stopped"
    with pytest.raises(ClientError, match="in status Stopped"):
        aws("sagemaker").stop_transform_job(TransformJobName=name)


def test_a_killed_servers_job_is_told_as_failed(own_folder, clients_of, kill_9, on_disk):
    running = server.start(own_folder)
    own = clients_of(running)
    make_bucket(own, BUCKET)
    name = begin(own, push_image(own, "transform-test", SERVE), {f"{number}": b"sleep" for number in range(100)})
    assert wait_until(lambda: "TransformStartTime" in described(own, name), 30)
    on_disk(own)
    kill_9(running)
    own = clients_of(server.start(own_folder))
    job = described(own, name)
    assert job["TransformJobStatus"] == "Failed"
    assert "local AWS stopped" in job["FailureReason"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"source": {"SplitType": "RecordIO"}}, "SplitType RecordIO is not emulated"),
        ({"kind": "AugmentedManifestFile"}, "AugmentedManifestFile"),
        ({"DataProcessing": {"JoinSource": "Input"}}, "JoinSource of a transform job is not emulated"),
        ({"DataProcessing": {"InputFilter": "$[1:]"}}, "InputFilter"),
        ({"BatchStrategy": "SingleRecord"}, "needs a SplitType"),
        ({"MaxPayloadInMB": 60, "MaxConcurrentTransforms": 2}, "more than 100"),
        ({"output": {"S3OutputPath": "https://x"}}, "S3OutputPath"),
    ],
)
def test_what_no_job_can_do_is_refused_at_once(aws, image, more, words):
    with pytest.raises(ClientError, match=words):
        begin(aws, image, {}, **more)


def test_a_pipeline_makes_a_model_and_transforms_with_it(aws, image):
    name = f"t{uuid.uuid4().hex[:8]}"
    aws("s3").put_object(Bucket=BUCKET, Key=f"{name}/a", Body=b"hello")
    url = put_archive(aws, BUCKET, "model.tar.gz", text="x")
    data = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{name}/"}}
    steps = [
        {
            "Name": "Make_it",
            "Type": "Model",
            "Arguments": {"ExecutionRoleArn": ROLE, "PrimaryContainer": {"Image": image, "ModelDataUrl": url}},
        },
        {
            "Name": "Transform",
            "Type": "Transform",
            "Arguments": {
                "ModelName": {"Get": "Steps.Make_it.ModelName"},
                "TransformInput": {"DataSource": data},
                "TransformOutput": {"S3OutputPath": f"s3://{BUCKET}/out-{name}/"},
                "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
            },
        },
    ]
    definition = json.dumps({"Version": "2020-12-01", "Steps": steps})
    aws("sagemaker").create_pipeline(
        PipelineName=name, PipelineDefinition=definition, RoleArn=ROLE, ClientRequestToken="x" * 32
    )
    arn = aws("sagemaker").start_pipeline_execution(PipelineName=name, ClientRequestToken="x" * 32)[
        "PipelineExecutionArn"
    ]

    def status():
        return aws("sagemaker").describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"]

    assert wait_until(lambda: status() != "Executing", 60)
    assert status() == "Succeeded"
    assert outputs(aws, name) == {"a.out": b"HELLO"}
    made = aws("sagemaker").list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
    arns = {step["StepName"]: step["Metadata"] for step in made}
    assert arns["Make_it"]["Model"]["Arn"].startswith("arn:aws:sagemaker:us-east-1:123456789012:model/pipelines-")
    assert "transform-job/pipelines-" in arns["Transform"]["TransformJob"]["Arn"]
