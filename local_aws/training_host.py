"""What one host has of a training job: a folder that stands for its /opt/ml, a container, a log, checkpoints."""

import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local_aws import images, jobs, training_metrics
from local_aws.containers import Container
from local_aws.hosts import Host
from local_aws.images import Image
from local_aws.jobs import JobError, Run
from local_aws.s3_files import FolderUpload, S3Error, download_prefix
from local_aws.training_checks import DEFAULT_CHECKPOINTS
from local_aws.training_metrics import MetricReader

logger = logging.getLogger("local_aws")

LOG_GROUP = "/aws/sagemaker/TrainingJobs"


class TrainingHost:
    """Used once, for one attempt: `prepare`, `start`, `upload_progress` now and then and once it `ended`."""

    def __init__(self, run: Run, request: Mapping[str, Any], host: Host) -> None:
        self.job, self.request, self.host = run, request, host
        self._metrics = MetricReader(self.request["AlgorithmSpecification"].get("MetricDefinitions", []))
        self._checkpoints: FolderUpload | None = None
        self.container: Container

    def prepare(self, instance_type: str) -> None:
        """Lay out the folder: inputs, configuration, and the checkpoints of an earlier attempt."""
        run, folder = self.job, self.host.folder
        for name in ("input/config", "model", "output/data"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for channel in self.request.get("InputDataConfig", []):
            run.check_stop()
            source = channel["DataSource"]["S3DataSource"]
            sharded = source.get("S3DataDistributionType") == "ShardedByS3Key"
            share = self.host.share if sharded else (0, 1)
            jobs.fetch_input(run, source["S3Uri"], folder / "input" / "data" / channel["ChannelName"], share)
        resources = self.host.resources(instance_type)
        for name, content in _configuration(self.request, resources).items():
            (folder / "input" / "config" / name).write_text(json.dumps(content))
        if config := self.request.get("CheckpointConfig"):
            kept = jobs.path_in(folder, config.get("LocalPath", DEFAULT_CHECKPOINTS))
            download_prefix(run.scope, config["S3Uri"].rstrip("/") + "/", kept)
            key = self.request["OutputDataConfig"].get("KmsKeyId")
            self._checkpoints = FolderUpload(run.scope, kept, config["S3Uri"], key)
            self._checkpoints.assume_uploaded()

    def start(self, image: Image, shared: Mapping[str, str]) -> None:
        """Begin the container; `shared` is what all hosts of the job are told."""
        run = self.job
        own = {"TRAINING_JOB_NAME": run.name, "TRAINING_JOB_ARN": self.request["TrainingJobArn"]}
        own |= dict(shared) | self.request.get("Environment", {}) | {"SAGEMAKER_BASE_DIR": str(self.host.folder)}
        self.container = Container.start(
            images.command(image, "train"),
            folder=self.host.folder,
            environment=jobs.environment(run, own, isolated=self.request["EnableNetworkIsolation"]),
            log_group=LOG_GROUP,
            log_stream=f"{run.name}/{self.host.name}-{int(time.time())}",
            account=run.scope.account,
            region=run.scope.region,
        )

    def upload_progress(self, *, ended: bool) -> None:
        """New checkpoints to S3, new metrics to CloudWatch. What S3 refuses meanwhile is tried again next time."""
        run = self.job
        if metrics := self._metrics.read(self.container.log_path, ended=ended):
            last = {metric["MetricName"]: metric for metric in run.record.get("FinalMetricDataList", [])}
            run.change(FinalMetricDataList=list((last | self._metrics.last).values()))
            training_metrics.send(run.scope, run.name, self.host.name, metrics)
        if self._checkpoints is not None:
            try:
                self._checkpoints.sync()
            except S3Error as error:
                if ended:
                    raise JobError(f"ClientError: Cannot upload checkpoints: {error}") from error
                logger.warning("%s: checkpoints: %s", run.name, error)

    @property
    def _failure_file(self) -> Path:
        return self.host.folder / "output" / "failure"

    def failed_at(self) -> float:
        """When its container reported a failure; infinite where it did not."""
        return self._failure_file.stat().st_mtime if self._failure_file.is_file() else math.inf

    def said(self) -> str:
        """What it said of its failure."""
        return jobs.first_failure(self._failure_file, log=self.container.tail(20))


def _configuration(request: Mapping[str, Any], resources: dict[str, object]) -> dict[str, Any]:
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
        "resourceconfig.json": resources,
    }
