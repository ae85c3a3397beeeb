"""The SageMaker Pipelines as data: settings in, a definition's JSON object out. No CDK, no SDK: functions.

Prepare ─ Train ─┐
                 ├─ Evaluate ─ CheckLoss ─┬─ Register   (the model beats letter frequencies)
Fetch ───────────┘                        └─ Refuse     (it does not)
"""

from stacks.config import InstancePreferences, Training, TrainingPlan, WarmPool
from stacks.pipeline_steps import (
    PROCESSING_MAX_RUNTIME_HOURS,
    Json,
    Surroundings,
    channel,
    check_loss,
    checkpoints_of_this_run,
    evaluate,
    heldout_parameter,
    image_parameter,
    of_this_run,
    output_of,
    parameter,
    processing_input,
    processing_network,
    processing_outputs,
    processing_resources,
    retries,
    tags,
    text_parameter,
    volume_key,
    vpc_config,
)

METRICS = {
    "train:loss": "train_loss",
    "train:learning_rate": "learning_rate",
    "train:residues_per_second": "residues_per_second",
    "train:accuracy": "train_accuracy",
    "train:perplexity": "perplexity",
    "train:gradient_norm": "gradient_norm",
    "train:mfu": "mfu",
    "train:rules_broken": "rules_broken",
    "validation:loss": "validation_loss",
    "validation:accuracy": "validation_accuracy",
}
"""SageMaker's name of a metric → its key in the `[metric] key=value …` lines of the training log."""


def training_definition(training: Training, around: Surroundings) -> Json:
    """Proteins to a registered model: the `PipelineDefinitionBody` of pipeline `amplify-<env>`."""
    model = {"Get": "Steps.Train.ModelArtifacts.S3ModelArtifacts"}
    return {
        "Version": "2020-12-01",
        "Parameters": [
            text_parameter("recipe", training.recipe),
            text_parameter("data", f"s3://{around.data_bucket}/proteins/"),
            heldout_parameter(around),
            text_parameter("init", training.init),
            *_choice_of_type(training),
            {"Name": "instance_count", "Type": "Integer", "DefaultValue": training.instance_count},
            text_parameter("script", "train"),
            text_parameter("overrides", "{}"),
            image_parameter(),
        ],
        "Steps": [
            _prepare(training, around),
            _train(training, around),
            evaluate(training, around, model),
            check_loss(around, model, "recipe", "data", "init"),
        ],
    }


def _choice_of_type(training: Training) -> list[Json]:
    if not training.run_chooses_type:
        return []  # SageMaker chooses: a parameter that nothing reads would promise otherwise
    types = training.instance_types
    return [text_parameter("instance_type", types[0]) | {"EnumValues": list(types)}]


def registration_definition(training: Training, around: Surroundings) -> Json:
    """A model from elsewhere to a registered one: the `PipelineDefinitionBody` of pipeline `amplify-<env>-register`.

    `init` has no default: a person names the model.
    """
    model = of_this_run(around, "model/model.tar.gz")
    return {
        "Version": "2020-12-01",
        "Parameters": [{"Name": "init", "Type": "String"}, heldout_parameter(around), image_parameter()],
        "Steps": [
            _fetch(training, around),
            evaluate(training, around, model) | {"DependsOn": ["Fetch"]},
            check_loss(around, model, "init"),
        ],
    }


def _prepare(training: Training, around: Surroundings) -> Json:
    """FASTA → token shards, and the starting weights in our layout.

    The one job of a run with a network: `init` may name a model on S3 or on the Hub, known only when the run starts. In
    a VPC the Hub is out of reach, and the job is told so: it says it at once, and does not wait for an answer.
    """
    offline = {} if around.vpc is None else {"Environment": {"HF_HUB_OFFLINE": "1"}}
    return {
        "Name": "Prepare",
        "Type": "Processing",
        "RetryPolicies": retries(),
        "Arguments": {
            "AppSpecification": {
                "ImageUri": parameter("image"),
                "ContainerArguments": [
                    *("prepare", "--recipe", parameter("recipe")),
                    *("--init", parameter("init"), "--overrides", parameter("overrides")),
                ],
            },
            "RoleArn": around.prepare_role_arn,
            "ProcessingInputs": [processing_input("proteins", parameter("data"))],
            "ProcessingOutputConfig": processing_outputs(around, "dataset", "init"),
            "ProcessingResources": processing_resources(training.prepare_instance_type, training.job_volume_gb, around),
            "NetworkConfig": processing_network(around, isolated=False),
            "StoppingCondition": {"MaxRuntimeInSeconds": PROCESSING_MAX_RUNTIME_HOURS * 3600},
            "Tags": tags(around, "Prepare"),
            **offline,
        },
    }


