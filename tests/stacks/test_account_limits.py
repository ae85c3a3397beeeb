"""Every combination that the settings allow, against what an account of AWS offers: types by use, GPUs and drivers,
capacities, names and limits. What the settings let pass here, AWS would not refuse for these reasons.

The tables are those of stacks/ (each with its source), and botocore's own copy of SageMaker's API.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import botocore.session
import pytest

from environments import STAGING
from stacks import gpu_generations
from stacks.config import (
    Async,
    Batch,
    Drift,
    InferenceComponents,
    InstancePreferences,
    ManagedSpot,
    OnDemand,
    RealTime,
    Serverless,
    Shadow,
    Training,
    TrainingPlan,
    WarmPool,
    Workbench,
)
from stacks.config.capacity import Capacity
from stacks.config.checks import SettingsError
from stacks.config.endpoint.base import SERVER_BODY_MB
from stacks.config.settings import Settings
from stacks.constructs.served_model import GPU_INFERENCE_AMI
from stacks.deep_learning_containers import ACCOUNTS
from stacks.hosting_types import ENDPOINT_SIZES, gpus, memory_mb
from stacks.instance_types import FAMILIES, GPU_FAMILIES, family, has_gpu, has_local_disk, vcpus
from stacks.notebook_types import NOTEBOOK_SIZES
from stacks.pipeline_definition import training_definition
from stacks.regions import REGIONS
from stacks.training_types import IN_TRAINING_PLANS, MACHINES, takes_processing
from tests.stacks.request_check import faults, service_model
from tests.stacks.test_pipeline_definition import AROUND, resolved, steps


def enum(shape: str) -> set[str]:
    """What SageMaker offers for a use, as its API says."""
    return set(service_model("sagemaker").shape_for(shape).enum)


OFFERED = {
    "training": enum("TrainingInstanceType"),
    "processing": enum("ProcessingInstanceType"),
    "endpoint": enum("ProductionVariantInstanceType"),
    "transform": enum("TransformInstanceType"),
    "notebook": enum("InstanceType"),
}
EVERY_TYPE = sorted(set().union(*OFFERED.values()))


def settings(make: Callable[[], Settings]) -> str | None:
    """Why the settings refuse; None where they do not."""
    try:
        make().check()
    except SettingsError as error:
        return str(error)
    return None


def takes(make: Callable[[str], object], type_: str) -> bool:
    """Whether the settings take a type."""
    return settings(lambda: make(type_)) is None


def runs_our_image(instance_type: str) -> bool:
    """By the table of GPUs alone: CUDA 13 from compute capability 7.5 on, on x86."""
    gpu = gpu_generations.GPUS.get(instance_type.split(".")[1])
    return gpu is None or (gpu.capability >= (7, 5) and gpu.host == "x86_64")


# ---- types, by use ---------------------------------------------------------------------------------------------------

USES: dict[str, tuple[str, Callable[[str], object]]] = {
    "realtime": ("endpoint", lambda type_: RealTime(instance_type=type_)),
    "shadow": ("endpoint", lambda type_: Shadow(instance_type=type_)),
    "async": ("endpoint", lambda type_: Async(instance_type=type_, allow_cpu=True, min_instances=1)),
    "inference components": ("endpoint", lambda type_: InferenceComponents(instance_type=type_, min_copies=1)),
    "batch": ("transform", lambda type_: Batch(instance_type=type_)),
    "drift": ("processing", lambda type_: Drift(instance_type=type_)),
    "workbench": ("notebook", lambda type_: Workbench(instance_type=type_)),
    "training": ("training", lambda type_: training((type_,), OnDemand())),
    "evaluate": ("processing", lambda type_: training((), OnDemand(), evaluate=type_)),
}


def training(types: tuple[str, ...], capacity: Capacity, *, count: int = 1, evaluate: str = "ml.m5.xlarge") -> Training:
    gpu = any(map(has_gpu, types)) or has_gpu(evaluate)
    disks = [MACHINES[each].local_disk_gb for each in types if each in MACHINES]
    return Training(
        recipe="demo",
        image_target="gpu" if gpu else "cpu",
        instance_types=types or ("ml.g5.xlarge" if gpu else "ml.m5.xlarge",),
        capacity=capacity,
        instance_count=count,
        volume_gb=min([50, *filter(None, disks)]),
        max_runtime_hours=24,
        evaluate_instance_type=evaluate,
    )


@pytest.mark.parametrize("use", USES)
def test_no_setting_takes_a_type_that_aws_does_not_offer_for_the_use(use: str) -> None:
    offer, make = USES[use]
    taken = {
        type_ for type_ in EVERY_TYPE if type_.split(".")[1] in FAMILIES and settings(lambda t=type_: make(t)) is None
    }
    assert taken - OFFERED[offer] == set()
    assert len(taken) > 20


@pytest.mark.parametrize("use", [use for use in USES if use != "workbench"])
def test_no_setting_takes_a_type_whose_gpu_cannot_run_our_image(use: str) -> None:
    """A notebook runs its own environments, not our image."""
    _, make = USES[use]
    unfit = [type_ for type_ in EVERY_TYPE if type_.split(".")[1] in FAMILIES and not runs_our_image(type_)]
    assert {"ml.p3.2xlarge", "ml.p6e-gb200.36xlarge"} <= set(unfit)
    assert [type_ for type_ in unfit if takes(make, type_)] == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: RealTime(instance_type="ml.p3.2xlarge", requests_per_instance=0),
            "has V100 GPUs of compute capability 7.0, and CUDA 13 of our image wants 7.5: give a newer family",
        ),
        (lambda: Batch(instance_type="ml.p3.2xlarge"), "'ml.p3.2xlarge' has V100 GPUs"),
        (lambda: RealTime(instance_type="ml.p6e-gb200.36xlarge"), "has arm64 processors, and our image is for x86_64"),
        (lambda: Drift(instance_type="ml.p4d.24xlarge"), "'ml.p4d.24xlarge' takes no processing jobs"),
        (lambda: Drift(instance_type="ml.m5.tiny"), "'ml.m5.tiny' is not an instance type we know for training"),
        (lambda: training((), OnDemand(), evaluate="ml.t2.medium"), "evaluate_instance_type: 'ml.t2.medium' is not"),
    ],
)
def test_what_aws_would_refuse_is_refused_with_what_is_wanted(make: Callable[[], object], message: str) -> None:
    assert message in (settings(make) or "")


def test_all_faults_are_told_at_once() -> None:
    told = settings(lambda: RealTime(instance_type="ml.p3.2xlarge", requests_per_instance=0, max_latency_ms=0)) or ""
    assert [part in told for part in ("V100", "requests_per_instance is 0", "max_latency_ms is 0")] == [True] * 3


# ---- GPUs and drivers ------------------------------------------------------------------------------------------------


def test_every_gpu_family_is_in_the_table_of_gpus() -> None:
    assert set(gpu_generations.GPUS) == GPU_FAMILIES


def test_endpoints_name_a_machine_image_whose_driver_runs_cuda_13() -> None:
    named = set(gpu_generations.DRIVERS)
    assert enum("ProductionVariantInferenceAmiVersion") - named == {"al2-ami-sagemaker-inference-neuron-2"}
    assert gpu_generations.DRIVERS[GPU_INFERENCE_AMI] >= gpu_generations.LEAST_DRIVER


def test_transform_jobs_name_the_newest_driver_there_is_and_the_page_says_that_it_is_old() -> None:
    """Which the image's compatibility package may make up for: the one combination that nobody could try."""
    batch = {name: driver for name, driver in gpu_generations.DRIVERS.items() if "-batch-" in name}
    chosen = Batch(instance_type="ml.g5.xlarge").machine_image
    assert chosen is not None
    assert batch[chosen] == max(batch.values()) < gpu_generations.LEAST_DRIVER
    of_gpus = {
        family(type_)
        for type_ in OFFERED["transform"]
        if type_.split(".")[1] in GPU_FAMILIES and takes(USES["batch"][1], type_)
    }
    assert of_gpus == {"g4dn", "g5", "g6", "g6e"}


