"""A person who writes several wrong values hears of all of them at once, each with its place."""

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from environments import DEV, ENVIRONMENTS, LOCAL, PROD, STAGING
from stacks.config import (
    AllAtOnce,
    Async,
    Batch,
    Canary,
    Capture,
    Delivery,
    Drift,
    Environment,
    InferenceComponents,
    InstancePreferences,
    Linear,
    ManagedSpot,
    Monitoring,
    Network,
    OnDemand,
    People,
    Promotion,
    RealTime,
    Rolling,
    Serverless,
    SettingsError,
    Shadow,
    Training,
    TrainingPlan,
    WarmPool,
    Workbench,
    WorkingHours,
    checked,
)
from stacks.config.endpoint.base import EndpointSettings
from stacks.config.settings import Settings
from stacks.config.types import fits
from stacks.stage import AmplifyStage
from tests.stacks.synthesis import ROOT, new_app

assert DEV.training is not None
assert PROD.network is not None

# ---- what a person sees ----------------------------------------------------------------------------------------------

MISTAKES = {
    "network=None,  # to save": (
        'network=Network(cidr="10.0.0.0/8", availability_zones=("us-east-1a",), flow_log_days=2, '
        's3_prefix_list="pl-63a5400a"),  # to save'
    ),
    "monthly_budget_usd=3_000": 'monthly_budget_usd="3000"',
    "max_latency_ms=2_000": "max_latency_ms=2_000_000",
    "DELIVERY: Delivery | None = None": 'DELIVERY = Delivery(repository="nobody")',
}
TOLD = """environments.py has 6 faults:
  dev.network.cidr is '10.0.0.0/8', a size that Amazon VPC refuses: give private addresses from /16 to /28, such as \
10.20.0.0/20
  dev.network.flow_log_days is 2: give a time that CloudWatch Logs knows, 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, \
365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653
  dev.network.availability_zones is ('us-east-1a',): give at least two different ones, as SageMaker asks even for an \
endpoint of one instance
  staging.monitoring.monthly_budget_usd is '3000': give a whole number from 1 to 100000000
  prod.endpoint.max_latency_ms is 2000000: give a whole number from 1 to 60000
  delivery.repository is 'nobody': give a GitHub repository as its tokens name it, owner/name or owner@id/name@id
"""


