"""The container contract: where SageMaker puts what, and how a program there reads it and says that it failed.

`SAGEMAKER_BASE_DIR` stands for `/opt/ml`, so that the same programs run in a container and in a folder of a laptop.
This is the one place that reads the environment and the configuration files of a job.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from .settings import SettingsError

# SageMaker shows the first 1,024 characters of a failure file as the reason of the failure.
FAILURE_CHARACTERS = 1024

# Where the hosts of a job meet. On SageMaker each job has hosts of its own; local AWS gives jobs that run beside each
# other on one machine a port each, in torch's own word for it.
MASTER_PORT = 7777

# What people can mend, by a better input or more room: reported as one message. Anything else is a bug of ours.
MENDABLE = (ValueError, OSError)


class PeerGoneError(ConnectionError):
    """Another process of the run is gone, so this one cannot go on. Why it went, only its own report says."""


@dataclass(frozen=True, slots=True)
class Resources:
    """The machines of a job, from `resourceconfig.json`; a job without one runs on this machine alone."""

    current_host: str
    hosts: tuple[str, ...]
    network_interface: str | None
    master_port: int = MASTER_PORT

    @property
    def node_rank(self) -> int:
        return self.hosts.index(self.current_host)


@dataclass(frozen=True, slots=True)
class Container:
    """The folders of one job below `base`, and the readers of its configuration."""

    base: Path

    @classmethod
    def from_environment(cls) -> Container:
        return cls(Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")))

    # ---- training jobs ----

    @property
    def model(self) -> Path:
        """What SageMaker packs into `model.tar.gz`."""
        return self.base / "model"

    @property
    def checkpoints(self) -> Path:
        """Synchronised with S3 while the job runs."""
        return self.base / "checkpoints"

    @property
    def output(self) -> Path:
        return self.base / "output"

    @property
    def output_data(self) -> Path:
        """What SageMaker packs into `output.tar.gz`."""
        return self.output / "data"

    def channel(self, name: str) -> Path:
        """The folder of an input channel. Raises SettingsError where the job has no such channel."""
        folder = self.base / "input" / "data" / name
        if not folder.is_dir():
            raise SettingsError(f"channel {name!r} is missing: no folder {folder}; give the job an input of that name")
        return folder

    def hyperparameters(self) -> dict[str, str]:
        """The job's hyper-parameters. One that is JSON-encoded once more, as the SageMaker SDK does, reads the same."""
        values = _read_json(self.base / "input" / "config" / "hyperparameters.json")
        return {name: _once_decoded(value) for name, value in values.items()}

    def resources(self) -> Resources:
        """The job's machines; raises SettingsError where the file contradicts itself."""
        training, processing = self.base / "input" / "config", self.base / "config"
        folder = training if training.is_dir() else processing
        values = _read_json(folder / "resourceconfig.json")
        current = str(values.get("current_host", socket.gethostname()))
        hosts = tuple(values.get("hosts", [current]))
        if current not in hosts:
            raise SettingsError(f"resourceconfig.json: current_host {current!r} is not among hosts {list(hosts)}")
        return Resources(current, hosts, values.get("network_interface_name"), _master_port())

    # ---- processing jobs ----

    def processing_input(self, name: str) -> Path:
        folder = self.base / "processing" / "input" / name
        if not folder.is_dir():
            raise SettingsError(f"processing input {name!r} is missing: no folder {folder}")
        return folder

    def processing_output(self, name: str) -> Path:
        folder = self.base / "processing" / "output" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    # ---- failure ----

    def report_failure(self, message: str) -> None:
        """Say on stderr and in the files that SageMaker reads why the job fails; the first report of a job stays."""
        print(f"error: {message}", file=sys.stderr, flush=True)
        for name in ("failure", "message"):  # of a training job, of a processing job
            path = self.output / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.exists():
                    path.write_text(message[:FAILURE_CHARACTERS])
            except OSError as error:  # a full disk must not hide the reason, which stderr has
                print(f"error: {path} could not be written: {error}", file=sys.stderr, flush=True)


class Arguments(argparse.ArgumentParser):
    """An argument parser whose complaints follow the contract: one message and exit code 1."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; {self.format_usage().strip()}")


def run(main: Callable[[Container], None]) -> int:
    """Run a verb under the contract and return its exit code: 0, or 1 with a report of what went wrong.

    An error that a person can mend is one message; a bug is reported with its stack trace.
    """
    container = Container.from_environment()
    try:
        main(container)
    except PeerGoneError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)  # no report: it would stand before that of the cause
        return 1
    except MENDABLE as error:
        container.report_failure(str(error))
        return 1
    except Exception as error:
        traceback.print_exc()
        container.report_failure(f"internal error, please report it: {type(error).__name__}: {error}")
        return 1
    return 0


def _master_port() -> int:
    text = os.environ.get("MASTER_PORT", str(MASTER_PORT))
    if not (text.isdecimal() and 0 < int(text) < 65_536):
        raise SettingsError(f"MASTER_PORT is {text!r}; a port from 1 to 65535 is wanted")
    return int(text)


def _read_json(path: Path) -> dict[str, Any]:
    """The JSON object of a configuration file; an absent file is an empty one."""
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise SettingsError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: a JSON object is wanted")
    return values


def _once_decoded(value: object) -> str:
    """`"demo"` in quotes of its own becomes demo; an object stays the text that it is."""
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        inner = json.loads(text)
    except json.JSONDecodeError:
        return text
    return inner if isinstance(inner, str) else text
