"""What a machine, or an account, must have before anything else can work."""

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from botocore.exceptions import ClientError

from local_aws import server
from operate import aws as aws_access
from operate import quotas
from operate.aws import Aws
from operate.cdk import CLI
from operate.errors import OperateError
from operate.settings import ROOT, Settings
from stacks.config import Environment

FREE_GB = 3
NODE_MAJORS = (20, 22, 24)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at."""

    what: str
    found: str
    good: bool
    todo: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(settings: Settings, environment: Environment) -> list[Finding]:
    """Everything that this environment needs, whether it is there, and how to mend it."""
    findings = [_python(), _packages(), _node(), _cdk()]
    if environment.name == "local":
        return [*findings, _disk(settings), _loopback(), _local_aws(settings)]
    return [*findings, *_account(settings, environment)]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        what="Python 3.11 or newer",
        found=found,
        good=sys.version_info >= (3, 11),
        todo="Name a newer one: `make setup PYTHON=python3.12`.",
    )


def _packages() -> Finding:
    """What requirements*.txt pin and what is installed."""
    wrong = [f"{name} {found or 'missing'}, pinned {pinned}" for name, pinned, found in _pins() if found != pinned]
    return Finding(
        what="Python packages as pinned",
        found="; ".join(wrong) or "all",
        good=not wrong,
        todo="Run `make setup`; if that changes nothing, delete .venv and run it again.",
    )


def _pins() -> Iterator[tuple[str, str, str | None]]:
    """Name, pinned and installed version of each package; a local build of torch (`+cpu`) counts as its version."""
    for file in ("requirements.txt", "requirements-dev.txt", "model_code/requirements.txt"):
        for line in (ROOT / file).read_text().splitlines():
            name, separator, pinned = line.partition("#")[0].partition(";")[0].strip().partition("==")
            if not separator:
                continue
            try:
                installed: str | None = metadata.version(name).partition("+")[0]
            except metadata.PackageNotFoundError:
                installed = None
            yield name, pinned, installed


def _node() -> Finding:
    node = shutil.which("node")
    found = _output([node, "--version"]) if node else "missing"
    major = found.lstrip("v").partition(".")[0]
    good = major.isdigit() and int(major) >= min(NODE_MAJORS)
    return Finding(what="Node.js 22 or 24", found=found, good=good, todo="Install it from nodejs.org (20 works too).")


def _cdk() -> Finding:
    pinned = json.loads((ROOT / "package.json").read_text())["devDependencies"]["aws-cdk"]
    package = ROOT / "node_modules" / "aws-cdk" / "package.json"
    found = json.loads(package.read_text())["version"] if package.exists() and CLI.exists() else "missing"
    return Finding(what=f"AWS CDK CLI {pinned}", found=found, good=found == pinned, todo="Run `make setup`.")


def _disk(settings: Settings) -> Finding:
    folder = next(one for one in (settings.state, *settings.state.parents) if one.exists())
    free = shutil.disk_usage(folder).free / 1e9
    good = free >= FREE_GB
    return Finding(what=f"{FREE_GB} GB of free disk", found=f"{free:.0f} GB", good=good, todo=f"Make room on {folder}.")


def _loopback() -> Finding:
    """Local AWS takes any free port of 127.0.0.1; some sandboxes have none."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            found, good = f"such as {listener.getsockname()[1]}", True
    except OSError as error:
        found, good = str(error), False
    return Finding(
        what="a free port on 127.0.0.1", found=found, good=good, todo="Allow programs to listen on 127.0.0.1."
    )


def _local_aws(settings: Settings) -> Finding:
    running = server.status(settings.state)
    found = f"up at {running.endpoint_url}" if running else "not running; `amplify up` starts it"
    return Finding(what="local AWS", found=found, good=True)


def _account(settings: Settings, environment: Environment) -> Iterator[Finding]:
    what = f"account {environment.account}"
    try:
        aws = aws_access.connect(environment, settings)
    except OperateError as error:
        yield Finding(what=what, found=error.message, good=False, todo=error.todo)
        return
    yield Finding(what=what, found="these credentials are of it", good=True)
    try:
        parameter = aws.client("ssm").get_parameter(Name="/cdk-bootstrap/hnb659fds/version")["Parameter"]
        found, good = f"version {parameter['Value']}", True
    except ClientError as error:
        found, good = error.response["Error"]["Message"] or "not there", False
    todo = f"Once for each account: `npx cdk bootstrap aws://{environment.account}/{environment.region}`."
    yield Finding(what="CDK bootstrap", found=found, good=good, todo=todo)
    yield from _quotas(aws)


def _quotas(aws: Aws) -> Iterator[Finding]:
    """Of each service one finding: all quotas that the settings need, or those that are too small."""
    wanted = quotas.needs(aws.environment)
    for service in sorted({one.service for one in wanted}):
        what, needed = f"quotas of {service}", [one for one in wanted if one.service == service]
        try:
            there = quotas.held(aws, service)
        except ClientError as error:
            todo = "It takes servicequotas:ListServiceQuotas, which the auditors' policy has; or look in the console."
            yield Finding(what=what, found=error.response["Error"]["Message"], good=False, todo=todo)
            continue
        faults, codes = [], []
        for one in needed:
            quota = there.get(one.name)
            if quota is None:
                faults.append(f"“{one.name}” is unknown in {aws.environment.region}")
            elif quota.value < one.count:
                faults.append(f"“{one.name}” is {quota.value:g}, {one.count} wanted for {one.what_for}")
                codes.append(f"{quota.code} to {one.count}")
        todo = f"Ask in Service Quotas for {', '.join(codes)}; days may go by." if codes else "Give types it has."
        yield Finding(what=what, found="; ".join(faults) or "enough", good=not faults, todo=todo)


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