# ---- training: type × capacity × count -------------------------------------------------------------------------------

CAPACITIES: dict[str, Capacity] = {
    "spot": ManagedSpot(),
    "on demand": OnDemand(),
    "warm pool": WarmPool(keep_alive_minutes=60),
    "plan": TrainingPlan(arn="arn:aws:sagemaker:us-east-1:111111111111:training-plan/p"),
    "preferences": InstancePreferences(),
}


def every_training() -> Iterator[tuple[str, Training]]:
    for name, capacity in CAPACITIES.items():
        for type_ in MACHINES:
            if name == "plan" and type_ not in IN_TRAINING_PLANS:
                continue
            for count in (1, 2, 100):
                yield f"{name}, {count} of {type_}", training((type_,), capacity, count=count)


def test_every_type_capacity_and_count_is_a_job_that_sagemaker_takes() -> None:
    """Some 900 requests of Train, held to the API's model and to the notes that its model cannot express."""
    wrong = {}
    for name, chosen in every_training():
        definition = training_definition(chosen, AROUND)
        request = resolved(steps(definition)["Train"]["Arguments"], definition) | {"TrainingJobName": "job"}
        if found := [*faults("CreateTrainingJob", request), *refused_by_the_notes(request)]:
            wrong[name] = found
    assert wrong == {}


