"""The whole way under IAM: by people with small rights, every job in its own role; and what each right is there for."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from botocore.exceptions import ClientError

from local_aws import calls
from local_aws.processes import wait_until
from operate.client import AmplifyClient
from tests.e2e import recorded_calls
from tests.e2e.conftest import Trap
from tests.e2e.held_roles import HELD, kind_of
from tests.e2e.role_work import do_work
from tests.e2e.statements import SERVICE_CALLS, statements, why_it_is_there
from tests.e2e.strict_project import (
    ACCOUNT,
    SAGEMAKER,
    StrictProject,
    all_pipelines_run,
    drift_looked_at,
    walked,
)

pytestmark = pytest.mark.e2e

PROTEIN = "MLEGKVKWFNSEKGFGFIEVEGQDDVFVHFSAIQGEGFKTLEEGQAVSFEIVEGNRGPQAANVTKEA"
BY_ITSELF = {  # what AWS does without any role: CloudFormation's buckets, the build and the metrics of endpoints
    *("s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration", "s3:PutBucketLogging", "s3:PutBucketTagging"),
    *("s3:GetObject", "ecr:BatchGetImage", "logs:CreateLogGroup", "cloudwatch:PutMetricData"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> Iterator[StrictProject]:
    with walked(tmp_path_factory.mktemp("strict"), trap) as made:
        drift_looked_at(made)
        yield made


def refusal(project: StrictProject, user: str, service: str, operation: str, **members: object) -> str:
    with pytest.raises(ClientError) as error:  # stopping a run wants a token, which botocore makes up
        getattr(project.aws(service, user), operation)(**members)
    assert error.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")
    return error.value.response["Error"]["Message"]


# ---- the way ---------------------------------------------------------------------------------------------------------


def test_nobody_was_refused_anything_on_the_way(project: StrictProject) -> None:
    assert [call for call in project.calls() if not call["allowed"]] == []


def test_each_part_of_the_way_was_gone_by_whoever_may_go_it(project: StrictProject) -> None:
    done: dict[str, set[str]] = {}
    for call in project.calls():
        done.setdefault(calls.principal_name(call["principal"]), set()).add(call["action"])
    assert done["user/ci"] == {"sts:AssumeRole", "sts:GetCallerIdentity"}
    assert {"s3:PutObject", "sagemaker:StartPipelineExecution"} <= done["user/trainer"]
    assert "sagemaker:UpdateModelPackage" in done["user/approver"]
    changes = {action for action in done["user/deployer"] if not re.match(r"\w+:(Describe|List|Get)", action)}
    assert changes == {"sts:AssumeRole"}, "what is deployed, the CDK's roles deploy"
    [execution] = [actions for name, actions in done.items() if "cfn-exec-role" in name]
    assert {"sagemaker:CreatePipeline", "sagemaker:CreateEndpoint", "iam:PassRole"} <= execution
    roles = project.roles()
    assert "s3:GetObject" in done[f"role/{roles['endpoint/Role']}"]
    assert "sagemaker:CreateTrainingJob" in done[f"role/{roles['training/TrainingPipelineRole']}"]


def test_what_aws_does_by_itself_is_known_and_all_else_was_done_by_a_role(project: StrictProject) -> None:
    by_itself = {call["action"] for call in project.calls() if call["principal"] == "local-aws"}
    assert by_itself <= BY_ITSELF


def test_the_invoker_asks_and_may_nothing_else(project: StrictProject) -> None:
    client = AmplifyClient("amplify-local", runtime=project.aws("sagemaker-runtime", "invoker"))
    assert np.isfinite(client.embed([PROTEIN])).all()
    assert "DescribeEndpoint" in refusal(
        project, "invoker", "sagemaker", "describe_endpoint", EndpointName="amplify-local"
    )
    other = {"EndpointName": "another", "Body": b"{}"}
    assert f"{SAGEMAKER}:endpoint/another" in refusal(
        project, "invoker", "sagemaker-runtime", "invoke_endpoint", **other
    )


def test_who_was_not_granted_the_endpoint_does_not_reach_it(project: StrictProject) -> None:
    ask = {"EndpointName": "amplify-local", "Body": b"{}"}
    for user in ("ci", "trainer", "approver", "deployer", "auditor"):
        assert "sagemaker:InvokeEndpoint" in refusal(project, user, "sagemaker-runtime", "invoke_endpoint", **ask)


def in_aws_words(project: StrictProject, user: str, *command: str, action: str) -> None:
    """A command that is not this person's ends with what AWS says, and with whose it is."""
    said = project.by(user).amplify(*command, fails=True)
    assert f"User: arn:aws:iam::{ACCOUNT}:user/{user} is not authorized to perform: {action}" in said, said
    assert "It is somebody else's to do" in said


