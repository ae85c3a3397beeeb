"""Batch transform jobs: a model's container over every object of a prefix, the answers back to S3.

An object with a bad record gets no output, because its answers would no longer be in its order; the others do, and the
job ends as Failed, as on AWS.
"""

import logging
import time
from typing import Any

from local_aws import jobs, resources, store, transform_work
from local_aws.errors import in_use, invalid, not_emulated
from local_aws.jobs import JobError, JobStoppedError, Run
from local_aws.listings import page
from local_aws.s3_files import S3Error, split
from local_aws.store import Record, Scope

logger = logging.getLogger("local_aws")

KIND = "transform-job"
MOST_MEGABYTES = 100  # MaxPayloadInMB times MaxConcurrentTransforms


def create(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    name = request["TransformJobName"]
    model = resources.find(scope, "model", "model", request["ModelName"])
    _check(request)
    arn, now = scope.arn(f"{KIND}/{name}"), time.time()
    record = {
        **request,
        "TransformJobArn": arn,
        "TransformJobStatus": "InProgress",
        "CreationTime": now,
        "LastModifiedTime": now,
        "RoleArn": model.get("ExecutionRoleArn"),
    }
    with store.current().lock:
        if store.current().get(scope, KIND, name) is not None:
            raise in_use(
                "Job name must be unique within an AWS account and region, and a job with this name already exists "
                f"({arn})"
            )
        store.current().put(scope, KIND, name, record)
    jobs.start(scope, KIND, name, _live)
    return {"TransformJobArn": arn}


def describe(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    return dict(_find(scope, request["TransformJobName"]))


def list_jobs(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    return page(
        store.current().all(scope, KIND),
        request,
        result="TransformJobSummaries",
        name="TransformJobName",
        status="TransformJobStatus",
    )


def stop(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    with store.current().lock:
        name = request["TransformJobName"]
        status = _find(scope, name)["TransformJobStatus"]
        if status not in ("InProgress", "Stopping"):
            raise invalid(f"The request was rejected because the transform job is in status {status}.")
        run = jobs.running(scope, KIND, name)
        if run is not None:
            run.change(TransformJobStatus="Stopping")
    if run is not None:
        run.stop()
    return {}


def end_interrupted() -> None:
    """Tell of the jobs that a killed server took with it."""
    for scope, name, record in store.current().everywhere(KIND):
        if record["TransformJobStatus"] in ("InProgress", "Stopping"):
            _finish(jobs.run_of(scope, KIND, name), "Failed", FailureReason=jobs.SERVER_STOPPED)


def _find(scope: Scope, name: str) -> Record:
    record = store.current().get(scope, KIND, name)
    if record is None:
        raise invalid(f"Could not find requested job with name: {name}")
    return record


def _check(request: dict[str, Any]) -> None:
    """Hold a request to what AWS checks and its model does not say, and to what is emulated."""
    source, output = request["TransformInput"], request["TransformOutput"]
    data, form = source["DataSource"]["S3DataSource"], source.get("SplitType", "None")
    if data["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        raise not_emulated(f"S3DataType {data['S3DataType']} of a transform job")
    if form not in ("None", "Line"):
        raise not_emulated(f"SplitType {form}")
    if "DataCaptureConfig" in request:
        raise not_emulated("Data capture of a transform job")
    processing = request.get("DataProcessing", {})
    for member, plain in (("InputFilter", "$"), ("OutputFilter", "$"), ("JoinSource", "None")):
        if processing.get(member, plain) != plain:
            raise not_emulated(f"{member} of a transform job")
    if request.get("BatchStrategy") == "SingleRecord" and form == "None":
        raise invalid("BatchStrategy SingleRecord needs a SplitType: without one the object is the record.")
    megabytes, at_once = request.get("MaxPayloadInMB", 6), request.get("MaxConcurrentTransforms", 1)
    if megabytes * max(1, at_once) > MOST_MEGABYTES:
        raise invalid(
            f"MaxPayloadInMB {megabytes} times MaxConcurrentTransforms {at_once} is more than {MOST_MEGABYTES}."
        )
    for member, uri in (("S3Uri", data["S3Uri"]), ("S3OutputPath", output["S3OutputPath"])):
        try:
            split(uri)
        except S3Error as error:
            raise invalid(f"{member}: {error}") from None


# ---- the life of a job -----------------------------------------------------------------------------------------------


def _live(run: Run) -> None:
    """From request to end. Whatever happens, the record says so."""
    try:
        with jobs.failures_told():
            transform_work.do(run, dict(run.record))
        _finish(run, "Completed")
    except JobStoppedError:
        if run.shutting_down:
            _finish(run, "Failed", FailureReason=jobs.SERVER_STOPPED)
        else:
            _finish(run, "Stopped")
    except JobError as error:
        _finish(run, "Failed", FailureReason=jobs.shorten(str(error)))
    except Exception as error:
        _finish(run, "Failed", FailureReason=f"InternalServerError: a bug of local AWS: {error!r}")
        raise


def _finish(run: Run, status: str, **changes: Any) -> None:
    run.change(TransformJobStatus=status, TransformEndTime=time.time(), **changes)


OPERATIONS = {
    "CreateTransformJob": create,
    "DescribeTransformJob": describe,
    "ListTransformJobs": list_jobs,
    "StopTransformJob": stop,
}
