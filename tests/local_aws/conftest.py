"""One real local AWS for all tests of this folder that can share one; each file names its own buckets and jobs."""

import contextlib
import json
import signal
import socket
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local_aws import server, settings
from local_aws.processes import Process, wait_until
from tests.local_aws.small_endpoints import SERVE, make_config, new_name, settled
from tests.local_aws.small_images import push_image


@pytest.fixture(scope="session")
def local_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.LocalAws]:
    """A started local AWS in a temporary folder."""
    folder = tmp_path_factory.mktemp("local-aws")
    running = server.start(folder)
    try:
        yield running
    finally:
        server.stop(folder)


@pytest.fixture(scope="session")
def aws(local_aws: server.LocalAws) -> Callable[[str], Any]:
    """A boto3 client of any service of `local_aws`: aws("s3")."""
    return _clients_of(local_aws)


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


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def clients_of() -> Callable[[server.LocalAws], Callable[[str], Any]]:
    """The same for a server that the test started itself: clients_of(running)("s3")."""
    return _clients_of


@pytest.fixture(scope="session")
def kill_9() -> Callable[[server.LocalAws], None]:
    """kill_9(running): the server is gone, and had no time to do anything about it."""

    def kill(running: server.LocalAws) -> None:
        process = Process.of(running.pid)
        process.signal(signal.SIGKILL)
        assert wait_until(lambda: not process.runs(), 10)

    return kill


@pytest.fixture
def on_disk(own_folder: Path) -> Callable[[Callable[[str], Any]], None]:
    """on_disk(clients): waits until all that `own_folder`'s server has answered so far is in its files."""

    def wait(clients: Callable[[str], Any]) -> None:
        file = own_folder / "state" / "ssm.json"
        for _ in range(
            2
        ):  # tables are written one after the other: the second mark is there once the first round ended
            mark = f"/mark/{uuid.uuid4().hex}"
            clients("ssm").put_parameter(Name=mark, Value="x", Type="String")
            assert wait_until(lambda mark=mark: file.exists() and mark in file.read_text(), 30)

    return wait


@pytest.fixture(scope="session")
def deploy() -> Callable[..., dict[str, Any]]:
    """deploy(cloudformation client, stack name, resources): creates or updates the stack; returns its description."""
    return _deploy


@pytest.fixture(scope="session")
def serving_image(aws: Callable[[str], Any]) -> str:
    """The URI of an image that serves what its model says."""
    return push_image(aws, "endpoint-test", SERVE)


@pytest.fixture
def create_endpoint(aws: Callable[[str], Any], serving_image: str) -> Iterator[Callable[..., str]]:
    """create_endpoint(*texts, …): an endpoint, settled; returns its name. It is deleted afterwards."""
    made = []

    def create(*texts: str, deployment: dict[str, Any] | None = None, **config: Any) -> str:
        name = new_name()
        made.append(name)
        more = {"DeploymentConfig": deployment} if deployment else {}
        config_name = make_config(aws, serving_image, *texts, **config)
        aws("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=config_name, **more)
        settled(aws, name)
        return name

    yield create
    for name in made:
        with contextlib.suppress(ClientError):
            aws("sagemaker").delete_endpoint(EndpointName=name)


def _clients_of(running: server.LocalAws) -> Callable[[str], Any]:
    session = boto3.Session(aws_access_key_id=running.account, aws_secret_access_key="x", region_name=running.region)
    config = Config(proxies={}, retries={"total_max_attempts": 1})
    return lambda service: session.client(service, endpoint_url=running.endpoint_url, config=config)


def _deploy(cloudformation: Any, name: str, resources: dict[str, Any], **template: Any) -> dict[str, Any]:
    body = json.dumps({"Resources": resources, **template})
    exists = name in {stack["StackName"] for stack in cloudformation.describe_stacks()["Stacks"]}
    call = cloudformation.update_stack if exists else cloudformation.create_stack
    call(StackName=name, TemplateBody=body, Capabilities=["CAPABILITY_NAMED_IAM"])

    def described() -> dict[str, Any]:
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]

    assert wait_until(lambda: not described()["StackStatus"].endswith("IN_PROGRESS"), 60)
    return described()