def refused_by_the_notes(request: dict[str, Any]) -> Iterator[str]:
    """The documentation's own rules: ResourceConfig, StoppingCondition, managed spot, warm pools, training plans."""
    resources, stopping = request["ResourceConfig"], request["StoppingCondition"]
    types = [resources["InstanceType"]] if "InstanceType" in resources else list(preferred(resources))
    if request.get("EnableManagedSpotTraining"):
        if not stopping["MaxRuntimeInSeconds"] <= stopping.get("MaxWaitTimeInSeconds", 0):
            yield "spot wants MaxWaitTimeInSeconds, at least the run's own time"
        if "CheckpointConfig" not in request:
            yield "spot without a checkpoint begins anew after each interruption"
        if {"KeepAlivePeriodInSeconds", "TrainingPlanArn"} & set(resources):
            yield "spot goes with neither a warm pool nor a plan"
    elif "MaxWaitTimeInSeconds" in stopping:
        yield "MaxWaitTimeInSeconds is for spot"
    if stopping["MaxRuntimeInSeconds"] > 28 * 24 * 3600:
        yield "a training job runs for 28 days at most"
    if resources.get("KeepAlivePeriodInSeconds", 0) > 21_600:
        yield "a warm pool waits for six hours at most"
    if "TrainingPlanArn" in resources and not set(types) <= enum("ReservedCapacityInstanceType"):
        yield "there are no training plans of this type"
    if "VolumeKmsKeyId" in resources and any(map(has_local_disk, types)):
        yield "the type has disks of its own, whose key SageMaker refuses to take"
    if resources.get("InstanceCount", 1) > 1 and not request.get("EnableInterContainerTrafficEncryption"):
        yield "traffic between machines is not encrypted"


