"""What an environment needs of its account's quotas, and what `amplify doctor` says of those that are too small."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from environments import DEV, PROD, STAGING
from operate import aws as aws_access
from operate import doctor, quotas
from operate.aws import Aws
from stacks.config import Batch, Drift, Environment, OnDemand, RealTime, Serverless, Shadow, WarmPool, Workbench

TRAINING = DEV.training
assert TRAINING is not None


def counts(environment: Environment) -> dict[str, int]:
    return {one.name: one.count for one in quotas.needs(environment)}


def dev(**changed: Any) -> Environment:
    return replace(DEV, monthly_ceiling_usd=None, **changed)


def test_spot_on_demand_and_warm_pools_have_quotas_of_their_own() -> None:
    spot = counts(DEV)
    assert spot["ml.g5.12xlarge for spot training job usage"] == 1
    assert not [name for name in spot if name.endswith(" for training job usage")]
    kept = counts(dev(training=replace(TRAINING, capacity=WarmPool(keep_alive_minutes=30), instance_count=2)))
    assert kept["ml.g5.xlarge for training job usage"] == kept["ml.g5.xlarge for training warm pool usage"] == 2
    assert "ml.g5.xlarge for training job usage" in counts(dev(training=replace(TRAINING, capacity=OnDemand())))


def test_an_endpoint_needs_its_instances_twice_for_a_release() -> None:
    assert counts(PROD) == {"ml.g5.xlarge for endpoint usage": 8}
    two = RealTime(instance_type="ml.g5.xlarge", max_instances=3, shadow=Shadow(instance_type="ml.g5.2xlarge"))
    assert counts(replace(PROD, endpoint=two, monthly_ceiling_usd=None)) == {
        "ml.g5.xlarge for endpoint usage": 6,
        "ml.g5.2xlarge for endpoint usage": 2,
    }


def test_jobs_notebooks_and_drift_are_counted() -> None:
    batch = dev(training=None, endpoint=Batch(instance_type="ml.g5.xlarge", instance_count=3))
    assert counts(batch) == {"ml.g5.xlarge for transform job usage": 3}
    notebook = replace(STAGING, workbench=Workbench(), monthly_ceiling_usd=None)
    assert counts(notebook)["ml.t3.medium for notebook instance usage"] == 1
    assert counts(DEV)["ml.m5.xlarge for processing job usage"] == 1
    assert counts(dev(training=None, endpoint=Serverless(memory_mb=2048))) == {}
    assert Drift().instance_type == "ml.m5.xlarge"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Aws, Stubber]]:
    """Prod's account, whose Service Quotas answers what the test says, in the API's own shapes."""
    client = boto3.client("service-quotas", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    monkeypatch.setattr(aws_access, "_client", lambda service, region: {"service-quotas": client}[service])
    with Stubber(client) as answers:
        yield Aws(environment=PROD, environ={}), answers


def quota(name: str, value: float) -> dict[str, Any]:
    return {"QuotaName": name, "QuotaCode": "L-1928E07B", "Value": value}


def test_a_quota_that_is_too_small_is_named_with_its_code_and_what_is_wanted(account: tuple[Aws, Stubber]) -> None:
    aws, answers = account
    others = {"Quotas": [quota("ml.g5.xlarge for training job usage", 0)], "NextToken": "more"}
    answers.add_response("list_service_quotas", others, {"ServiceCode": "sagemaker"})
    last = {"Quotas": [quota("ml.g5.xlarge for endpoint usage", 0)]}
    answers.add_response("list_service_quotas", last, {"ServiceCode": "sagemaker", "NextToken": "more"})
    [finding] = doctor._quotas(aws)
    assert not finding.good
    assert "“ml.g5.xlarge for endpoint usage” is 0, 8 wanted for the endpoint at its largest" in finding.found
    assert finding.todo == "Ask in Service Quotas for L-1928E07B to 8; days may go by."


def test_an_account_with_enough_is_told_so(account: tuple[Aws, Stubber]) -> None:
    aws, answers = account
    answers.add_response("list_service_quotas", {"Quotas": [quota("ml.g5.xlarge for endpoint usage", 8)]})
    assert [(one.good, one.found) for one in doctor._quotas(aws)] == [(True, "enough")]


def test_a_type_that_the_region_does_not_have_is_named(account: tuple[Aws, Stubber]) -> None:
    aws, answers = account
    answers.add_response("list_service_quotas", {"Quotas": []})
    [finding] = doctor._quotas(aws)
    assert finding.found == "“ml.g5.xlarge for endpoint usage” is unknown in us-east-1"
    assert finding.todo == "Give types it has."


def test_who_may_not_look_is_told_which_right_it_takes(account: tuple[Aws, Stubber]) -> None:
    aws, answers = account
    answers.add_client_error("list_service_quotas", "AccessDeniedException", "User x is not authorized to perform y")
    [finding] = doctor._quotas(aws)
    assert (finding.good, finding.found) == (False, "User x is not authorized to perform y")
    assert "servicequotas:ListServiceQuotas" in finding.todo