def _train(training: Training, around: Surroundings) -> Json:
    return {
        "Name": "Train",
        "Type": "Training",
        "RetryPolicies": retries("SageMaker.CAPACITY_ERROR"),
        "Arguments": {
            "AlgorithmSpecification": {
                "TrainingImage": parameter("image"),
                "TrainingInputMode": "File",
                "MetricDefinitions": [
                    {"Name": name, "Regex": rf"\[metric\] .*\b{key}=([-+.0-9e]+)"} for name, key in METRICS.items()
                ],
            },
            "RoleArn": around.train_role_arn,
            "HyperParameters": {name: parameter(name) for name in ("recipe", "overrides", "script")},
            "InputDataConfig": [
                channel("train", output_of("Prepare", "dataset")),
                channel("init", output_of("Prepare", "init")),
            ],
            "OutputDataConfig": {"S3OutputPath": of_this_run(around, "model/"), "KmsKeyId": around.key_arn},
            "CheckpointConfig": {"S3Uri": checkpoints_of_this_run(around), "LocalPath": "/opt/ml/checkpoints"},
            "ResourceConfig": {
                **_machines(training),
                "InstanceCount": parameter("instance_count"),
                "VolumeSizeInGB": training.volume_gb,
                **volume_key(training.instance_types[0], around),
            },
            "EnableNetworkIsolation": True,
            "EnableInterContainerTrafficEncryption": True,
            **vpc_config(around),
            # Debugger is closed to new customers, the profiler ends in 2027: without this line SageMaker turns it on.
            "ProfilerConfig": {"DisableProfiler": True},
            **_time_limits(training),
            **_retry_strategy(training),
            # A recipe's name is whatever a person typed: here Prepare has taken it.
            "Tags": tags(around, "Train", recipe=parameter("recipe")),
        },
    }


def _fetch(training: Training, around: Surroundings) -> Json:
    """Weights of any layout, from S3 or the Hub, as an artefact of ours.

    The one job that never runs in the VPC: to bring a model in from the internet is what it is for.
    """
    return {
        "Name": "Fetch",
        "Type": "Processing",
        "RetryPolicies": retries(),
        "Arguments": {
            "AppSpecification": {
                "ImageUri": parameter("image"),
                "ContainerArguments": ["fetch", "--init", parameter("init")],
            },
            "RoleArn": around.fetch_role_arn,
            "ProcessingOutputConfig": processing_outputs(around, "model"),
            "ProcessingResources": processing_resources(training.prepare_instance_type, training.job_volume_gb, around),
            "NetworkConfig": {"EnableInterContainerTrafficEncryption": True, "EnableNetworkIsolation": False},
            "StoppingCondition": {"MaxRuntimeInSeconds": PROCESSING_MAX_RUNTIME_HOURS * 3600},
            "Tags": tags(around, "Fetch"),
        },
    }


def _machines(training: Training) -> Json:
    """How the job gets its machines: of these members SageMaker takes only certain ones together."""
    match training.capacity:
        case InstancePreferences():
            return {"InstancePreferences": [{"InstanceType": each} for each in training.instance_types]}
        case WarmPool(keep_alive_minutes=minutes):
            return {"InstanceType": parameter("instance_type"), "KeepAlivePeriodInSeconds": minutes * 60}
        case TrainingPlan(arn=arn):
            return {"InstanceType": parameter("instance_type"), "TrainingPlanArn": arn}
        case _:
            return {"InstanceType": parameter("instance_type")}


def _time_limits(training: Training) -> Json:
    limits = {"MaxRuntimeInSeconds": training.max_runtime_hours * 3600}
    if training.max_pending_hours is not None:
        limits["MaxPendingTimeInSeconds"] = training.max_pending_hours * 3600
    if training.spot_max_wait_hours is None:
        return {"StoppingCondition": limits}
    limits["MaxWaitTimeInSeconds"] = training.spot_max_wait_hours * 3600
    return {"EnableManagedSpotTraining": True, "StoppingCondition": limits}


def _retry_strategy(training: Training) -> Json:
    """Inside the job and its time limit; a policy of the step would begin another job with a time of its own."""
    return {"RetryStrategy": {"MaximumRetryAttempts": training.retries}} if training.retries else {}
