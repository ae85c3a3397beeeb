"""Processing jobs: any command of an image over files from S3, its results back to S3.

Below the job's folder, which stands for /opt/ml: config/*.json, and a folder for each input and output, by its
LocalPath. output/message becomes the ExitMessage.
"""

import json
import logging
import sys
import time
from pathlib import PurePosixPath
from typing import Any

from local_aws import images, jobs, networks, store
from local_aws.containers import Container
from local_aws.errors import in_use, invalid, not_emulated
from local_aws.hosts import hosts_of
from local_aws.images import Image
from local_aws.jobs import Ending, JobError, JobStoppedError, Run
from local_aws.listings import page
from local_aws.s3_files import FolderUpload, S3Error
from local_aws.store import Record, Scope

logger = logging.getLogger("local_aws")

KIND = "processing-job"
LOG_GROUP = "/aws/sagemaker/ProcessingJobs"
LOCAL_PATHS = "/opt/ml/processing"
LONGEST_RUN_SECONDS = 86400
IN_CONFIG = (  # the members of processingjobconfig.json
    *("ProcessingJobArn", "ProcessingJobName", "AppSpecification", "Environment", "ProcessingInputs"),
    *("ProcessingOutputConfig", "ProcessingResources", "NetworkConfig", "RoleArn", "StoppingCondition"),
)


# ---- operations ------------------------------------------------------------------------------------------------------


