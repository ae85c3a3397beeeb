"""A deployed project in the hands of somebody who deploys it, changes it and releases models, and what was counted."""

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from local_aws import server
from tests.e2e import account
from tests.e2e.conftest import LEARNING, ROOT, SECONDS, Project
from tests.e2e.endpoint_requests import Requests

CDK = ROOT / "node_modules" / ".bin" / "cdk"
ENDPOINT, STACK = "amplify-local", "amplify-local-endpoint"
CANARY_SECONDS = 420  # its wait and the synthesis, with time to spare


@dataclass
class Tally:
    """What was counted."""

    deployments: int = 0
    rolled_back: int = 0
    requests: int = 0
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"deploys {self.deployments} failed-and-rolled-back {self.rolled_back} "
            f"requests {self.requests} lost {len(self.lost)}"
        )


@dataclass
class LifeCycle:
    """One project, what happens to it, and what was counted of it."""

    project: Project
    tally: Tally = field(default_factory=Tally)

    # ---- what a person does ------------------------------------------------------------------------------------------

    def deploy(self) -> str:
        """`amplify deploy`, which must go through."""
        self.tally.deployments += 1
        return self.project.amplify("deploy")

    def fail_to_deploy(self, stack: str, *words: str) -> None:
        """`amplify deploy`, which must fail with these words of the cause, and leave the stack exactly as it was."""
        before = account.state(self.project.aws, stack)
        self.tally.deployments += 1
        printed = " ".join(self.project.amplify("deploy", fails=True, seconds=CANARY_SECONDS).split())
        assert any(word in printed for word in words), printed
        assert account.status(self.project.aws, stack) == "UPDATE_ROLLBACK_COMPLETE"
        assert account.state(self.project.aws, stack) == before
        self.tally.rolled_back += 1

    def cdk(self, *arguments: str) -> tuple[int, str]:
        """The CDK command line on what was synthesised last; its exit code and what it printed."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME")}  # the project's own HOME is a trap
        done = subprocess.run(
            [str(CDK), "--app", str(self.project.state / "cdk.out"), *arguments],
            cwd=self.project.root,
            env=kept | server.client_environment(self.project.state) | {"CI": "1", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def drifted(self) -> str:
        """What `cdk drift` says, where it says that something has drifted; else nothing."""
        code, printed = self.cdk("drift", "local/*", "--fail")
        assert code in (0, 1), printed
        assert (code == 1) == ("Number of resources with drift: 0" not in printed), printed
        return printed if code else ""

    @contextmanager
    def edited(self, file: str, before: str, after: str) -> Iterator[None]:
        """A file of the tree with a change in it."""
        path = self.project.root / file
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{file} has {text.count(before)} times {before!r}"
        path.write_text(text.replace(before, after), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(text, encoding="utf-8")

    # ---- releases ----------------------------------------------------------------------------------------------------

    @property
    def pin(self) -> Path:
        return self.project.root / "releases" / "local.json"

    @contextmanager
    def released(self, pin: dict[str, Any]) -> Iterator[None]:
        """Another release in the pin; the one before comes back."""
        before = self.pin.read_text(encoding="utf-8")
        self.pin.write_text(json.dumps(pin), encoding="utf-8")
        try:
            yield
        finally:
            self.pin.write_text(before, encoding="utf-8")

    def train(self, *settings: str) -> None:
        self.project.amplify("train", *LEARNING, *settings, "--watch")
        self.project.amplify("approve", "--yes")

    @contextmanager
    def release_without_weights(self) -> Iterator[None]:
        """What the pin names is a package that somebody registered by hand, past the pipeline's gate: its archive lacks
        the weights. All is as it was, afterwards."""
        pin = json.loads(self.pin.read_text(encoding="utf-8"))
        s3, sagemaker = self.project.aws("s3"), self.project.aws("sagemaker")
        bucket, _, key = pin["artifact"]["s3_uri"].removeprefix("s3://").partition("/")
        found, made = BytesIO(s3.get_object(Bucket=bucket, Key=key)["Body"].read()), BytesIO()
        with tarfile.open(fileobj=found) as whole, tarfile.open(fileobj=made, mode="w:gz") as part:
            for member in whole.getmembers():
                if member.name != "model.safetensors":
                    part.addfile(member, whole.extractfile(member))
        key = "runs/by-hand/model/model.tar.gz"
        version = s3.put_object(Bucket=bucket, Key=key, Body=made.getvalue())["VersionId"]
        [container] = sagemaker.describe_model_package(ModelPackageName=pin["model_package_arn"])[
            "InferenceSpecification"
        ]["Containers"]
        arn = sagemaker.create_model_package(
            ModelPackageGroupName=ENDPOINT,
            ModelApprovalStatus="Approved",
            InferenceSpecification={
                "Containers": [{"Image": container["Image"], "ModelDataUrl": f"s3://{bucket}/{key}"}],
                "SupportedContentTypes": ["application/json"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        )["ModelPackageArn"]
        artifact = {**pin["artifact"], "s3_uri": f"s3://{bucket}/{key}", "version_id": version}
        number = int(arn.rpartition("/")[2])
        try:
            with self.released(
                {**pin, "model_package_arn": arn, "model_package_version": number, "artifact": artifact}
            ):
                yield
        finally:
            sagemaker.delete_model_package(ModelPackageName=arn)

    # ---- the endpoint ------------------------------------------------------------------------------------------------

    @contextmanager
    def asked_without_a_pause(self) -> Iterator[Requests]:
        """Somebody asks; what came of it is added to the tally."""
        requests = Requests(self.project.aws("sagemaker-runtime"), ENDPOINT)
        requests.start()
        try:
            yield requests
        finally:
            requests.stop()
            self.tally.requests += requests.count
            self.tally.lost += requests.lost

    def config(self) -> str:
        """The configuration that serves, of an endpoint that is well."""
        endpoint = self.project.aws("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
        assert endpoint["EndpointStatus"] == "InService", endpoint
        return str(endpoint["EndpointConfigName"])
