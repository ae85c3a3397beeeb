"""What an environment needs of its account's quotas, and what the account has.

Names of quotas are those of Service Quotas, "<type> for endpoint usage" and so on. Their defaults are not written
anywhere for all accounts (a new one has 0 of most GPUs, often of CPUs too), so the account is asked.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from operate.aws import Aws
from stacks.config import (
    Async,
    Batch,
    Environment,
    InferenceComponents,
    ManagedSpot,
    RealTime,
    TrainingPlan,
    WarmPool,
)

BUILDS = "Concurrently running builds for Linux/Medium environment"


@dataclass(frozen=True, kw_only=True)
class Need:
    """So much of one quota."""

    service: str
    name: str
    count: int
    what_for: str


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What an account has of one."""

    value: float
    code: str


def needs(environment: Environment) -> list[Need]:
    """Of each quota the most that the environment's settings can ask for at once."""
    largest: dict[tuple[str, str], Need] = {}
    for one in (*_of_training(environment), *_of_the_endpoint(environment), *_of_the_rest(environment)):
        known = largest.get((one.service, one.name))
        if known is None or one.count > known.count:
            largest[one.service, one.name] = one
    return list(largest.values())


def _of_training(environment: Environment) -> Iterator[Need]:
    training = environment.training
    if training is None:
        return
    for type_, count in training.possible_machines:
        if isinstance(training.capacity, ManagedSpot):
            yield _need(f"{type_} for spot training job usage", count, "a run on spot")
        elif not isinstance(training.capacity, TrainingPlan):  # whose machines were bought with the plan
            yield _need(f"{type_} for training job usage", count, "a run")
        if isinstance(training.capacity, WarmPool):
            yield _need(f"{type_} for training warm pool usage", count, "machines that wait for the next run")
    for type_ in (training.prepare_instance_type, training.evaluate_instance_type):
        yield _need(f"{type_} for processing job usage", 1, "a run's other steps")
    yield Need(service="codebuild", name=BUILDS, count=1, what_for="the image's build")


def _of_the_endpoint(environment: Environment) -> Iterator[Need]:
    """Twice an endpoint's instances: a release puts the new fleet beside the old one before it takes that away."""
    endpoint = environment.endpoint
    if isinstance(endpoint, Batch):
        yield _need(f"{endpoint.instance_type} for transform job usage", endpoint.instance_count, "a transform job")
    elif isinstance(endpoint, RealTime | Async | InferenceComponents):
        for type_ in dict.fromkeys(endpoint.instance_types):
            count = endpoint.most_instances if len(set(endpoint.instance_types)) == 1 else _of_type(endpoint, type_)
            yield _need(f"{type_} for endpoint usage", 2 * count, "the endpoint at its largest, twice while released")


def _of_type(endpoint: RealTime | Async | InferenceComponents, type_: str) -> int:
    """Of a fleet and a shadow that have different types."""
    if isinstance(endpoint, RealTime) and endpoint.shadow is not None and type_ == endpoint.shadow.instance_type:
        return endpoint.shadow.instance_count
    return endpoint.most_instances - (
        endpoint.shadow.instance_count if isinstance(endpoint, RealTime) and endpoint.shadow else 0
    )


def _of_the_rest(environment: Environment) -> Iterator[Need]:
    if environment.workbench is not None:
        yield _need(f"{environment.workbench.instance_type} for notebook instance usage", 1, "the workbench")
    if environment.monitoring.drift is not None:
        yield _need(f"{environment.monitoring.drift.instance_type} for processing job usage", 1, "the drift job")


def _need(name: str, count: int, what_for: str) -> Need:
    return Need(service="sagemaker", name=name, count=count, what_for=what_for)


def held(aws: Aws, service: str) -> Mapping[str, Quota]:
    """The account's quotas of a service by name. Raises botocore's ClientError where one may not look."""
    pages = aws.client("service-quotas").get_paginator("list_service_quotas").paginate(ServiceCode=service)
    return {
        one["QuotaName"]: Quota(value=one.get("Value", 0.0), code=one["QuotaCode"])
        for page in pages
        for one in page["Quotas"]
    }
