"""A package is held to its pin: who may approve it may change what it holds as well."""

from typing import Any

import pytest

from operate.releases import changed_since
from tests.operate.release_pins import pin

PIN = pin()
REPOSITORY = "111111111111.dkr.ecr.us-east-1.amazonaws.com/amplify-dev"
IMAGE = f"{REPOSITORY}@{PIN['image_digest']}"
MODEL = PIN["artifact"]["s3_uri"]


def package(*containers: dict[str, str]) -> dict[str, Any]:
    return {"InferenceSpecification": {"Containers": list(containers)}}


def test_a_package_that_is_what_was_approved_is_taken() -> None:
    assert changed_since(package({"Image": IMAGE, "ModelDataUrl": MODEL}), PIN) == []


@pytest.mark.parametrize(
    ("containers", "told"),
    [
        ([{"Image": f"{REPOSITORY}@sha256:{'0' * 64}", "ModelDataUrl": MODEL}], f"its image is sha256:{'0' * 64}"),
        (
            [{"Image": f"{REPOSITORY}:cpu-1", "ModelDataUrl": MODEL}],
            f"its image is {REPOSITORY}:cpu-1, and",
        ),
        ([{"Image": IMAGE, "ModelDataUrl": "s3://elsewhere/model.tar.gz"}], "its model is s3://elsewhere/model.tar.gz"),
        ([{"Image": IMAGE}], "its model is None, and s3://"),
        ([{"Image": IMAGE, "ModelDataUrl": MODEL}] * 2, "it has 2 containers, and had one"),
        ([], "it has 0 containers, and had one"),
    ],
)
def test_what_was_changed_is_named(containers: list[dict[str, str]], told: str) -> None:
    [change] = changed_since(package(*containers), PIN)
    assert change.startswith(told)
