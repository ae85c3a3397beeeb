"""How a command reaches the AWS of its environment: with local AWS's own settings, or with the person's credentials.

`local` uses exactly what `local_aws.server.client_environment` says. The process's own environment is exchanged for it
before the first client exists, so that no library and no program started from here can meet the person's keys,
profiles, endpoints or proxies.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from getpass import getuser
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local_aws import server, users
from operate.errors import OperateError
from operate.settings import Settings
from stacks.config import Environment

FOREIGN = ("AWS_", "CDK_", "BOTO_", "SAGEMAKER_")
CONFIG = Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=10, read_timeout=70)
PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


@dataclass(frozen=True, kw_only=True)
class Aws:
    """One environment's AWS."""

    environment: Environment
    environ: Mapping[str, str]
    """The environment variables of every program started for it."""
    state: Path | None = None
    """Of `local`: the folder of its server."""
    role: boto3.Session | None = None
    """Whose role it is acted in; None is whoever called the command."""

    @property
    def is_local(self) -> bool:
        return self.environment.name == "local"

    def has_ended(self) -> bool:
        """Whether it was local AWS, whose server has ended meanwhile."""
        return self.state is not None and server.status(self.state) is None

    def client(self, service: str) -> Any:
        """A boto3 client of this environment."""
        return self.client_in(service, self.environment.region)

    def client_in(self, service: str, region: str) -> Any:
        """The same in another region: what releases come from may lie there."""
        if self.role is None:
            return _client(service, region)
        return self.role.client(service, region_name=region, config=CONFIG)  # type: ignore[call-overload]

    def runtime(self) -> Any:
        """A `sagemaker-runtime` client that sends a request once: one that timed out is still being worked on."""
        once = Config(retries={"mode": "standard", "total_max_attempts": 1}, read_timeout=70)
        whose = self.role or boto3
        return whose.client("sagemaker-runtime", region_name=self.environment.region, config=once)

    def acting_as(self, role_name: str) -> "Aws":
        """The same environment in a role of its account, for an hour. Raises OperateError where it may not be."""
        arn = f"arn:aws:iam::{self.environment.account}:role/{role_name}"
        session = f"amplify-{re.sub(r'[^A-Za-z0-9]', '-', getuser())}"[:64]
        try:
            given = self.client("sts").assume_role(RoleArn=arn, RoleSessionName=session)["Credentials"]
        except ClientError as error:
            name = self.environment.resource_name
            raise OperateError(
                f"Role {role_name} cannot be assumed: {error.response['Error']['Message']}",
                todo=f"It is of stack {name}-promotion, and for those who have the policy {name}-promoter "
                "(`people.promoters` of environments.py).",
            ) from None
        keys = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
        return replace(self, role=boto3.Session(*keys, region_name=self.environment.region))


def connect(environment: Environment, settings: Settings) -> Aws:
    """Reach an environment's AWS. For `local` this exchanges os.environ.

    Raises OperateError where local AWS is not running, or where the credentials are another account's.
    """
    if environment.name == "local":
        if server.status(settings.state) is None:
            raise OperateError(
                "Local AWS is not running.", todo="Start it with `amplify up`, or do all with `make demo`."
            )
        who = users.credentials(settings.state, settings.local_user) if settings.local_user else None
        environ = local_environ(settings.user_environ, server.client_environment(settings.state, who))
    else:
        region = {"AWS_REGION": environment.region, "AWS_DEFAULT_REGION": environment.region}
        environ = {**settings.user_environ, **region}
    os.environ.clear()
    os.environ.update(environ)
    _client.cache_clear()
    aws = Aws(environment=environment, environ=environ, state=settings.state if environment.name == "local" else None)
    _check_account(aws)
    return aws


def local_environ(user_environ: Mapping[str, str], client_environment: Mapping[str, str]) -> dict[str, str]:
    """The person's environment without anything of AWS's or a proxy's, plus all that a client of local AWS needs."""
    return without_aws(user_environ, proxies=False) | dict(client_environment)


def without_aws(user_environ: Mapping[str, str], *, proxies: bool) -> dict[str, str]:
    """The person's environment without AWS settings; with `proxies`, programs may still reach the outside by them."""
    return {
        name: value
        for name, value in user_environ.items()
        if not name.startswith(FOREIGN) and (proxies or name.lower() not in PROXIES)
    }


@cache
def _client(service: str, region: str) -> Any:
    return boto3.client(service, region_name=region, config=CONFIG)  # type: ignore[call-overload]


def _check_account(aws: Aws) -> None:
    """Refuse to work in an account that environments.py does not mean."""
    wanted = aws.environment.account
    try:
        found = aws.client("sts").get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        raise OperateError(
            f"The AWS of environment {aws.environment.name} cannot be reached: {error}",
            todo="See what runs with `amplify status`."
            if aws.is_local
            else "Sign in first: `aws sso login`, or AWS_PROFILE.",
        ) from None
    if found != wanted:
        raise OperateError(
            f"These credentials are of account {found}; environment {aws.environment.name} is account {wanted}.",
            todo="Sign in to that account, or put the right one into environments.py.",
        )
