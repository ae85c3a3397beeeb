"""One deployed project for all end-to-end tests: a copy of the tree, its own state, everything by the command line.

The person at this keyboard has AWS settings of every kind, and all of them lead to one trap: a listener that remembers
who connected. Nothing may.
"""

import json
import os
import random
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local_aws import server
from operate.cdk import jsii_cache

ROOT = Path(__file__).parents[2]
SECONDS = 240
LEARNING = ["--recipe", "tiny", "--set", "steps=200", "--set", "decay_steps=200"]  # enough to beat the letters


def importing(*names: str) -> tuple[str, str]:
    """An edit of environments.py, before and after: these settings are imported too."""
    before = "from stacks.config import ("
    return before, f"from stacks.config import {', '.join(names)}\n{before}"


@dataclass
class Trap:
    """Where every AWS setting of the person leads."""

    port: int
    seen: list[bytes] = field(default_factory=list)

    def settings(self, folder: Path) -> dict[str, str]:
        """Variables that would lead an AWS client astray, in each way that one can be led."""
        url = f"http://127.0.0.1:{self.port}"
        config = folder / "aws-config"
        config.write_text(
            f"[default]\nendpoint_url = {url}\n[profile mine]\nendpoint_url = {url}\nregion = eu-west-3\n"
        )
        home = folder / "home"
        home.mkdir()
        theirs = {"profile": "mine", "context": {"@aws-cdk/core:bootstrapQualifier": "theirs"}}
        (home / ".cdk.json").write_text(json.dumps(theirs))
        return {
            "HOME": str(home),
            "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(jsii_cache(os.environ)),
            "AWS_PROFILE": "mine",
            "AWS_CONFIG_FILE": str(config),
            "AWS_SHARED_CREDENTIALS_FILE": str(config),
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AWS_SESSION_TOKEN": "token",
            "AWS_ENDPOINT_URL": url,
            "AWS_ENDPOINT_URL_S3": url,
            "AWS_ENDPOINT_URL_SAGEMAKER": url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": url,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": url,
            "CDK_DEFAULT_ACCOUNT": "999999999999",
            **{name: url for proxy in ("http_proxy", "https_proxy", "all_proxy") for name in (proxy, proxy.upper())},
        }


@dataclass(frozen=True, kw_only=True)
class Project:
    """A clone of the project, as a person has it."""

    root: Path
    state: Path
    environ: dict[str, str]
    trap: Trap

    def amplify(self, *arguments: str, fails: bool = False, seconds: int = SECONDS) -> str:
        """Run the command; returns what it printed. It must succeed, or with `fails` end with code 1 and a message."""
        done = subprocess.run(
            [sys.executable, "-m", "operate.cli", *arguments],
            cwd=self.root,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == (1 if fails else 0), printed
        assert "Traceback" not in printed, printed
        return printed

    def aws(self, service: str) -> Any:
        """A boto3 client of its local AWS."""
        running = server.status(self.state)
        assert running is not None
        session = boto3.Session(
            aws_access_key_id=running.account, aws_secret_access_key="x", region_name=running.region
        )
        config = Config(proxies={}, retries={"total_max_attempts": 1}, read_timeout=90)
        return session.client(service, endpoint_url=running.endpoint_url, config=config)

    def output(self, stack: str, key: str) -> str:
        """An output of one of the stacks."""
        [described] = self.aws("cloudformation").describe_stacks(StackName=f"amplify-local-{stack}")["Stacks"]
        return next(one["OutputValue"] for one in described["Outputs"] if one["OutputKey"] == key)


def proteins(count: int, seed: int) -> str:
    """FASTA of proteins that can be learnt in seconds: each is made of one half of the alphabet or of the other."""
    generator = random.Random(seed)
    records = []
    for number in range(count):
        letters = generator.choice(("LAGVSERTID", "PKQNFYMHWC"))
        sequence = "".join(generator.choices(letters, k=generator.randint(60, 120)))
        records.append(f">p{number} made up\n{sequence}\n")
    return "".join(records)


@pytest.fixture(scope="session")
def trap() -> Iterator[Trap]:
    with listening() as remembered:
        yield remembered


@contextmanager
def listening() -> Iterator[Trap]:
    """The trap, set."""

    class Remember(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            remembered.seen.append(self.request.recv(1000))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Remember) as listener:
        remembered = Trap(listener.server_address[1])
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield remembered
        listener.shutdown()


def clone(folder: Path, trap: Trap) -> Project:
    """The tree as it is, copied into `folder`, with nothing deployed yet."""
    root = folder / "clone"
    listing = ["git", "ls-files", "-coz", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, root / name)
    (root / "node_modules").symlink_to(ROOT / "node_modules")
    hub = {"HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    return Project(
        root=root, state=root / ".local", environ=without_a_persons_own() | hub | trap.settings(folder), trap=trap
    )


def without_a_persons_own() -> dict[str, str]:
    """The environment without what would lead a clone's commands elsewhere: into an AWS account, by AMPLIFY_LOCAL_DIR
    into the person's own local AWS, which these tests destroy."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AMPLIFY_"))}


def write_proteins(root: Path) -> None:
    """Two files of them in the project's folder: those to learn from, and those to be asked about."""
    (root / "known.fasta").write_text(proteins(400, 1))
    (root / "new.fasta").write_text(proteins(60, 2))


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> Iterator[Project]:
    """Deployed, trained, approved and served, by the commands that the README names."""
    made = clone(tmp_path_factory.mktemp("e2e"), trap)
    try:
        made.amplify("up")
        made.amplify("deploy")
        write_proteins(made.root)
        made.amplify("data", "add", "known.fasta")
        made.amplify("data", "add", "new.fasta", "--held-out")
        made.amplify("train", *LEARNING, "--watch")
        made.amplify("approve", "--yes")
        made.amplify("deploy")
        yield made
        assert trap.seen == [], "somebody met the person's own AWS"
    finally:
        server.stop(made.state)
