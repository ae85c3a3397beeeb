"""Spot interruptions, warm pools, preferences, plans: how a job got its machines, and what SageMaker tells of it."""

import json
import subprocess
import sys
import uuid

import pytest
from botocore.exceptions import ClientError

from local_aws import spot_market, warm_pools
from local_aws.processes import wait_until
from local_aws.server import LocalAwsError
from tests.local_aws.small_images import make_bucket, push_image
from tests.local_aws.test_training_jobs import BUCKET, described, ended, log_of, model_of, objects, request, start

# A container that counts on in its checkpoint each time it is started, and ends well the third time.
LAUNCH = """
import json, os, pathlib, signal, sys, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
order = json.loads((base / "input/config/hyperparameters.json").read_text()).get("order", "")
file = base / "checkpoints/times"
times = int(file.read_text()) + 1 if file.exists() else 1
stray = (base / "model/stray").exists()
(base / "model/stray").write_text("gone with the machine")
(base / "model/given.json").write_text(json.dumps({"times": times, "stray": stray}))
def save(*_):
    file.parent.mkdir(exist_ok=True)
    file.write_text(str(times))
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("begun", times, flush=True)
if order == "long" and times < 3:
    time.sleep(300)
"""
SPOT = {"EnableManagedSpotTraining": True}


@pytest.fixture(scope="module")
def image(aws):
    make_bucket(aws, BUCKET)
    return push_image(aws, "modes-test", LAUNCH)


def spot(wait=120):
    name = f"spot-{uuid.uuid4().hex[:8]}"
    limits = {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": wait}
    checkpoints = {"S3Uri": f"s3://{BUCKET}/spot/{name}/"}
    return {**SPOT, "TrainingJobName": name, "StoppingCondition": limits, "CheckpointConfig": checkpoints}


def transitions(job):
    return [each["Status"] for each in job["SecondaryStatusTransitions"]]


def begun(aws, name, times):
    assert wait_until(lambda: f"begun {times}" in log_of(aws, name), 30), described(aws, name)
    assert wait_until(lambda: described(aws, name)["SecondaryStatus"] == "Training", 10)


# ---- spot ------------------------------------------------------------------------------------------------------------


def test_an_interrupted_spot_job_goes_on_from_the_checkpoint_that_it_saved_on_the_notice(aws, image, local_aws):
    name = start(aws, image, "long", **spot())
    for times in (1, 2):
        begun(aws, name, times)
        spot_market.interrupt(local_aws.folder, name, notice=20, pause=0 if times == 1 else 3)
    job = ended(aws, name)
    assert job["TrainingJobStatus"] == "Completed"
    once = ["Starting", "Downloading", "Training"]
    assert transitions(job) == [*once, "Interrupted", *once, "Interrupted", *once, "Uploading", "Completed"]
    assert json.loads(model_of(aws, job)[1]) == {"times": 3, "stray": False}
    assert job["BillableTimeInSeconds"] <= job["TrainingTimeInSeconds"] - 3, "nobody pays for machines that are away"


def test_without_notice_only_what_was_stored_before_is_kept(aws, image, local_aws):
    name = start(aws, image, "long", **spot())
    begun(aws, name, 1)
    spot_market.interrupt(local_aws.folder, name, notice=0)
    assert wait_until(lambda: transitions(described(aws, name)).count("Training") == 2, 30)
    assert wait_until(lambda: log_of(aws, name).count("begun 1") == 2, 30), "there was no checkpoint to go on from"
    assert not objects(aws, f"spot/{name}/")
    aws("sagemaker").stop_training_job(TrainingJobName=name)
    assert ended(aws, name)["TrainingJobStatus"] == "Stopped"


def test_a_job_whose_machines_do_not_come_back_in_time_has_waited_too_long(aws, image, local_aws):
    name = start(
        aws, image, "long", **{**spot(), "StoppingCondition": {"MaxRuntimeInSeconds": 8, "MaxWaitTimeInSeconds": 8}}
    )
    begun(aws, name, 1)
    spot_market.interrupt(local_aws.folder, name, notice=5, pause=60)
    job = ended(aws, name)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")


def test_a_job_can_be_stopped_while_it_waits_for_machines(aws, image, local_aws):
    name = start(aws, image, "long", **spot())
    begun(aws, name, 1)
    spot_market.interrupt(local_aws.folder, name, notice=5, pause=100)
    assert wait_until(lambda: described(aws, name)["SecondaryStatus"] == "Interrupted", 15)
    aws("sagemaker").stop_training_job(TrainingJobName=name)
    assert ended(aws, name)["SecondaryStatus"] == "Stopped"


def test_only_a_running_spot_job_is_interrupted(aws, image, local_aws):
    with pytest.raises(LocalAwsError, match="there is no training job 'nobody'"):
        spot_market.interrupt(local_aws.folder, "nobody")
    with pytest.raises(LocalAwsError, match="give seconds, 0 or more"):
        spot_market.interrupt(local_aws.folder, "nobody", pause=-1)
    done = start(aws, image)
    ended(aws, done)
    with pytest.raises(LocalAwsError, match=f"{done} is Completed: one that is InProgress is wanted"):
        spot_market.interrupt(local_aws.folder, done)
    on_demand = start(aws, image, "long")
    begun(aws, on_demand, 1)
    with pytest.raises(LocalAwsError, match="no managed spot training: AWS interrupts spot instances only"):
        spot_market.interrupt(local_aws.folder, on_demand)
    aws("sagemaker").stop_training_job(TrainingJobName=on_demand)
    ended(aws, on_demand)


def test_the_command_interrupts_and_says_why_it_cannot(aws, image, local_aws):
    def command(*arguments):
        line = [sys.executable, "-m", "local_aws", "interrupt", "--folder", str(local_aws.folder), *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)

    name = start(aws, image, "long", **spot())
    begun(aws, name, 1)
    done = command(name, "--notice", "20")
    assert done.returncode == 0, done.stderr
    assert "goes on from its newest checkpoint in S3" in done.stdout
    begun(aws, name, 2)
    aws("sagemaker").stop_training_job(TrainingJobName=name)
    ended(aws, name)
    refused = command(name)
    assert refused.returncode == 1
    assert "is Stopped" in refused.stderr


# ---- warm pools ------------------------------------------------------------------------------------------------------


def machines(keep=600, **changes):
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 31}
    return {"ResourceConfig": resources | {"KeepAlivePeriodInSeconds": keep} | changes}


