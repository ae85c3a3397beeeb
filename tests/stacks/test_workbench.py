"""The notebook and what people may do: settings that cannot work, what is made, and when the notebook stops."""

import base64
import doctest
import importlib.util
import json
import subprocess
from dataclasses import replace
from typing import Any

import botocore.session
import pytest

from environments import DEV, PROD, STAGING
from stacks.config import Environment, Network, People, SettingsError, Workbench
from stacks.config.monthly_cost import monthly_cost
from stacks.constructs.private_notebook import FILES, LONGEST_SCRIPT, start_script
from stacks.notebook_types import NOTEBOOK_SIZES
from tests.stacks.synthesis import VARIANTS, only, resources, templates, variants

assert STAGING.network is not None
NETWORK: Network = STAGING.network


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"instance_type": "ml.g7.2xlarge"},
            "SageMaker has no 'ml.g7.2xlarge' for notebooks: it has none of family g7",
        ),
        ({"instance_type": "ml.t3.small"}, "for notebooks: of t3 it has ml.t3.medium, ml.t3.large"),
        ({"instance_type": "t3"}, "instance_type: 't3' is not an instance type we know"),
        ({"volume_gb": 4}, "volume_gb is 4: give a whole number from 5 to 16384"),
        ({"idle_minutes": 5}, "idle_minutes is 5: give a whole number from 15 to 1440"),
    ],
)
def test_a_workbench_that_cannot_be_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        Workbench(**changed).check()
    assert message in str(error.value)


def test_all_faults_of_a_workbench_are_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"(?s)instance_type.*volume_gb.*idle_minutes"):
        Workbench(instance_type="x", volume_gb=0, idle_minutes=0).check()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": None}, "workbench is given, and network is None"),
        ({"network": replace(NETWORK, interface_endpoints=("logs",))}, "workbench needs sagemaker.api: add it"),
        ({"workbench": "yes"}, "workbench is 'yes': give Workbench"),
        ({"people": ("me",)}, "people is ('me',): give People"),
        (
            {"people": People(deployers=("arn:aws:iam::999999999999:role/x",))},
            f"people.deployers holds arn:aws:iam::999999999999:role/x: give roles of account {DEV.account}",
        ),
    ],
)
def test_what_does_not_fit_the_environment_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as error:
        replace(VARIANTS["workbench-dev"], **changed).check()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("a b",), "trainers is 'a b': give the name or the ARN of an IAM role"),
        ("admin", "trainers is 'admin': give a tuple"),
        (("a", "a"), "trainers is ('a', 'a'): give each once"),
        (("a", "arn:aws:iam::111111111111:role/a"), "give each once, by its name or its ARN"),
        (("AWSReservedSSO_Train_1",), "name the policy amplify-<env>-trainer in its permission set"),
    ],
)
def test_people_are_roles(given: Any, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        People(trainers=given).check()
    assert message in str(error.value)


def test_the_types_are_those_of_the_api() -> None:
    model = botocore.session.get_session().get_service_model("sagemaker")
    known = model.operation_model("CreateNotebookInstance").input_shape.members["InstanceType"].enum
    ours = {f"ml.{family}.{size}" for family, sizes in NOTEBOOK_SIZES.items() for size in sizes}
    assert ours == {one for one in known if not one.startswith(("ml.inf", "ml.trn", "ml.p2."))}


def test_a_notebook_counts_towards_the_ceiling() -> None:
    dear: Environment = replace(DEV, network=NETWORK, monthly_ceiling_usd=None)
    [line] = {*monthly_cost(replace(dear, workbench=Workbench())).lines} - {*monthly_cost(dear).lines}
    assert line.what == "workbench on ml.t3.medium"
    assert (line.low, line.most) == (0, pytest.approx(0.05 * 730))


# ---- what is made ----------------------------------------------------------------------------------------------------


def test_a_notebook_is_private_encrypted_and_without_root() -> None:
    notebook = only(variants()["workbench-dev/workbench"], "AWS::SageMaker::NotebookInstance")
    assert notebook["DirectInternetAccess"] == notebook["RootAccess"] == "Disabled"
    assert notebook["InstanceMetadataServiceConfiguration"] == {"MinimumInstanceMetadataServiceVersion": "2"}
    assert "Subnet" in json.dumps(notebook["SubnetId"])
    assert "WorkbenchGroup" in json.dumps(notebook["SecurityGroupIds"])
    assert "amplify-dev-storage:" in json.dumps(notebook["KmsKeyId"])
    model = botocore.session.get_session().get_service_model("sagemaker")
    assert notebook["PlatformIdentifier"] in model.shape_for("PlatformIdentifier").metadata["pattern"]


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert not [stack for stack in templates() if stack.endswith("/workbench")]


def test_policies_are_given_to_the_roles_that_are_named_by_name() -> None:
    policies = resources(variants()["workbench-dev/people"], "AWS::IAM::ManagedPolicy")
    given = {id_[:-8]: policy["Properties"].get("Roles", []) for id_, policy in policies.items()}
    assert given == {
        "TrainerPolicy": ["trainers"],
        "ApproverPolicy": [],
        "DeployerPolicy": [],
        "AuditorPolicy": ["auditors"],
        "DriftPolicy": ["auditors"],
    }


def test_nobody_trains_where_there_is_no_training() -> None:
    assert PROD.training is None
    policies = resources(templates()["prod/people"], "AWS::IAM::ManagedPolicy")
    assert not [id_ for id_ in policies if id_.startswith("Trainer")]


# ---- what runs in it -------------------------------------------------------------------------------------------------

SCRIPT = start_script(60, f"s3://assets/{'a' * 64}.zip", "a" * 64)


def test_the_script_is_bash_has_every_value_and_fits() -> None:
    subprocess.run(["bash", "-n"], input=SCRIPT, text=True, check=True)
    assert "${" not in SCRIPT.replace("${NAME}", "")
    assert len(base64.b64encode(SCRIPT.encode())) <= LONGEST_SCRIPT


spec = importlib.util.spec_from_file_location("stop_when_idle", FILES / "stop_when_idle.py")
assert spec is not None
assert spec.loader is not None
stop_when_idle: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stop_when_idle)

