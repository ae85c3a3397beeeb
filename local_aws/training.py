"""Training jobs: `<image> train` under SageMaker's contract for training containers.

Below the job's folder, which stands for /opt/ml: input/config/*.json, input/data/<channel>/, model/, output/,
checkpoints/. Afterwards model/ is model.tar.gz on S3, output/ is output.tar.gz, and output/failure the FailureReason.
"""

import json
import logging
import time
from typing import Any

from local_aws import images, jobs, networks, store, training_metrics
from local_aws.containers import Container
from local_aws.errors import in_use, invalid, not_emulated
from local_aws.jobs import Ending, JobError, JobStoppedError, Run
from local_aws.listings import page
from local_aws.s3_files import FolderUpload, S3Error, download_prefix, pack, upload_file
from local_aws.store import Record, Scope
from local_aws.training_metrics import MetricReader

logger = logging.getLogger("local_aws")

KIND = "training-job"
LOG_GROUP = "/aws/sagemaker/TrainingJobs"
DEFAULT_CHECKPOINTS = "/opt/ml/checkpoints/"
LONGEST_RUN_SECONDS = 86400  # AWS's default
MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Completed": "Training job completed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds",
}


# ---- operations ------------------------------------------------------------------------------------------------------


def create(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    name = request["TrainingJobName"]
    _check(scope, request)
    arn, now = scope.arn(f"{KIND}/{name}"), time.time()
    record = {
        "EnableNetworkIsolation": False,
        "EnableInterContainerTrafficEncryption": False,
        "EnableManagedSpotTraining": False,
        **request,
        "TrainingJobArn": arn,
        "TrainingJobStatus": "InProgress",
        "SecondaryStatus": "Starting",
        "SecondaryStatusTransitions": [_transition("Starting", now)],
        "CreationTime": now,
        "LastModifiedTime": now,
    }
    with store.current().lock:
        if store.current().get(scope, KIND, name) is not None:
            raise in_use(
                "Training job names must be unique within an AWS account and region, and a training job with this "
                f"name already exists ({arn})"
            )
        store.current().put(scope, KIND, name, record)
    jobs.start(scope, KIND, name, _live)
    return {"TrainingJobArn": arn}


def describe(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    record = dict(_find(scope, request["TrainingJobName"]))
    if "TrainingStartTime" in record and "TrainingEndTime" not in record:
        record["TrainingTimeInSeconds"] = int(time.time() - record["TrainingStartTime"])
    return record


def list_jobs(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    if "WarmPoolStatusEquals" in request or "TrainingPlanArnEquals" in request:
        raise not_emulated("Filtering by warm pool or training plan")
    return page(
        store.current().all(scope, KIND),
        request,
        result="TrainingJobSummaries",
        name="TrainingJobName",
        status="TrainingJobStatus",
        order="Ascending",
    )


def stop(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    with store.current().lock:
        name = request["TrainingJobName"]
        record = _find(scope, name)
        status = record["TrainingJobStatus"]
        if status not in ("InProgress", "Stopping"):
            raise invalid(f"The request was rejected because the training job is in status {status}.")
        run = jobs.running(scope, KIND, name)
        if run is not None and status == "InProgress":
            _enter(run, "Stopping", TrainingJobStatus="Stopping")
    if run is not None:
        run.stop()
    return {}


def end_interrupted() -> None:
    """Tell of the jobs that a killed server took with it."""
    for scope, name, record in store.current().everywhere(KIND):
        if record["TrainingJobStatus"] in ("InProgress", "Stopping"):
            _finish(jobs.run_of(scope, KIND, name), "Failed", jobs.SERVER_STOPPED)


def _find(scope: Scope, name: str) -> Record:
    record = store.current().get(scope, KIND, name)
    if record is None:
        raise invalid("Requested resource not found.")
    return record


def _check(scope: Scope, request: dict[str, Any]) -> None:
    """Hold a request to what AWS checks and its model does not say, and to what is emulated."""
    algorithm = request.get("AlgorithmSpecification")
    resources = request.get("ResourceConfig")
    if "ServerlessJobConfig" in request or algorithm is None or resources is None:
        raise not_emulated("A training job without AlgorithmSpecification and ResourceConfig")
    if "TrainingImage" not in algorithm:
        raise not_emulated("AlgorithmName (give TrainingImage)")
    if "ContainerEntrypoint" in algorithm:
        raise not_emulated("ContainerEntrypoint of a training job")
    if "InstanceType" not in resources:
        raise not_emulated("A training job without InstanceType (InstanceGroups or InstancePreferences)")
    if request["OutputDataConfig"].get("CompressionType", "GZIP") != "GZIP":
        raise not_emulated("An uncompressed model (OutputDataConfig.CompressionType)")
    jobs.check_instance_count(resources.get("InstanceCount", 1))
    training_metrics.check_definitions(algorithm.get("MetricDefinitions", []))
    if checkpoints := request.get("CheckpointConfig"):
        jobs.check_local_path(checkpoints.get("LocalPath", DEFAULT_CHECKPOINTS), "CheckpointConfig.LocalPath")
    _check_channels(request.get("InputDataConfig", []))
    _check_time_limits(request)
    networks.check_vpc_config(scope, request.get("VpcConfig"))


def _check_channels(channels: list[dict[str, Any]]) -> None:
    names = [channel["ChannelName"] for channel in channels]
    if len(set(names)) < len(names):
        raise invalid(f"Duplicate channel names are not allowed; given are {', '.join(names)}.")
    for channel in channels:
        what = f"Channel '{channel['ChannelName']}'"
        source = channel["DataSource"].get("S3DataSource")
        if source is None or source["S3DataType"] != "S3Prefix":
            raise not_emulated(f"{what} with another data source than an S3Prefix")
        if channel.get("InputMode") == "Pipe" or channel.get("RecordWrapperType", "None") != "None":
            raise not_emulated(f"{what} in Pipe mode or with records")
        if channel.get("CompressionType", "None") != "None":
            raise not_emulated(f"{what} with compression")


def _check_time_limits(request: dict[str, Any]) -> None:
    limits = request.get("StoppingCondition", {})
    if request.get("EnableManagedSpotTraining"):
        longest, wait = limits.get("MaxRuntimeInSeconds", LONGEST_RUN_SECONDS), limits.get("MaxWaitTimeInSeconds")
        if wait is None or wait < longest:
            raise invalid(
                f"Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
                f"MaxRuntimeInSeconds ({longest}); given is {wait}."
            )
    elif "MaxWaitTimeInSeconds" in limits:
        raise invalid("MaxWaitTimeInSeconds is above 0, but EnableManagedSpotTraining is false.")


# ---- the life of a job -----------------------------------------------------------------------------------------------


def _live(run: Run) -> None:
    """From request to end. Whatever happens, the record says so."""
    try:
        with jobs.failures_told():
            container = _Training(run)
            container.prepare()
            run.check_stop()
            ending = container.run()
            _conclude(run, container, ending)
    except JobStoppedError:
        _finish(run, *(("Failed", jobs.SERVER_STOPPED) if run.shutting_down else ("Stopped", None)))
    except JobError as error:
        _finish(run, "Failed", str(error))
    except Exception as error:
        _finish(run, "Failed", f"InternalServerError: a bug of local AWS: {error!r}")
        raise


class _Training:
    """One job's container, with what goes in and comes out."""

    def __init__(self, run: Run) -> None:
        self.job = run
        self.request = dict(run.record)
        self.image = images.resolve(
            self.request["AlgorithmSpecification"]["TrainingImage"], run.scope.account, run.scope.region
        )
        self.kms_key = self.request["OutputDataConfig"].get("KmsKeyId")
        self.metrics = MetricReader(self.request["AlgorithmSpecification"].get("MetricDefinitions", []))
        self.log = ""
        self.checkpoints: FolderUpload | None = None

    def prepare(self) -> None:
        """Lay out the folder: inputs, configuration, and the checkpoints of an earlier attempt."""
        run = self.job
        _enter(run, "Downloading")
        for folder in ("input/config", "model", "output/data"):
            (run.folder / folder).mkdir(parents=True, exist_ok=True)
        for channel in self.request.get("InputDataConfig", []):
            run.check_stop()
            uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
            jobs.fetch_input(run, uri, run.folder / "input" / "data" / channel["ChannelName"])
        for name, content in _configuration(self.request).items():
            (run.folder / "input" / "config" / name).write_text(json.dumps(content))
        if config := self.request.get("CheckpointConfig"):
            kept = run.path(config.get("LocalPath", DEFAULT_CHECKPOINTS))
            download_prefix(run.scope, config["S3Uri"].rstrip("/") + "/", kept)
            self.checkpoints = FolderUpload(run.scope, kept, config["S3Uri"], self.kms_key)
            self.checkpoints.assume_uploaded()

    def run(self) -> Ending:
        """The container, from its start to its end."""
        run = self.job
        _enter(run, "Training", TrainingStartTime=time.time())
        container = Container.start(
            images.command(self.image, "train"),
            folder=run.folder,
            environment=jobs.environment(
                run,
                {"TRAINING_JOB_NAME": run.name, "TRAINING_JOB_ARN": self.request["TrainingJobArn"]}
                | self.request.get("Environment", {}),
                isolated=self.request["EnableNetworkIsolation"],
            ),
            log_group=LOG_GROUP,
            log_stream=f"{run.name}/algo-1-{int(time.time())}",
            account=run.scope.account,
            region=run.scope.region,
        )
        seconds = self.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", LONGEST_RUN_SECONDS)
        ending = run.watch(container, seconds, lambda: self.upload_progress(container))
        self.log = container.tail(20)
        self.upload_progress(container, ended=True)
        return ending

    def upload_progress(self, container: Container, *, ended: bool = False) -> None:
        """New checkpoints to S3, new metrics to CloudWatch. What S3 refuses meanwhile is tried again next time."""
        if metrics := self.metrics.read(container.log_path, ended=ended):
            self.job.change(FinalMetricDataList=list(self.metrics.last.values()))
            training_metrics.send(self.job.scope, self.job.name, metrics)
        if self.checkpoints is not None:
            try:
                self.checkpoints.sync()
            except S3Error as error:
                if ended:
                    raise JobError(f"ClientError: Cannot upload checkpoints: {error}") from error
                logger.warning("%s: checkpoints: %s", self.job.name, error)

    def upload_results(self) -> str:
        """model/ and output/ to S3. Returns the URI of the model's archive."""
        run = self.job
        target = f"{self.request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{run.name}/output"
        archive = run.folder / "archive.tar.gz"
        pack(run.folder / "model", archive)
        upload_file(run.scope, archive, f"{target}/model.tar.gz", self.kms_key)
        if any((run.folder / "output" / "data").iterdir()):
            pack(run.folder / "output" / "data", archive)
            upload_file(run.scope, archive, f"{target}/output.tar.gz", self.kms_key)
        return f"{target}/model.tar.gz"


def _conclude(run: Run, training: _Training, ending: Ending) -> None:
    """The end of the story, by how the container ended. A stopped job keeps what it made, as on AWS."""
    if ending.stopped and run.shutting_down:
        raise JobError(jobs.SERVER_STOPPED)
    if ending.code != 0 and not (ending.stopped or ending.timed_out):
        said = jobs.first_failure(run.folder / "output" / "failure", log=training.log)
        raise JobError(f"AlgorithmError: {jobs.shorten(said, 990)}, exit code: {ending.code}")
    _enter(run, "Uploading")
    run.change(ModelArtifacts={"S3ModelArtifacts": training.upload_results()})
    if ending.timed_out:
        _finish(run, "Stopped", None, secondary="MaxRuntimeExceeded")
    else:
        _finish(run, "Stopped" if ending.stopped else "Completed", None)


def _configuration(request: dict[str, Any]) -> dict[str, Any]:
    """Content of the files in input/config, by name."""
    channels = {
        channel["ChannelName"]: {
            "TrainingInputMode": channel.get("InputMode", "File"),
            "S3DistributionType": channel["DataSource"]["S3DataSource"].get(
                "S3DataDistributionType", "FullyReplicated"
            ),
            "RecordWrapperType": "None",
        }
        | ({"ContentType": channel["ContentType"]} if "ContentType" in channel else {})
        for channel in request.get("InputDataConfig", [])
    }
    return {
        "hyperparameters.json": request.get("HyperParameters", {}),
        "inputdataconfig.json": channels,
        "resourceconfig.json": jobs.resources(request["ResourceConfig"]["InstanceType"]),
    }


# ---- the record ------------------------------------------------------------------------------------------------------


def _enter(run: Run, secondary: str, **changes: Any) -> None:
    """Go on to the next secondary status, and note when."""
    with store.current().lock:
        now = time.time()
        earlier = [{"EndTime": now, **transition} for transition in run.record["SecondaryStatusTransitions"]]
        transitions = [*earlier, _transition(secondary, now)]
        run.change(SecondaryStatus=secondary, SecondaryStatusTransitions=transitions, **changes)


def _finish(run: Run, status: str, reason: str | None, *, secondary: str | None = None) -> None:
    """Write the end into the record, in one change."""
    now = time.time()
    changes: dict[str, Any] = {"TrainingJobStatus": status, "TrainingEndTime": now}
    last = _transition(secondary or status, now) | {"EndTime": now}
    if reason is not None:
        changes["FailureReason"] = last["StatusMessage"] = jobs.shorten(reason)
    with store.current().lock:
        if started := run.record.get("TrainingStartTime"):
            changes["TrainingTimeInSeconds"] = changes["BillableTimeInSeconds"] = max(1, round(now - started))
        earlier = [{"EndTime": now, **transition} for transition in run.record["SecondaryStatusTransitions"]]
        changes["SecondaryStatusTransitions"] = [*earlier, last]
        run.change(SecondaryStatus=secondary or status, **changes)


def _transition(secondary: str, now: float) -> dict[str, Any]:
    return {"Status": secondary, "StartTime": now, "StatusMessage": MESSAGES.get(secondary, "")}


OPERATIONS = {
    "CreateTrainingJob": create,
    "DescribeTrainingJob": describe,
    "ListTrainingJobs": list_jobs,
    "StopTrainingJob": stop,
}
