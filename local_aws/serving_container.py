"""One instance that serves a model, as a process: its model fetched, its server started, asked whether it is healthy,
asked for answers, ended.

    model.tar.gz or a prefix → <folder>/model ─ launch.py serve ─ GET /ping answers 200 ─ POST /invocations
"""

import http.client
import shutil
import socket
import tarfile
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_aws import images
from local_aws.containers import Container, aws_environment
from local_aws.errors import SageMakerError
from local_aws.s3_files import S3Error, download_object, download_prefix, unpack
from local_aws.settings import HOST, current
from local_aws.store import Scope

HEALTH_SECONDS = 480.0  # AWS's default of ContainerStartupHealthCheckTimeoutInSeconds
PING_SECONDS = 2.0  # that a /ping may take, as on AWS
POLL_SECONDS = 0.05
LOG_LINES = 12


class ServingError(Exception):
    """The variant cannot serve; the message is the endpoint's FailureReason."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an instance belongs: `folder` is its own, its output goes to `log_group`, and `name` is in its messages."""

    folder: Path
    log_group: str
    log_stream: str
    name: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True, eq=False)
class Server:
    """An instance that runs: `container` listens on `port`; `outstanding` requests wait for its answer.

    Whoever routes requests guards `outstanding`, and ends no server that owes an answer.
    """

    variant: str
    image: str
    port: int
    folder: Path
    container: Container
    log_stream: str
    outstanding: int = 0

    def runs(self) -> bool:
        return self.container.poll() is None

    def end(self, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL after the grace; its files are gone afterwards."""
        self.container.stop(grace_seconds)
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, headers: Mapping[str, str], body: bytes, seconds: float) -> tuple[int, dict[str, str], bytes]:
        """POST /invocations: status, headers in small letters, content.

        Raises TimeoutError after `seconds` of silence, OSError or http.client.HTTPException where it breaks off.
        """
        connection = http.client.HTTPConnection(HOST, self.port, timeout=seconds)
        try:
            connection.request("POST", "/invocations", body, dict(headers))
            response = connection.getresponse()
            content = response.read()
            return response.status, {key.lower(): value for key, value in response.getheaders()}, content
        finally:
            connection.close()

    def get(self, path: str, seconds: float) -> tuple[int, bytes]:
        """GET of another path that a container may answer. Raises as `ask`."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=seconds)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def log_group(endpoint: str) -> str:
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def place_of_instance(scope: Scope, endpoint: str, variant: str) -> Place:
    """A place for one more instance of an endpoint's variant."""
    instance = f"i-{uuid.uuid4().hex[:17]}"
    return Place(
        folder=current().endpoints / scope.account / scope.region / endpoint / instance,
        log_group=log_group(endpoint),
        log_stream=f"{variant}/{instance}",
        name=f"production variant {variant}",
    )


def start(
    scope: Scope,
    place: Place,
    settings: Mapping[str, Any],
    model: Mapping[str, Any],
    isolated: bool,
    cancelled: threading.Event,
) -> Server:
    """Start the container of `model` and wait until it is healthy; `settings` are those of its production variant.

    Raises ServingError where it does not come to that, or where `cancelled` is set meanwhile. Nothing is left then.
    """
    place.folder.mkdir(parents=True)
    try:
        _fetch_model(scope, model, place.folder)
        server = _start(scope, place, settings.get("VariantName", ""), model, isolated)
        try:
            seconds = settings.get("ContainerStartupHealthCheckTimeoutInSeconds", HEALTH_SECONDS)
            _wait_until_healthy(server, place, seconds, cancelled)
        except ServingError:
            server.end(grace_seconds=2.0)
            raise
    except BaseException:
        shutil.rmtree(place.folder, ignore_errors=True)
        raise
    return server


def _fetch_model(scope: Scope, model: Mapping[str, Any], folder: Path) -> None:
    """The model's files, in `folder/model`, which stays empty for a container without model data."""
    target, archive = folder / "model", folder / "model.tar.gz"
    target.mkdir()
    source = model.get("ModelDataSource", {}).get("S3DataSource")
    url = source["S3Uri"] if source else model.get("ModelDataUrl")
    if url is None:
        return
    try:
        if source and source.get("CompressionType") == "None":
            if download_prefix(scope, url, target) == 0:
                raise ServingError(f"Could not find model data at {url}.")
            return
        download_object(scope, url, archive)
        unpack(archive, target)
    except S3Error as error:
        raise ServingError(f"Could not download model data: {error}") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ServingError(f"Failed to extract model data archive from {url}: {error}") from error
    finally:
        archive.unlink(missing_ok=True)


def _start(scope: Scope, place: Place, variant: str, model: Mapping[str, Any], isolated: bool) -> Server:
    try:
        image = images.resolve(model["Image"], scope.account, scope.region)
    except (images.ImageError, SageMakerError) as error:
        raise ServingError(f"The image of {place.name} cannot be used: {error}") from error
    port = _free_port()
    environment = {"SAGEMAKER_BASE_DIR": str(place.folder), "AMPLIFY_BIND_HOST": HOST}
    environment |= {"SAGEMAKER_BIND_TO_PORT": str(port)}
    container = Container.start(
        images.command(image, "serve"),
        folder=place.folder,
        environment=aws_environment(scope.account, scope.region, credentials=not isolated)
        | dict(model.get("Environment", {}))
        | dict(place.environment)
        | environment,
        log_group=place.log_group,
        log_stream=place.log_stream,
        account=scope.account,
        region=scope.region,
    )
    return Server(
        variant=variant,
        image=model["Image"],
        port=port,
        folder=place.folder,
        container=container,
        log_stream=place.log_stream,
    )


def _wait_until_healthy(server: Server, place: Place, seconds: float, cancelled: threading.Event) -> None:
    """Raises ServingError where it ends, stays unhealthy for `seconds`, or is not wanted any more."""
    deadline = time.monotonic() + seconds
    while not _is_healthy(server):
        if not server.runs():
            server.container.wait()
            raise ServingError(
                f"The primary container for {place.name} ended (exit code {server.container.poll()}) before it passed "
                f"the ping health check. The end of its log:\n{server.container.tail(LOG_LINES)}"
            )
        if time.monotonic() > deadline:
            raise ServingError(
                f"The primary container for {place.name} did not pass the ping health check within {seconds:g} s. The "
                f"end of its log:\n{server.container.tail(LOG_LINES)}"
            )
        if cancelled.wait(POLL_SECONDS):
            raise ServingError("The container was no longer wanted before it was healthy.")


def _is_healthy(server: Server) -> bool:
    try:
        return server.get("/ping", PING_SECONDS)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
