"""The SageMaker Pipeline as data: settings in, the definition's JSON object out. No CDK, no SDK: a function.

    Prepare ─ Train ─ Evaluate ─ CheckLoss ─┬─ Register   (the model beats the letter frequencies of its data)
                                            └─ Refuse     (it does not)

Every run writes below s3://<artifact bucket>/runs/<pipeline execution id>/, so two runs never share a file and a
retried step finds its checkpoints again.
"""

from dataclasses import dataclass
from typing import Any

from stacks.config import Training
from stacks.instance_types import has_local_disk

Json = dict[str, Any]

METRICS = {
    "train:loss": "train_loss",
    "train:learning_rate": "learning_rate",
    "train:residues_per_second": "residues_per_second",
    "validation:loss": "validation_loss",
    "validation:accuracy": "validation_accuracy",
}
"""SageMaker's name of a metric → its key in the `[metric] key=value …` lines of the training log."""

REQUEST_TYPES = ["application/json", "application/jsonlines", "text/csv", "text/x-fasta"]
RESPONSE_TYPES = ["application/json", "application/jsonlines", "application/x-npz"]

PROCESSING_MAX_RUNTIME_HOURS = 24


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the definition names but does not make: each a string, or a CDK token that becomes one at deployment."""

    image_uri: str
    data_bucket: str
    artifact_bucket: str
    key_arn: str
    model_package_group: str
    prepare_role_arn: str
    train_role_arn: str
    evaluate_role_arn: str


def pipeline_definition(training: Training, around: Surroundings) -> Json:
    """The definition, ready to be `PipelineDefinitionBody`."""
    return {
        "Version": "2020-12-01",
        "Parameters": _parameters(training, around),
        "Steps": [
            _prepare(training, around),
            _train(training, around),
            _evaluate(training, around),
            _check_loss(around),
        ],
    }


def _parameters(training: Training, around: Surroundings) -> list[Json]:
    def text(name: str, default: str) -> Json:
        return {"Name": name, "Type": "String", "DefaultValue": default}

    return [
        text("recipe", training.recipe),
        text("data", f"s3://{around.data_bucket}/proteins/"),
        text("heldout", f"s3://{around.data_bucket}/heldout/"),
        text("init", training.init),
        text("instance_type", training.instance_types[0]) | {"EnumValues": list(training.instance_types)},
        {"Name": "instance_count", "Type": "Integer", "DefaultValue": training.instance_count},
        text("script", "train"),
        text("overrides", "{}"),
    ]


def _prepare(training: Training, around: Surroundings) -> Json:
    """FASTA → token shards, and the starting weights in our layout.

    The one job with a network: `init` may name a model on S3 or on the Hub, known only when the run starts.
    """
    return {
        "Name": "Prepare",
        "Type": "Processing",
        "RetryPolicies": _retries(),
        "Arguments": {
            "AppSpecification": {
                "ImageUri": around.image_uri,
                "ContainerArguments": [
                    *("prepare", "--recipe", _parameter("recipe")),
                    *("--init", _parameter("init"), "--overrides", _parameter("overrides")),
                ],
            },
            "RoleArn": around.prepare_role_arn,
            "ProcessingInputs": [_processing_input("proteins", _parameter("data"))],
            "ProcessingOutputConfig": _processing_outputs(around, "dataset", "init"),
            "ProcessingResources": _processing_resources(
                training.prepare_instance_type, training.job_volume_gb, around
            ),
            "NetworkConfig": {"EnableInterContainerTrafficEncryption": True, "EnableNetworkIsolation": False},
            "StoppingCondition": {"MaxRuntimeInSeconds": PROCESSING_MAX_RUNTIME_HOURS * 3600},
        },
    }


def _train(training: Training, around: Surroundings) -> Json:
    return {
        "Name": "Train",
        "Type": "Training",
        "RetryPolicies": _retries("SageMaker.JOB_INTERNAL_ERROR", "SageMaker.CAPACITY_ERROR"),
        "Arguments": {
            "AlgorithmSpecification": {
                "TrainingImage": around.image_uri,
                "TrainingInputMode": "File",
                "MetricDefinitions": [
                    {"Name": name, "Regex": rf"\[metric\] .*\b{key}=([-+.0-9e]+)"} for name, key in METRICS.items()
                ],
            },
            "RoleArn": around.train_role_arn,
            "HyperParameters": {name: _parameter(name) for name in ("recipe", "overrides", "script")},
            "InputDataConfig": [
                _channel("train", _output_of("Prepare", "dataset")),
                _channel("init", _output_of("Prepare", "init")),
            ],
            "OutputDataConfig": {"S3OutputPath": _of_this_run(around, "model/"), "KmsKeyId": around.key_arn},
            "CheckpointConfig": {"S3Uri": _of_this_run(around, "checkpoints/"), "LocalPath": "/opt/ml/checkpoints"},
            "ResourceConfig": {
                "InstanceType": _parameter("instance_type"),
                "InstanceCount": _parameter("instance_count"),
                "VolumeSizeInGB": training.volume_gb,
                **_volume_key(training.instance_types[0], around),
            },
            "EnableNetworkIsolation": True,
            "EnableInterContainerTrafficEncryption": True,
            # Debugger is closed to new customers, the profiler ends in 2027: without this line SageMaker turns it on.
            "ProfilerConfig": {"DisableProfiler": True},
            **_time_limits(training),
        },
    }


def _evaluate(training: Training, around: Surroundings) -> Json:
    return {
        "Name": "Evaluate",
        "Type": "Processing",
        "RetryPolicies": _retries(),
        "PropertyFiles": [
            {"PropertyFileName": "evaluation", "OutputName": "evaluation", "FilePath": "evaluation.json"}
        ],
        "Arguments": {
            "AppSpecification": {"ImageUri": around.image_uri, "ContainerArguments": ["evaluate"]},
            "RoleArn": around.evaluate_role_arn,
            "ProcessingInputs": [
                _processing_input("model", _trained_model()),
                _processing_input("heldout", _parameter("heldout")),
            ],
            "ProcessingOutputConfig": _processing_outputs(around, "evaluation"),
            "ProcessingResources": _processing_resources(
                training.evaluate_instance_type, training.job_volume_gb, around
            ),
            "NetworkConfig": {"EnableInterContainerTrafficEncryption": True, "EnableNetworkIsolation": True},
            "StoppingCondition": {"MaxRuntimeInSeconds": PROCESSING_MAX_RUNTIME_HOURS * 3600},
        },
    }


def _check_loss(around: Surroundings) -> Json:
    """A model that guesses no better than letter frequencies has learnt nothing: it is not registered."""
    return {
        "Name": "CheckLoss",
        "Type": "Condition",
        "Arguments": {
            "Conditions": [
                {
                    "Type": "LessThan",
                    "LeftValue": _evaluation("loss"),
                    "RightValue": _evaluation("baselines.letter_frequencies"),
                }
            ],
            "IfSteps": [_register(around)],
            "ElseSteps": [_refuse(around)],
        },
    }


def _register(around: Surroundings) -> Json:
    container = {"Image": around.image_uri, "ModelDataUrl": _trained_model()}
    evaluation = {"ContentType": "application/json", "S3Uri": _of_this_run(around, "evaluation/evaluation.json")}
    return {
        "Name": "Register",
        "Type": "RegisterModel",
        "Arguments": {
            "ModelPackageGroupName": around.model_package_group,
            "ModelApprovalStatus": "PendingManualApproval",
            "InferenceSpecification": {
                "Containers": [container],
                "SupportedContentTypes": REQUEST_TYPES,
                "SupportedResponseMIMETypes": RESPONSE_TYPES,
            },
            "ModelMetrics": {"ModelQuality": {"Statistics": evaluation}},
            "CustomerMetadataProperties": {
                **{name: _parameter(name) for name in ("recipe", "data", "init")},
                "pipeline_execution": {"Get": "Execution.PipelineExecutionId"},
            },
        },
    }


def _refuse(around: Surroundings) -> Json:
    reason = "Not registered: on the held-out proteins the model is no better than letter frequencies. See "
    return {
        "Name": "Refuse",
        "Type": "Fail",
        "Arguments": {"ErrorMessage": _join(reason, *_path_of_this_run(around, "evaluation/evaluation.json"))},
    }


# ---- parts -----------------------------------------------------------------------------------------------------------


def _parameter(name: str) -> Json:
    return {"Get": f"Parameters.{name}"}


def _output_of(step: str, output: str) -> Json:
    return {"Get": f"Steps.{step}.ProcessingOutputConfig.Outputs['{output}'].S3Output.S3Uri"}


def _trained_model() -> Json:
    return {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}


def _evaluation(path: str) -> Json:
    return {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.evaluation"}, "Path": path}}


def _join(*values: str | Json) -> Json:
    return {"Std:Join": {"On": "", "Values": list(values)}}


def _path_of_this_run(around: Surroundings, path: str) -> tuple[str, Json, str]:
    return f"s3://{around.artifact_bucket}/runs/", {"Get": "Execution.PipelineExecutionId"}, f"/{path}"


def _of_this_run(around: Surroundings, path: str) -> Json:
    return _join(*_path_of_this_run(around, path))


def _channel(name: str, s3_uri: Json) -> Json:
    source = {"S3DataType": "S3Prefix", "S3DataDistributionType": "FullyReplicated", "S3Uri": s3_uri}
    return {"ChannelName": name, "InputMode": "File", "DataSource": {"S3DataSource": source}}


def _processing_input(name: str, s3_uri: Json) -> Json:
    source = {"LocalPath": f"/opt/ml/processing/input/{name}", "S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "S3Input": {"S3Uri": s3_uri, **source}}


def _processing_outputs(around: Surroundings, *names: str) -> Json:
    def output(name: str) -> Json:
        target = {"LocalPath": f"/opt/ml/processing/output/{name}", "S3UploadMode": "EndOfJob"}
        return {"OutputName": name, "S3Output": {"S3Uri": _of_this_run(around, f"{name}/"), **target}}

    return {"KmsKeyId": around.key_arn, "Outputs": [output(name) for name in names]}


def _processing_resources(instance_type: str, volume_gb: int, around: Surroundings) -> Json:
    cluster = {"InstanceType": instance_type, "InstanceCount": 1, "VolumeSizeInGB": volume_gb}
    return {"ClusterConfig": cluster | _volume_key(instance_type, around)}


def _volume_key(instance_type: str, around: Surroundings) -> Json:
    return {} if has_local_disk(instance_type) else {"VolumeKmsKeyId": around.key_arn}


def _time_limits(training: Training) -> Json:
    run = training.max_runtime_hours * 3600
    if training.spot_max_wait_hours is None:
        return {"StoppingCondition": {"MaxRuntimeInSeconds": run}}
    wait = training.spot_max_wait_hours * 3600
    limits = {"MaxRuntimeInSeconds": run, "MaxWaitTimeInSeconds": wait}
    return {"EnableManagedSpotTraining": True, "StoppingCondition": limits}


def _retries(*job_failures: str) -> list[Json]:
    """Try again where the service failed, never where our code did. A retried training goes on from its checkpoint."""
    policies = [(["Step.SERVICE_FAULT", "Step.THROTTLING"], 10)]
    if job_failures:
        policies.append((list(job_failures), 60))
    return [
        {"ExceptionType": kinds, "IntervalSeconds": interval, "BackoffRate": 2.0, "MaxAttempts": 5}
        for kinds, interval in policies
    ]
