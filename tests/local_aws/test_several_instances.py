"""Training jobs on two instances: what each host is given, what becomes of what they make, how they end together."""

import io
import json
import re
import signal
import tarfile
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local_aws.processes import Process, descendants, wait_until
from tests.local_aws.small_images import make_bucket, push_image
from tests.local_aws.test_training_jobs import BUCKET, channel, ended, log_of, objects, start

# A container that does what the hyper-parameter of its own host's number says, and "last" at the end.
LAUNCH = """
import json, os, pathlib, signal, sys, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
read = lambda name: json.loads((base / "input/config" / name).read_text())
machines = read("resourceconfig.json")
number = machines["hosts"].index(machines["current_host"]) + 1
files = lambda folder: {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}
given = {"machines": machines, "data": files(base / "input/data"), "checkpoints": files(base / "checkpoints")}
given["port"] = os.environ["MASTER_PORT"]
(base / f"model/given-{number}.json").write_text(json.dumps(given))
(base / "model/same-name").write_text(f"of host {number}")
(base / f"output/data/log-{number}").write_text("x")
print(f"host {number} process {os.getpid()} loss={number}.5")
order = read("hyperparameters.json").get(str(number), "end")
def end(*_):
    (base / "model" / f"saved-{number}").write_text("on SIGTERM")
    print(f"host {number} got SIGTERM")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
if order == "wait":
    time.sleep(300)
if order == "fail":
    (base / "output/failure").write_text("this host's disk is full")
    sys.exit(3)
if order == "checkpoint":
    (base / "checkpoints").mkdir(exist_ok=True)
    (base / f"checkpoints/of-{number}").write_text(str(number))
"""


@pytest.fixture(scope="module")
def image(aws):
    make_bucket(aws, BUCKET)
    return push_image(aws, "two-hosts-test", LAUNCH)


def begin(aws, image, *orders, count=2, **changes):
    machines = {"InstanceType": "ml.m5.large", "InstanceCount": count, "VolumeSizeInGB": 30}
    parameters = {str(number): order for number, order in enumerate(orders, 1)}
    return start(aws, image, **{"ResourceConfig": machines, "HyperParameters": parameters, **changes})


