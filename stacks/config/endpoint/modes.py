"""What each mode of an endpoint can do and cannot: one table, with a source for every answer.

The settings are checked against it, docs/endpoint-modes.md shows it, and the tests go through every cell.
"""

from dataclasses import dataclass
from typing import Literal, get_args

Mode = Literal["realtime", "async", "serverless", "inference_components", "batch"]
Feature = Literal["gpu", "vpc", "isolation", "capture", "canary", "rolling", "shadow", "scale_to_zero"]

MODES: tuple[Mode, ...] = get_args(Mode)
FEATURES: tuple[Feature, ...] = get_args(Feature)

_GUIDE = "https://docs.aws.amazon.com/sagemaker/latest/dg"
_API = "https://docs.aws.amazon.com/sagemaker/latest/APIReference"


@dataclass(frozen=True)
class Cell:
    """Whether a mode has a feature, why, and where that is written."""

    permitted: bool
    because: str
    source: str


def _yes(because: str, source: str) -> Cell:
    return Cell(True, because, source)


def _no(because: str, source: str) -> Cell:
    return Cell(False, because, source)


_SERVERLESS_EXCLUSIONS = f"{_GUIDE}/serverless-endpoints.html (Feature exclusions)"
_GUARDRAILS = f"{_GUIDE}/deployment-guardrails.html (only asynchronous and real-time endpoints)"
_ROLLING_EXCLUSIONS = f"{_GUIDE}/deployment-guardrails-exclusions.html"
_SHADOW_EXCLUSIONS = f"{_GUIDE}/shadow-tests-exclusions.html"
_CAPTURE = f"{_GUIDE}/model-monitor-data-capture.html"
_ZERO = f"{_GUIDE}/endpoint-auto-scaling-zero-instances.html"
_TRANSFORM = f"{_API}/API_CreateTransformJob.html"
_COMPONENT_UPDATE = f"{_API}/API_InferenceComponentDeploymentConfig.html"
_ENDPOINT_CONFIG = f"{_API}/API_CreateEndpointConfig.html"
_VPC = f"{_GUIDE}/host-vpc.html"
_MODEL = f"{_API}/API_CreateModel.html (EnableNetworkIsolation)"
_AMI = f"{_API}/API_ProductionVariant.html (InferenceAmiVersion)"