def test_a_trainer_approves_and_deploys_nothing(project: StrictProject) -> None:
    trainer = project.by("trainer")
    assert "Succeeded" in trainer.amplify("runs")
    assert "known.fasta" in trainer.amplify("data", "list")
    status = trainer.amplify("status")
    assert "amplify-local-endpoint" in status
    assert "served:   not yours to see. User: arn:aws:iam::" in status
    assert "served:   arn:aws:sagemaker" in project.by("deployer").amplify("status")
    in_aws_words(project, "trainer", "approve", "--yes", action="s3:GetObject")
    package = json.loads((project.root / "releases" / "local.json").read_text())["model_package_arn"]
    approval = {"ModelPackageArn": package, "ModelApprovalStatus": "Rejected"}
    assert "UpdateModelPackage" in refusal(project, "trainer", "sagemaker", "update_model_package", **approval)
    role = f"arn:aws:iam::{ACCOUNT}:role/cdk-hnb659fds-deploy-role-{ACCOUNT}-us-east-1"
    assert "sts:AssumeRole" in refusal(project, "trainer", "sts", "assume_role", RoleArn=role, RoleSessionName="me")


def test_an_approver_starts_no_runs_and_brings_no_proteins(project: StrictProject) -> None:
    assert "version 1, Approved" in project.by("approver").amplify("runs")
    assert "findings in its image: no scan of this image is kept" in project.by("approver").amplify("approve", "--yes")
    in_aws_words(project, "approver", "data", "list", action="s3:ListBucket")
    assert "It is somebody else's to do" in project.by("approver").amplify("data", "add", "known.fasta", fails=True)
    start = {"PipelineName": "amplify-local", "ClientRequestToken": "x" * 32}
    assert "StartPipelineExecution" in refusal(project, "approver", "sagemaker", "start_pipeline_execution", **start)


def test_a_deployer_reads_no_proteins_and_approves_nothing(project: StrictProject) -> None:
    in_aws_words(project, "deployer", "data", "list", action="s3:ListBucket")
    package = json.loads((project.root / "releases" / "local.json").read_text())["model_package_arn"]
    approval = {"ModelPackageArn": package, "ModelApprovalStatus": "Rejected"}
    assert "UpdateModelPackage" in refusal(project, "deployer", "sagemaker", "update_model_package", **approval)
    admin = f"arn:aws:iam::{ACCOUNT}:role/cdk-hnb659fds-cfn-exec-role-{ACCOUNT}-us-east-1"
    assert "sts:AssumeRole" in refusal(project, "deployer", "sts", "assume_role", RoleArn=admin, RoleSessionName="me")


def test_an_auditor_sees_how_everything_is_set_and_changes_nothing(project: StrictProject) -> None:
    auditor = project.by("auditor")
    assert "Succeeded" in auditor.amplify("runs")
    assert "served:   arn:aws:sagemaker" in auditor.amplify("status")
    assert "packages:" in auditor.amplify("image")
    data, artifacts = project.output("storage", "DataBucketName"), project.output("storage", "ArtifactBucketName")
    key = project.output("storage", "KeyArn")
    assert project.aws("s3", "auditor").get_bucket_policy(Bucket=data)["Policy"]
    assert project.aws("kms", "auditor").get_key_policy(KeyId=key, PolicyName="default")["Policy"]
    role = project.roles()["training/TrainRole"]
    assert project.aws("iam", "auditor").list_role_policies(RoleName=role)["PolicyNames"]

    in_aws_words(project, "auditor", "data", "list", action="s3:ListBucket")
    tries: list[tuple[str, str, dict[str, object]]] = [
        ("s3", "get_object", {"Bucket": data, "Key": "proteins/known.fasta"}),
        ("s3", "put_object", {"Bucket": artifacts, "Key": "runs/x/evaluation/evaluation.json", "Body": b"{}"}),
        ("s3", "delete_object", {"Bucket": data, "Key": "proteins/known.fasta"}),
        ("kms", "schedule_key_deletion", {"KeyId": key}),
        ("iam", "delete_role_policy", {"RoleName": role, "PolicyName": "x"}),
        ("sagemaker", "delete_endpoint", {"EndpointName": "amplify-local"}),
        ("sagemaker", "stop_pipeline_execution", {"PipelineExecutionArn": an_execution(project)}),
        ("cloudformation", "delete_stack", {"StackName": "amplify-local-storage"}),
    ]
    for service, operation, members in tries:
        assert "is not authorized to perform" in refusal(project, "auditor", service, operation, **members), operation


def an_execution(project: StrictProject) -> str:
    sagemaker = project.aws("sagemaker")
    [newest, *_] = sagemaker.list_pipeline_executions(PipelineName="amplify-local")["PipelineExecutionSummaries"]
    return str(newest["PipelineExecutionArn"])


