"""Spot interruptions. On AWS the market brings them; here a person does: `python -m local_aws interrupt <job>`.

The training job gets SIGTERM and after the notice SIGKILL; its machines are gone with all that was on them. Later it
has new ones, with the checkpoints that lie in S3.
"""

from pathlib import Path

from local_aws.interruptions import Interruption, give, job_folder
from local_aws.processes import wait_until
from local_aws.server import LocalAwsError, status
from local_aws.settings import Settings
from local_aws.store import Record, Scope, Store

KIND = "training-job"
NOTICE_SECONDS = 120.0  # what AWS gives
TAKEN_WITHIN_SECONDS = 10.0


def interrupt(folder: Path, job: str, *, notice: float = NOTICE_SECONDS, pause: float = 0.0) -> None:
    """Interrupt the training job of this name in the local AWS of `folder`; returns once its containers are told.

    Raises LocalAwsError where local AWS does not run, or where AWS would not interrupt such a job now.
    """
    if notice < 0 or pause < 0:
        raise LocalAwsError(f"notice is {notice:g} and pause {pause:g}: give seconds, 0 or more")
    running = status(folder)
    if running is None:
        raise LocalAwsError(f"local AWS does not run in {folder}: start it with `python -m local_aws up`")
    settings = Settings(folder=running.folder, port=running.port, account=running.account, region=running.region)
    where = job_folder(settings, _scope_of(job, Store(settings.sagemaker)), KIND, job)
    if not where.is_dir():
        raise LocalAwsError(f"training job {job} ended just now: there is nothing to interrupt")
    order = give(where, Interruption(notice=notice, pause=pause))
    if not wait_until(lambda: not order.exists(), TAKEN_WITHIN_SECONDS):
        raise LocalAwsError(f"local AWS did not take the order {order} in {TAKEN_WITHIN_SECONDS:g} s")


def _scope_of(job: str, records: Store) -> Scope:
    """Where the job of this name runs. Raises LocalAwsError where none does that can be interrupted."""
    found = [(scope, record) for scope, name, record in records.everywhere(KIND) if name == job]
    if not found:
        raise LocalAwsError(f"there is no training job {job!r}")
    for scope, record in found:
        if record["TrainingJobStatus"] == "InProgress":
            _check(job, record)
            return scope
    raise LocalAwsError(f"training job {job} is {found[0][1]['TrainingJobStatus']}: one that is InProgress is wanted")


def _check(job: str, record: Record) -> None:
    if not record.get("EnableManagedSpotTraining"):
        raise LocalAwsError(f"training job {job} is no managed spot training: AWS interrupts spot instances only")
    if record["SecondaryStatus"] != "Training":
        raise LocalAwsError(f"training job {job} is {record['SecondaryStatus']}: one that is Training is wanted")
