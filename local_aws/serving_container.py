"""One variant of an endpoint as a process: its model fetched, its server started, asked whether it is healthy, ended.

    model.tar.gz or a prefix → <folder>/model ─ launch.py serve ─ GET /ping answers 200

Where AWS runs a fleet of instances behind a variant, here one process answers for all of them.
"""

import http.client
import shutil
import socket
import tarfile
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
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
class Server:
    """A variant that runs: `container` listens on `port`."""

    variant: str
    weight: float
    image: str
    port: int
    folder: Path
    container: Container
    log_stream: str

    def runs(self) -> bool:
        return self.container.poll() is None

    def end(self, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL after the grace; its files are gone afterwards."""
        self.container.stop(grace_seconds)
        shutil.rmtree(self.folder, ignore_errors=True)


def log_group(endpoint: str) -> str:
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def start(
    scope: Scope,
    endpoint: str,
    variant: Mapping[str, Any],
    model: Mapping[str, Any],
    isolated: bool,
    cancelled: threading.Event,
) -> Server:
    """Start `variant` (of an endpoint configuration) with the container of `model`, and wait until it is healthy.

    Raises ServingError where it does not come to that, or where `cancelled` is set meanwhile. Nothing is left then.
    """
    instance = f"i-{uuid.uuid4().hex[:17]}"
    folder = current().endpoints / scope.account / scope.region / endpoint / instance
    folder.mkdir(parents=True)
    try:
        _fetch_model(scope, model, folder)
        server = _start(scope, endpoint, variant, model, isolated, folder, instance)
        try:
            seconds = variant.get("ContainerStartupHealthCheckTimeoutInSeconds", HEALTH_SECONDS)
            _wait_until_healthy(server, seconds, cancelled)
        except ServingError:
            server.end(grace_seconds=2.0)
            raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
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


def _start(
    scope: Scope,
    endpoint: str,
    variant: Mapping[str, Any],
    model: Mapping[str, Any],
    isolated: bool,
    folder: Path,
    instance: str,
) -> Server:
    try:
        image = images.resolve(model["Image"], scope.account, scope.region)
    except (images.ImageError, SageMakerError) as error:
        raise ServingError(f"The image of variant {variant['VariantName']} cannot be used: {error}") from error
    port = _free_port()
    name = variant["VariantName"]
    environment = {"SAGEMAKER_BASE_DIR": str(folder), "AMPLIFY_BIND_HOST": HOST, "SAGEMAKER_BIND_TO_PORT": str(port)}
    container = Container.start(
        images.command(image, "serve"),
        folder=folder,
        environment=aws_environment(scope.account, scope.region, credentials=not isolated)
        | dict(model.get("Environment", {}))
        | environment,
        log_group=log_group(endpoint),
        log_stream=f"{name}/{instance}",
        account=scope.account,
        region=scope.region,
    )
    return Server(
        variant=name,
        weight=float(variant.get("InitialVariantWeight", 1.0)),
        image=model["Image"],
        port=port,
        folder=folder,
        container=container,
        log_stream=f"{name}/{instance}",
    )


def _wait_until_healthy(server: Server, seconds: float, cancelled: threading.Event) -> None:
    """Raises ServingError where it ends, stays unhealthy for `seconds`, or is not wanted any more."""
    deadline = time.monotonic() + seconds
    while not _is_healthy(server.port):
        if not server.runs():
            server.container.wait()
            raise ServingError(
                f"The primary container for production variant {server.variant} ended (exit code "
                f"{server.container.poll()}) before it passed the ping health check. The end of its log:\n"
                f"{server.container.tail(LOG_LINES)}"
            )
        if time.monotonic() > deadline:
            raise ServingError(
                f"The primary container for production variant {server.variant} did not pass the ping health check "
                f"within {seconds:g} s. The end of its log:\n{server.container.tail(LOG_LINES)}"
            )
        if cancelled.wait(POLL_SECONDS):
            raise ServingError("The endpoint was deleted, or local AWS stopped, before the container was healthy.")


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=PING_SECONDS)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
