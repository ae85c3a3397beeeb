"""Training jobs: `<image> train` under SageMaker's contract for training containers, on one host or several.

Below the folder of each host, which stands for its /opt/ml: input/config/*.json, input/data/<channel>/, model/,
output/, checkpoints/. Afterwards the model/ of all is model.tar.gz on S3, output/ is output.tar.gz, and output/failure
the FailureReason. A spot job that is interrupted begins anew, on new hosts, with the checkpoints that S3 has.
"""

import math
import shutil
import time
from typing import Any

from local_aws import images, jobs, networks, store, warm_pools
from local_aws.errors import in_use, invalid, not_emulated
from local_aws.hosts import hosts_of, shared_machine
from local_aws.interruptions import Interruption
from local_aws.jobs import Ending, JobError, JobStoppedError, Run
from local_aws.listings import page
from local_aws.s3_files import pack, upload_file
from local_aws.store import Record, Scope
from local_aws.training_checks import LONGEST_RUN_SECONDS, check, machines
from local_aws.training_host import TrainingHost

KIND = "training-job"
MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Completed": "Training job completed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds",
    "Interrupted": "Spot instances were interrupted: the training job waits for others",
    "MaxWaitTimeExceeded": "Training job wait time exceeded MaxWaitTimeInSeconds",
}


# ---- operations ------------------------------------------------------------------------------------------------------


