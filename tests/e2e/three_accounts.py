"""dev, staging and prod on one strict local AWS: the very stages, in three accounts, from a clone with a history.

Commands are those of each account's administrator, as after `aws sso login`; what they do in roles, the promotion and
the release role, is held to those roles' policies and to those of the other account.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from environments import DEV, ENVIRONMENTS, PROD, STAGING
from local_aws import server, settings
from operate import claim
from operate.deployment import STACKS
from tests.e2e.conftest import LEARNING, ROOT, Project, Trap, clone, write_proteins

SECONDS = 3600  # a canary bakes for a quarter of an hour
CHAIN = (DEV.name, STAGING.name, PROD.name)


@dataclass(frozen=True, kw_only=True)
class ThreeAccounts:
    """A person's clone, and its three accounts."""

    project: Project

    @property
    def root(self) -> Path:
        return self.project.root

    def environ(self, env: str) -> dict[str, str]:
        """What a command sees whose credentials are of that environment's account."""
        running = server.status(self.project.state)
        assert running is not None
        root = settings.administrator(running.settings, ENVIRONMENTS[env].account)
        aws = settings.client_environment(running.endpoint_url, running.region, root, running.settings.certificate)
        kept = {name: value for name, value in self.project.environ.items() if not name.startswith("AWS_")}
        proxies = [name for name in kept if name.lower().endswith("_proxy")]
        home = self.root.parent / "their-home"  # without the traps of the other tests: these commands use the person's
        home.mkdir(exist_ok=True)
        clean = {name: value for name, value in kept.items() if name not in proxies}
        return clean | aws | {"CDK_VALIDATION": "false", "HOME": str(home)}

    def amplify(self, env: str, *arguments: str, fails: bool = False) -> str:
        """Run a command in an environment's account; it must succeed, or with `fails` end with code 1 and a message."""
        done = subprocess.run(
            [sys.executable, "-m", "operate.cli", *arguments],
            cwd=self.root,
            env=self.environ(env),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == (1 if fails else 0), printed
        assert "Traceback" not in printed, printed
        return printed

    def killed(self, env: str, *arguments: str, after: str) -> None:
        """Run a command whose machine is gone as soon as it has said this."""
        child = subprocess.Popen(
            [sys.executable, "-u", "-m", "operate.cli", *arguments],
            cwd=self.root,
            env=self.environ(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert child.stdout is not None
        printed = []
        for line in child.stdout:
            printed.append(line)
            if after in line:
                child.kill()
        assert child.wait(timeout=60) < 0, "".join(printed)

    def aws(self, env: str, service: str, region: str = "us-east-1") -> Any:
        """A client of the account's administrator."""
        variables = self.environ(env)
        session = boto3.Session(variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"], region_name=region)
        config = Config(proxies={}, retries={"total_max_attempts": 1}, read_timeout=90)
        endpoint, certificate = variables["AWS_ENDPOINT_URL"], variables["AWS_CA_BUNDLE"]
        return session.client(service, endpoint_url=endpoint, verify=certificate, config=config)

    def output(self, env: str, stack: str, key: str) -> str:
        [described] = self.aws(env, "cloudformation").describe_stacks(StackName=f"amplify-{env}-{stack}")["Stacks"]
        return next(one["OutputValue"] for one in described["Outputs"] if one["OutputKey"] == key)

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        done = subprocess.run(["git", *who, *arguments], cwd=self.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def pin(self, env: str) -> dict[str, Any]:
        return json.loads((self.root / "releases" / f"{env}.json").read_text())

    def claim_age(self, env: str) -> float:
        """For how many seconds nobody has said that they still promote."""
        bucket = self.output(env, "storage", "ArtifactBucketName")
        found = self.aws(env, "s3").head_object(Bucket=bucket, Key=claim.KEY)
        return (datetime.now(UTC) - found["LastModified"]).total_seconds()

    def bootstrap(self, env: str) -> None:
        """What a person does once in an account."""
        cdk = str(ROOT / "node_modules" / ".bin" / "cdk")
        where = f"aws://{ENVIRONMENTS[env].account}/{ENVIRONMENTS[env].region}"
        app = f"{sys.executable} app.py"
        done = subprocess.run(
            [cdk, "--app", app, "bootstrap", where],
            cwd=self.root,
            env=self.environ(env) | {"CDK_DISABLE_CLI_TELEMETRY": "1", "NODE_NO_WARNINGS": "1", "CI": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def close(self, env: str) -> None:
        """Leave nothing of ours in an account, as whoever closes it does."""
        cloudformation, s3 = self.aws(env, "cloudformation"), self.aws(env, "s3")
        for stack in reversed(STACKS):
            name = f"amplify-{env}-{stack}"
            if name not in {one["StackName"] for one in cloudformation.describe_stacks()["Stacks"]}:
                continue
            cloudformation.update_termination_protection(StackName=name, EnableTerminationProtection=False)
            cloudformation.delete_stack(StackName=name)
            cloudformation.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
        for bucket in [one["Name"] for one in s3.list_buckets()["Buckets"]]:
            listed = s3.list_object_versions(Bucket=bucket)
            for one in [*listed.get("Versions", []), *listed.get("DeleteMarkers", [])]:
                s3.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
            s3.delete_bucket(Bucket=bucket)
        self.aws(env, "ecr").delete_repository(repositoryName=f"amplify-{env}", force=True)
        sagemaker = self.aws(env, "sagemaker")
        group = f"amplify-{env}"
        for one in sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]:
            sagemaker.delete_model_package(ModelPackageName=one["ModelPackageArn"])
        sagemaker.delete_model_package_group(ModelPackageGroupName=group)
        kms = self.aws(env, "kms")
        for one in kms.list_keys()["Keys"]:
            if kms.describe_key(KeyId=one["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled":
                kms.schedule_key_deletion(KeyId=one["KeyId"], PendingWindowInDays=7)

    def train(self, *flags: str) -> None:
        """A model in dev, registered and pending."""
        self.amplify(DEV.name, "train", "--env", DEV.name, *LEARNING, *flags, "--watch")

    def release(self, package: str = "latest") -> None:
        """Approve a model in dev, commit its pin, deploy it."""
        self.amplify(DEV.name, "approve", package, "--yes", "--by", "Ada", "--env", DEV.name)
        self.commit(f"Release version {self.pin(DEV.name)['model_package_version']} in dev")
        self.amplify(DEV.name, "deploy", "--yes", "--env", DEV.name)

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def promote(self, to: str, *flags: str) -> str:
        """Promote, and merge the branch, as after a review. Returns what was printed."""
        printed = self.amplify(to, "promote", "--to", to, "--by", "Grace", *flags)
        branch = next(word.rstrip(":") for word in printed.split() if word.startswith("promote/"))
        self.git("merge", "-q", "--ff-only", branch)
        self.git("branch", "-d", branch)
        return printed


@contextmanager
def three_accounts(folder: Path, trap: Trap, used: Sequence[str] = CHAIN) -> Iterator[ThreeAccounts]:
    """Empty accounts, those that are used bootstrapped; nothing of ours is deployed."""
    made = ThreeAccounts(project=clone(folder, trap))
    shutil.rmtree(made.root / ".git", ignore_errors=True)
    made.git("init", "-q", "-b", "main")
    (made.root / ".git" / "info").mkdir(exist_ok=True)
    (made.root / ".git" / "info" / "exclude").write_text("node_modules\n*.fasta\n")
    made.commit("The project as it is")
    try:
        made.project.amplify("up", "--strict")
        for env in used:
            made.bootstrap(env)
        write_proteins(made.root)
        yield made
    finally:
        server.stop(made.project.state)


def fill(made: ThreeAccounts) -> None:
    """Proteins for dev."""
    for name, flags in (("known.fasta", ()), ("new.fasta", ("--held-out",))):
        made.amplify(DEV.name, "data", "add", name, *flags, "--env", DEV.name)