TABLE: dict[Mode, dict[Feature, Cell]] = {
    "realtime": {
        "gpu": _yes("by its instance type, on a machine image that names its driver", _AMI),
        "vpc": _yes("the model's VpcConfig", _VPC),
        "isolation": _yes("always on: the container has no network", _MODEL),
        "capture": _yes("a share of the requests, to S3", _CAPTURE),
        "canary": _yes("or in linear steps, from two instances on", _GUARDRAILS),
        "rolling": _yes("from two instances on, without a shadow variant", _ROLLING_EXCLUSIONS),
        "shadow": _yes("one, which answers nobody", f"{_GUIDE}/shadow-tests.html"),
        "scale_to_zero": _no("a real-time endpoint keeps one instance, unless it hosts inference components", _ZERO),
    },
    "async": {
        "gpu": _yes("by its instance type, on a machine image that names its driver", _AMI),
        "vpc": _yes("the model's VpcConfig", _VPC),
        "isolation": _yes("always on: SageMaker fetches and puts the objects, not the container", _MODEL),
        "capture": _no(
            "requests and answers lie in S3 already; capture is documented for real-time endpoints", _CAPTURE
        ),
        "canary": _yes("or in linear steps, from two instances on", _GUARDRAILS),
        "rolling": _yes("from two instances on", _ROLLING_EXCLUSIONS),
        "shadow": _no("shadow variants exclude asynchronous inference", _SHADOW_EXCLUSIONS),
        "scale_to_zero": _yes("requests wait in the queue meanwhile", f"{_GUIDE}/async-inference-autoscale.html"),
    },
    "serverless": {
        "gpu": _no("serverless inference has CPUs only", _SERVERLESS_EXCLUSIONS),
        "vpc": _no("serverless inference takes no VPC configuration", _SERVERLESS_EXCLUSIONS),
        "isolation": _no("serverless inference takes no network isolation", _SERVERLESS_EXCLUSIONS),
        "capture": _no("serverless inference has no data capture", _SERVERLESS_EXCLUSIONS),
        "canary": _no("deployment guardrails are for real-time and asynchronous endpoints", _GUARDRAILS),
        "rolling": _no("rolling deployments exclude serverless endpoints", _ROLLING_EXCLUSIONS),
        "shadow": _no("shadow variants exclude serverless inference", _SHADOW_EXCLUSIONS),
        "scale_to_zero": _yes("by itself, between requests", f"{_GUIDE}/serverless-endpoints.html"),
    },
    "inference_components": {
        "gpu": _yes(
            "each copy names how many it takes", f"{_API}/API_InferenceComponentComputeResourceRequirements.html"
        ),
        "vpc": _yes("the endpoint configuration's VpcConfig", _ENDPOINT_CONFIG),
        "isolation": _yes("always on, by the endpoint configuration", _ENDPOINT_CONFIG),
        "capture": _no("capture is documented for endpoints with a model in the variant, not for components", _CAPTURE),
        "canary": _no("the copies of an inference component are updated by rolling batches", _COMPONENT_UPDATE),
        "rolling": _yes("by batches of copies, with roll-back by alarm", _COMPONENT_UPDATE),
        "shadow": _no(
            "a shadow variant replicates a variant with a model, which this endpoint does not have", _ENDPOINT_CONFIG
        ),
        "scale_to_zero": _yes("requests fail until a copy is up, several minutes", _ZERO),
    },
    "batch": {
        "gpu": _yes(
            "by its instance type; the newest driver for transform jobs is 535", f"{_API}/API_TransformResources.html"
        ),
        "vpc": _yes("the model's VpcConfig", f"{_GUIDE}/batch-vpc.html"),
        "isolation": _yes("always on: SageMaker fetches and puts the objects, not the container", _MODEL),
        "capture": _no("a transform job's requests and answers lie in S3 already", _TRANSFORM),
        "canary": _no("there is no endpoint to shift traffic to", _TRANSFORM),
        "rolling": _no("there is no endpoint to update", _TRANSFORM),
        "shadow": _no("there is no traffic to replicate", _TRANSFORM),
        "scale_to_zero": _yes("there are instances only while a job runs", f"{_GUIDE}/batch-transform.html"),
    },
}


def permits(mode: Mode, feature: Feature) -> bool:
    """Whether endpoints of this mode have the feature."""
    return TABLE[mode][feature].permitted


def refusal(mode: Mode, feature: Feature) -> str:
    """Why a mode does not have a feature, for the end of a message: `<reason> (<source>)`."""
    cell = TABLE[mode][feature]
    assert not cell.permitted, f"{mode} has {feature}"
    return f"{cell.because} ({cell.source})"


def markdown() -> str:
    """The table for people: mode by feature, then the reason and source of every answer."""
    lines = ["| mode | " + " | ".join(feature.replace("_", " ") for feature in FEATURES) + " |"]
    lines.append("|---" * (len(FEATURES) + 1) + "|")
    for mode, cells in TABLE.items():
        lines.append(f"| `{mode}` | " + " | ".join("yes" if cells[f].permitted else "no" for f in FEATURES) + " |")
    for mode, cells in TABLE.items():
        lines += ["", f"**`{mode}`**", "", "| | | why | source |", "|---|---|---|---|"]
        for feature in FEATURES:
            cell = cells[feature]
            answer = "yes" if cell.permitted else "no"
            lines.append(f"| {feature.replace('_', ' ')} | {answer} | {cell.because} | {cell.source} |")
    return "\n".join(lines) + "\n"