def create(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    name = request["TrainingJobName"]
    check(request)
    networks.check_vpc_config(scope, request.get("VpcConfig"))
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
        if request["ResourceConfig"].get("KeepAlivePeriodInSeconds", 0) > 0:
            pool = warm_pools.free_pool(request, store.current().all(scope, KIND))
            if pool is not None:
                store.current().change(scope, KIND, pool, **warm_pools.reused(by=name))
        store.current().put(scope, KIND, name, record)
    jobs.start(scope, KIND, name, _live)
    return {"TrainingJobArn": arn}


def describe(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    return _described(_find(scope, request["TrainingJobName"]))


def update(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    """UpdateTrainingJob, of a warm pool."""
    if others := sorted(request.keys() - {"TrainingJobName", "ResourceConfig"}):
        raise not_emulated(f"A change of {', '.join(others)} of a training job")
    with store.current().lock:
        job = _find(scope, request["TrainingJobName"])
        if resources := request.get("ResourceConfig"):
            changes = warm_pools.kept_for(job, resources["KeepAlivePeriodInSeconds"])
            store.current().change(scope, KIND, job["TrainingJobName"], LastModifiedTime=time.time(), **changes)
    return {"TrainingJobArn": job["TrainingJobArn"]}


def _described(job: Record) -> dict[str, Any]:
    """A record with what depends on the time of day."""
    described = {**job, "WarmPoolStatus": warm_pools.status_of(job)}
    if "TrainingStartTime" in job and "TrainingEndTime" not in job:
        described["TrainingTimeInSeconds"] = int(time.time() - job["TrainingStartTime"])
    return described


def list_jobs(scope: Scope, request: dict[str, Any]) -> dict[str, Any]:
    if "TrainingPlanArnEquals" in request:
        raise not_emulated("A training plan (capacity that was paid for in advance)")
    wanted = request.get("WarmPoolStatusEquals")
    return page(
        [_described(job) for job in store.current().all(scope, KIND)],
        request,
        result="TrainingJobSummaries",
        name="TrainingJobName",
        status="TrainingJobStatus",
        order="Ascending",
        keep=lambda job: wanted is None or (job["WarmPoolStatus"] or {}).get("Status") == wanted,
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


# ---- the life of a job -----------------------------------------------------------------------------------------------


def _live(run: Run) -> None:
    """From request to end. Whatever happens, the record says so."""
    try:
        with jobs.failures_told():
            training = _Training(run)
            ending = training.attempt()
            while interruption := ending.interrupted:
                training.lose_machines(interruption)
                ending = training.attempt()
            _conclude(run, training, ending)
    except JobStoppedError:
        _finish(run, *(("Failed", jobs.SERVER_STOPPED) if run.shutting_down else ("Stopped", None)))
    except _WaitedTooLongError:
        _finish(run, "Stopped", None, secondary="MaxWaitTimeExceeded")
    except JobError as error:
        _finish(run, "Failed", str(error))
    except Exception as error:
        _finish(run, "Failed", f"InternalServerError: a bug of local AWS: {error!r}")
        raise


class _WaitedTooLongError(Exception):
    """A spot job got no machines within its MaxWaitTimeInSeconds."""


class _Training:
    """One job's containers, with what goes in and comes out."""

    def __init__(self, run: Run) -> None:
        self.job = run
        self.request = dict(run.record)
        self.image = images.resolve(
            self.request["AlgorithmSpecification"]["TrainingImage"], run.scope.account, run.scope.region
        )
        self.kms_key = self.request["OutputDataConfig"].get("KmsKeyId")
        self.instance_type, count = machines(self.request["ResourceConfig"])
        self.hosts = hosts_of(run.folder, count)
        self.seconds_run = 0.0  # on machines, over all attempts
        self.parts: list[TrainingHost] = []
        if "InstancePreferences" in self.request["ResourceConfig"]:
            selected = {"SelectedInstanceType": self.instance_type, "SelectedInstanceCount": count}
            run.change(ResourceConfig=self.request["ResourceConfig"] | selected)

    def attempt(self) -> Ending:
        """Inputs, containers, their end: what a spot job does once for each time that it gets machines."""
        self._prepare()
        self.job.check_stop()
        return self._run()

    def lose_machines(self, interruption: Interruption) -> None:
        """Wait for others. Raises _WaitedTooLongError."""
        _enter(self.job, "Interrupted")
        for host in self.hosts:
            shutil.rmtree(host.folder, ignore_errors=True)
        left, pause = self._wait_left(), interruption.pause
        self.job.pause(max(0.0, min(pause, left)))
        self.job.change(_SecondsWithoutMachines=pause + self.job.record.get("_SecondsWithoutMachines", 0.0))
        if pause >= left:
            raise _WaitedTooLongError
        _enter(self.job, "Starting")

    def _prepare(self) -> None:
        """Lay out the folders: inputs, configuration, and the checkpoints of an earlier attempt."""
        run = self.job
        _enter(run, "Downloading")
        self.parts = [TrainingHost(run, self.request, host) for host in self.hosts]
        for part in self.parts:
            part.prepare(self.instance_type)

    def _run(self) -> Ending:
        """The containers, from their start to their end."""
        run = self.job
        _enter(run, "Training", TrainingStartTime=run.record.get("TrainingStartTime", time.time()))
        began = time.monotonic()
        shared = shared_machine(len(self.hosts))
        for part in self.parts:
            part.start(self.image, shared)
        longest = self.request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", LONGEST_RUN_SECONDS)
        seconds = min(longest - self.seconds_run, self._wait_left())
        ending = run.watch([part.container for part in self.parts], seconds, self._upload_progress)
        self.seconds_run += time.monotonic() - began
        self._upload_progress(ended=True)
        return ending

    @property
    def waited_too_long(self) -> bool:
        """Whether it is the time for waiting and running together that is over."""
        return self._wait_left() <= 0

    def _wait_left(self) -> float:
        """Seconds until MaxWaitTimeInSeconds, which runs from the job's creation; without end where there is none."""
        limits = self.request.get("StoppingCondition", {})
        return float(self.request["CreationTime"] + limits.get("MaxWaitTimeInSeconds", math.inf) - time.time())

    def _upload_progress(self, *, ended: bool = False) -> None:
        """New checkpoints to S3, new metrics to CloudWatch. What S3 refuses meanwhile is tried again next time."""
        for part in self.parts:
            part.upload_progress(ended=ended)

    def upload_results(self) -> str:
        """model/ and output/ of all hosts to S3, each as one archive. Returns the URI of the model's."""
        run = self.job
        target = f"{self.request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{run.name}/output"
        archive = run.folder / "archive.tar.gz"
        pack([host.folder / "model" for host in self.hosts], archive)
        upload_file(run.scope, archive, f"{target}/model.tar.gz", self.kms_key)
        outputs = [host.folder / "output" / "data" for host in self.hosts]
        if any(any(folder.iterdir()) for folder in outputs):
            pack(outputs, archive)
            upload_file(run.scope, archive, f"{target}/output.tar.gz", self.kms_key)
        return f"{target}/model.tar.gz"

    def failure(self, ending: Ending) -> str:
        """The FailureReason. Of several hosts it names those that failed, what fell first at its head: others fall with
        it. A killed container told nobody, so it comes before those that had time to tell."""
        told = [
            (ending.codes[place] <= 128, part.failed_at(), place, part)
            for place, part in enumerate(self.parts)
            if place in ending.failed or part.failed_at() < math.inf
        ]
        if len(self.parts) == 1:
            return f"AlgorithmError: {jobs.shorten(self.parts[0].said(), 990)}, exit code: {ending.codes[0]}"
        reasons = [
            f"{part.host.name}: {jobs.shorten(part.said(), 600)}, exit code: {ending.codes[place]}"
            for _, _, place, part in sorted(told, key=lambda each: each[:3])
        ]
        return f"AlgorithmError: {'; '.join(reasons)}"


def _conclude(run: Run, training: _Training, ending: Ending) -> None:
    """The end of the story, by how the containers ended. A stopped job keeps what it made, as on AWS."""
    if ending.stopped and run.shutting_down:
        raise JobError(jobs.SERVER_STOPPED)
    if ending.failed:
        raise JobError(training.failure(ending))
    _enter(run, "Uploading")
    run.change(ModelArtifacts={"S3ModelArtifacts": training.upload_results()})
    if ending.timed_out:
        too_long = "MaxWaitTimeExceeded" if training.waited_too_long else "MaxRuntimeExceeded"
        _finish(run, "Stopped", None, secondary=too_long)
    else:
        _finish(run, "Stopped" if ending.stopped else "Completed", None)


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
            changes["TrainingTimeInSeconds"] = max(1, round(now - started))
            unbilled = run.record.get("_SecondsWithoutMachines", 0.0)
            changes["BillableTimeInSeconds"] = max(1, round(now - started - unbilled))
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
    "UpdateTrainingJob": update,
}
