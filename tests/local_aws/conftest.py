"""One real local AWS for all tests of this folder that can share one; each file names its own buckets and jobs."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local_aws import server, settings
from local_aws.processes import Process, wait_until


@pytest.fixture(scope="session")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.LocalAws]:
    """A started local AWS in a temporary folder. Whatever AWS the person at the keyboard uses is out of reach."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_") or name.lower().endswith("_proxy")]:
            patch.delenv(name)
        folder = tmp_path_factory.mktemp("local-aws")
        running = server.start(folder)
        for name, value in server.client_environment(folder).items():
            patch.setenv(name, value)
        try:
            yield running
        finally:
            server.stop(folder)


@pytest.fixture(scope="session")
def aws(local_aws: server.LocalAws) -> Callable[[str], Any]:
    """A boto3 client of any service of `local_aws`: aws("s3")."""
    return clients_of(local_aws)


@pytest.fixture(scope="session")
def inside(local_aws: server.LocalAws) -> settings.Settings:
    """The tests' process takes the place of the server's: what the server's own code calls can be called."""
    ours = settings.Settings(folder=local_aws.folder, port=local_aws.port)
    settings.configure(ours)
    return ours


@pytest.fixture
def own_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose local AWS the test starts, kills and starts again; stopped afterwards."""
    folder = tmp_path / "local"
    yield folder
    server.stop(folder)


def clients_of(running: server.LocalAws, account: str | None = None) -> Callable[[str], Any]:
    session = boto3.Session(
        aws_access_key_id=account or running.account, aws_secret_access_key="x", region_name=running.region
    )
    config = Config(proxies={}, retries={"total_max_attempts": 1})
    return lambda service: session.client(service, endpoint_url=running.endpoint_url, config=config)


def is_gone(process: Process, seconds: float = 10) -> bool:
    return wait_until(lambda: not process.runs(), seconds)
