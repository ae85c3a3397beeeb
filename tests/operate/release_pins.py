"""Pins for tests: whole ones, that the schema takes."""

import hashlib
from typing import Any

from environments import DEV, STAGING
from stacks.config import Environment
from stacks.release import SCHEMA, faults_of


def pin(environment: Environment = DEV, version: int = 1, **changes: Any) -> dict[str, Any]:
    sha256 = changes.pop("sha256", hashlib.sha256(str(version).encode()).hexdigest())
    loss = changes.pop("loss", 2.5)
    group = f"arn:aws:sagemaker:{environment.region}:{environment.account}:model-package/{environment.resource_name}"
    made = {
        "schema": SCHEMA,
        "model_package_arn": f"{group}/{version}",
        "model_package_version": version,
        "image_digest": f"sha256:{'a' * 64}",
        "artifact": {
            "s3_uri": f"s3://amplify-{environment.name}-artifacts/runs/r/model/job/output/model.tar.gz",
            "version_id": "v1",
            "sha256": sha256,
        },
        "recipe": "tiny",
        "evaluation": {"loss": loss, "proteins": 60, "heldout_sha256": "e" * 64, "artifact_sha256": sha256},
        "predecessor": None,
        "code_bundle": "b" * 64,
        "code_commit": "c" * 40,
        "data_manifest_sha256": "d" * 64,
        "approved_by": "Ada",
        "approved_at": f"2026-11-{version:02d}T08:00:00+00:00",
        "promoted_from": None,
    } | changes
    assert faults_of(made, environment) == []
    return made


def promoted(version: int = 1, **changes: Any) -> dict[str, Any]:
    """The same in staging, from dev."""
    origin = pin(DEV, version)
    source = {
        "environment": DEV.name,
        "model_package_arn": origin["model_package_arn"],
        "s3_uri": origin["artifact"]["s3_uri"],
        "version_id": "v1",
        "promoted_by": "Grace",
        "promoted_at": "2026-11-25T09:00:00+00:00",
    }
    return pin(STAGING, version, promoted_from=source, **changes)
