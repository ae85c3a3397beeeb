"""Steps that pipelines share, and the parts that steps are made of: JSON values, no CDK, no SDK.

Every run writes below s3://<artifact bucket>/runs/<pipeline execution id>/, so two runs never share a file; and its
checkpoints below …/checkpoints/<pipeline execution id>/, where a retried step finds them and a life-cycle rule, which
can name only the start of a key, lets them expire.
"""

from dataclasses import dataclass
from typing import Any

from stacks.config import Training
from stacks.instance_types import has_local_disk
from stacks.vpc_config import VpcConfig

Json = dict[str, Any]

REQUEST_TYPES = ["application/json", "application/jsonlines", "text/csv", "text/x-fasta"]
RESPONSE_TYPES = ["application/json", "application/jsonlines", "application/x-npz"]

PROCESSING_MAX_RUNTIME_HOURS = 24


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What definitions name but do not make: each a string, or a CDK token that becomes one at deployment."""

    environment: str
    data_bucket: str
    artifact_bucket: str
    key_arn: str
    model_package_group: str
    prepare_role_arn: str
    train_role_arn: str
    evaluate_role_arn: str
    fetch_role_arn: str
    vpc: VpcConfig | None = None
    """Where jobs run. None: in SageMaker's own network."""


# ---- steps -----------------------------------------------------------------------------------------------------------


def evaluate(training: Training, around: Surroundings, model: Json) -> Json:
    """The model's loss on the held-out proteins, beside two baselines."""
    return {
        "Name": "Evaluate",
        "Type": "Processing",
        "RetryPolicies": retries(),
        "PropertyFiles": [
            {"PropertyFileName": "evaluation", "OutputName": "evaluation", "FilePath": "evaluation.json"}
        ],
        "Arguments": {
            "AppSpecification": {"ImageUri": parameter("image"), "ContainerArguments": ["evaluate"]},
            "RoleArn": around.evaluate_role_arn,
            "ProcessingInputs": [
                processing_input("model", model),
                processing_input("heldout", parameter("heldout")),
            ],
            "ProcessingOutputConfig": processing_outputs(around, "evaluation"),
            "ProcessingResources": processing_resources(
                training.evaluate_instance_type, training.job_volume_gb, around
            ),
            "NetworkConfig": processing_network(around, isolated=True),
            "StoppingCondition": {"MaxRuntimeInSeconds": PROCESSING_MAX_RUNTIME_HOURS * 3600},
            "Tags": tags(around, "Evaluate"),
        },
    }


def check_loss(around: Surroundings, model: Json, *parameters: str) -> Json:
    """A model that guesses no better than letter frequencies has learnt nothing: it is not registered.

    The package keeps the values of the `parameters`.
    """
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
            "IfSteps": [_register(around, model, parameters)],
            "ElseSteps": [_refuse(around)],
        },
    }


def _register(around: Surroundings, model: Json, parameters: tuple[str, ...]) -> Json:
    container = {"Image": parameter("image"), "ModelDataUrl": model}
    evaluation = {"ContentType": "application/json", "S3Uri": of_this_run(around, "evaluation/evaluation.json")}
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
                **{name: parameter(name) for name in parameters},
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


def text_parameter(name: str, default: str) -> Json:
    """A parameter of a run, with the value that it has where nobody gives one."""
    return {"Name": name, "Type": "String", "DefaultValue": default}


def heldout_parameter(around: Surroundings) -> Json:
    return text_parameter("heldout", f"s3://{around.data_bucket}/heldout/")


def image_parameter() -> Json:
    """The image of every job and of the model. Who starts a run names its digest, and so does the registered package.

    No default: it could only be the tag, and a package of a tag is never approved. Another repository's image is of no
    use here: the roles of the jobs can pull from this one only.
    """
    return {"Name": "image", "Type": "String"}


def parameter(name: str) -> Json:
    return {"Get": f"Parameters.{name}"}


