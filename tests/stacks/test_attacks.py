"""What no role and no person may do, tried on the policies of every template; and what each has to be able to do.

A row of ATTACKS is a name and its calls. Everybody in every template is refused all of them, but for those whom
MEANT_FOR names: to whom it is no attack but the work, with the reason.
"""

import functools
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from environments import DEV, ENVIRONMENTS
from tests.e2e.held_roles import HELD, kind_of
from tests.e2e.strict_settings import SETTINGS
from tests.stacks.iam import Call, Statement, allows, boundaries, policies
from tests.stacks.synthesis import ROOT, VARIANTS, all_templates, templates_of

OTHER_KEY = "arn:aws:kms:us-east-1:{account}:key/0f0f0f0f-1111-2222-3333-444444444444"
OUR_KEY = "arn:aws:kms:us-east-1:{account}:key/<Key>"
DATA, ARTIFACTS, LOGS = (f"arn:aws:s3:::<{kind}Bucket>" for kind in ("Data", "Artifact", "AccessLog"))
SAGEMAKER = "arn:aws:sagemaker:us-east-1:{account}"
BUILD = "arn:aws:codebuild:us-east-1:{account}:project/<ImageBuildProject>"
BY_S3 = {"kms:ViaService": "s3.us-east-1.amazonaws.com"}
TO_SAGEMAKER = {"iam:PassedToService": "sagemaker.amazonaws.com"}
OUR_ROLES = ("PrepareRole", "TrainRole", "EvaluateRole", "FetchRole", "DriftRole", "Role", "TrainingPipelineRole")
ADMIN = "arn:aws:iam::{account}:role/cdk-hnb659fds-cfn-exec-role-{account}-us-east-1"
RUN = "k3x9q2m7w1ab"

Attack = list[tuple[str, str, dict[str, str]]]


def on(resource: str, *actions: str, **context: str) -> Attack:
    return [(action, resource, context) for action in actions]


def under(resource: str, context: dict[str, str], *actions: str) -> Attack:
    return [(action, resource, context) for action in actions]


