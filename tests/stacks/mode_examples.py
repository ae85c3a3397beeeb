"""Environments for the tests only: one for each mode of an endpoint, with everything that the mode can have.

Each is synthesised in an App of its own, as environment `dev` without training; only its endpoint stack is of interest.
"""

import functools
import tempfile
from dataclasses import replace
from pathlib import Path

from environments import DEV, STAGING
from stacks.config import (
    Async,
    Batch,
    Canary,
    Capture,
    Endpoint,
    Environment,
    InferenceComponents,
    RealTime,
    Rolling,
    Serverless,
    Shadow,
    WorkingHours,
)
from stacks.config.endpoint.modes import Mode, permits
from stacks.release import Release
from tests.stacks.synthesis import ROOT, Template, delivery_templates, new_app, templates, templates_in, variants

ROLES = ("analysis-notebooks", "arn:aws:iam::111111111111:role/teams/screening")
HOURS = WorkingHours(time_zone="Europe/Berlin")

EXAMPLES: dict[Mode, Endpoint] = {
    "realtime": RealTime(
        instance_type="ml.g5.xlarge",
        min_instances=2,
        max_instances=4,
        deployment=Canary(),
        capture=Capture(percent=5),
        shadow=Shadow(instance_type="ml.g5.2xlarge", instance_count=2, percent=25),
        working_hours=HOURS,
        invokers=ROLES,
    ),
    "async": Async(instance_type="ml.g5.xlarge", min_instances=2, max_instances=4, working_hours=HOURS, invokers=ROLES),
    "serverless": Serverless(memory_mb=4096, max_concurrency=20, provisioned_concurrency=2, invokers=ROLES),
    "inference_components": InferenceComponents(
        instance_type="ml.g6e.2xlarge",
        min_copies=2,
        max_copies=6,
        deployment=Rolling(),
        working_hours=HOURS,
        invokers=ROLES,
    ),
    "batch": Batch(instance_type="ml.g5.xlarge", instance_count=2, named_packages=True, invokers=ROLES),
}


def release(version: int, environment: Environment = DEV) -> Release:
    """A pin of the environment's registry, as read from a file."""
    group = f"arn:aws:sagemaker:{environment.region}:{environment.account}:model-package/{environment.resource_name}"
    return Release(
        model_package_arn=f"{group}/{version}",
        artifact_key=f"runs/run{version}/model/t/output/model.tar.gz",
        image_digest=f"sha256:{version:064x}",
    )


def environment_with(endpoint: Endpoint) -> Environment:
    """`dev`, serving so: private where it can be, and without training, which would ask for types of its own."""
    network = STAGING.network if permits(endpoint.mode, "vpc") else None
    return replace(DEV, training=None, endpoint=endpoint, network=network, monthly_ceiling_usd=None)


def add_stage(app: object, endpoint: Endpoint, *, shadow: bool = True) -> None:
    """All stacks of such an environment, with a release, and one for its shadow."""
    from stacks.stage import AmplifyStage

    has_shadow = shadow and isinstance(endpoint, RealTime) and endpoint.shadow is not None
    AmplifyStage(
        app,  # type: ignore[arg-type]
        environment_with(endpoint),
        release=release(7),
        shadow_release=release(8) if has_shadow else None,
        model_code=ROOT / "model_code",
        lambda_code=ROOT / "lambda_code",
    )


@functools.cache
def stacks_with(endpoint: Endpoint, *, shadow: bool = True) -> dict[str, Template]:
    """`dev/endpoint` → its template, of an environment that serves so."""
    with tempfile.TemporaryDirectory(prefix="amplify-mode-") as folder:
        app = new_app(Path(folder))
        add_stage(app, endpoint, shadow=shadow)
        app.synth()
        return templates_in(Path(folder))


def endpoint_stack(endpoint: Endpoint) -> Template:
    """The endpoint stack's template. Shared: a test that changes it copies it first."""
    return stacks_with(endpoint)["dev/endpoint"]


def mode_templates() -> dict[str, Template]:
    """`modes/async` → the endpoint stack of its example."""
    return {f"modes/{mode}": endpoint_stack(example) for mode, example in EXAMPLES.items()}


def with_snapshots() -> dict[str, Template]:
    """The stacks of the environments, and those of the examples: what a reviewer reads."""
    chosen = ("watched-prod/monitoring", "workbench-dev/workbench")
    accounts = {"delivery/prod": delivery_templates()["delivery/prod"]}  # one is like another
    return templates() | mode_templates() | {stack: variants()[stack] for stack in chosen} | accounts
