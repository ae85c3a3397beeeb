"""Jobs in strict mode: everything that SageMaker does for one, and everything in its container, is done in its role."""

import json
import threading
import uuid

import pytest

from local_aws.processes import wait_until
from tests.local_aws.small_images import ROLE, make_bucket, push_image
from tests.local_aws.strict.conftest import ACCOUNT, allow, document

BUCKET = "strict-jobs"
BUCKET_ARN = f"arn:aws:s3:::{BUCKET}"
LOGS = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/aws/sagemaker"

# A container that says who it is, and what S3 lets it do.
LAUNCH = """
import json, os, pathlib, sys, time
import boto3, botocore
if "slow" in sys.argv:
    time.sleep(4)
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
said = {"variables": sorted(name for name in os.environ if name.startswith("AWS_"))}
def attempt(name, call):
    try:
        said[name] = call()
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        said[name] = str(error)
attempt("who", lambda: boto3.client("sts").get_caller_identity()["Arn"])
read = lambda key: boto3.client("s3").get_object(Bucket="strict-jobs", Key=key)["Body"].read().decode()
attempt("in", lambda: read("in/one.txt"))
attempt("other", lambda: read("other/secret"))
attempt("models", lambda: boto3.client("sagemaker").list_models()["Models"])
print("[metric] loss=0.5")
for folder in ("processing/output/result", "model"):
    if (base / folder).is_dir():
        (base / folder / "said.json").write_text(json.dumps(said))
"""


@pytest.fixture(scope="module")
def image(strict):
    make_bucket(strict.admin, BUCKET)
    strict.admin("s3").put_object(Bucket=BUCKET, Key="in/one.txt", Body=b"one")
    strict.admin("s3").put_object(Bucket=BUCKET, Key="other/secret", Body=b"secret")
    builds = {"Effect": "Allow", "Principal": {"Service": "codebuild.amazonaws.com"}, "Action": "sts:AssumeRole"}
    strict.role(allow("*", "*"), trust=builds, name=ROLE.rpartition("/")[2])
    return push_image(strict.admin, "strict-test", LAUNCH)


