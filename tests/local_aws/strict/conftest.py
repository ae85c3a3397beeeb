"""One local AWS in strict mode for all tests of this folder, and ways to be somebody in it."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local_aws import calls, server, users
from local_aws.settings import Credentials

ACCOUNT = "123456789012"
TRUSTS_SAGEMAKER = {
    "Effect": "Allow",
    "Principal": {"Service": "sagemaker.amazonaws.com"},
    "Action": "sts:AssumeRole",
    "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
}

Clients = Callable[..., Any]
"""clients("s3") is a client of somebody; more keywords go into boto3's Config."""


def allow(actions: str | list[str], resources: str | list[str], **conditions: Any) -> dict[str, Any]:
    """A statement; conditions by operator: allow(…, StringEquals={…})."""
    return {"Effect": "Allow", "Action": actions, "Resource": resources} | (
        {"Condition": conditions} if conditions else {}
    )


def document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


class Cloud:
    """A running strict local AWS."""

    def __init__(self, running: server.LocalAws) -> None:
        self.running = running
        self._session = boto3.Session()  # one: it keeps the models of the services
        self.admin = self.clients()

    def clients(self, credentials: Credentials | None = None, region: str = "us-east-1") -> Clients:
        """The clients of whoever has these credentials; of the administrator without."""
        variables = server.client_environment(self.running.folder, credentials)

        def client(service: str, **config: Any) -> Any:
            return self._session.client(
                service,
                region_name=region,
                aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
                aws_session_token=variables.get("AWS_SESSION_TOKEN"),
                endpoint_url=variables["AWS_ENDPOINT_URL"],
                verify=variables["AWS_CA_BUNDLE"],
                config=Config(proxies={}, retries={"total_max_attempts": 1}, **config),
            )

        return client

    def of_account(self, account: str) -> Clients:
        """The administrator of another account."""
        secret = self.running.settings.administrator_secret.read_text()
        return self.clients(Credentials(access_key=account, secret_key=secret))

    def user(self, *statements: Mapping[str, Any]) -> Clients:
        """The clients of a new IAM user who may do what the statements say."""
        name = f"user-{uuid.uuid4().hex[:8]}"
        self.admin("iam").create_user(UserName=name)
        if statements:
            self.admin("iam").put_user_policy(UserName=name, PolicyName="all", PolicyDocument=document(*statements))
        return self.clients(users.credentials(self.running.folder, name))

    def role(self, *statements: Mapping[str, Any], trust: Mapping[str, Any] = TRUSTS_SAGEMAKER, name: str = "") -> str:
        """The ARN of a new role."""
        name = name or f"role-{uuid.uuid4().hex[:8]}"
        made = self.admin("iam").create_role(RoleName=name, AssumeRolePolicyDocument=document(trust))["Role"]
        if statements:
            self.admin("iam").put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=document(*statements))
        return str(made["Arn"])

    def calls_of(self, arn: str) -> list[calls.Call]:
        """What a role or user has asked for so far."""
        name = arn.rpartition("/")[2]
        return [
            call
            for call in calls.read(self.running.settings.calls)
            if calls.principal_name(call["principal"]).rpartition("/")[2] == name
        ]


@pytest.fixture(scope="session")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder: Path = tmp_path_factory.mktemp("strict") / "local"
    running = server.start(folder, strict=True)
    try:
        yield Cloud(running)
    finally:
        server.stop(folder)