def pool(aws, name):
    return described(aws, name).get("WarmPoolStatus")


def test_a_warm_pool_is_in_use_then_available_and_the_next_job_of_its_kind_takes_it(aws, image):
    volume = {"VolumeSizeInGB": 77}  # of this test alone
    first = start(aws, image, "long", **machines(**volume))
    begun(aws, first, 1)
    assert pool(aws, first) == {"Status": "InUse"}
    aws("sagemaker").stop_training_job(TrainingJobName=first)
    ended(aws, first)
    assert pool(aws, first) == {"Status": "Available"}
    listed = aws("sagemaker").list_training_jobs(WarmPoolStatusEquals="Available", NameContains=first)
    assert [job["WarmPoolStatus"] for job in listed["TrainingJobSummaries"]] == [{"Status": "Available"}]

    other = start(aws, image, **machines(VolumeSizeInGB=78))
    ended(aws, other)
    assert pool(aws, first) == {"Status": "Available"}, "another volume is another machine"
    second = start(aws, image, **machines(**volume))
    ended(aws, second)
    assert pool(aws, first)["Status"] == "Reused"
    assert pool(aws, first)["ReusedByJob"] == second
    assert pool(aws, second) == {"Status": "Available"}


def test_a_warm_pool_is_ended_by_hand_and_not_twice(aws, image):
    name = start(aws, image, **machines(VolumeSizeInGB=79))
    ended(aws, name)
    update = aws("sagemaker").update_training_job
    update(TrainingJobName=name, ResourceConfig={"KeepAlivePeriodInSeconds": 1200})
    assert described(aws, name)["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 1200
    update(TrainingJobName=name, ResourceConfig={"KeepAlivePeriodInSeconds": 0})
    assert pool(aws, name)["Status"] == "Terminated"
    with pytest.raises(ClientError, match="no warm pool"):
        update(TrainingJobName=name, ResourceConfig={"KeepAlivePeriodInSeconds": 60})
    with pytest.raises(ClientError, match="A change of ProfilerConfig"):
        update(TrainingJobName=name, ProfilerConfig={"DisableProfiler": True})


def test_a_warm_pool_ends_after_its_time_and_its_time_is_billed():
    job = {"TrainingJobName": "j", "ResourceConfig": {"KeepAlivePeriodInSeconds": 100}, "TrainingEndTime": 1000.0}
    assert warm_pools.status_of(job, 1099.0) == {"Status": "Available"}
    over = {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 100}
    assert warm_pools.status_of(job, 2000.0) == over
    broken = {**job, "FailureReason": "InternalServerError: local AWS stopped"}
    assert warm_pools.status_of(broken, 1001.0) == {**over, "ResourceRetainedBillableTimeInSeconds": 0}


def test_a_job_without_a_keep_alive_period_has_no_pool(aws, image):
    name = start(aws, image)
    ended(aws, name)
    assert pool(aws, name) is None


def test_a_job_tells_the_tags_that_it_was_given(aws, image):
    tags = [{"Key": "environment", "Value": "local"}, {"Key": "step", "Value": "Train"}]
    job = ended(aws, start(aws, image, Tags=tags))
    assert aws("sagemaker").list_tags(ResourceArn=job["TrainingJobArn"])["Tags"] == tags


# ---- preferences, plans, and rules -----------------------------------------------------------------------------------


def preferences(*types, each=None):
    return [{"InstanceType": kind} | ({"InstanceCount": each} if each else {}) for kind in types]


def test_of_preferred_types_the_first_is_selected_and_told(aws, image):
    wanted = preferences("ml.m5.xlarge", "ml.m5.large")
    job = ended(
        aws, start(aws, image, ResourceConfig={"InstancePreferences": wanted, "InstanceCount": 1, "VolumeSizeInGB": 1})
    )
    assert job["TrainingJobStatus"] == "Completed"
    assert job["ResourceConfig"]["SelectedInstanceType"] == "ml.m5.xlarge"
    assert job["ResourceConfig"]["SelectedInstanceCount"] == 1
    assert job["ResourceConfig"]["InstancePreferences"] == wanted


PLAN = "arn:aws:sagemaker:us-east-1:123456789012:training-plan/april"
TWO = preferences("ml.m5.xlarge", "ml.m5.large")


@pytest.mark.parametrize(
    ("resources", "changes", "code", "words"),
    [
        ({"InstanceType": "ml.m5.large", "InstancePreferences": TWO}, {}, "ValidationException", "Exactly one of"),
        (
            {"InstancePreferences": TWO},
            SPOT,
            "ValidationException",
            "mutually exclusive with EnableManagedSpotTraining",
        ),
        ({"InstancePreferences": [*TWO, *TWO]}, {}, "ValidationException", "can appear only once"),
        ({"InstancePreferences": TWO, "InstanceCount": None}, {}, "ValidationException", "InstanceCount must be given"),
        (
            {"InstancePreferences": preferences("ml.m5.large", each=1)},
            {},
            "ValidationException",
            "InstanceCount must be given",
        ),
        (
            {"InstanceType": "ml.m5.large", "SelectedInstanceType": "ml.m5.large"},
            {},
            "ValidationException",
            "read-only",
        ),
        (
            {"InstanceType": "ml.m5.large", "KeepAlivePeriodInSeconds": 60},
            SPOT,
            "ValidationException",
            "not supported with",
        ),
        (
            {"InstanceType": "ml.m5.large", "KeepAlivePeriodInSeconds": 21_601},
            {},
            "ValidationException",
            "less than or equal to 21600",
        ),
        ({"InstanceType": "ml.m5.large", "TrainingPlanArn": PLAN}, {}, "NotEmulated", "A training plan"),
        (
            {"InstancePreferences": [{"InstanceType": "ml.m5.large", "TrainingPlanArns": [PLAN]}]},
            {},
            "NotEmulated",
            "A training plan",
        ),
        (
            {"InstanceType": "ml.m5.large", "InstancePlacementConfig": {"EnableMultipleJobs": True}},
            {},
            "NotEmulated",
            "Placement within UltraServers",
        ),
    ],
)
def test_machines_that_aws_would_refuse_or_that_are_not_emulated_are_refused(
    aws, image, resources, changes, code, words
):
    given = {"InstanceCount": 1, "VolumeSizeInGB": 30, **resources}
    limits = {"MaxRuntimeInSeconds": 60} | ({"MaxWaitTimeInSeconds": 60} if changes else {})
    asked = request(image, StoppingCondition=limits, **changes)
    asked["ResourceConfig"] = {name: value for name, value in given.items() if value is not None}
    with pytest.raises(ClientError, match=words) as refused:
        aws("sagemaker").create_training_job(**asked)
    assert refused.value.response["Error"]["Code"] == code


def test_jobs_of_a_training_plan_cannot_be_listed(aws):
    with pytest.raises(ClientError, match="A training plan"):
        aws("sagemaker").list_training_jobs(TrainingPlanArnEquals=PLAN)