ATTACKS: dict[str, Attack] = {
    "become an administrator": [
        *on("arn:aws:iam::{account}:user/mallory", "iam:CreateUser", "iam:AttachUserPolicy", "iam:PutUserPolicy"),
        *on("arn:aws:iam::{account}:user/mallory", "iam:CreateAccessKey", "iam:CreateLoginProfile"),
        *on("arn:aws:iam::{account}:role/mallory", "iam:CreateRole", "iam:AttachRolePolicy", "iam:PutRolePolicy"),
        *on(ADMIN, "sts:AssumeRole"),
        *on("arn:aws:iam::999999999999:role/admin", "sts:AssumeRole"),
    ],
    "change policies": [
        *on("arn:aws:iam::{account}:policy/{name}-trainer", "iam:CreatePolicyVersion", "iam:SetDefaultPolicyVersion"),
        *on("arn:aws:iam::{account}:role/{name}-training-x", "iam:UpdateAssumeRolePolicy", "iam:PutRolePolicy"),
        *on(
            "arn:aws:iam::{account}:role/{name}-training-x", "iam:DeleteRolePermissionsBoundary", "iam:AttachRolePolicy"
        ),
        *on(DATA, "s3:PutBucketPolicy", "s3:PutBucketAcl", "s3:PutBucketPublicAccessBlock", "s3:PutBucketLogging"),
        *on(OUR_KEY, "kms:PutKeyPolicy", "kms:CreateAlias", "kms:UpdateKeyDescription"),
        *on("arn:aws:ecr:us-east-1:{account}:repository/<Repository>", "ecr:SetRepositoryPolicy"),
        *on(SAGEMAKER + ":model-package-group/{name}", "sagemaker:PutModelPackageGroupPolicy"),
    ],
    "pass a role to a service that runs code": [
        call
        for role in (ADMIN, *(f"arn:aws:iam::{{account}}:role/<{role}>" for role in OUR_ROLES))
        for service in ("lambda", "ec2", "codebuild", "ecs-tasks", "glue", "cloudformation")
        for call in under(role, {"iam:PassedToService": f"{service}.amazonaws.com"}, "iam:PassRole")
    ],
    "pass an administrator's role to a job": under(ADMIN, TO_SAGEMAKER, "iam:PassRole"),
    "pass a job's role to a job": [
        call
        for role in ("PrepareRole", "TrainRole", "EvaluateRole", "FetchRole", "DriftRole")
        for call in under(f"arn:aws:iam::{{account}}:role/<{role}>", TO_SAGEMAKER, "iam:PassRole")
    ],
    "use others' keys": [
        *under(OTHER_KEY, BY_S3, "kms:Decrypt", "kms:GenerateDataKey", "kms:Encrypt"),
        *under(OTHER_KEY, {"kms:GrantIsForAWSResource": "true"}, "kms:CreateGrant"),
        *on(OTHER_KEY, "kms:Decrypt", "kms:DescribeKey"),
    ],
    "hand our key to anyone": under(OUR_KEY, {"kms:GrantIsForAWSResource": "false"}, "kms:CreateGrant"),
    "destroy our key": on(OUR_KEY, "kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:DisableKeyRotation"),
    "destroy buckets and what they keep": [
        call
        for bucket in (DATA, ARTIFACTS, LOGS)
        for call in (
            *on(bucket, "s3:DeleteBucket", "s3:PutBucketVersioning", "s3:PutLifecycleConfiguration"),
            *on(bucket, "s3:PutEncryptionConfiguration", "s3:DeleteBucketPolicy", "s3:ListBucketVersions"),
            *on(f"{bucket}/proteins/a.fasta", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"),
            *on(f"{bucket}/runs/{RUN}/model/x", "s3:DeleteObjectVersion", "s3:DeleteObject"),
        )
    ],
    "delete proteins": on(f"{DATA}/proteins/a.fasta", "s3:DeleteObject"),
    "read what nobody is for": [
        *on(f"{DATA}/secret/a", "s3:GetObject"),
        *on(f"{DATA}/proteinsx/a", "s3:GetObject"),
        *on(f"{ARTIFACTS}/secret/a", "s3:GetObject"),
        *on(f"{ARTIFACTS}/runs/{RUN}/secret/a", "s3:GetObject"),
        *on(f"{LOGS}/2026-11-25-log", "s3:GetObject"),
        *on("arn:aws:s3:::cdk-hnb659fds-assets-{account}-us-east-1/" + "f" * 64 + ".zip", "s3:GetObject"),
        *on("arn:aws:s3:::another-bucket/proteins/a", "s3:GetObject", "s3:PutObject"),
        *under("arn:aws:s3:::another-bucket", {"s3:prefix": ""}, "s3:ListBucket"),
        *under(LOGS, {"s3:prefix": ""}, "s3:ListBucket"),
        *under(DATA, {"s3:prefix": ""}, "s3:ListBucket"),
        *under(ARTIFACTS, {"s3:prefix": ""}, "s3:ListBucket"),
        *on("arn:aws:secretsmanager:us-east-1:{account}:secret:x", "secretsmanager:GetSecretValue"),
        *on("arn:aws:ssm:us-east-1:{account}:parameter/x", "ssm:GetParameter"),
        *on("arn:aws:logs:us-east-1:{account}:log-group:/aws/lambda/payroll:*", "logs:GetLogEvents"),
    ],
    "read proteins": on(f"{DATA}/proteins/a.fasta", "s3:GetObject"),
    "decrypt proteins": under(OUR_KEY, BY_S3 | {"kms:EncryptionContext:aws:s3:arn": DATA}, "kms:Decrypt"),
    "read held-out proteins": on(f"{DATA}/heldout/a.fasta", "s3:GetObject"),
    "write proteins": on(f"{DATA}/proteins/a.fasta", "s3:PutObject"),
    "write held-out proteins": on(f"{DATA}/heldout/a.fasta", "s3:PutObject"),
    "read models": on(f"{ARTIFACTS}/runs/{RUN}/model/model.tar.gz", "s3:GetObject"),
    "write models": on(f"{ARTIFACTS}/runs/{RUN}/model/model.tar.gz", "s3:PutObject"),
    "write evaluations": on(f"{ARTIFACTS}/runs/{RUN}/evaluation/evaluation.json", "s3:PutObject"),
    "write where nothing of theirs lies": [
        *on(f"{DATA}/other/a", "s3:PutObject"),
        *on(f"{LOGS}/a", "s3:PutObject"),
    ],
    "write the record of releases, and their copies": on(f"{ARTIFACTS}/releases/prod.json", "s3:PutObject"),
    "say which release is live": on("arn:aws:ssm:us-east-1:{account}:parameter/amplify/{name}/x", "ssm:PutParameter"),
    "write parameters of others": on("arn:aws:ssm:us-east-1:{account}:parameter/x", "ssm:PutParameter"),
    "register models": on(SAGEMAKER + ":model-package-group/{name}", "sagemaker:CreateModelPackage"),
    "fetch from an account that is no neighbour": [
        *under(
            "arn:aws:s3:::amplify-dev-storage-artifactbucket-x/releases/x/model.tar.gz",
            {"aws:ResourceAccount": "999999999999"},
            *("s3:GetObject", "s3:GetObjectVersion"),
        ),
        *under(
            "arn:aws:kms:us-east-1:999999999999:key/x",
            BY_S3 | {"aws:ResourceAccount": "999999999999"},
            "kms:Decrypt",
        ),
        *on("arn:aws:ecr:us-east-1:999999999999:repository/amplify-dev", "ecr:BatchGetImage"),
    ],
    "approve models": on(SAGEMAKER + ":model-package/{name}/7", "sagemaker:UpdateModelPackage"),
    "take models away": [
        *on(SAGEMAKER + ":model-package/{name}/7", "sagemaker:DeleteModelPackage"),
        *on(SAGEMAKER + ":model-package-group/{name}", "sagemaker:DeleteModelPackageGroup"),
    ],
    "invoke without a grant": [
        *on(SAGEMAKER + ":endpoint/{name}", "sagemaker:InvokeEndpoint", "sagemaker:InvokeEndpointAsync"),
        *on(SAGEMAKER + ":endpoint/{name}", "sagemaker:InvokeEndpointWithResponseStream"),
    ],
    "invoke another endpoint": on(SAGEMAKER + ":endpoint/payroll", "sagemaker:InvokeEndpoint"),
    "change what is served": [
        *on(SAGEMAKER + ":endpoint/{name}", "sagemaker:UpdateEndpoint", "sagemaker:UpdateEndpointWeightsAndCapacities"),
        *on(SAGEMAKER + ":model/x", "sagemaker:CreateModel"),
        *on(SAGEMAKER + ":endpoint-config/x", "sagemaker:CreateEndpointConfig"),
    ],
    "run jobs and pipelines of one's own": [
        *on(SAGEMAKER + ":training-job/mine", "sagemaker:CreateTrainingJob"),
        *on(SAGEMAKER + ":processing-job/mine", "sagemaker:CreateProcessingJob"),
        *on(SAGEMAKER + ":transform-job/mine", "sagemaker:CreateTransformJob"),
        *on(SAGEMAKER + ":pipeline/{name}", "sagemaker:UpdatePipeline", "sagemaker:DeletePipeline"),
        *on(SAGEMAKER + ":pipeline/mine", "sagemaker:CreatePipeline", "sagemaker:StartPipelineExecution"),
    ],
    "open a notebook": on(SAGEMAKER + ":notebook-instance/{name}", "sagemaker:CreatePresignedNotebookInstanceUrl"),
    "change a notebook": [
        *on(SAGEMAKER + ":notebook-instance/{name}", "sagemaker:UpdateNotebookInstance"),
        *on(SAGEMAKER + ":notebook-instance/{name}", "sagemaker:DeleteNotebookInstance"),
        *on(SAGEMAKER + ":notebook-instance/mine", "sagemaker:CreateNotebookInstance"),
        *on(SAGEMAKER + ":notebook-instance/mine", "sagemaker:CreatePresignedNotebookInstanceUrl"),
    ],
    "start runs": on(SAGEMAKER + ":pipeline/{name}", "sagemaker:StartPipelineExecution"),
    # What a request overrides shows in some of these keys, and a debug session in none: see docs/decisions/stacks.md.
    "run what they like as the image's build": [
        *on(BUILD, "codebuild:StartBuild"),
        *under(BUILD, {"codebuild:source.buildspec": "true"}, "codebuild:StartBuild"),
        *under(BUILD, {"codebuild:environment.image": "public.ecr.aws/mine"}, "codebuild:StartBuild"),
        *under(BUILD, {"codebuild:environment.environmentVariables.name": "BUNDLE"}, "codebuild:StartBuild"),
    ],
    "run what they like in the image's build, by its other doors": [
        *on(BUILD, "codebuild:StartBuildBatch", "codebuild:RetryBuild", "codebuild:RetryBuildBatch"),
        *on(BUILD, "codebuild:StartSandbox", "codebuild:StartSandboxConnection", "codebuild:StartCommandExecution"),
        *on(BUILD, "codebuild:CreateWebhook", "codebuild:UpdateWebhook", "codebuild:UpdateProjectVisibility"),
        *on("*", "codebuild:ImportSourceCredentials", "ssmmessages:OpenDataChannel", "ssm:StartSession"),
        *on("arn:aws:codebuild:us-east-1:{account}:project/mine", "codebuild:CreateProject", "codebuild:StartBuild"),
    ],
    "push an image": on("arn:aws:ecr:us-east-1:{account}:repository/<Repository>", "ecr:PutImage"),
    "take images away": [
        *on("arn:aws:ecr:us-east-1:{account}:repository/<Repository>", "ecr:BatchDeleteImage", "ecr:DeleteRepository"),
        *on("arn:aws:ecr:us-east-1:{account}:repository/payroll", "ecr:BatchGetImage", "ecr:PutImage"),
    ],
    "change code that runs": [
        *on("arn:aws:lambda:us-east-1:{account}:function:x", "lambda:UpdateFunctionCode", "lambda:CreateFunction"),
        *on(BUILD, "codebuild:UpdateProject"),
        *on("arn:aws:cloudformation:us-east-1:{account}:stack/{name}-storage/x", "cloudformation:UpdateStack"),
        *on("arn:aws:cloudformation:us-east-1:{account}:stack/{name}-storage/x", "cloudformation:DeleteStack"),
    ],
    "deploy": on("arn:aws:iam::{account}:role/cdk-hnb659fds-deploy-role-{account}-us-east-1", "sts:AssumeRole"),
    "look for what was changed by hand": on(
        "arn:aws:cloudformation:us-east-1:{account}:stack/{name}-storage/x", "cloudformation:DetectStackDrift"
    ),
    "look for it where nothing is ours": on(
        "arn:aws:cloudformation:us-east-1:{account}:stack/payroll/x", "cloudformation:DetectStackDrift"
    ),
    "watch and record a release": on("arn:aws:iam::{account}:role/{name}-release", "sts:AssumeRole"),
    "copy from another account": on("arn:aws:iam::{account}:role/{name}-promotion", "sts:AssumeRole"),
    "see which models there are": under(ARTIFACTS, {"s3:prefix": f"runs/{RUN}/model/x"}, "s3:ListBucketVersions"),
    "see which proteins there are, and were": [
        *under(ARTIFACTS, {"s3:prefix": ""}, "s3:ListBucketVersions"),
        *under(ARTIFACTS, {"s3:prefix": "checkpoints/"}, "s3:ListBucketVersions"),
        *under(DATA, {"s3:prefix": "proteins/"}, "s3:ListBucketVersions"),
    ],
    "open the network": [
        *on("arn:aws:ec2:us-east-1:{account}:vpc/vpc-1", "ec2:CreateRoute", "ec2:AttachInternetGateway"),
        *on("arn:aws:ec2:us-east-1:{account}:security-group/sg-9", "ec2:AuthorizeSecurityGroupEgress"),
        *on("arn:aws:ec2:us-east-1:{account}:subnet/subnet-9", "ec2:CreateNetworkInterface", "ec2:RunInstances"),
        *on("arn:aws:ec2:us-east-1:{account}:vpc-endpoint/vpce-9", "ec2:ModifyVpcEndpoint"),
    ],
    "wipe traces": [
        *on("arn:aws:logs:us-east-1:{account}:log-group:/aws/sagemaker/TrainingJobs:*", "logs:DeleteLogGroup"),
        *on("arn:aws:logs:us-east-1:{account}:log-group:/aws/sagemaker/TrainingJobs:*", "logs:DeleteLogStream"),
        *on("arn:aws:cloudwatch:us-east-1:{account}:alarm:{name}-x", "cloudwatch:DeleteAlarms"),
        *on("arn:aws:cloudtrail:us-east-1:{account}:trail/x", "cloudtrail:StopLogging"),
        *under("*", {"cloudwatch:namespace": "AWS/Billing"}, "cloudwatch:PutMetricData"),
    ],
}

NOTEBOOK = "workbench/Role"  # acts as a trainer and an invoker
PIPELINES = {"training/TrainingPipelineRole", "training/RegistrationPipelineRole"}
MEANT_FOR: dict[str, set[str]] = {
    "pass a job's role to a job": {*PIPELINES, "monitoring/DriftPipelineRole"},
    "delete proteins": {"people/TrainerPolicy", NOTEBOOK},
    "read proteins": {"training/PrepareRole", "people/TrainerPolicy", NOTEBOOK},
    "read held-out proteins": {"training/EvaluateRole", "people/TrainerPolicy", NOTEBOOK},
    "write proteins": {"people/TrainerPolicy", NOTEBOOK},
    "write held-out proteins": {"people/TrainerPolicy", NOTEBOOK},
    "read models": {
        *("training/PrepareRole", "training/EvaluateRole", "training/FetchRole", *PIPELINES),
        "people/ApproverPolicy",
        "promotion/ReleaseRole",  # verifies a release that was made here
        "endpoint/PackagesRole",  # of transform jobs on any approved package
    },
    "write models": {"training/TrainRole", "training/FetchRole"},
    "write evaluations": {"training/EvaluateRole"},
    "approve models": {"people/ApproverPolicy"},
    "invoke without a grant": {"endpoint/InvokePolicy", NOTEBOOK},
    "open a notebook": {"workbench/WorkbenchPolicy"},
    "start runs": {"people/TrainerPolicy", "training/TriggersStarterRole", NOTEBOOK},
    "run what they like as the image's build": {"people/DeployerPolicy", "training/ImageBuildStarterRole"},
    "push an image": {"training/ImageBuildRole", "promotion/PromotionRole"},
    "write the record of releases, and their copies": {"promotion/PromotionRole", "promotion/ReleaseRole"},
    "say which release is live": {"promotion/ReleaseRole"},
    "register models": {*PIPELINES, "promotion/PromotionRole"},
    "look for what was changed by hand": {"people/DriftPolicy", "delivery/DriftRole"},
    "deploy": {"people/DeployerPolicy", "delivery/DeployRole"},
    # Promoters too, and theirs are the roles themselves and no names: tests/stacks/test_promotion_rights.py
    "watch and record a release": {"people/DeployerPolicy", "delivery/DeployRole"},
    "copy from another account": {"delivery/DeployRole"},
    "see which models there are": {"people/DeployerPolicy"},  # where no release role looks at the released one
    # Roles of jobs and services use the key for what they may read; only people are held to buckets by the context.
    "decrypt proteins": {"people/TrainerPolicy", NOTEBOOK, "*Role"},
}


@functools.cache
def everybody() -> dict[str, tuple[str, str, Sequence[Statement]]]:
    """`dev/training/TrainRole` → account, the environment's one fixed name, and what it may."""
    found = {}
    for stack, template in all_templates().items():
        whose = stack.removeprefix("delivery/").split("/")[0]
        environment = (ENVIRONMENTS | VARIANTS).get(whose, DEV)
        for identity, statements in policies(template, environment.account):
            where = f"{stack.replace('modes/', 'modes-')}/{identity}"
            found[where] = (environment.account, environment.resource_name, statements)
    for name in VARIANTS:  # a notebook's role has policies of other stacks
        if (role := f"{name}/{NOTEBOOK}") in found:
            account, resource_name, own = found[role]
            more = [found[f"{name}/{policy}"][2] for policy in ("people/TrainerPolicy", "endpoint/InvokePolicy")]
            found[role] = (account, resource_name, [*own, *(one for policy in more for one in policy)])
    return found


def kind(identity: str) -> str:
    """`dev/training/TrainRole` → `training/TrainRole`, `delivery/dev/DevDeployRole` → `delivery/DeployRole`.

    An endpoint stack of the modes is one like any other."""
    stack, name = identity.split("/")[-2:]
    if identity.startswith("delivery/"):
        return f"delivery/{name.removeprefix(stack.capitalize())}"
    return f"endpoint/{name}" if stack.startswith("modes-") else f"{stack}/{name}"


def is_meant(attack: str, identity: str) -> bool:
    meant = MEANT_FOR.get(attack, set())
    return kind(identity) in meant or ("*Role" in meant and identity.endswith("Role"))


def calls(attack: str, account: str, name: str) -> Iterator[Call]:
    for action, resource, context in ATTACKS[attack]:
        yield Call(action=action, resource=resource.format(account=account, name=name), context=context)


def successes(attack: str, identity: str) -> list[Call]:
    account, name, statements = everybody()[identity]
    return [call for call in calls(attack, account, name) if allows(statements, call)]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nobody_may(attack: str) -> None:
    done = {who: found for who in everybody() if not is_meant(attack, who) and (found := successes(attack, who))}
    assert done == {}


@pytest.mark.parametrize("attack", MEANT_FOR)
def test_those_who_may_are_no_more_than_are_meant(attack: str) -> None:
    able = {kind(who) for who in everybody() if successes(attack, who)}
    assert {one for one in MEANT_FOR[attack] if one != "*Role"} - able == set(), "explains nothing any more: remove it"


def test_every_role_of_every_template_is_attacked() -> None:
    roles = sum(
        resource["Type"] in ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy")
        for template in all_templates().values()
        for resource in template["Resources"].values()
    ) - sum(len(boundaries(template, "")) for template in all_templates().values())  # which grant nothing
    assert len(everybody()) == roles


def test_an_attack_on_a_role_that_may_do_everything_succeeds() -> None:
    everything = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
    for attack in ATTACKS:
        assert all(allows(everything, call) for call in calls(attack, "1" * 12, "amplify-dev")), attack


# ---- what has to be allowed ------------------------------------------------------------------------------------------

RECORDED: dict[str, list[tuple[str, str, dict[str, str]]]] = json.loads(
    (ROOT / "tests" / "data" / "iam" / "recorded_calls.json").read_text()
)
SERVICE_CALLS = json.loads((ROOT / "tests" / "data" / "iam" / "service_calls.json").read_text())


# Names that CloudFormation makes up, and digests of code: the strict run itself holds the roles to those.
GENERATED = re.compile(r"ImageBuild(Log|Project)|Function>|<sha256>")
OF_SAGEMAKER = [one for one in RECORDED if kind_of(one.partition("/")[2]) in ("job", "pipeline", "endpoint")]


@functools.cache
def of_strict_run(setting: str) -> dict[str, list[Statement]]:
    """`training/TrainRole` → what it may, where `local` is set as in that strict run."""
    environment = SETTINGS[setting]
    return {
        f"{stack.partition('/')[2]}/{role}": statements
        for stack, template in templates_of(environment).items()
        for role, statements in policies(template, environment.account)
    }


@pytest.mark.parametrize("recorded", RECORDED)
def test_a_role_may_do_all_that_it_did_in_the_strict_run(recorded: str) -> None:
    setting, _, role = recorded.partition("/")
    statements, name = of_strict_run(setting)[role], SETTINGS[setting].resource_name
    named = [
        resource
        for one in statements
        if one["Action"] == "s3:GetObject"
        for resource in (one["Resource"] if isinstance(one["Resource"], list) else [one["Resource"]])
    ]
    released = {resource for resource in named if resource.endswith("/output/model.tar.gz")}
    refused = []
    for action, resource, context in RECORDED[recorded]:
        # The repository has its real name there; the release's archive is that of the run, here of the example.
        resource = resource.replace(f":repository/{name}", ":repository/<Repository>")
        if released and resource.endswith("/output/model.tar.gz"):
            [resource] = released
        if released and context.get("s3:prefix", "").endswith("/output/model.tar.gz"):
            [archive] = released
            context = {"s3:prefix": archive.partition("/")[2]}
        if GENERATED.search(resource):
            continue
        if not allows(statements, Call(action=action, resource=resource, context=context)):
            refused.append((action, resource, context))
    assert refused == []


def test_the_table_has_a_row_for_each_role_that_strict_runs_hold() -> None:
    assert set(RECORDED) == {f"{setting}/{role}" for setting, roles in HELD.items() for role in roles}
    assert all(RECORDED.values())


@pytest.mark.parametrize("recorded", OF_SAGEMAKER)
def test_a_role_may_do_what_only_aws_asks_for(recorded: str) -> None:
    """In a network, with volumes that have a key: by action, since local AWS names no resources for these."""
    setting, _, role = recorded.partition("/")
    also = {"monitoring/DriftRole": "watched-prod/monitoring/DriftRole"}.get(role, f"private-dev/{role}")
    if setting != "realtime":
        also = f"modes-{setting}/{role.partition('/')[2]}"
    elsewhere = everybody()[also][2] if also in everybody() else []
    given = {
        action
        for one in [*of_strict_run(setting)[role], *elsewhere]
        for action in (one["Action"] if isinstance(one["Action"], list) else [one["Action"]])
    }
    wanted = {row["action"] for row in SERVICE_CALLS if kind_of(role) in row["roles"]}
    if role == "training/FetchRole" or setting == "serverless":  # outside of the network; there is none for the mode
        wanted = {action for action in wanted if not action.startswith("ec2:")}
    if setting in ("realtime", "serverless"):  # their questions come in requests, and lie in no bucket
        wanted -= {"s3:ListBucket"}
    if role == "training/RegistrationPipelineRole":  # it has no training to stop
        wanted -= {"sagemaker:StopTrainingJob"}
    if role == "monitoring/DriftPipelineRole":  # it neither trains nor registers
        wanted &= {"sagemaker:AddTags", "sagemaker:StopProcessingJob"}
    unwanted_here = {"kms:CreateGrant", "kms:DescribeKey"}  # types with local disks have no key for their volume
    assert wanted - given <= unwanted_here


THEIR_WORK: dict[str, list[tuple[str, str, dict[str, str]]]] = {  # what `amplify` asks for, for each kind of person
    "TrainerPolicy": [
        *on("arn:aws:cloudformation:us-east-1:{account}:stack/{name}-storage/1b2c", "cloudformation:DescribeStacks"),
        *under(DATA, {"s3:prefix": "proteins/"}, "s3:ListBucket"),
        *on(f"{DATA}/proteins/READY", "s3:PutObject"),
        *on(f"{DATA}/weights/w/model.safetensors", "s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload"),
        *under(OUR_KEY, BY_S3 | {"kms:EncryptionContext:aws:s3:arn": DATA}, "kms:GenerateDataKey", "kms:Decrypt"),
        *on(SAGEMAKER + ":pipeline/{name}", "sagemaker:StartPipelineExecution", "sagemaker:ListPipelineExecutions"),
        *on(SAGEMAKER + ":pipeline/{name}-register", "sagemaker:StartPipelineExecution"),
        *on(SAGEMAKER + ":pipeline/{name}/execution/" + RUN, "sagemaker:DescribePipelineExecution"),
        *on(SAGEMAKER + ":pipeline/{name}/execution/" + RUN, "sagemaker:ListPipelineExecutionSteps"),
        *on(SAGEMAKER + ":pipeline/{name}/execution/" + RUN, "sagemaker:StopPipelineExecution"),
        *on(SAGEMAKER + f":training-job/pipelines-{RUN}-Train-x", "sagemaker:DescribeTrainingJob"),
        *on(SAGEMAKER + f":processing-job/pipelines-{RUN}-Prepare-x", "sagemaker:DescribeProcessingJob"),
        *on(SAGEMAKER + ":model-package/{name}/7", "sagemaker:DescribeModelPackage"),
        *on("arn:aws:logs:us-east-1:{account}:log-group:/aws/sagemaker/TrainingJobs:log-stream:x", "logs:GetLogEvents"),
        *on("arn:aws:ecr:us-east-1:{account}:repository/<Repository>", "ecr:DescribeImages"),
        *on(BUILD, "codebuild:BatchGetBuilds", "codebuild:ListBuildsForProject"),
        *on(f"{ARTIFACTS}/runs/{RUN}/evaluation/evaluation.json", "s3:GetObject"),
    ],
    "ApproverPolicy": [
        *on("*", "sagemaker:ListModelPackages"),
        *on(SAGEMAKER + ":model-package/{name}/7", "sagemaker:DescribeModelPackage", "sagemaker:UpdateModelPackage"),
        *on(f"{ARTIFACTS}/runs/{RUN}/model/pipelines-x/output/model.tar.gz", "s3:GetObject"),
        *on(f"{ARTIFACTS}/images/gpu-0/scan.json", "s3:GetObject"),
        *on(SAGEMAKER + ":pipeline/{name}", "sagemaker:ListPipelineExecutions"),
        *on(SAGEMAKER + ":pipeline/{name}/execution/" + RUN, "sagemaker:DescribePipelineExecution"),
        *on(f"{ARTIFACTS}/runs/{RUN}/evaluation/evaluation.json", "s3:GetObject"),
        *under(OUR_KEY, BY_S3 | {"kms:EncryptionContext:aws:s3:arn": ARTIFACTS}, "kms:Decrypt"),
        *on("arn:aws:ecr:us-east-1:{account}:repository/<Repository>", "ecr:DescribeImages"),
    ],
    "DeployerPolicy": [
        *on("arn:aws:iam::{account}:role/cdk-hnb659fds-deploy-role-{account}-us-east-1", "sts:AssumeRole"),
        *on("arn:aws:iam::{account}:role/cdk-hnb659fds-file-publishing-role-{account}-us-east-1", "sts:AssumeRole"),
        *on("arn:aws:iam::{account}:role/cdk-hnb659fds-lookup-role-{account}-us-east-1", "sts:AssumeRole"),
        *on(SAGEMAKER + ":model-package/{name}/7", "sagemaker:DescribeModelPackage"),
        *on(SAGEMAKER + ":endpoint/{name}", "sagemaker:DescribeEndpoint"),
        *on(SAGEMAKER + ":endpoint-config/x", "sagemaker:DescribeEndpointConfig"),
        *on(SAGEMAKER + ":model/x", "sagemaker:DescribeModel"),
        *on("arn:aws:cloudformation:us-east-1:{account}:stack/{name}-endpoint/1b", "cloudformation:ListStackResources"),
    ],
    "DriftPolicy": [
        *on(
            "arn:aws:cloudformation:us-east-1:{account}:stack/{name}-storage/1b2c",
            *("cloudformation:DescribeStacks", "cloudformation:ListStackResources"),
            *("cloudformation:DetectStackDrift", "cloudformation:DescribeStackResourceDrifts"),
        ),
        *on("*", "cloudformation:DescribeStackDriftDetectionStatus"),
        *on("arn:aws:s3:::{name}-storage-databucket-x", "s3:GetBucketVersioning", "s3:GetBucketPolicy"),
        *on("arn:aws:iam::{account}:role/{name}-training-TrainRole-x", "iam:GetRole", "iam:GetRolePolicy"),
        *on(SAGEMAKER + ":endpoint/{name}", "sagemaker:DescribeEndpoint", "sagemaker:ListTags"),
    ],
    "AuditorPolicy": [
        *on(f"{ARTIFACTS}/runs/{RUN}/evaluation/evaluation.json", "s3:GetObject"),
        *under(OUR_KEY, BY_S3 | {"kms:EncryptionContext:aws:s3:arn": ARTIFACTS}, "kms:Decrypt"),
        *on(DATA, "s3:GetBucketPolicy", "s3:GetEncryptionConfiguration"),
        *on(OUR_KEY, "kms:GetKeyPolicy", "kms:ListGrants"),
        *on(SAGEMAKER + ":endpoint/{name}", "sagemaker:DescribeEndpoint"),
        *on(SAGEMAKER + ":notebook-instance/{name}", "sagemaker:DescribeNotebookInstance"),
        *on("*", "servicequotas:ListServiceQuotas"),
        *on(SAGEMAKER + ":model-package/{name}/7", "sagemaker:DescribeModelPackage"),
        *on("arn:aws:iam::{account}:role/{name}-training-TrainRole-x", "iam:GetRolePolicy"),
        *on(
            "arn:aws:logs:us-east-1:{account}:log-group:/aws/sagemaker/Endpoints/{name}:log-stream:x",
            "logs:GetLogEvents",
        ),
    ],
}


@pytest.mark.parametrize("person", THEIR_WORK)
def test_a_person_may_do_their_work(person: str) -> None:
    for identity in (who for who in everybody() if who.endswith(f"/people/{person}")):
        account, name, statements = everybody()[identity]
        for action, resource, context in THEIR_WORK[person]:
            call = Call(action=action, resource=resource.format(account=account, name=name), context=context)
            assert allows(statements, call), (identity, call)


def test_a_deployer_builds_the_image_where_models_are_made() -> None:
    building = [
        *on(BUILD, "codebuild:StartBuild", "codebuild:BatchGetBuilds", "codebuild:ListBuildsForProject"),
        *on("arn:aws:ecr:us-east-1:{account}:repository/<Repository>", "ecr:DescribeImages"),
        *on(f"{ARTIFACTS}/images/gpu-0/scan.json", "s3:GetObject"),
    ]
    for env, may in (("local", True), ("dev", True), ("prod", False)):
        account, name, statements = everybody()[f"{env}/people/DeployerPolicy"]
        for action, resource, context in building:
            call = Call(action=action, resource=resource.format(account=account, name=name), context=context)
            assert allows(statements, call) is may, (env, call)


def test_an_auditor_changes_nothing() -> None:
    reading = re.compile(r"\w+:(Get|List|Describe|Filter|BatchGet)\w+|kms:Decrypt")
    for who, (_, _, statements) in everybody().items():
        if who.endswith("AuditorPolicy"):
            actions: set[Any] = {
                action
                for one in statements
                for action in (one["Action"] if isinstance(one["Action"], list) else [one["Action"]])
            }
            assert {action for action in actions if not reading.fullmatch(action)} == set()


def test_a_policy_fits_into_what_iam_takes() -> None:
    """6,144 characters of a managed policy, whitespace not counted, references as long as what they stand for."""
    for who, (_, _, statements) in everybody().items():
        if who.endswith("Policy"):
            document = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
            longer = 70 * document.count("<")  # a bucket's or key's name beside its stand-in
            assert len(document) + longer < 6_144, who
