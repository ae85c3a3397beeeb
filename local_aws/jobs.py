"""What training, processing and transform jobs share: one thread a job, from its request to its end.

    fetch the inputs ─ start the containers ─ watch them (stop requests, time limit, uploads) ─ store the results

The record in the store is the job; a `Run` is its life in this process. Where the server dies, its next start writes
the end of the story into the record.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from local_aws import identity, images, interruptions, store
from local_aws.containers import Container, aws_environment
from local_aws.errors import SageMakerError, invalid
from local_aws.s3_files import S3Error, download_prefix
from local_aws.settings import current
from local_aws.store import Record, Scope

logger = logging.getLogger("local_aws")

STOP_GRACE_SECONDS = 120.0  # AWS's: SIGTERM, and SIGKILL after it
SHUTDOWN_GRACE_SECONDS = 2.0  # the whole server has to be gone within seconds
FAILURE_GRACE_SECONDS = 10.0  # for the other hosts, when one has failed: what they would save is of a failed job
WATCH_SECONDS = 0.1
UPLOAD_EVERY_SECONDS = 2.0
LONGEST_REASON = 1024
OPT_ML = PurePosixPath("/opt/ml")
SERVER_STOPPED = (
    "InternalServerError: local AWS stopped while the job ran, and the job with it. Nothing is wrong with the job: "
    "start it again."
)


class JobError(Exception):
    """The job ends as Failed; the message is its FailureReason."""


class JobStoppedError(Exception):
    """The job was asked to stop before its container ran."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a job's containers ended, and whether we ended them."""

    codes: tuple[int, ...]
    """Exit codes, by host."""
    failed: tuple[int, ...] = ()
    """Of the containers that failed by themselves, their places in `codes`; the first to be seen first."""
    stopped: bool = False
    timed_out: bool = False
    interrupted: interruptions.Interruption | None = None


@dataclass
class Run:
    """A job that runs now."""

    scope: Scope
    kind: str  # training-job | processing-job | transform-job
    name: str
    folder: Path  # what SAGEMAKER_BASE_DIR names: it stands for /opt/ml
    _stop: threading.Event = field(default_factory=threading.Event)
    _shutdown: threading.Event = field(default_factory=threading.Event)

    @property
    def record(self) -> Record:
        record = store.current().get(self.scope, self.kind, self.name)
        assert record is not None, "jobs are not deleted while they run"
        return record

    def change(self, **changes: Any) -> None:
        store.current().change(self.scope, self.kind, self.name, LastModifiedTime=time.time(), **changes)

    def stop(self) -> None:
        """Ask it to end: its thread does the rest."""
        self._stop.set()

    def shut_down(self) -> None:
        """As `stop`, within the seconds that an ending server has."""
        self._shutdown.set()
        self._stop.set()

    def pause(self, seconds: float) -> None:
        """Wait. Raises JobStoppedError where somebody asks for that meanwhile."""
        if self._stop.wait(seconds):
            raise JobStoppedError

    @property
    def stopping(self) -> threading.Event:
        """Set once it was asked to end: for what waits."""
        return self._stop

    @property
    def stop_requested(self) -> bool:
        return self._stop.is_set()

    @property
    def shutting_down(self) -> bool:
        return self._shutdown.is_set()

    def check_stop(self) -> None:
        """Raises JobStoppedError where somebody asked for it: called between the steps before the container runs."""
        if self._stop.is_set():
            raise JobStoppedError

    def watch(self, containers: Sequence[Container], seconds: float, upload: Callable[[], None]) -> Ending:
        """Wait for the containers' end, or bring it about: after `seconds`, on request, or where one of them fails.

        `upload` is called meanwhile.
        """
        deadline = time.monotonic() + seconds
        next_upload = time.monotonic() + UPLOAD_EVERY_SECONDS
        while True:
            codes = [container.poll() for container in containers]
            if failed := tuple(place for place, code in enumerate(codes) if code):
                return Ending(codes=_end(containers, FAILURE_GRACE_SECONDS), failed=failed)
            if None not in codes:
                return Ending(codes=tuple(container.wait() for container in containers))
            if self._stop.wait(WATCH_SECONDS):
                grace = SHUTDOWN_GRACE_SECONDS if self.shutting_down else STOP_GRACE_SECONDS
                return Ending(codes=_end(containers, grace), stopped=True)
            if time.monotonic() > deadline:
                return Ending(codes=_end(containers, STOP_GRACE_SECONDS), timed_out=True)
            if interruption := interruptions.take(self.folder):
                return Ending(codes=_end(containers, interruption.notice), interrupted=interruption)
            if time.monotonic() > next_upload:
                upload()
                next_upload = time.monotonic() + UPLOAD_EVERY_SECONDS

    def path(self, local_path: str) -> Path:
        """Where a path of the container lies in the job's folder."""
        return path_in(self.folder, local_path)


