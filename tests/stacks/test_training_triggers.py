"""What starts training by itself: nothing unless it is asked for, and then with exactly the rights to do so."""

import json
from typing import Any

import pytest

from tests.stacks.rules.reading import as_list
from tests.stacks.synthesis import Template, only, resources, templates, variants


@pytest.fixture(name="both")
def template_with_both() -> Template:
    """The training stack of dev with a schedule and on arrival."""
    return variants()["triggered-dev/training"]


def test_without_a_trigger_there_is_nothing_that_could_start_a_run() -> None:
    template = templates()["dev/training"]
    for type_ in ("AWS::Events::Rule", "AWS::Scheduler::Schedule", "AWS::SQS::Queue", "AWS::Lambda::Permission"):
        assert [id_ for id_ in resources(template, type_) if not id_.startswith("RunWatch")] == []
    assert "sagemaker:StartPipelineExecution" not in json.dumps(template)


def test_the_schedule_calls_the_function_in_utc_and_says_who_it_is(both: Template) -> None:
    [schedule] = [
        schedule["Properties"]
        for id_, schedule in resources(both, "AWS::Scheduler::Schedule").items()
        if id_.startswith("Triggers")
    ]
    assert (schedule["ScheduleExpression"], schedule["ScheduleExpressionTimezone"]) == ("cron(0 3 ? * SUN *)", "UTC")
    [function] = [id_ for id_ in resources(both, "AWS::Lambda::Function") if id_.startswith("Triggers")]
    assert schedule["Target"]["Arn"] == {"Fn::GetAtt": [function, "Arn"]}
    assert json.loads(schedule["Target"]["Input"]) == {"source": "schedule"}


def test_the_schedules_role_may_call_the_one_function_and_keep_what_it_could_not(both: Template) -> None:
    [policy] = [
        policy["Properties"]["PolicyDocument"]["Statement"]
        for id_, policy in resources(both, "AWS::IAM::Policy").items()
        if id_.startswith("TriggersScheduleRole")
    ]
    allowed: dict[str, Any] = {
        action: statement["Resource"] for statement in policy for action in as_list(statement["Action"])
    }
    [function] = [id_ for id_ in resources(both, "AWS::Lambda::Function") if id_.startswith("Triggers")]
    [queue] = [id_ for id_ in resources(both, "AWS::SQS::Queue") if id_.startswith("Triggers")]
    assert allowed["lambda:InvokeFunction"] == {"Fn::GetAtt": [function, "Arn"]}
    assert allowed["sqs:SendMessage"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert {action for action in allowed if not action.startswith("kms:")} == {
        "lambda:InvokeFunction",
        "sqs:SendMessage",
    }


def test_only_this_rule_may_call_the_function(both: Template) -> None:
    [rule] = resources(both, "AWS::Events::Rule")
    permission = only(both, "AWS::Lambda::Permission")
    assert permission["Principal"] == "events.amazonaws.com"
    assert permission["SourceArn"] == {"Fn::GetAtt": [rule, "Arn"]}


def test_the_rule_wants_the_one_object_of_the_data_bucket(both: Template) -> None:
    pattern = only(both, "AWS::Events::Rule")["EventPattern"]
    assert (pattern["source"], pattern["detail-type"]) == (["aws.s3"], ["Object Created"])
    assert pattern["detail"]["object"] == {"key": ["proteins/READY"]}
    [bucket] = pattern["detail"]["bucket"]["name"]
    assert "DataBucket" in bucket["Fn::ImportValue"]


@pytest.mark.parametrize("environment", ["local", "dev", "staging", "prod"])
def test_eventbridge_hears_of_the_data_bucket_and_of_no_other(environment: str) -> None:
    buckets = resources(templates()[f"{environment}/storage"], "AWS::S3::Bucket")
    told = {id_ for id_, bucket in buckets.items() if "NotificationConfiguration" in bucket["Properties"]}
    assert told == {"DataBucketE3889A50"}
