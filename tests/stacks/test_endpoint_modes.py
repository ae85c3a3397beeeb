"""The table of modes: every permitted cell synthesises and is there, every forbidden one is refused with its reason."""

import re
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from environments import STAGING
from stacks.config import Canary, Capture, Endpoint, RealTime, Rolling, SettingsError, Shadow
from stacks.config.endpoint.modes import FEATURES, MODES, TABLE, Feature, Mode, permits, refusal
from stacks.instance_types import has_gpu
from tests.stacks.mode_examples import EXAMPLES, endpoint_stack
from tests.stacks.readable import plain
from tests.stacks.synthesis import ROOT, Template, only, resources
from tests.stacks.test_roles import may
from tests.stacks.update_snapshots import modes_page

GPU, CPU = "ml.g5.xlarge", "ml.m5.xlarge"
CELLS = [(mode, feature) for mode in MODES for feature in FEATURES]
BY_A_SETTING: tuple[Feature, ...] = ("gpu", "capture", "canary", "rolling", "shadow", "scale_to_zero")

USES: dict[Feature, dict[str, Any]] = {
    "gpu": {"instance_type": GPU},
    "capture": {"capture": Capture(percent=5)},
    "canary": {"deployment": Canary()},
    "rolling": {"deployment": Rolling(), "shadow": None},
    "shadow": {"shadow": Shadow(instance_type=GPU, instance_count=2)},
}


def using(mode: Mode, feature: Feature) -> Endpoint:
    """The mode's example, made to use the feature: as a person would write it, settings that do not exist included."""
    example = EXAMPLES[mode]
    given = {field.name: getattr(example, field.name) for field in fields(example)}
    change: dict[str, Any] = dict(USES.get(feature, {}))
    if feature == "scale_to_zero":
        smallest = "min_copies" if mode == "inference_components" else "min_instances"
        change = {smallest: 0, "working_hours": None, "deployment": None, "shadow": None} if mode in SCALABLE else {}
    if mode != "realtime":
        change = {name: value for name, value in change.items() if value is not None or name in given}
    return type(example)(**given | change)


SCALABLE: tuple[Mode, ...] = ("realtime", "async", "inference_components")


def _deployment(template: Template) -> str:
    [resource] = [
        *resources(template, "AWS::SageMaker::InferenceComponent").values(),
        *resources(template, "AWS::SageMaker::Endpoint").values(),
    ][:1]
    return str(resource["Properties"].get("DeploymentConfig"))


SEEN: dict[Feature, Callable[[Template], bool]] = {
    "gpu": lambda t: any(has_gpu(found) for found in re.findall(r"ml\.[\w.-]+", str(t))) or is_batch(t),
    "capture": lambda t: "DataCaptureConfig" in only(t, "AWS::SageMaker::EndpointConfig"),
    "canary": lambda t: "CANARY" in _deployment(t),
    "rolling": lambda t: "RollingUpdatePolicy" in _deployment(t),
    "shadow": lambda t: "ShadowProductionVariants" in only(t, "AWS::SageMaker::EndpointConfig"),
    "scale_to_zero": lambda t: (
        not resources(t, "AWS::ApplicationAutoScaling::ScalableTarget")
        or only(t, "AWS::ApplicationAutoScaling::ScalableTarget")["MinCapacity"] == 0
    ),
}


def is_batch(template: Template) -> bool:
    """A transform job's type is the job's, not the stack's."""
    return not resources(template, "AWS::SageMaker::EndpointConfig")


def test_the_table_has_every_cell_and_every_cell_a_reason_and_a_source() -> None:
    assert list(TABLE) == list(MODES)
    for mode, feature in CELLS:
        cell = TABLE[mode][feature]
        assert cell.because, (mode, feature)
        assert cell.source.startswith("https://docs.aws.amazon.com/sagemaker/latest/"), (mode, feature)


@pytest.mark.parametrize(
    ("mode", "feature"), [(m, f) for m, f in CELLS if f in BY_A_SETTING and permits(m, f)], ids=str
)
def test_a_permitted_combination_synthesises(mode: Mode, feature: Feature) -> None:
    assert SEEN[feature](endpoint_stack(using(mode, feature)))


@pytest.mark.parametrize(
    ("mode", "feature"), [(m, f) for m, f in CELLS if f in BY_A_SETTING and not permits(m, f)], ids=str
)
def test_a_forbidden_combination_is_refused_with_the_reason(mode: Mode, feature: Feature) -> None:
    with pytest.raises(SettingsError) as error:
        using(mode, feature).check()
    reasons = [refusal(mode, "canary"), refusal(mode, feature)] if feature == "rolling" else [refusal(mode, feature)]
    assert any(reason in str(error.value) for reason in reasons)