def create(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    name = request["ProcessingJobName"]
    _check(scope, request)
    arn, now = scope.arn(f"{KIND}/{name}"), time.time()
    record = {
        **request,
        "ProcessingJobArn": arn,
        "ProcessingJobStatus": "InProgress",
        "CreationTime": now,
        "LastModifiedTime": now,
    }
    with store.current().lock:
        if store.current().get(scope, KIND, name) is not None:
            raise in_use(
                "Job name must be unique within an AWS account and region, and a job with this name already exists "
                f"({arn})"
            )
        store.current().put(scope, KIND, name, record)
    jobs.start(scope, KIND, name, _live)
    return {"ProcessingJobArn": arn}


def describe(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    return dict(_find(scope, request["ProcessingJobName"]))


def list_jobs(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    return page(
        store.current().all(scope, KIND),
        request,
        result="ProcessingJobSummaries",
        name="ProcessingJobName",
        status="ProcessingJobStatus",
        order="Ascending",
    )


def stop(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    with store.current().lock:
        name = request["ProcessingJobName"]
        status = _find(scope, name)["ProcessingJobStatus"]
        if status not in ("InProgress", "Stopping"):
            raise invalid(f"The request was rejected because the processing job is in status {status}.")
        run = jobs.running(scope, KIND, name)
        if run is not None:
            run.change(ProcessingJobStatus="Stopping")
    if run is not None:
        run.stop()
    return {}


def end_interrupted() -> None:
    """Tell of the jobs that a killed server took with it."""
    for scope, name, record in store.current().everywhere(KIND):
        if record["ProcessingJobStatus"] in ("InProgress", "Stopping"):
            _finish(jobs.run_of(scope, KIND, name), "Failed", FailureReason=jobs.SERVER_STOPPED)


def _find(scope: Scope, name: str) -> Record:
    record = store.current().get(scope, KIND, name)
    if record is None:
        raise invalid(f"Could not find requested job with name: {name}")
    return record


def _check(scope: Scope, request: dict[str, Any]) -> None:
    """Hold a request to what AWS checks and its model does not say, and to what is emulated."""
    if (count := request["ProcessingResources"]["ClusterConfig"]["InstanceCount"]) > 1:
        raise not_emulated(f"A processing job on {count} instances (give an instance count of 1)")
    inputs, outputs = request.get("ProcessingInputs", []), _outputs(request)
    for member in inputs:
        source = member.get("S3Input")
        what = f"Processing input '{member['InputName']}'"
        if source is None or source["S3DataType"] != "S3Prefix":
            raise not_emulated(f"{what} with another source than an S3Prefix")
        if source.get("S3InputMode", "File") != "File" or source.get("S3CompressionType", "None") != "None":
            raise not_emulated(f"{what} in Pipe mode or with compression")
        jobs.check_local_path(source.get("LocalPath", ""), f"LocalPath of {what}", LOCAL_PATHS)
    for member in outputs:
        what = f"Processing output '{member['OutputName']}'"
        if "S3Output" not in member:
            raise not_emulated(f"{what} into a feature store")
        jobs.check_local_path(member["S3Output"].get("LocalPath", ""), f"LocalPath of {what}", LOCAL_PATHS)
    for what, names in (
        ("input names", [member["InputName"] for member in inputs]),
        ("output names", [member["OutputName"] for member in outputs]),
        ("local paths", [member["S3Input"]["LocalPath"].rstrip("/") for member in inputs]),
    ):
        if len(set(names)) < len(names):
            raise invalid(f"The {what} of a processing job must differ; given are {', '.join(names)}.")
    networks.check_vpc_config(scope, request.get("NetworkConfig", {}).get("VpcConfig"))


def _outputs(request: dict[str, Any]) -> list[dict[str, Any]]:
    outputs: list[dict[str, Any]] = request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    return outputs


# ---- the life of a job -----------------------------------------------------------------------------------------------


def _live(run: Run) -> None:
    """From request to end. Whatever happens, the record says so."""
    request = dict(run.record)
    try:
        with jobs.failures_told():
            image = images.resolve(request["AppSpecification"]["ImageUri"], run.scope.account, run.scope.region)
            _prepare(run, request)
            run.check_stop()
            _run(run, request, image)
    except JobStoppedError:
        if run.shutting_down:
            _finish(run, "Failed", FailureReason=jobs.SERVER_STOPPED)
        else:
            _finish(run, "Stopped")
    except JobError as error:
        _finish(run, "Failed", FailureReason=jobs.shorten(str(error)), ExitMessage=_message(run))
    except Exception as error:
        _finish(run, "Failed", FailureReason=f"InternalServerError: a bug of local AWS: {error!r}")
        raise


def _prepare(run: Run, request: dict[str, Any]) -> None:
    """Lay out the folder: inputs, configuration, and an empty folder for each output."""
    for member in request.get("ProcessingInputs", []):
        run.check_stop()
        source = member["S3Input"]
        jobs.fetch_input(run, source["S3Uri"], run.path(source["LocalPath"]))
    for member in _outputs(request):
        run.path(member["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
    config = run.folder / "config"
    config.mkdir()
    (run.folder / "output").mkdir()
    written = {key: request[key] for key in IN_CONFIG if key in request}
    (config / "processingjobconfig.json").write_text(json.dumps(written))
    instance_type = request["ProcessingResources"]["ClusterConfig"]["InstanceType"]
    [host] = hosts_of(run.folder, 1)
    (config / "resourceconfig.json").write_text(json.dumps(host.resources(instance_type)))


def _run(run: Run, request: dict[str, Any], image: Image) -> None:
    """The container and its outputs. Raises JobError."""
    kms_key = request.get("ProcessingOutputConfig", {}).get("KmsKeyId")
    uploads = {"Continuous": list[FolderUpload](), "EndOfJob": list[FolderUpload]()}
    for member in _outputs(request):
        target = member["S3Output"]
        upload = FolderUpload(run.scope, run.path(target["LocalPath"]), target["S3Uri"], kms_key)
        uploads[target["S3UploadMode"]].append(upload)

    run.change(ProcessingStartTime=time.time())
    container = Container.start(
        command(image, request["AppSpecification"]),
        folder=run.folder,
        environment=jobs.environment(
            run,
            {"PROCESSING_JOB_NAME": run.name, "PROCESSING_JOB_ARN": request["ProcessingJobArn"]}
            | request.get("Environment", {}),
            isolated=request.get("NetworkConfig", {}).get("EnableNetworkIsolation", False),
        ),
        log_group=LOG_GROUP,
        log_stream=f"{run.name}/algo-1-{int(time.time())}",
        account=run.scope.account,
        region=run.scope.region,
    )
    seconds = request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", LONGEST_RUN_SECONDS)
    ending = run.watch([container], seconds, lambda: _upload(uploads["Continuous"]))
    _conclude(run, ending, container.tail(20), uploads)


def _conclude(run: Run, ending: Ending, log: str, uploads: dict[str, list[FolderUpload]]) -> None:
    for upload in uploads["Continuous"]:
        upload.sync()
    if ending.stopped and run.shutting_down:
        raise JobError(jobs.SERVER_STOPPED)
    if ending.timed_out:
        limit = run.record.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", LONGEST_RUN_SECONDS)
        raise JobError(f"ClientError: The job ran longer than its MaxRuntimeInSeconds, {limit}.")
    if ending.failed:
        said = jobs.first_failure(run.folder / "output" / "message", log=log)
        raise JobError(f"AlgorithmError: {jobs.shorten(said, 990)}, exit code: {ending.codes[0]}")
    for upload in uploads["EndOfJob"]:
        upload.sync()
    _finish(run, "Stopped" if ending.stopped else "Completed", ExitMessage=_message(run))


def command(image: Image, app: dict[str, Any]) -> list[str]:
    """What a processing job runs: the image's entry point, or the command that the job names in its place."""
    arguments = app.get("ContainerArguments", [])
    if "ContainerEntrypoint" not in app:
        return images.command(image, arguments)
    program, *rest = app["ContainerEntrypoint"]
    if PurePosixPath(program).name in ("python", "python3"):
        program = sys.executable
    return [program, *(_in_image(image, argument) for argument in rest), *arguments]


def _in_image(image: Image, argument: str) -> str:
    """A file of the image by the path that it has here: images put their code into /opt/<name>, where they also run."""
    for name in (argument, *PurePosixPath(argument).parts[-1:]):
        if not PurePosixPath(name).is_absolute() and (image.folder / name).is_file():
            return str(image.folder / name)
    return argument


def _upload(uploads: list[FolderUpload]) -> None:
    for upload in uploads:
        try:
            upload.sync()
        except S3Error as error:  # the last time, at the end, must succeed
            logger.warning("continuous upload: %s", error)


def _message(run: Run) -> str | None:
    file = run.folder / "output" / "message"
    return jobs.shorten(file.read_text(errors="replace").strip()) if file.is_file() else None


def _finish(run: Run, status: str, **changes: Any) -> None:
    run.change(ProcessingJobStatus=status, ProcessingEndTime=time.time(), **changes)


OPERATIONS = {
    "CreateProcessingJob": create,
    "DescribeProcessingJob": describe,
    "ListProcessingJobs": list_jobs,
    "StopProcessingJob": stop,
}
