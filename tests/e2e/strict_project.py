"""The whole way in strict mode: each part of it done by somebody who may do that part and nothing else."""

import contextlib
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from environments import ENVIRONMENTS
from local_aws import calls, server, users
from local_aws.processes import wait_until
from operate import aws as aws_access
from operate.cdk import Cdk
from operate.deployment import STACKS
from stacks.config.delivery import BOUNDARY, DEPLOYMENT_BOUNDARY
from tests.e2e.conftest import LEARNING, ROOT, SECONDS, Project, Trap, clone, write_proteins
from tests.e2e.strict_settings import SETTINGS
from tests.stacks.synthesis import account_template

ACCOUNT, REGION = "123456789012", "us-east-1"
SAGEMAKER = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
NAMED = {  # types of which a role's policy names resources that CloudFormation gave their names
    *("AWS::IAM::Role", "AWS::SNS::Topic", "AWS::SageMaker::EndpointConfig", "AWS::Lambda::Function"),
}
SET = "\n# ---- set by a test ----\n"


def allow(actions: str | list[str], resources: str | list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


@dataclass(frozen=True, kw_only=True)
class StrictProject(Project):
    """A clone whose local AWS is strict; its commands are the administrator's unless somebody else's."""

    def by(self, user: str) -> "StrictProject":
        """The same project under another person's hands."""
        return replace(self, environ=self.environ | {"AMPLIFY_LOCAL_USER": user})

    def aws(self, service: str, user: str | None = None) -> Any:
        """A boto3 client of the administrator, or of a user."""
        who = users.credentials(self.state, user) if user else None
        variables = server.client_environment(self.state, who)
        session = boto3.Session(variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"], region_name=REGION)
        config = Config(proxies={}, retries={"total_max_attempts": 1}, read_timeout=90)
        endpoint, certificate = variables["AWS_ENDPOINT_URL"], variables["AWS_CA_BUNDLE"]
        return session.client(service, endpoint_url=endpoint, verify=certificate, config=config)

    def cdk(self, user: str | None = None) -> Cdk:
        """The CDK command line, as somebody."""
        who = users.credentials(self.state, user) if user else None
        environ = aws_access.local_environ(self.environ, server.client_environment(self.state, who))
        aws = aws_access.Aws(environment=ENVIRONMENTS["local"], environ=environ | {"CDK_VALIDATION": "false"})
        releases, assembly = self.root / "releases", self.state / "cdk.out"
        return Cdk(aws=aws, releases=releases, assembly=assembly, log=self.state / "cdk.log")

    def set_to(self, setting: str) -> None:
        """`local` is this one of SETTINGS from now on."""
        file = self.root / "environments.py"
        text = file.read_text(encoding="utf-8").partition(SET)[0]
        lines = (
            "from tests.e2e.strict_settings import SETTINGS",
            f'ENVIRONMENTS = {{**ENVIRONMENTS, "local": SETTINGS["{setting}"]}}\n',
        )
        file.write_text(text + SET + "\n".join(lines), encoding="utf-8")

    def run_cdk(self, *arguments: str) -> None:
        """The CDK command line in the clone, as the administrator."""
        cdk = self.cdk()
        environ = {**cdk.aws.environ, "HOME": str(self.state), "CI": "1"}
        command = [str(ROOT / "node_modules" / ".bin" / "cdk"), *arguments]
        done = subprocess.run(
            command, cwd=self.root, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def synth(self) -> None:
        """The clone's assembly, with the releases that it has."""
        assembly = ("--quiet", "-c", f"releases={self.root / 'releases'}", "--output", str(self.state / "cdk.out"))
        self.run_cdk("--app", f"{sys.executable} app.py", "synth", *assembly)

    def add_user(self, name: str, *statements: dict[str, Any]) -> None:
        iam = self.aws("iam")
        iam.create_user(UserName=name)
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=policy)

    def roles(self) -> dict[str, str]:
        """The physical name of each role of our stacks, by `<stack>/<logical id without its digest>`."""
        return self.resources("AWS::IAM::Role")

    def resources(self, type_name: str) -> dict[str, str]:
        """The same of any type."""
        found = {}
        cloudformation = self.aws("cloudformation")
        there = {stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]}
        for stack in (stack for stack in STACKS if f"amplify-local-{stack}" in there):
            pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=f"amplify-local-{stack}")
            for page in pages:
                for resource in page["StackResourceSummaries"]:
                    if resource["ResourceType"] == type_name:
                        found[f"{stack}/{resource['LogicalResourceId'][:-8]}"] = resource["PhysicalResourceId"]
        return found

    def outputs(self, stack: str) -> dict[str, str]:
        """All outputs of a stack."""
        [described] = self.aws("cloudformation").describe_stacks(StackName=f"amplify-local-{stack}")["Stacks"]
        return {one["OutputKey"]: one["OutputValue"] for one in described["Outputs"]}

    def physical_names(self) -> dict[str, str]:
        """What stands, in angle brackets, for each bucket and key of our stacks, and for what they gave a name."""
        names = {self.output("storage", f"{bucket}Name"): f"<{bucket}>" for bucket in ("DataBucket", "ArtifactBucket")}
        names[self.output("storage", "KeyArn").rpartition("/")[2]] = "<Key>"
        for type_name in NAMED:
            names |= {physical: f"<{name.rpartition('/')[2]}>" for name, physical in self.resources(type_name).items()}
        return names

    def calls(self) -> list[calls.Call]:
        """All that was asked for so far."""
        running = server.status(self.state)
        assert running is not None
        return list(calls.read(running.settings.calls))