def test_the_roles_do_not_change_hands(project: StrictProject) -> None:
    sagemaker = project.aws("sagemaker")
    [job] = sagemaker.list_training_jobs(SortOrder="Ascending", MaxResults=1)["TrainingJobSummaries"]
    described = sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])
    wanted = ("AlgorithmSpecification", "OutputDataConfig", "ResourceConfig", "StoppingCondition")
    request = {member: described[member] for member in wanted} | {"TrainingJobName": "mine"}
    role = f"arn:aws:iam::{ACCOUNT}:role/{project.roles()['training/EvaluateRole']}"
    assert "CreateTrainingJob" in refusal(
        project, "trainer", "sagemaker", "create_training_job", **request, RoleArn=role
    )
    assert "sts:AssumeRole" in refusal(project, "trainer", "sts", "assume_role", RoleArn=role, RoleSessionName="me")


def test_a_job_reads_no_other_prefix_than_its_roles(project: StrictProject) -> None:
    """Prepare's role, on the held-out proteins: a model must not be trained on what it will be judged by."""
    data = project.output("storage", "DataBucketName")
    execution = json.loads(
        project.by("trainer").amplify("train", "--recipe", "tiny", "--data", f"s3://{data}/heldout/", "--json")
    )["execution"]
    sagemaker = project.aws("sagemaker")

    def described() -> dict[str, str]:
        return sagemaker.describe_pipeline_execution(PipelineExecutionArn=execution)

    assert wait_until(lambda: described()["PipelineExecutionStatus"] == "Failed", 60)
    [step] = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=execution)["PipelineExecutionSteps"]
    role = project.roles()["training/PrepareRole"]
    assert f"User: arn:aws:sts::{ACCOUNT}:assumed-role/{role}/SageMaker is not authorized" in step["FailureReason"]
    assert "s3:ListBucket" in step["FailureReason"]


def test_the_recorded_table_holds_the_calls_of_this_run(project: StrictProject) -> None:
    """Where this fails, a role does something new: read it, and `python -m tests.e2e.recorded_calls`."""
    recorded = json.loads(recorded_calls.TABLE.read_text())
    names = project.physical_names()
    for role, physical in project.roles().items():
        for call in project.calls():
            if f":assumed-role/{physical}/" in call["principal"] and call["allowed"]:
                text = json.dumps([call["action"], call["resource"]])
                called = json.loads(recorded_calls.normalised(text, names))
                assert called in [row[:2] for row in recorded[f"realtime/{role}"]], (role, called)


# ---- what each right is there for ------------------------------------------------------------------------------------


SAMPLE = {  # one of each kind: a job's input, key and log; a pipeline's right to hand roles on; an endpoint's image; …
    ("training/EvaluateRole", "s3:GetObject"),
    ("training/PrepareRole", "kms:Decrypt"),
    ("training/PrepareRole", "logs:PutLogEvents"),
    ("training/TrainingPipelineRole", "iam:PassRole"),
    ("endpoint/Role", "ecr:BatchGetImage"),
    ("monitoring/DriftRole", "s3:ListBucket"),
    ("monitoring/DriftScheduleRole", "sagemaker:StartPipelineExecution"),
}


@pytest.mark.parametrize(("role", "action"), sorted(SAMPLE))
def test_without_a_right_its_work_is_refused_as_aws_refuses_it(project: StrictProject, role: str, action: str) -> None:
    [statement, *_] = [one for one in statements(project) if one.role == role and action in one.actions]
    assert why_it_is_there(project, statement).endswith("is refused")


@pytest.mark.proof
def test_every_statement_of_every_role_is_needed_or_is_for_a_call_that_aws_makes(project: StrictProject) -> None:
    all_pipelines_run(project)
    for role in HELD["realtime"]:
        assert do_work(project, role) == "", role
    found = statements(project)
    assert len(found) > 40
    reasons = {str(statement): why_it_is_there(project, statement) for statement in found}
    unmet = sorted(text for text, reason in reasons.items() if reason == "AWS's own calls")
    print("\n".join(f"{reason:<40} {text}" for text, reason in sorted(reasons.items())))
    # What local AWS cannot show is little, and of the kinds that docs/real-account.md names.
    of_jobs = [text for text in unmet if kind_of(text.partition(":")[0]) in ("job", "endpoint", "pipeline")]
    assert all("kms:CreateGrant" in text or "cloudwatch:PutMetricData" in text or "AddTags" in text for text in of_jobs)


def test_every_role_that_is_deployed_here_is_one_whose_statements_are_taken_out(project: StrictProject) -> None:
    assert set(project.roles()) == set(HELD["realtime"])


def test_every_row_of_the_sourced_table_names_its_page() -> None:
    for row in SERVICE_CALLS:
        assert row["source"].startswith("https://docs.aws.amazon.com/")
        assert set(row["roles"]) <= {"job", "endpoint", "pipeline", "function", "build", "schedule"}
        assert row["why"]


def test_the_record_lies_where_the_documentation_says(project: StrictProject) -> None:
    assert Path(project.state / "strict" / "calls.jsonl").is_file()
