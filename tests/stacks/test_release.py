"""A release pin decides what answers in production: a wrong one stops the synthesis, with every fault named."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from environments import ENVIRONMENTS, PROD
from stacks.config import Async, Endpoint, RealTime, SettingsError, Shadow
from stacks.release import Release, read_releases
from tests.stacks.synthesis import RELEASES


def write(folder: Path, pin: Any, name: str = "prod.json") -> Path:
    path = folder / name
    path.write_text(pin if isinstance(pin, str) else json.dumps(pin))
    return path


def good_pin() -> dict[str, Any]:
    return json.loads((RELEASES / "prod.json").read_text())


def test_a_pin_names_the_package_and_the_object_to_serve(tmp_path: Path) -> None:
    write(tmp_path, good_pin())
    assert read_releases(tmp_path, ENVIRONMENTS) == {
        "prod": Release(
            model_package_arn="arn:aws:sagemaker:us-east-1:333333333333:model-package/amplify-prod/7",
            artifact_key="runs/k3x9q2m7w1ab/model/pipelines-k3x9q2m7w1ab-Train-Yk2pQ0dV1s/output/model.tar.gz",
            image_digest=good_pin()["image_digest"],
        )
    }


def test_where_there_is_no_pin_there_is_no_release(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("not a pin")
    assert read_releases(tmp_path, ENVIRONMENTS) == {}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("schema", 1, "schema is 1: give 2; write it anew with `amplify approve`"),
        ("schema", True, "schema is true: give 2"),
        (
            "model_package_arn",
            "amplify-prod/7",
            "give the ARN of a package of group amplify-prod in account 333333333333",
        ),
        (
            "model_package_arn",
            "arn:aws:sagemaker:us-east-1:111111111111:model-package/amplify-dev/7",
            "of group amplify-prod",
        ),
        ("model_package_version", 8, "model_package_version is 8: give the ARN's last number"),
        ("image_digest", "latest", 'image_digest is "latest": give sha256:<64 hexadecimal digits>'),
        ("artifact", "s3://bucket/model.tar.gz", "give an object with s3_uri, version_id and sha256"),
        ("recipe", " ", "give the name of a recipe"),
        ("evaluation", None, "give the object of evaluation.json"),
        ("predecessor", "none", "give the release that it was compared with, or null"),
        ("code_commit", "main", 'code_commit is "main": give the commit of the code bundle, or null'),
        ("data_manifest_sha256", 7, "data_manifest_sha256 is 7: give 64 hexadecimal digits, or null"),
        ("promoted_from", "dev", "give where the release comes from, or null"),
        ("code_bundle", None, "code_bundle is null"),
        ("approved_by", "", "give a person"),
        ("approved_at", "yesterday", "give a time such as"),
        ("approved_at", "2026-11-24T08:00:00", "give a time such as"),
        ("aproved_by", "me", "aproved_by is not a field of a pin"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_wanted(tmp_path: Path, field: str, value: Any, message: str) -> None:
    path = write(tmp_path, good_pin() | {field: value})
    with pytest.raises(SettingsError) as error:
        read_releases(tmp_path, ENVIRONMENTS)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("artifact.s3_uri", "s3://bucket", "artifact.s3_uri"),
        ("artifact.version_id", 3, "artifact.version_id is 3"),
        ("artifact.sha256", "AB" * 32, "artifact.sha256"),
        ("artifact.md5", "x", "artifact.md5 is not a field of a pin"),
        ("evaluation.loss", float("nan"), "evaluation.loss is NaN: give nats a residue"),
        ("evaluation.proteins", 0, "evaluation.proteins is 0: give how many held-out proteins"),
        ("evaluation.artifact_sha256", "0" * 64, "not the bytes that were evaluated"),
        ("predecessor.loss", "2.7", "predecessor.loss"),
        ("predecessor.model_package_arn", "amplify-prod/6", "predecessor.model_package_arn"),
        ("promoted_from.environment", "", "promoted_from.environment"),
        ("promoted_from.promoted_at", "now", "promoted_from.promoted_at"),
    ],
)
def test_a_wrong_field_inside_of_one_is_named(tmp_path: Path, member: str, value: Any, message: str) -> None:
    pin = good_pin()
    field, _, inner = member.partition(".")
    pin[field][inner] = value
    write(tmp_path, pin)
    with pytest.raises(SettingsError, match=message):
        read_releases(tmp_path, ENVIRONMENTS)


def test_a_first_release_of_weights_from_elsewhere_has_no_predecessor_no_manifest_and_no_source(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("predecessor", "data_manifest_sha256", "promoted_from", "code_commit"))
    write(tmp_path, good_pin() | nothing)
    assert "prod" in read_releases(tmp_path, ENVIRONMENTS)


def test_an_empty_pin_reports_every_missing_field_at_once(tmp_path: Path) -> None:
    write(tmp_path, {})
    with pytest.raises(SettingsError) as error:
        read_releases(tmp_path, ENVIRONMENTS)
    assert all(f"{field} is missing" in str(error.value) for field in good_pin())


@pytest.mark.parametrize(
    ("text", "message"), [("{", "is not JSON"), ("[]", "a pin is a JSON object"), ("\x00", "is not JSON")]
)
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, text)
    with pytest.raises(SettingsError, match=message):
        read_releases(tmp_path, ENVIRONMENTS)


def test_a_pin_of_no_environment_is_refused_instead_of_ignored(tmp_path: Path) -> None:
    write(tmp_path, good_pin(), "pord.json")
    with pytest.raises(SettingsError, match=r"pord\.json names no environment.*local, dev, staging, prod"):
        read_releases(tmp_path, ENVIRONMENTS)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no folder"):
        read_releases(tmp_path / "relaeses", ENVIRONMENTS)


GPU = "ml.g5.xlarge"
WITH_A_SHADOW = RealTime(instance_type=GPU, shadow=Shadow(instance_type=GPU))


def test_a_second_pin_is_the_shadows(tmp_path: Path) -> None:
    arn = good_pin()["model_package_arn"].removesuffix("/7") + "/8"
    write(tmp_path, good_pin())
    write(tmp_path, good_pin() | {"model_package_arn": arn, "model_package_version": 8}, "prod.shadow.json")
    found = read_releases(tmp_path, {"prod": replace(PROD, endpoint=WITH_A_SHADOW)})
    assert {name: release.model_package_arn.rsplit("/", 1)[1] for name, release in found.items()} == {
        "prod": "7",
        "prod.shadow": "8",
    }


@pytest.mark.parametrize(
    ("endpoint", "pins", "message"),
    [
        (WITH_A_SHADOW, ["prod.shadow.json"], "there is no prod.json whose requests it could get"),
        (RealTime(instance_type=GPU), ["prod.json", "prod.shadow.json"], "has no shadow: give endpoint.shadow"),
        (Async(instance_type=GPU), ["prod.json", "prod.shadow.json"], "cannot have a shadow: shadow variants exclude"),
        (WITH_A_SHADOW, ["prod.json", "staging.shadow.json"], r"names no environment.*are prod"),
    ],
)
def test_a_shadow_of_nothing_is_refused(tmp_path: Path, endpoint: Endpoint, pins: list[str], message: str) -> None:
    for name in pins:
        write(tmp_path, good_pin(), name)
    with pytest.raises(SettingsError, match=message):
        read_releases(tmp_path, {"prod": replace(PROD, endpoint=endpoint, promotion=None)})