def preferred(resources: dict[str, Any]) -> Iterator[str]:
    for one in resources["InstancePreferences"]:
        yield one["InstanceType"] if isinstance(one, dict) else one


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 10, "MaxWaitTimeInSeconds": 5}}, "at least the run's own time"),
        ({"StoppingCondition": {"MaxRuntimeInSeconds": 3_000_000}}, "28 days at most"),
        ({"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "VolumeKmsKeyId": "k"}}, "has disks of its own"),
        ({"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "KeepAlivePeriodInSeconds": 9}}, "neither a warm pool"),
        ({"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "TrainingPlanArn": "p"}}, "no training plans of this"),
        ({"ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 2}}, "is not encrypted"),
    ],
)
def test_a_job_that_the_notes_refuse_is_seen(change: dict[str, Any], fault: str) -> None:
    spot = {
        "EnableManagedSpotTraining": True,
        "CheckpointConfig": {"S3Uri": "s3://b/c"},
        "ResourceConfig": {"InstanceType": "ml.g5.xlarge"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 10, "MaxWaitTimeInSeconds": 10},
    }
    assert [*refused_by_the_notes(spot)] == []
    assert fault in "; ".join(refused_by_the_notes(spot | change))


def test_a_job_of_several_machines_without_the_fast_network_is_warned_of() -> None:
    """Allowed, since it works: synthesis says it (tests/stacks/test_remarks.py)."""
    assert {MACHINES[type_].efa for type_ in ("ml.g5.xlarge", "ml.p4d.24xlarge")} == {False, True}


def test_processing_jobs_are_given_types_that_they_have() -> None:
    taken = {type_ for type_ in MACHINES if takes(USES["drift"][1], type_)}
    assert taken == {type_ for type_ in MACHINES if takes_processing(type_)}
    assert taken <= OFFERED["processing"]


# ---- names and limits ------------------------------------------------------------------------------------------------

NAMES = [  # operation, member, what stands before and after the environment's name
    ("sagemaker", "CreateEndpoint", "EndpointName", "amplify-", ""),
    ("sagemaker", "CreateInferenceComponent", "InferenceComponentName", "amplify-", ""),
    ("sagemaker", "CreatePipeline", "PipelineName", "amplify-", "-register"),
    ("sagemaker", "CreateModelPackageGroup", "ModelPackageGroupName", "amplify-", ""),
    ("sagemaker", "CreateNotebookInstance", "NotebookInstanceName", "amplify-", ""),
    ("sagemaker", "CreateTransformJob", "TransformJobName", "amplify-", "-batch-20261125-010203-0a0b0c0d"),
    ("sagemaker", "CreateModel", "ModelName", "amplify-", "-batch-20261125-010203-0a0b0c0d"),
    ("ecr", "CreateRepository", "repositoryName", "amplify-", ""),
    ("scheduler", "CreateScheduleGroup", "Name", "amplify-", "-drift"),
    ("iam", "CreatePolicy", "PolicyName", "amplify-", "-approver"),
    ("cloudformation", "CreateStack", "StackName", "amplify-", "-monitoring"),
]


@pytest.mark.parametrize("name", ["a", "d" * 20, "a-b--c9", "eu1"])
@pytest.mark.parametrize("row", NAMES, ids=lambda row: row[2])
def test_every_name_that_an_environment_may_have_is_one_that_aws_takes(row: tuple[str, ...], name: str) -> None:
    service, operation, member, before, after = row
    assert settings(lambda: replace(STAGING, name=name)) is None
    limits = service_model(service).operation_model(operation).input_shape.members[member].metadata
    made = f"{before}{name}{after}"
    assert len(made) <= limits.get("max", 128)
    assert re.fullmatch(limits.get("pattern", ".+"), made)


@pytest.mark.parametrize("name", ["dev-", "d" * 21, "9a", "", "Dev", "a_b", "-a"])
def test_a_name_that_aws_would_refuse_somewhere_is_refused(name: str) -> None:
    assert "no hyphen last" in (settings(lambda: replace(STAGING, name=name)) or "")


SERVERLESS = service_model("sagemaker").shape_for("ProductionVariantServerlessConfig").members


@pytest.mark.parametrize("memory_mb", range(1024, 6145, 1024))
def test_serverless_memory_and_concurrency_are_what_the_api_has(memory_mb: int) -> None:
    assert SERVERLESS["MemorySizeInMB"].metadata["max"] == 6144
    assert SERVERLESS["MaxConcurrency"].metadata["max"] == 200
    assert settings(lambda: Serverless(memory_mb=memory_mb, max_concurrency=200)) is None
    assert settings(lambda: Serverless(memory_mb=memory_mb + 512)) is not None
    assert settings(lambda: Serverless(memory_mb=memory_mb, max_concurrency=201)) is not None


def test_the_regions_are_sagemakers() -> None:
    session = botocore.session.get_session()
    known = {
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("sagemaker", partition)
    }
    assert known <= REGIONS
    assert REGIONS - known <= set(ACCOUNTS)  # newer than botocore's table


def test_a_copy_of_a_component_has_room_on_its_instance_and_none_beyond() -> None:
    """On every type that endpoints have and our image runs on."""
    types = [type_ for type_ in sorted(OFFERED["endpoint"]) if takes(USES["realtime"][1], type_)]
    assert len(types) > 100
    for type_ in types:
        whole = {"memory_mb_per_copy": memory_mb(type_) - 1, "cpus_per_copy": vcpus(type_)}
        whole |= {"gpus_per_copy": gpus(type_)} if has_gpu(type_) else {}
        assert settings(lambda t=type_, fit=whole: InferenceComponents(instance_type=t, min_copies=1, **fit)) is None
        for more in ["memory_mb_per_copy", "gpus_per_copy" if has_gpu(type_) else "cpus_per_copy"]:
            beyond = whole | {more: whole[more] + 1}
            told = settings(lambda t=type_, fit=beyond: InferenceComponents(instance_type=t, min_copies=1, **fit))
            assert told is not None, (type_, more)
            assert more in told
    sizes = {
        "ml.t2.medium": 4,
        "ml.c4.xlarge": 7.5,
        "ml.g5.12xlarge": 192,
        "ml.p5.4xlarge": 256,
        "ml.p4d.24xlarge": 1152,
    }
    assert {type_: memory_mb(type_) / 1024 for type_ in sizes} == sizes
    assert [gpus(type_) for type_ in ("ml.g5.16xlarge", "ml.g7.12xlarge", "ml.g6.48xlarge", "ml.m5.large")] == [
        1,
        2,
        8,
        0,
    ]


def test_the_types_of_notebooks_are_sagemakers() -> None:
    ours = {f"ml.{name}.{size}" for name, sizes in NOTEBOOK_SIZES.items() for size in sizes}
    assert ours <= OFFERED["notebook"]
    assert {f"ml.{name}.{size}" for name, sizes in ENDPOINT_SIZES.items() for size in sizes} <= OFFERED["endpoint"]


def test_a_request_fits_what_each_mode_takes() -> None:
    """The server reads 6 MB in every mode: InvokeEndpoint takes 6, a queue 1 GB, a transform job 100 by all its
    requests at once. Serverless takes 4, and says 413 itself."""
    assert service_model("sagemaker-runtime").shape_for("BodyBlob").metadata["max"] >= SERVER_BODY_MB * 2**20
    assert settings(lambda: Batch(instance_type="ml.m5.xlarge", max_payload_mb=SERVER_BODY_MB + 1)) is not None
    assert settings(lambda: Batch(instance_type="ml.m5.xlarge", concurrent_requests=17, largest_request_tokens=1))
    assert not settings(lambda: Batch(instance_type="ml.m5.xlarge", concurrent_requests=16, largest_request_tokens=1))
