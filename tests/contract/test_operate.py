"""Where the `amplify` command meets the other halves: metric lines, and the release pin."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from amplify_lm.metrics import metric_line

from environments import ENVIRONMENTS, LOCAL
from operate import releases
from operate.pipeline_run import parse_metrics
from stacks.config import RealTime, Shadow
from stacks.release import read_releases


def test_the_metric_lines_of_training_are_read_as_they_were_written() -> None:
    values = {
        "step": 120,
        "steps": 800,
        "train_loss": 2.75123456,
        "learning_rate": 4e-05,
        "residues_per_second": 15893.4,
    }
    assert parse_metrics(metric_line(values)) == {
        "step": 120.0,
        "steps": 800.0,
        "train_loss": 2.75123,
        "learning_rate": 4e-05,
        "residues_per_second": 15893.4,
    }
    assert parse_metrics("[prepare] train: 5 proteins") is None


def test_the_pin_that_approval_writes_is_one_that_the_endpoint_stack_reads(tmp_path: Path) -> None:
    arn = "arn:aws:sagemaker:us-east-1:123456789012:model-package/amplify-local/3"
    pin: dict[str, Any] = releases.pin(
        package={"ModelPackageArn": arn, "ModelPackageVersion": 3, "CustomerMetadataProperties": {"recipe": "demo"}},
        image_digest=f"sha256:{'b' * 64}",
        code_bundle="a" * 64,
        artifact={
            "s3_uri": "s3://artifacts/runs/x/model/t/output/model.tar.gz",
            "version_id": "v1",
            "sha256": "c" * 64,
        },
        data_manifest_sha256="d" * 64,
        evaluation={"loss": 2.7, "proteins": 60, "artifact_sha256": "c" * 64},
        before=None,
        approved_by="Ada",
    )
    path = releases.write(tmp_path, "local", pin)
    assert json.loads(path.read_text()) == pin
    assert read_releases(tmp_path, ENVIRONMENTS)["local"].model_package_arn == arn
    assert pin["code_bundle"] == "a" * 64
    shadow = RealTime(instance_type="ml.m5.xlarge", shadow=Shadow(instance_type="ml.m5.xlarge"))
    releases.write(tmp_path, "local.shadow", pin)  # as `amplify approve --shadow` does
    assert set(read_releases(tmp_path, ENVIRONMENTS | {"local": replace(LOCAL, endpoint=shadow)})) == {
        "local",
        "local.shadow",
    }
    assert releases.read(tmp_path, "local") == pin