def output_of(step: str, output: str) -> Json:
    return {"Get": f"Steps.{step}.ProcessingOutputConfig.Outputs['{output}'].S3Output.S3Uri"}


def _evaluation(path: str) -> Json:
    return {"Std:JsonGet": {"PropertyFile": {"Get": "Steps.Evaluate.PropertyFiles.evaluation"}, "Path": path}}


def _join(*values: str | Json) -> Json:
    return {"Std:Join": {"On": "", "Values": list(values)}}


def _path_of_this_run(around: Surroundings, path: str) -> tuple[str, Json, str]:
    return f"s3://{around.artifact_bucket}/runs/", {"Get": "Execution.PipelineExecutionId"}, f"/{path}"


def of_this_run(around: Surroundings, path: str) -> Json:
    return _join(*_path_of_this_run(around, path))


def checkpoints_of_this_run(around: Surroundings) -> Json:
    return _join(f"s3://{around.artifact_bucket}/checkpoints/", {"Get": "Execution.PipelineExecutionId"}, "/")


def channel(name: str, s3_uri: Json) -> Json:
    source = {"S3DataType": "S3Prefix", "S3DataDistributionType": "FullyReplicated", "S3Uri": s3_uri}
    return {"ChannelName": name, "InputMode": "File", "DataSource": {"S3DataSource": source}}


def processing_input(name: str, s3_uri: Json | str) -> Json:
    source = {"LocalPath": f"/opt/ml/processing/input/{name}", "S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "S3Input": {"S3Uri": s3_uri, **source}}


def processing_outputs(around: Surroundings, *names: str) -> Json:
    def output(name: str) -> Json:
        target = {"LocalPath": f"/opt/ml/processing/output/{name}", "S3UploadMode": "EndOfJob"}
        return {"OutputName": name, "S3Output": {"S3Uri": of_this_run(around, f"{name}/"), **target}}

    return {"KmsKeyId": around.key_arn, "Outputs": [output(name) for name in names]}


def processing_resources(instance_type: str, volume_gb: int, around: Surroundings) -> Json:
    cluster = {"InstanceType": instance_type, "InstanceCount": 1, "VolumeSizeInGB": volume_gb}
    return {"ClusterConfig": cluster | volume_key(instance_type, around)}


def processing_network(around: Surroundings, *, isolated: bool) -> Json:
    """In the VPC, where there is one. Isolated: the container itself has no network, only SageMaker's hands have."""
    encrypted = {"EnableInterContainerTrafficEncryption": True, "EnableNetworkIsolation": isolated}
    return encrypted | vpc_config(around)


def vpc_config(around: Surroundings) -> Json:
    return {} if around.vpc is None else {"VpcConfig": around.vpc.as_request()}


def volume_key(instance_type: str, around: Surroundings) -> Json:
    return {} if has_local_disk(instance_type) else {"VolumeKmsKeyId": around.key_arn}


def tags(around: Surroundings, step: str, **more: Json) -> list[Json]:
    """By which costs can be told apart, once somebody activates them as cost allocation tags. Not for model packages:
    one in a group has the group's tags, and SageMaker refuses others."""
    labels: dict[str, str | Json] = {"project": "amplify", "environment": around.environment, "step": step, **more}
    labels["run"] = {"Get": "Execution.PipelineExecutionId"}
    return [{"Key": key, "Value": value} for key, value in labels.items()]


def retries(*job_failures: str) -> list[Json]:
    """Try again where the service failed, never where our code did. A retried training goes on from its checkpoint."""
    policies = [(["Step.SERVICE_FAULT", "Step.THROTTLING"], 10)]
    if job_failures:
        policies.append((list(job_failures), 60))
    return [
        {"ExceptionType": kinds, "IntervalSeconds": interval, "BackoffRate": 2.0, "MaxAttempts": 5}
        for kinds, interval in policies
    ]
