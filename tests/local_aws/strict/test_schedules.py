"""Schedules in strict mode: each calls its target in its own role, and an alarm can hear of one that may not."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from local_aws.processes import wait_until
from tests.local_aws.strict.conftest import ACCOUNT, allow
from tests.local_aws.test_functions import code

TRUSTS_SCHEDULER = {
    "Effect": "Allow",
    "Principal": {"Service": "scheduler.amazonaws.com"},
    "Action": "sts:AssumeRole",
    "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
}
SECONDS = 30
SAGEMAKER = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}"


def due(strict, arn, *statements, trust=TRUSTS_SCHEDULER, **target):
    """The role of a schedule, in a group of its own, that is due now: (its ARN, the group)."""
    role, name, scheduler = strict.role(*statements, trust=trust), f"s{uuid.uuid4().hex[:8]}", strict.admin("scheduler")
    scheduler.create_schedule_group(Name=name)
    scheduler.create_schedule(
        Name=name,
        GroupName=name,
        ScheduleExpression=f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": arn, "RoleArn": role, **target},
    )
    return role, name


def decided(strict, role, count=1):
    """What the role asked for, once that is so many calls."""
    assert wait_until(lambda: len(strict.calls_of(role)) >= count, SECONDS), strict.calls_of(role)
    return [(call["action"], call["resource"], call["allowed"]) for call in strict.calls_of(role)]


def errors(strict, group):
    now = datetime.now(UTC)
    points = strict.admin("cloudwatch").get_metric_statistics(
        Namespace="AWS/Scheduler",
        MetricName="TargetErrorCount",
        Dimensions=[{"Name": "ScheduleGroup", "Value": group}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=5),
        Period=7200,
        Statistics=["Sum"],
    )["Datapoints"]
    return sum(point["Sum"] for point in points)


@pytest.fixture(scope="module")
def function(strict):
    """The ARN of a function, and its own role, in which it asks for nothing."""
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    own = strict.role(allow("sagemaker:ListPipelineExecutions", "*"), trust=trust)
    made = strict.admin("lambda").create_function(
        FunctionName=f"f{uuid.uuid4().hex[:8]}",
        Runtime="python3.13",
        Role=own,
        Handler="watch_runs.handler",
        Code={"ZipFile": code()},
        Timeout=30,
        Environment={"Variables": {"PIPELINE_NAMES": "none", "METRIC_NAMESPACE": "test"}},
    )
    return made["FunctionArn"], own


def test_a_function_is_called_by_a_role_that_may_and_by_no_other(strict, function):
    arn, own = function
    refused, group = due(strict, arn, allow("lambda:InvokeFunction", f"{arn}x"))
    assert decided(strict, refused) == [("lambda:InvokeFunction", arn, False)]
    assert wait_until(lambda: errors(strict, group) == 1, 10)
    assert strict.calls_of(own) == [], "it was not called"
    allowed, group = due(strict, arn, allow("lambda:InvokeFunction", arn))
    assert decided(strict, allowed) == [("lambda:InvokeFunction", arn, True)]
    assert wait_until(lambda: strict.calls_of(own) != [], SECONDS), "it was"
    assert errors(strict, group) == 0


def test_a_role_that_does_not_trust_the_scheduler_calls_nothing(strict, function):
    arn, _ = function
    trust = TRUSTS_SCHEDULER | {"Principal": {"Service": "lambda.amazonaws.com"}}
    role, group = due(strict, arn, allow("*", "*"), trust=trust)
    assert wait_until(lambda: errors(strict, group) == 1, SECONDS)
    assert strict.calls_of(role) == []


def test_a_pipeline_is_started_with_the_schedules_parameters_by_a_role_that_may(strict):
    sagemaker, name = strict.admin("sagemaker"), f"p{uuid.uuid4().hex[:8]}"
    definition = {
        "Version": "2020-12-01",
        "Parameters": [{"Name": "Why", "Type": "String"}],
        "Steps": [{"Name": "Stop", "Type": "Fail", "Arguments": {"ErrorMessage": {"Get": "Parameters.Why"}}}],
    }
    sagemaker.create_pipeline(
        PipelineName=name,
        PipelineDefinition=json.dumps(definition),
        RoleArn=strict.role(),
        ClientRequestToken=uuid.uuid4().hex * 2,
    )
    arn = f"{SAGEMAKER}:pipeline/{name}"
    parameters = {"PipelineParameterList": [{"Name": "Why", "Value": "it was time"}]}
    refused, _ = due(strict, arn, SageMakerPipelineParameters=parameters)
    assert decided(strict, refused) == [("sagemaker:StartPipelineExecution", arn, False)]
    allowed, _ = due(
        strict, arn, allow("sagemaker:StartPipelineExecution", arn), SageMakerPipelineParameters=parameters
    )
    assert decided(strict, allowed) == [("sagemaker:StartPipelineExecution", arn, True)]
    [run] = sagemaker.list_pipeline_executions(PipelineName=name)["PipelineExecutionSummaries"]
    given = sagemaker.list_pipeline_parameters_for_execution(PipelineExecutionArn=run["PipelineExecutionArn"])
    assert given["PipelineParameters"] == parameters["PipelineParameterList"]


def test_an_operation_is_asked_for_as_its_schedule_says(strict):
    sagemaker, name = strict.admin("sagemaker"), f"g{uuid.uuid4().hex[:8]}"
    arn, universal = f"{SAGEMAKER}:model-package-group/{name}", "arn:aws:scheduler:::aws-sdk:sagemaker:"
    role, group = due(
        strict,
        f"{universal}createModelPackageGroup",
        allow("sagemaker:CreateModelPackageGroup", arn),
        Input=json.dumps({"ModelPackageGroupName": name}),
    )
    assert decided(strict, role) == [("sagemaker:CreateModelPackageGroup", arn, True)]
    assert sagemaker.describe_model_package_group(ModelPackageGroupName=name)["ModelPackageGroupArn"] == arn
    assert errors(strict, group) == 0


@pytest.mark.parametrize("given", ["no json", '["a list"]', '{"ModelPackageGroupName": 7}'])
def test_an_input_that_is_no_request_is_an_error_of_the_target(strict, given):
    arn = "arn:aws:scheduler:::aws-sdk:sagemaker:createModelPackageGroup"
    _, group = due(strict, arn, allow("*", "*"), Input=given)
    assert wait_until(lambda: errors(strict, group) == 1, SECONDS)
