"""Warm pools: what DescribeTrainingJob says of machines that are kept for the next job. No machine is kept here.

A job with KeepAlivePeriodInSeconds leaves a pool behind, unless SageMaker itself failed; the next job that wants the
same machines takes it over. Nothing happens by the clock: a pool is looked at when it is asked for.
Source: the developer guide's page on managed warm pools (matching criteria, life cycle).
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from local_aws.errors import invalid
from local_aws.store import Record

# What has to be the same, or the next job gets machines of its own.
MATCHING = ("RoleArn", "VpcConfig", "EnableInterContainerTrafficEncryption", "EnableNetworkIsolation")
MATCHING_RESOURCES = ("InstanceCount", "InstanceType", "VolumeKmsKeyId", "VolumeSizeInGB")
MEMBER = "_WarmPool"  # of a job's record: {"Reused"|"Terminated": when, "ReusedByJob": …}


def status_of(job: Record, now: float | None = None) -> dict[str, Any] | None:
    """WarmPoolStatus; None for a job that asked for no pool."""
    now = time.time() if now is None else now
    keep = job["ResourceConfig"].get("KeepAlivePeriodInSeconds", 0)
    released: Mapping[str, Any] = job.get(MEMBER, {})
    if keep == 0 and not released:
        return None
    if "TrainingEndTime" not in job:
        return {"Status": "InUse"}
    if str(job.get("FailureReason", "")).startswith("InternalServerError"):
        return {"Status": "Terminated", "ResourceRetainedBillableTimeInSeconds": 0}
    end = job["TrainingEndTime"]
    retained = min(released.get("At", now), end + keep) - end
    billable = {"ResourceRetainedBillableTimeInSeconds": max(0, round(retained))}
    if "ReusedByJob" in released:
        return {"Status": "Reused", "ReusedByJob": released["ReusedByJob"], **billable}
    if released or now >= end + keep:
        return {"Status": "Terminated", **billable}
    return {"Status": "Available"}


def free_pool(request: Mapping[str, Any], jobs: Iterable[Record]) -> str | None:
    """The name of the job, the oldest first, whose pool fits the new job that is asked for."""
    for job in jobs:
        pool = status_of(job)
        if pool is not None and pool["Status"] == "Available" and _key(job) == _key(request):
            return str(job["TrainingJobName"])
    return None


def reused(by: str) -> dict[str, Any]:
    """The change to the record of the job whose pool is taken over."""
    return {MEMBER: {"At": time.time(), "ReusedByJob": by}}


def kept_for(job: Record, seconds: int) -> dict[str, Any]:
    """The change to a job's record that UpdateTrainingJob asks for; 0 seconds end the pool. Raises SageMakerError."""
    pool = status_of(job)
    if pool is None or pool["Status"] in ("Reused", "Terminated"):
        raise invalid(f"Training job {job['TrainingJobName']} has no warm pool that could be kept or ended.")
    if seconds == 0 and pool["Status"] == "Available":
        return {MEMBER: {"At": time.time()}}
    return {"ResourceConfig": {**job["ResourceConfig"], "KeepAlivePeriodInSeconds": seconds}}


def _key(job: Mapping[str, Any]) -> list[Any]:
    resources = job["ResourceConfig"]
    return [*(job.get(name) or None for name in MATCHING), *(resources.get(name) for name in MATCHING_RESOURCES)]