@pytest.mark.parametrize("mode", MODES)
def test_models_are_isolated_wherever_the_mode_lets_them(mode: Mode) -> None:
    models = resources(endpoint_stack(EXAMPLES[mode]), "AWS::SageMaker::Model").values()
    assert {model["Properties"]["EnableNetworkIsolation"] for model in models} == {permits(mode, "isolation")}


@pytest.mark.parametrize("mode", MODES)
def test_models_run_in_the_network_wherever_the_mode_lets_them(mode: Mode) -> None:
    template = endpoint_stack(EXAMPLES[mode])
    placed = {"VpcConfig" in model["Properties"] for model in resources(template, "AWS::SageMaker::Model").values()}
    if mode == "inference_components":
        placed.add("VpcConfig" in only(template, "AWS::SageMaker::EndpointConfig"))
    assert placed == {permits(mode, "vpc")}


@pytest.mark.parametrize("mode", [mode for mode in MODES if not permits(mode, "vpc")])
def test_a_mode_without_a_network_is_refused_where_there_is_one(mode: Mode) -> None:
    with pytest.raises(SettingsError, match=re.escape(refusal(mode, "vpc"))):
        replace(STAGING, endpoint=EXAMPLES[mode]).check()


def test_what_a_mode_does_not_have_it_cannot_be_told_to_have() -> None:
    with pytest.raises(SettingsError, match="shadow is no setting of mode async: shadow variants exclude"):
        type(EXAMPLES["async"])(instance_type=GPU, shadow=Shadow(instance_type=GPU)).check()  # type: ignore[call-arg]


def test_the_page_about_modes_shows_the_table_of_the_code() -> None:
    text = (ROOT / "docs" / "endpoint-modes.md").read_text(encoding="utf-8")
    assert text == modes_page(text), "run `make snapshots`"


def test_a_fixed_fleet_has_no_scaling_and_a_plain_endpoint_nothing_but_what_it_needs() -> None:
    template = endpoint_stack(RealTime(instance_type=CPU))
    assert not resources(template, "AWS::ApplicationAutoScaling::ScalableTarget")
    assert set(only(template, "AWS::SageMaker::Endpoint")) == {"EndpointName", "EndpointConfigName", "Tags"}
    assert "DataCaptureConfig" not in only(template, "AWS::SageMaker::EndpointConfig")


def test_an_asynchronous_endpoint_starts_one_instance_though_it_may_have_none() -> None:
    template = endpoint_stack(replace(EXAMPLES["async"], min_instances=0, working_hours=None, deployment=None))
    [variant] = only(template, "AWS::SageMaker::EndpointConfig")["ProductionVariants"]
    assert variant["InitialInstanceCount"] == 1
    assert only(template, "AWS::ApplicationAutoScaling::ScalableTarget")["MinCapacity"] == 0


def test_captures_lie_where_the_role_may_write_once_sagemaker_has_added_the_endpoints_name() -> None:
    template = endpoint_stack(EXAMPLES["realtime"])
    config = only(template, "AWS::SageMaker::EndpointConfig")["DataCaptureConfig"]
    assert plain(config["DestinationS3Uri"]).endswith("}/captured")
    assert config["InitialSamplingPercentage"] == 5
    name = only(template, "AWS::SageMaker::Endpoint")["EndpointName"]
    written = may("modes/realtime", "Role", "s3:PutObject")
    assert written == {f"ArtifactBucket/captured/{name}/*"}


def test_a_shadow_gets_its_share_against_the_weight_of_the_other() -> None:
    config = only(endpoint_stack(EXAMPLES["realtime"]), "AWS::SageMaker::EndpointConfig")
    assert [variant["InitialVariantWeight"] for variant in config["ProductionVariants"]] == [1]
    assert [variant["InitialVariantWeight"] for variant in config["ShadowProductionVariants"]] == [0.25]


def test_a_shadow_without_a_release_is_not_deployed() -> None:
    from tests.stacks.mode_examples import stacks_with

    with_release = stacks_with(EXAMPLES["realtime"])["dev/endpoint"]
    assert "ShadowModelPackageArn" in with_release["Outputs"]
    without = stacks_with(EXAMPLES["realtime"], shadow=False)["dev/endpoint"]
    assert "ShadowProductionVariants" not in only(without, "AWS::SageMaker::EndpointConfig")
    assert len(resources(without, "AWS::SageMaker::Model")) == 1