NOW = stop_when_idle.seconds("2026-11-25T12:00:00Z")
LONG = 10_000.0  # seconds since the start


def session(time: str, state: str = "idle") -> dict[str, Any]:
    return {"kernel": {"execution_state": state, "last_activity": f"2026-11-25T{time}.123456Z"}}


@pytest.mark.parametrize(
    ("uptime", "sessions", "terminals", "idle"),
    [
        (LONG, [], [], True),  # started, and nobody came
        (1_000.0, [], [], False),  # just started
        (LONG, [session("10:30:00")], [], True),
        (LONG, [session("11:30:00")], [], False),
        (LONG, [session("03:00:00", "busy")], [], False),  # training over night
        (LONG, [session("03:00:00"), session("11:59:00")], [], False),
        (LONG, [session("10:00:00")], [{"last_activity": "2026-11-25T11:45:00Z"}], False),
        (LONG, None, None, True),  # Jupyter is dead
        (1_000.0, None, None, False),  # or not yet alive
        (LONG, [session("10:00:00")], None, True),
        (LONG, [{"kernel": None}], [], True),  # a text file that is open
    ],
)
def test_it_stops_when_nobody_used_it_for_an_hour(uptime: float, sessions: Any, terminals: Any, idle: bool) -> None:
    assert stop_when_idle.is_idle(60, uptime, sessions, terminals, NOW) is idle


def test_times_are_read_as_utc() -> None:
    assert doctest.testmod(stop_when_idle).failed == 0


def test_it_stops_itself_by_name_with_the_command_line(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    about, uptime, called = tmp_path / "about.json", tmp_path / "uptime", tmp_path / "called"
    about.write_text(
        json.dumps({"ResourceArn": "arn:aws:sagemaker:us-east-1:111111111111:notebook-instance/amplify-dev"})
    )
    uptime.write_text("7200.15 1.0\n")
    command = tmp_path / "aws"
    command.write_text(f'#!/bin/sh\necho "$@" > {called}\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(stop_when_idle, "ABOUT_THIS_NOTEBOOK", about)
    monkeypatch.setattr(stop_when_idle, "UPTIME", uptime)
    monkeypatch.setattr(stop_when_idle, "JUPYTER", "https://localhost:1/api/")  # nothing listens there
    stop_when_idle.main(60)
    assert called.read_text().split() == [
        *("sagemaker", "stop-notebook-instance", "--region", "us-east-1"),
        *("--notebook-instance-name", "amplify-dev"),
    ]


# ---- who opens it ----------------------------------------------------------------------------------------------------


def test_its_users_start_open_and_stop_this_notebook_and_no_other() -> None:
    policy = only(variants()["workbench-dev/workbench"], "AWS::IAM::ManagedPolicy")
    assert (policy["ManagedPolicyName"], policy["Roles"]) == ("amplify-dev-workbench", ["trainers"])
    [statement] = policy["PolicyDocument"]["Statement"]
    assert {action.removeprefix("sagemaker:") for action in statement["Action"]} == {
        *("DescribeNotebookInstance", "StartNotebookInstance", "StopNotebookInstance"),
        "CreatePresignedNotebookInstanceUrl",
    }
    assert ":notebook-instance/amplify-dev" in json.dumps(statement["Resource"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Workbench(users=("a b",), idle_minutes=0), "users is 'a b': give the name or the ARN of an IAM role"),
        (lambda: Workbench(users=("a b",), idle_minutes=0), "idle_minutes is 0"),
        (
            lambda: replace(
                VARIANTS["workbench-dev"], workbench=Workbench(users=("arn:aws:iam::999999999999:role/x",))
            ),
            f"workbench.users holds arn:aws:iam::999999999999:role/x: give roles of account {DEV.account}",
        ),
    ],
)
def test_users_are_roles_of_the_account(make: Any, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        make().check()
    assert message in str(error.value)
