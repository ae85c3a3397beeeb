"""From an empty account to one that a workflow deploys, in the order of docs/real-account.md, by the real CDK: on local
AWS, where environment `dev` has the very account that environments.py gives it."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from environments import DEV
from local_aws import server
from stacks.config.delivery import BOUNDARY, DEPLOYMENT_BOUNDARY
from tests.e2e.conftest import ROOT, Project, Trap, clone

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

WHERE = f"aws://{DEV.account}/{DEV.region}"
INSTALLED = ["-o", ".venv/.ready", "-o", "node_modules/.ready"]  # they are the tree's own, whatever the clone's dates


@dataclass(frozen=True, kw_only=True)
class Account:
    """The account of dev, as a person or a workflow that is signed in there has it."""

    project: Project
    environ: Mapping[str, str]

    def run(self, *command: str, fails: bool = False) -> str:
        done = subprocess.run(
            command,
            cwd=self.project.root,
            env=dict(self.environ),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, printed
        return printed

    def make(self, *arguments: str, fails: bool = False) -> str:
        return self.run("make", *INSTALLED, *arguments, fails=fails)

    def cdk(self, *arguments: str) -> str:
        return self.run("node_modules/.bin/cdk", "--app", "cdk.out", *arguments)

    def client(self, service: str) -> Any:
        session = boto3.Session(aws_access_key_id=DEV.account, aws_secret_access_key="x", region_name=DEV.region)
        url = self.environ["AWS_ENDPOINT_URL"]
        return session.client(service, endpoint_url=url, config=Config(proxies={}))

    def boundaries(self) -> dict[str, str | None]:
        """Role → the policy that bounds it."""
        iam = self.client("iam")
        names = [role["RoleName"] for page in iam.get_paginator("list_roles").paginate() for role in page["Roles"]]
        found = {}
        for name in names:
            bound = iam.get_role(RoleName=name)["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
            found[name] = bound.rpartition("/")[2] if bound else None
        return found

    def changes(self) -> dict[str, Any]:
        """Stack → when it was last made or changed."""
        stacks = self.client("cloudformation").describe_stacks()["Stacks"]
        return {stack["StackName"]: stack.get("LastUpdatedTime", stack["CreationTime"]) for stack in stacks}


@pytest.fixture(name="account", scope="module")
def account_of_dev(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> Iterator[Account]:
    project = clone(tmp_path_factory.mktemp("delivery"), trap)
    home = tmp_path_factory.mktemp("home")  # of a workflow's machine: nobody's settings
    (project.root / ".venv").symlink_to(ROOT / ".venv")
    file = project.root / "environments.py"
    text = file.read_text(encoding="utf-8")
    for old, new in (
        ("DELIVERY: Delivery | None = None", 'DELIVERY: Delivery | None = Delivery(repository="o/r")'),
        ('    name="dev",\n', f'    name="dev",\n    permissions_boundary="{BOUNDARY}",\n'),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text, encoding="utf-8")
    try:
        project.amplify("up")
        clean = {name: value for name, value in project.environ.items() if not name.startswith("AWS_")}
        clean = {name: value for name, value in clean.items() if not name.lower().endswith("_proxy")}
        yield Account(
            project=project,
            environ=clean
            | server.client_environment(project.state)
            | {"AWS_ACCESS_KEY_ID": DEV.account, "CI": "1", "HOME": str(home)},
        )
        assert trap.seen == [], "somebody met the person's own AWS"
    finally:
        server.stop(project.state)


@pytest.fixture(name="delivered", scope="module")
def account_that_is_delivered_to(account: Account) -> Account:
    """All steps, once: what a person does, then what the workflow does."""
    account.make("synth")
    account.cdk("bootstrap", WHERE)
    account.cdk("deploy", "delivery/dev", "--require-approval", "never")
    account.cdk("bootstrap", WHERE, "--custom-permissions-boundary", DEPLOYMENT_BOUNDARY)
    account.make("deploy-assembly", "ENV=dev")
    return account


def test_a_workflow_of_the_repository_is_told_the_roles_that_are_there(delivered: Account) -> None:
    told = json.loads(delivered.make("--silent", "targets", "REPOSITORY=o/r").splitlines()[-1])
    roles = {role.rpartition("/")[2] for role in (told["dev"]["deploy_role"], told["dev"]["drift_role"])}
    assert roles < set(delivered.boundaries())
    assert delivered.make("--silent", "targets", "REPOSITORY=fork/r").strip() == "{}"


def test_everything_that_was_deployed_is_bounded_and_so_is_what_deployed_it(delivered: Account) -> None:
    bounds = delivered.boundaries()
    ours = {name: bound for name, bound in bounds.items() if name.startswith("amplify-dev-")}
    ours = {name: bound for name, bound in ours.items() if name not in ("amplify-dev-deploy", "amplify-dev-drift")}
    assert len(ours) > 5
    assert set(ours.values()) == {BOUNDARY}
    assert bounds[f"cdk-hnb659fds-cfn-exec-role-{DEV.account}-{DEV.region}"] == DEPLOYMENT_BOUNDARY
    [provider] = delivered.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"]
    assert provider["Arn"] == f"arn:aws:iam::{DEV.account}:oidc-provider/token.actions.githubusercontent.com"


def test_the_same_assembly_again_changes_nothing_and_never_the_delivery(delivered: Account) -> None:
    before = delivered.changes()
    assert "amplify-delivery" in before
    assert "no changes" in delivered.make("deploy-assembly", "ENV=dev")
    assert delivered.changes() == before


def test_what_somebody_changes_by_hand_fails_the_night_and_is_named(delivered: Account) -> None:
    assert "drifted 0 not looked at 0" in delivered.make("drift", "ENV=dev")
    resources = delivered.client("cloudformation").describe_stack_resources(StackName="amplify-dev-storage")
    bucket = next(
        one["PhysicalResourceId"] for one in resources["StackResources"] if one["LogicalResourceId"].startswith("Data")
    )
    s3 = delivered.client("s3")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    printed = delivered.make("drift", "ENV=dev", fails=True)
    assert "amplify-dev-storage/DataBucket" in printed
    assert "Enabled → Suspended" in printed
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert "drifted 0" in delivered.make("drift", "ENV=dev")


def test_without_an_assembly_or_an_environment_nothing_is_deployed(account: Account, tmp_path: Path) -> None:
    assert "There is no assembly" in account.make("deploy-assembly", "ENV=dev", f"ASSEMBLY={tmp_path}", fails=True)
    for target in ("deploy-assembly", "drift"):
        assert "Which environment?" in account.make(target, fails=True)
