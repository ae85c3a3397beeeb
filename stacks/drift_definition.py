"""The SageMaker Pipeline of the drift job as data: one processing step, on the image and the model of the release.

A pipeline of one step, because EventBridge Scheduler starts pipelines and no processing jobs. The job reads captured
requests from S3 by itself: their folders are named by the hour, and a job with an input that is empty fails.
"""

from dataclasses import dataclass

from stacks.config import Drift
from stacks.instance_types import has_local_disk
from stacks.pipeline_steps import Json, processing_input, retries
from stacks.vpc_config import VpcConfig

DRIFT_MAX_RUNTIME_SECONDS = 3600
VOLUME_GB = 30


@dataclass(frozen=True, kw_only=True)
class DriftSurroundings:
    """What the definition names but does not make: each a string, or a CDK token that becomes one at deployment."""

    image_uri: str
    """By digest: that of the release."""

    model_uri: str
    """The release's model.tar.gz."""

    captured_uri: str
    """Where the captured requests of the variant lie, up to the year."""

    report_uri: str
    endpoint_name: str
    metric_namespace: str
    role_arn: str
    key_arn: str
    tags: dict[str, str]
    """By which the job's cost can be told apart."""

    vpc: VpcConfig | None


def drift_definition(drift: Drift, around: DriftSurroundings) -> Json:
    """The `PipelineDefinitionBody` of pipeline `amplify-<env>-drift`. It has no parameters: a schedule starts it."""
    cluster: Json = {"InstanceType": drift.instance_type, "InstanceCount": 1, "VolumeSizeInGB": VOLUME_GB}
    if not has_local_disk(drift.instance_type):
        cluster["VolumeKmsKeyId"] = around.key_arn
    report = {"LocalPath": "/opt/ml/processing/output/drift", "S3UploadMode": "EndOfJob", "S3Uri": around.report_uri}
    # Not isolated: the container itself asks S3 and CloudWatch. In a VPC it reaches nothing else.
    network: Json = {"EnableInterContainerTrafficEncryption": True, "EnableNetworkIsolation": False}
    if around.vpc is not None:
        network["VpcConfig"] = around.vpc.as_request()
    tags: list[Json] = [{"Key": key, "Value": value} for key, value in (around.tags | {"step": "Drift"}).items()]
    step = {
        "Name": "Drift",
        "Type": "Processing",
        "RetryPolicies": retries(),
        "Arguments": {
            "AppSpecification": {
                "ImageUri": around.image_uri,
                "ContainerArguments": [
                    *("drift", "--captured", around.captured_uri, "--endpoint", around.endpoint_name),
                    *("--namespace", around.metric_namespace, "--hours", str(drift.every_hours)),
                ],
            },
            "RoleArn": around.role_arn,
            "ProcessingInputs": [processing_input("model", around.model_uri)],
            "ProcessingOutputConfig": {
                "KmsKeyId": around.key_arn,
                "Outputs": [{"OutputName": "drift", "S3Output": report}],
            },
            "ProcessingResources": {"ClusterConfig": cluster},
            "NetworkConfig": network,
            "StoppingCondition": {"MaxRuntimeInSeconds": DRIFT_MAX_RUNTIME_SECONDS},
            "Tags": tags,
        },
    }
    return {"Version": "2020-12-01", "Parameters": [], "Steps": [step]}