def _end(containers: Sequence[Container], grace: float) -> tuple[int, ...]:
    """Stop all of them, at the same time: they may be waiting for each other. Returns their exit codes."""
    for container in containers:
        container.ask_to_stop(grace)
    return tuple(container.stop(grace) for container in containers)


_runs: dict[tuple[Scope, str, str], Run] = {}
_threads: list[threading.Thread] = []
_lock = threading.Lock()


def start(scope: Scope, kind: str, name: str, work: Callable[[Run], None]) -> None:
    """Do `work` in a thread, with a folder that is gone afterwards."""
    run = run_of(scope, kind, name)
    thread = threading.Thread(target=_live, args=(run, work), name=f"{kind} {name}", daemon=True)
    with _lock:
        _runs[scope, kind, name] = run
        _threads[:] = [other for other in _threads if other.is_alive()] + [thread]
    thread.start()


def run_of(scope: Scope, kind: str, name: str) -> Run:
    return Run(scope, kind, name, interruptions.job_folder(current(), scope, kind, name))


def running(scope: Scope, kind: str, name: str) -> Run | None:
    with _lock:
        return _runs.get((scope, kind, name))


def shut_down(seconds: float) -> None:
    """End every job, its last checkpoint stored where it wrote one on SIGTERM in time."""
    with _lock:
        runs, threads = list(_runs.values()), list(_threads)
    for run in runs:
        run.shut_down()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def clear_folders() -> None:
    """Remove what jobs of an earlier server left on the disk."""
    shutil.rmtree(current().jobs, ignore_errors=True)


def _live(run: Run, work: Callable[[Run], None]) -> None:
    try:
        shutil.rmtree(run.folder, ignore_errors=True)
        run.folder.mkdir(parents=True)
        with identity.acting_as(run.record.get("RoleArn")):
            work(run)
    except Exception:
        logger.exception("%s %s: a bug of local AWS", run.kind, run.name)
    finally:
        with _lock:
            _runs.pop((run.scope, run.kind, run.name), None)
        shutil.rmtree(run.folder, ignore_errors=True)


@contextmanager
def failures_told() -> Iterator[None]:
    """What goes wrong with inputs, outputs and images becomes JobError in AWS's words."""
    try:
        yield
    except S3Error as error:
        raise JobError(f"ClientError: Data transfer failed: {error}") from error
    except images.ImageError as error:
        raise JobError(f"ClientError: Cannot use the image: {error}") from error
    except SageMakerError as error:
        raise JobError(f"ClientError: {error}") from error
    except OSError as error:
        raise JobError(f"InternalServerError: {error}. This is local AWS's own trouble (is the disk full?)") from error


def fetch_input(run: Run, uri: str, folder: Path, share: tuple[int, int] = (0, 1)) -> None:
    """Download an input, or a host's share of it. Raises JobError where there is nothing."""
    if download_prefix(run.scope, uri, folder, share) == 0:
        bucket = uri.removeprefix("s3://").partition("/")[0]
        raise JobError(
            f'ClientError: No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the '
            f"bucket exists in the selected region ({run.scope.region}), that objects exist under that S3 prefix, and "
            f'that the role "{run.record["RoleArn"]}" has "s3:ListBucket" permissions on bucket "{bucket}".'
        )


def environment(run: Run, own: Mapping[str, str], *, isolated: bool) -> dict[str, str]:
    """What a job's container sees. `own` wins: where a job has several hosts, it names the folder of one."""
    aws = aws_environment(run.scope.account, run.scope.region, credentials=not isolated)
    return aws | {"SAGEMAKER_BASE_DIR": str(run.folder)} | dict(own)


def path_in(folder: Path, local_path: str) -> Path:
    """Where a path of the container lies in its folder. `/opt/ml/input` is `<folder>/input`."""
    return folder / PurePosixPath(local_path).relative_to(OPT_ML)


def check_local_path(path: str, what: str, below: str = "/opt/ml") -> None:
    """Raises SageMakerError where a container's path lies where no folder of ours stands for it."""
    if ".." in PurePosixPath(path).parts or not PurePosixPath(path).is_relative_to(below):
        raise invalid(f"{what} is {path!r}: it must lie below {below}")


def first_failure(*files: Path, log: str) -> str:
    """What the container said of its failure: the file it wrote, else the end of its output."""
    for file in files:
        if file.is_file() and (text := file.read_text(errors="replace").strip()):
            return text
    return log.strip()


def shorten(reason: str, longest: int = LONGEST_REASON) -> str:
    return reason if len(reason) <= longest else reason[: longest - 1] + "…"