PEOPLE = {  # who takes part → the policy that the stacks made for them
    "trainer": "amplify-local-trainer",
    "approver": "amplify-local-approver",
    "deployer": "amplify-local-deployer",
    "auditor": "amplify-local-auditor",
    "invoker": "amplify-local-invoke",
}


def people(project: StrictProject, *kinds: str) -> None:
    """Users who hold exactly what the deployed stacks give to a kind of person, and nothing else."""
    iam = project.aws("iam")
    for kind in kinds:
        iam.create_user(UserName=kind)
        iam.attach_user_policy(UserName=kind, PolicyArn=f"arn:aws:iam::{ACCOUNT}:policy/{PEOPLE[kind]}")


@contextlib.contextmanager
def walked(folder: Path, trap: Trap, setting: str = "realtime") -> Iterator[StrictProject]:
    """Bootstrapped by the administrator and deployed by CI for the first time; from then on each part of the way is
    gone by whom the stacks made for it: filled and trained, approved, put in service."""
    plain = clone(folder, trap)
    project = StrictProject(root=plain.root, state=plain.state, environ=plain.environ, trap=trap)
    try:
        project.amplify("up", "--strict")
        project.set_to(setting)
        project.synth()
        project.cdk().bootstrap(nothing)
        if SETTINGS[setting].permissions_boundary is not None:
            bound(project)
        project.add_user("ci", allow("sts:AssumeRole", f"arn:aws:iam::{ACCOUNT}:role/cdk-*"))
        project.cdk("ci").deploy("local/*", nothing)
        people(project, "trainer", "approver", "deployer", "auditor")
        write_proteins(project.root)
        project.by("trainer").amplify("data", "add", "known.fasta")
        project.by("trainer").amplify("data", "add", "new.fasta", "--held-out")
        project.by("trainer").amplify("train", *LEARNING, "--watch")
        project.by("approver").amplify("approve", "--yes")
        project.by("deployer").amplify("deploy")
        people(project, "invoker")  # whose policy came with the endpoint
        yield project
    finally:
        server.stop(project.state)


def bound(project: StrictProject) -> None:
    """What a person does once for an account that workflows deploy to: both boundaries, and the deployment under its
    own. CloudFormation's template is that of `delivery`, for the account of `local`."""
    cloudformation = project.aws("cloudformation")
    template = json.dumps(account_template(SETTINGS["bounded"]))
    cloudformation.create_stack(
        StackName="amplify-delivery", TemplateBody=template, Capabilities=["CAPABILITY_NAMED_IAM"]
    )
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName="amplify-delivery", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    target = ("bootstrap", f"aws://{ACCOUNT}/{REGION}", "--custom-permissions-boundary", DEPLOYMENT_BOUNDARY)
    project.run_cdk("--app", str(project.state / "cdk.out"), *target)


def serve(project: StrictProject, setting: str) -> None:
    """The endpoint stack is taken away, and deployed by the deployer as the setting says."""
    policy = f"arn:aws:iam::{ACCOUNT}:policy/amplify-local-invoke"
    iam = project.aws("iam")
    iam.detach_user_policy(UserName="invoker", PolicyArn=policy)
    project.cdk().destroy("local/endpoint", nothing)
    project.set_to(setting)
    project.by("deployer").amplify("deploy")
    iam.attach_user_policy(UserName="invoker", PolicyArn=policy)


def set_boundary(project: StrictProject, document: dict[str, Any]) -> None:
    """The boundary of roles says this from now on."""
    iam, arn = project.aws("iam"), f"arn:aws:iam::{ACCOUNT}:policy/{BOUNDARY}"
    for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
        if not version["IsDefaultVersion"]:
            iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(document), SetAsDefault=True)


def drift_looked_at(project: StrictProject) -> None:
    """Asked by the invoker, and looked at by the drift job once what was asked lies in S3."""
    project.by("invoker").amplify("perplexity", "new.fasta")
    bucket, s3 = project.output("storage", "ArtifactBucketName"), project.aws("s3")
    prefix = "captured/amplify-local/"
    assert wait_until(lambda: s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["KeyCount"] > 0, 60)
    sagemaker = project.aws("sagemaker")
    run = sagemaker.start_pipeline_execution(PipelineName="amplify-local-drift")["PipelineExecutionArn"]

    def status() -> str:
        return sagemaker.describe_pipeline_execution(PipelineExecutionArn=run)["PipelineExecutionStatus"]

    assert wait_until(lambda: status() in ("Succeeded", "Failed"), 120)
    assert status() == "Succeeded", sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=run)


def all_pipelines_run(project: StrictProject) -> None:
    """Go the ways that `walked` left out: start from an earlier run, and register weights that people bring."""
    pin = json.loads((project.root / "releases" / "local.json").read_text())
    archive = pin["artifact"]["s3_uri"]
    project.by("trainer").amplify("train", *LEARNING, "--init", archive, "--watch")
    bucket, _, key = archive.removeprefix("s3://").partition("/")
    with tarfile.open(fileobj=project.aws("s3").get_object(Bucket=bucket, Key=key)["Body"], mode="r|gz") as tar:
        tar.extractall(project.root / "brought", filter="data")
    weights = project.by("trainer").amplify("weights", "add", "brought").split()[-1]
    project.by("trainer").amplify("register", weights, "--watch")


def nothing(_line: str) -> None:
    """Nobody looks at the progress."""