@pytest.fixture
def mistaken(tmp_path: Path) -> Path:
    """A project whose environments.py has mistakes in three environments and beside them."""
    text = (ROOT / "environments.py").read_text(encoding="utf-8")
    for right, wrong in MISTAKES.items():
        assert text.count(right) == 1, right
        text = text.replace(right, wrong)
    (tmp_path / "environments.py").write_text(text, encoding="utf-8")
    shutil.copy(ROOT / "app.py", tmp_path)
    for folder in ("stacks", "operate", "local_aws", "review"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    return tmp_path


def run(project: Path, *command: str) -> tuple[int, str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    quiet = {"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20", "CDK_OUTDIR": str(project / "out")}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env=kept | quiet | {"AMPLIFY_LOCAL_DIR": str(project / "state")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_synthesis_ends_with_one_message_that_holds_the_faults_of_every_environment(mistaken: Path) -> None:
    assert run(mistaken, "app.py") == (1, "", f"Nothing was synthesised. {TOLD}")
    assert not [*mistaken.glob("out/*")]


COMMANDS = [("train",), ("deploy", "--env", "dev"), ("targets", "--repository", "a/b")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_command_ends_with_the_same_message_before_it_does_anything(mistaken: Path, command: tuple[str, ...]) -> None:
    code, out, told = run(mistaken, "-m", "operate.cli", *command)
    assert (code, out) == (1, "")
    assert told == f"✗ {TOLD}→ Nothing was done. Mend these values, and run the same command again.\n"
    assert not (mistaken / "state").exists()


def test_a_file_that_python_cannot_read_is_no_fault_of_the_command(mistaken: Path) -> None:
    (mistaken / "environments.py").write_text("ENVIRONMENTS = Netwrok()\n", encoding="utf-8")
    code, _, told = run(mistaken, "-m", "operate.cli", "train")
    assert code == 1
    assert told.startswith("✗ environments.py cannot be read: NameError: name 'Netwrok' is not defined\n→ Nothing was")


def test_help_does_not_want_right_settings(mistaken: Path) -> None:
    assert run(mistaken, "-m", "operate.cli", "train", "--help")[0] == 0


def test_a_stage_refuses_settings_that_came_by_another_door(tmp_path: Path) -> None:
    wrong = replace(PROD, network=None, account="1")
    code = {"model_code": ROOT / "model_code", "lambda_code": ROOT / "lambda_code"}
    with pytest.raises(SettingsError, match=r"Environment has 2 faults:\n  account is '1'.*\n  network is None"):
        AmplifyStage(new_app(tmp_path), wrong, release=None, **code)


# ---- the door --------------------------------------------------------------------------------------------------------


def refused(*environments: Any, delivery: Any = None) -> list[str]:
    with pytest.raises(SettingsError) as error:
        checked(*environments, delivery=delivery)
    return str(error.value).split("\n  ")[1:]


def test_right_environments_come_back_by_name_in_their_order() -> None:
    made = replace(PROD, promotion=None)  # as if it made its own releases: staging is not among these
    assert checked(made, LOCAL, DEV, delivery=Delivery(repository="a/b")) == {"prod": made, "local": LOCAL, "dev": DEV}
    assert [*ENVIRONMENTS] == ["local", "dev", "staging", "prod"]


def test_two_environments_of_one_name_are_refused() -> None:
    [fault] = refused(DEV, STAGING, replace(DEV, account="444444444444"))
    assert fault == "dev.name is that of two environments: one would hide the other; give each its own"


def test_an_account_and_region_is_that_of_one_environment() -> None:
    [fault] = refused(DEV, replace(DEV, name="second", network=STAGING.network, monthly_ceiling_usd=None))
    assert fault.startswith("second.account is '111111111111' in us-east-1, as that of dev: who may deploy one could")
    elsewhere = replace(DEV, region="eu-central-1", name="dev-eu", network=None, monthly_ceiling_usd=None)
    assert "dev-eu.account" not in str(refused(DEV, elsewhere))
    assert checked(replace(LOCAL, account=DEV.account), DEV)  # no account at all: AWS on this machine


@pytest.mark.parametrize("stranger", ["dev", None, Environment, PROD.network, {"name": "dev"}])
def test_what_is_no_environment_is_refused_by_its_position(stranger: Any) -> None:
    [fault] = refused(DEV, stranger)
    assert fault.startswith("environment 2 is ")
    assert fault.endswith(": give Environment(…)")


def test_an_environment_without_a_name_that_can_be_told_is_told_by_its_position() -> None:
    faults = refused(replace(DEV, name="Dev EU"), replace(STAGING, name=None))
    assert [fault.split(":")[0] for fault in faults] == ["environment 1.name is 'Dev EU'", "environment 2.name is None"]


def test_a_delivery_that_is_none_is_refused() -> None:
    assert refused(DEV, delivery="a/b") == ["delivery is 'a/b': give Delivery(…)"]


# ---- fields left out, misspelt, of the wrong type --------------------------------------------------------------------


def test_fields_left_out_and_misspelt_are_faults_like_others_and_told_with_them() -> None:
    network = Network(cdir="10.0.0.0/16", availability_zones=("us-east-1a", "us-east-1b"), flow_log_days=2)  # type: ignore[call-arg]
    told = refused(replace(DEV, network=network))
    assert [fault.split(":")[0] for fault in told] == [
        "dev.network.cdir is no setting of Network",
        "dev.network.cidr is missing",
        "dev.network.s3_prefix_list is missing",
        "dev.network.flow_log_days is 2",
    ]
    assert told[0].endswith("give cidr")


def test_a_setting_that_is_like_none_is_answered_with_those_that_there_are() -> None:
    assert Delivery(repository="a/b", colour="red").faults == (  # type: ignore[call-arg]
        "colour is no setting of Delivery: give some of branch, provider_exists, repository",
    )


def test_a_class_in_the_place_of_a_value_is_told_as_one() -> None:
    [fault] = replace(DEV, endpoint=Batch).faults  # type: ignore[arg-type]
    assert fault.startswith("endpoint is the class Batch, not a value of it: give one of RealTime(…), Async(…)")


def test_a_wrong_type_hides_no_other_fault_of_the_same_part() -> None:
    told = Network(cidr="x", availability_zones=["us-east-1a"], s3_prefix_list=None, flow_log_days=2).faults  # type: ignore[arg-type]
    assert {fault.split()[0] for fault in told} == {"cidr", "availability_zones", "s3_prefix_list", "flow_log_days"}


def test_a_fault_between_values_hides_no_other() -> None:
    training = replace(DEV.training, volume_gb=500, max_pending_hours=2)
    endpoint = RealTime(instance_type="ml.m5.xlarge")
    told = replace(DEV, training=training, endpoint=endpoint, monthly_ceiling_usd=1).faults
    assert [fault.split()[0] for fault in told] == [
        "training.volume_gb",
        "training.max_pending_hours",
        "endpoint.instance_type",
        "monthly_ceiling_usd",
    ]


GPU = "ml.g5.xlarge"
EXAMPLES: dict[type[Settings], Settings] = {
    type(example): example
    for example in (
        *(DEV, DEV.training, PROD.network, Monitoring(), Drift(), People(), Workbench(), Delivery(repository="a/b")),
        *(OnDemand(), ManagedSpot(), WarmPool(keep_alive_minutes=5), InstancePreferences()),
        TrainingPlan(arn="arn:aws:sagemaker:us-east-1:111111111111:training-plan/april"),
        *(AllAtOnce(), Canary(), Linear(), Rolling(), WorkingHours(), Capture(percent=5), Shadow(instance_type=GPU)),
        *(RealTime(instance_type=GPU), Async(instance_type=GPU), InferenceComponents(instance_type=GPU)),
        *(Serverless(memory_mb=2048), Batch(instance_type=GPU), Promotion(source="dev")),
    )
}
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 10**30, 0.5, float("nan"), "", "x", "ß" * 200, b"bytes", [], ["a"], {}, {"a": 1}),
    *((), (1,), (None, None), ("a", ["b"]), (("a",),), {"a"}, object(), lambda: None, RealTime, Network, type),
    *(OnDemand(), Monitoring(), Canary(percent=None), RealTime(), Network(), Training(), Workbench(users=None)),  # type: ignore[call-arg,arg-type]
)


def kinds(base: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for kind in base.__subclasses__():
        if kind is not EndpointSettings:
            yield kind
        yield from kinds(kind)


@pytest.mark.parametrize("kind", [*kinds()], ids=lambda kind: kind.__name__)
def test_no_value_of_any_type_makes_a_setting_crash_or_pass(kind: type[Settings]) -> None:
    assert EXAMPLES[kind].faults == ()
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        for odd in ODD:
            told = replace(EXAMPLES[kind], **{field.name: odd}).faults  # type: ignore[type-var]
            if not fits(odd, hints[field.name]):
                assert [fault for fault in told if fault.startswith((f"{field.name} ", f"{field.name}:"))], (field, odd)


@given(st.data())
def test_several_odd_values_at_once_are_each_told(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([*EXAMPLES]))
    hints = get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    changed = data.draw(st.dictionaries(st.sampled_from(names), st.sampled_from(ODD)) if names else st.just({}))
    told = replace(EXAMPLES[kind], **changed).faults  # type: ignore[type-var]
    wrong = {name for name, odd in changed.items() if not fits(odd, hints[name])}
    assert wrong <= {fault.partition(" ")[0].partition(":")[0] for fault in told}