def archive(aws, job, name="model"):
    """Text of each file in one of a job's archives."""
    key = f"out/{job['TrainingJobName']}/output/{name}.tar.gz"
    content = io.BytesIO(aws("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())
    with tarfile.open(fileobj=content) as packed:
        return {member.name: packed.extractfile(member).read().decode() for member in packed if member.isfile()}


def processes_of(aws, name, count=2):
    """The process of each host, by number."""

    def found():
        text = "\n".join(log_of(aws, name))
        return {int(host): int(process) for host, process in re.findall(r"host (\d) process (\d+)", text)}

    assert wait_until(lambda: len(found()) == count, 30), log_of(aws, name)
    return found()


def test_each_host_finds_itself_among_all_and_a_port_to_meet_at(aws, image):
    files = archive(aws, ended(aws, begin(aws, image, count=3)))
    given = [json.loads(files[f"given-{number}.json"]) for number in (1, 2, 3)]
    hosts = given[0]["machines"]["hosts"]
    assert len(set(hosts)) == 3
    assert [each["machines"]["hosts"] for each in given] == [hosts] * 3
    assert [each["machines"]["current_host"] for each in given] == hosts
    assert given[0]["machines"]["instance_groups"][0]["hosts"] == hosts
    assert len({each["port"] for each in given}) == 1


def test_two_jobs_that_run_at_once_do_not_meet_at_the_same_port(aws, image):
    names = [begin(aws, image) for _ in range(2)]
    ports = {json.loads(archive(aws, ended(aws, name))["given-1.json"])["port"] for name in names}
    assert len(ports) == 2


def test_what_all_hosts_made_is_one_archive_and_the_first_wins_where_names_clash(aws, image):
    job = ended(aws, begin(aws, image))
    assert job["TrainingJobStatus"] == "Completed"
    files = archive(aws, job)
    assert set(files) == {"given-1.json", "given-2.json", "same-name"}
    assert files["same-name"] == "of host 1"
    assert set(archive(aws, job, "output")) == {"log-1", "log-2"}


def test_a_channel_is_replicated_to_every_host_or_shared_out_among_them(aws, image):
    for letter in "abcde":
        aws("s3").put_object(Bucket=BUCKET, Key=f"shards/{letter}", Body=letter.encode())
    sharded = channel("sharded", "shards/")
    sharded["DataSource"]["S3DataSource"]["S3DataDistributionType"] = "ShardedByS3Key"
    job = ended(aws, begin(aws, image, InputDataConfig=[channel("whole", "shards/"), sharded]))
    files = archive(aws, job)
    data = [json.loads(files[f"given-{number}.json"])["data"] for number in (1, 2)]
    for host in data:
        assert {name for name in host if name.startswith("whole/")} == {f"whole/{letter}" for letter in "abcde"}
    shares = [{name for name in host if name.startswith("sharded/")} for host in data]
    assert [len(share) for share in shares] == [3, 2]
    assert shares[0] | shares[1] == {f"sharded/{letter}" for letter in "abcde"}


def test_every_host_writes_its_own_log_and_its_own_metrics(aws, image):
    algorithm = {"TrainingImage": image, "TrainingInputMode": "File"}
    algorithm["MetricDefinitions"] = [{"Name": "loss", "Regex": r"loss=(\S+)"}]
    name = ended(aws, begin(aws, image, AlgorithmSpecification=algorithm))["TrainingJobName"]
    streams = aws("logs").describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/"
    )["logStreams"]
    assert [re.sub(r"\d+$", "", stream["logStreamName"]) for stream in streams] == [
        f"{name}/algo-1-",
        f"{name}/algo-2-",
    ]
    for host in ("algo-1", "algo-2"):
        dimension = [{"Name": "Host", "Value": f"{name}/{host}"}]
        found = aws("cloudwatch").list_metrics(Namespace="/aws/sagemaker/TrainingJobs", Dimensions=dimension)["Metrics"]
        assert [metric["MetricName"] for metric in found] == ["loss"]


def test_checkpoints_of_every_host_are_stored_and_every_host_gets_all_of_them(aws, image):
    config = {"S3Uri": f"s3://{BUCKET}/two/"}
    ended(aws, begin(aws, image, "checkpoint", "checkpoint", CheckpointConfig=config))
    assert objects(aws, "two/") == {"two/of-1", "two/of-2"}
    files = archive(aws, ended(aws, begin(aws, image, CheckpointConfig=config)))
    for number in (1, 2):
        assert json.loads(files[f"given-{number}.json"])["checkpoints"] == {"of-1": "1", "of-2": "2"}


# ---- ending together -------------------------------------------------------------------------------------------------


def test_a_host_that_fails_ends_the_other_and_the_reason_names_it(aws, image):
    job = ended(aws, begin(aws, image, "wait", "fail"))
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: algo-2: this host's disk is full, exit code: 3"
    assert "host 1 got SIGTERM" in log_of(aws, job["TrainingJobName"])
    assert "ModelArtifacts" not in job or not job["ModelArtifacts"]["S3ModelArtifacts"]


def test_a_host_that_is_killed_fails_the_job_and_is_named(aws, image):
    name = begin(aws, image, "wait", "wait")
    first = processes_of(aws, name)[1]
    Process.of(first).signal(signal.SIGKILL)
    job = ended(aws, name)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: algo-1: ")
    assert job["FailureReason"].endswith("exit code: 137")
    assert "algo-2" not in job["FailureReason"]


def test_a_stop_reaches_every_host_and_keeps_what_they_saved_then(aws, image):
    name = begin(aws, image, "wait", "wait")
    processes = processes_of(aws, name)
    aws("sagemaker").stop_training_job(TrainingJobName=name)
    job = ended(aws, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert {"saved-1", "saved-2"} <= set(archive(aws, job))
    for process in processes.values():
        with pytest.raises(ProcessLookupError):
            Process.of(process)


def test_a_host_that_has_ended_well_waits_for_the_other(aws, image):
    name = begin(aws, image, "end", "wait", StoppingCondition={"MaxRuntimeInSeconds": 3})
    job = ended(aws, name)
    assert job["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert "saved-2" in archive(aws, job)


def test_nothing_of_a_job_is_left_on_the_machine(aws, image, local_aws):
    name = begin(aws, image, "wait", "fail")
    ended(aws, name)
    folder = local_aws.folder / "jobs" / local_aws.account / local_aws.region / "training-job" / name
    assert wait_until(lambda: not folder.exists(), 10)
    commands = (Path(f"/proc/{each.pid}/cmdline") for each in descendants(local_aws.pid))
    assert not [file for file in commands if file.exists() and name in file.read_text()]


@pytest.mark.parametrize(
    ("machines", "code", "words"),
    [
        ({"InstanceType": "ml.m5.large", "InstanceCount": 0}, "ValidationException", "at least one instance"),
        ({"InstanceType": "ml.m5.large", "InstanceCount": 9}, "NotEmulated", "9 instances, more than 8 on one machine"),
        ({"InstanceCount": 1}, "ValidationException", "Exactly one of InstanceType, InstanceGroups"),
        (
            {
                "InstanceGroups": [
                    {"InstanceType": "ml.m5.large", "InstanceCount": 1, "InstanceGroupName": "a"},
                ]
            },
            "NotEmulated",
            "heterogeneous cluster",
        ),
    ],
)
def test_machines_that_cannot_be_had_are_refused(aws, image, machines, code, words):
    with pytest.raises(ClientError, match=words) as refused:
        begin(aws, image, ResourceConfig=machines | {"VolumeSizeInGB": 30})
    assert refused.value.response["Error"]["Code"] == code