def rights(**without):
    """What a job of this file needs, by a word for each statement; those named are left out."""
    statements = {
        "read": allow("s3:GetObject", f"{BUCKET_ARN}/in/*"),
        "list": allow("s3:ListBucket", BUCKET_ARN, StringLike={"s3:prefix": "in/*"}),
        "write": allow("s3:PutObject", f"{BUCKET_ARN}/out/*"),
        "pull": allow(
            ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/*"
        ),
        "sign_in": allow("ecr:GetAuthorizationToken", "*"),
        "log": allow(["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], f"{LOGS}/*:*"),
        "measure": allow(
            "cloudwatch:PutMetricData", "*", StringEquals={"cloudwatch:namespace": "/aws/sagemaker/TrainingJobs"}
        ),
    }
    return [statement for word, statement in statements.items() if word not in without]


def process(strict, image, role, source="in/", isolated=False, arguments=("any",)):
    """The description of a processing job that has ended, and what its container said, if it came to that."""
    name = f"job-{uuid.uuid4().hex[:8]}"
    sagemaker = strict.admin("sagemaker")
    s3_input = {"S3Uri": f"s3://{BUCKET}/{source}", "LocalPath": "/opt/ml/processing/input/text"}
    s3_output = {"S3Uri": f"s3://{BUCKET}/out/{name}", "LocalPath": "/opt/ml/processing/output/result"}
    sagemaker.create_processing_job(
        ProcessingJobName=name,
        AppSpecification={"ImageUri": image, "ContainerArguments": [*arguments]},
        RoleArn=role,
        ProcessingInputs=[
            {"InputName": "text", "S3Input": {**s3_input, "S3DataType": "S3Prefix", "S3InputMode": "File"}}
        ],
        ProcessingOutputConfig={
            "Outputs": [{"OutputName": "result", "S3Output": {**s3_output, "S3UploadMode": "EndOfJob"}}]
        },
        ProcessingResources={
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 30}
        },
        NetworkConfig={"EnableNetworkIsolation": isolated},
    )

    def described():
        return sagemaker.describe_processing_job(ProcessingJobName=name)

    assert wait_until(lambda: described()["ProcessingJobStatus"] in ("Completed", "Failed"), 60)
    if described()["ProcessingJobStatus"] == "Failed":
        return described(), None
    body = strict.admin("s3").get_object(Bucket=BUCKET, Key=f"out/{name}/said.json")["Body"].read()
    return described(), json.loads(body)


def refusal(role, action, resource=""):
    name = role.rpartition("/")[2]
    return (
        f"User: arn:aws:sts::{ACCOUNT}:assumed-role/{name}/SageMaker is not authorized to perform: {action}"
        f"{f' on resource: {resource}' if resource else ''} because no identity-based policy allows the {action} action"
    )


def test_a_container_is_its_role_and_reads_what_the_role_may_and_no_more(strict, image):
    role = strict.role(*rights())
    described, said = process(strict, image, role)
    assert described["ProcessingJobStatus"] == "Completed"
    assert said["who"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.rpartition('/')[2]}/SageMaker"
    assert said["in"] == "one"
    assert "AccessDenied" in said["other"]
    assert "sagemaker:ListModels" in said["models"]


def test_a_container_has_no_key_but_the_address_that_gives_out_its_roles(strict, image):
    _, said = process(strict, image, strict.role(*rights()))
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in said["variables"]
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} & set(said["variables"])


def test_an_isolated_container_is_nobody_and_its_files_come_and_go_all_the_same(strict, image):
    described, said = process(strict, image, strict.role(*rights()), isolated=True)
    assert described["ProcessingJobStatus"] == "Completed"
    assert "Unable to locate credentials" in said["who"]
    assert not [name for name in said["variables"] if "CREDENTIALS_FULL" in name or "TOKEN" in name or "KEY" in name]


@pytest.mark.parametrize(
    ("without", "action"),
    [
        ("read", "s3:GetObject"),
        ("list", "s3:ListBucket"),
        ("write", "s3:PutObject"),
        ("pull", "ecr:BatchGetImage"),
        ("sign_in", "ecr:GetAuthorizationToken"),
    ],
)
def test_a_right_that_lacks_fails_the_job_with_what_aws_says(strict, image, without, action):
    role = strict.role(*rights(**{without: True}))
    described, _ = process(strict, image, role)
    assert described["ProcessingJobStatus"] == "Failed"
    assert refusal(role, action) in described["FailureReason"]


def test_input_from_another_prefix_than_the_roles_fails_the_job(strict, image):
    role = strict.role(*rights())
    described, _ = process(strict, image, role, source="other/")
    assert refusal(role, "s3:ListBucket") in described["FailureReason"]


def test_a_job_whose_role_may_not_log_runs_without_a_log_and_the_refusal_is_on_record(strict, image):
    role = strict.role(*rights(log=True))
    described, _ = process(strict, image, role)
    assert described["ProcessingJobStatus"] == "Completed"
    refused = next(call for call in strict.calls_of(role) if not call["allowed"])
    group = f"{LOGS}/ProcessingJobs:log-stream:"
    assert (refused["action"], refused["resource"]) == ("logs:CreateLogGroup", group)
    assert refused["message"] == refusal(role, "logs:CreateLogGroup", group)


def test_the_log_is_written_in_the_roles_name(strict, image):
    role = strict.role(*rights())
    process(strict, image, role)
    asked = {call["action"]: call["resource"] for call in strict.calls_of(role)}
    assert asked["logs:PutLogEvents"].startswith(f"{LOGS}/ProcessingJobs:log-stream:job-")


def train(strict, image, role):
    name = f"job-{uuid.uuid4().hex[:8]}"
    sagemaker = strict.admin("sagemaker")
    sagemaker.create_training_job(
        TrainingJobName=name,
        RoleArn=role,
        AlgorithmSpecification={
            "TrainingImage": image,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
        },
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out/"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    status = lambda: sagemaker.describe_training_job(TrainingJobName=name)  # noqa: E731
    assert wait_until(lambda: status()["TrainingJobStatus"] in ("Completed", "Failed"), 60)
    return status()


def test_metrics_are_put_in_the_roles_name_into_the_one_namespace_that_it_may(strict, image):
    role = strict.role(*rights())
    assert train(strict, image, role)["TrainingJobStatus"] == "Completed"
    [put] = [call for call in strict.calls_of(role) if call["action"] == "cloudwatch:PutMetricData"]
    assert (put["allowed"], put["context"]["cloudwatch:namespace"]) == (True, "/aws/sagemaker/TrainingJobs")


def test_a_job_whose_role_may_not_put_metrics_runs_without_and_the_refusal_is_on_record(strict, image):
    role = strict.role(*rights(measure=True))
    assert train(strict, image, role)["TrainingJobStatus"] == "Completed"
    [put] = [call for call in strict.calls_of(role) if call["action"] == "cloudwatch:PutMetricData"]
    assert (put["allowed"], put["code"]) == (False, "AccessDenied")


def test_a_role_that_goes_while_its_job_runs_takes_the_rights_along(strict, image):
    role = strict.role(*rights())
    name, iam = role.rpartition("/")[2], strict.admin("iam")
    asked = threading.Event()

    def delete_once_the_input_is_read():
        assert wait_until(lambda: any(call["action"] == "s3:GetObject" for call in strict.calls_of(role)), 30)
        iam.delete_role_policy(RoleName=name, PolicyName="all")
        iam.delete_role(RoleName=name)
        asked.set()

    deleting = threading.Thread(target=delete_once_the_input_is_read)
    deleting.start()
    described, _ = process(strict, image, role, arguments=["slow"])
    deleting.join()
    assert asked.is_set()
    assert described["ProcessingJobStatus"] == "Failed"
    assert "s3://strict-jobs/out/" in described["FailureReason"]


def test_a_roles_boundary_holds_its_jobs_and_their_failure_says_so(strict, image):
    role, iam, name = strict.role(*rights()), strict.admin("iam"), f"boundary-{uuid.uuid4().hex[:8]}"
    boundary = iam.create_policy(PolicyName=name, PolicyDocument=document(allow("*", "*")))["Policy"]["Arn"]
    iam.put_role_permissions_boundary(RoleName=role.rpartition("/")[2], PermissionsBoundary=boundary)
    assert process(strict, image, role)[0]["ProcessingJobStatus"] == "Completed"
    all_but_one = {"Effect": "Allow", "NotAction": "s3:PutObject", "Resource": "*"}
    iam.create_policy_version(PolicyArn=boundary, PolicyDocument=document(all_but_one), SetAsDefault=True)
    described, _ = process(strict, image, role)
    assert described["ProcessingJobStatus"] == "Failed"
    assert "because no permissions boundary allows the s3:PutObject action" in described["FailureReason"]
