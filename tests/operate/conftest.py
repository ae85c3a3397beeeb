"""A real local AWS for tests of what commands do with it."""

import random
from collections.abc import Iterator

import boto3
import pytest

from environments import LOCAL
from local_aws import server
from operate import aws as aws_access
from operate.aws import Aws


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a client of a started local AWS has to have in its environment."""
    folder = tmp_path_factory.mktemp("local-aws")
    server.start(folder)
    try:
        yield server.client_environment(folder)
    finally:
        server.stop(folder)


@pytest.fixture
def aws(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """The local environment as a command reaches it, in an account of the test's own: its key's number."""
    for name, value in {**environ, "AWS_ACCESS_KEY_ID": str(random.randrange(10**11, 10**12))}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    aws_access._client.cache_clear()
    yield Aws(environment=LOCAL, environ=environ)
    aws_access._client.cache_clear()
