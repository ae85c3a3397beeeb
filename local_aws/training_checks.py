"""What CreateTrainingJob refuses: what AWS checks and its model does not say, and what is not emulated."""

from typing import Any

from local_aws import jobs, training_metrics
from local_aws.errors import invalid, not_emulated
from local_aws.hosts import MOST_HOSTS

DEFAULT_CHECKPOINTS = "/opt/ml/checkpoints/"
LONGEST_RUN_SECONDS = 86400  # AWS's default

Request = dict[str, Any]


def check(request: Request) -> None:
    """Raises SageMakerError for the first rule that the request breaks."""
    algorithm = request.get("AlgorithmSpecification")
    resources = request.get("ResourceConfig")
    if "ServerlessJobConfig" in request or algorithm is None or resources is None:
        raise not_emulated("A training job without AlgorithmSpecification and ResourceConfig")
    if "TrainingImage" not in algorithm:
        raise not_emulated("AlgorithmName (give TrainingImage)")
    if "ContainerEntrypoint" in algorithm:
        raise not_emulated("ContainerEntrypoint of a training job")
    if request["OutputDataConfig"].get("CompressionType", "GZIP") != "GZIP":
        raise not_emulated("An uncompressed model (OutputDataConfig.CompressionType)")
    _check_machines(resources, spot=request.get("EnableManagedSpotTraining", False))
    training_metrics.check_definitions(algorithm.get("MetricDefinitions", []))
    if checkpoints := request.get("CheckpointConfig"):
        jobs.check_local_path(checkpoints.get("LocalPath", DEFAULT_CHECKPOINTS), "CheckpointConfig.LocalPath")
    _check_channels(request.get("InputDataConfig", []))
    _check_time_limits(request)


def machines(resources: Request) -> tuple[str, int]:
    """(instance type, count) that a job gets. Of preferences the first: a laptop has capacity for every type."""
    if preferences := resources.get("InstancePreferences"):
        first = preferences[0]
        return first["InstanceType"], first.get("InstanceCount", resources.get("InstanceCount", 1))
    return resources["InstanceType"], resources.get("InstanceCount", 1)


def _check_machines(resources: Request, *, spot: bool) -> None:
    for member in ("SelectedInstanceType", "SelectedInstanceCount"):
        if member in resources:
            raise invalid(f"{member} is read-only: it isn't accepted in a request.")
    preferences = resources.get("InstancePreferences")
    given = [name for name in ("InstanceType", "InstanceGroups", "InstancePreferences") if name in resources]
    if len(given) != 1:
        raise invalid(
            "Exactly one of InstanceType, InstanceGroups and InstancePreferences must be specified in ResourceConfig; "
            f"given: {', '.join(given) or 'none'}."
        )
    if "InstanceGroups" in resources:
        raise not_emulated("A heterogeneous cluster (ResourceConfig.InstanceGroups)")
    if "InstancePlacementConfig" in resources:
        raise not_emulated("Placement within UltraServers (ResourceConfig.InstancePlacementConfig)")
    if "TrainingPlanArn" in resources or any("TrainingPlanArns" in one for one in preferences or []):
        raise not_emulated("A training plan (capacity that was paid for in advance)")
    if spot and resources.get("KeepAlivePeriodInSeconds", 0) > 0:
        raise invalid("KeepAlivePeriodInSeconds is not supported with EnableManagedSpotTraining.")
    if preferences is not None:
        _check_preferences(preferences, "InstanceCount" in resources, spot=spot)
    _, count = machines(resources)
    if count < 1:
        raise invalid(f"InstanceCount is {count}: at least one instance is wanted.")
    if count > MOST_HOSTS:
        raise not_emulated(f"A training job on {count} instances, more than {MOST_HOSTS} on one machine,")


def _check_preferences(preferences: list[Request], counted: bool, *, spot: bool) -> None:
    """The rules of the notes on InstancePreferences and InstancePreference in the API reference."""
    if spot:
        raise invalid("InstancePreferences is mutually exclusive with EnableManagedSpotTraining.")
    types = [preference["InstanceType"] for preference in preferences]
    if len(set(types)) < len(types):
        raise invalid(f"An instance type can appear only once in InstancePreferences; given are {', '.join(types)}.")
    counts = ["InstanceCount" in preference for preference in preferences]
    if any(counts) != all(counts) or any(counts) == counted:
        raise invalid(
            "InstanceCount must be given either on every one of InstancePreferences or once in ResourceConfig, and not "
            "in both."
        )


def _check_channels(channels: list[Request]) -> None:
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


def _check_time_limits(request: Request) -> None:
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
