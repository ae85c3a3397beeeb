"""CloudWatch alarms: dimensions, M of N, missing data, metric math; by the clock, and on to SNS."""

import json
import time
import uuid

import pytest

from local_aws.alarms import verdict
from local_aws.metric_math import MathError, evaluate
from local_aws.processes import wait_until

TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
STATES = {"OK": "OK", "ALARM": "ALARM", "INSUFFICIENT": "INSUFFICIENT_DATA", "stays": None}


# The tables of CloudWatch's user guide, "How alarm state is evaluated when data is missing": newest at the right.
@pytest.mark.parametrize(
    ("points", "needed", "states"),
    [
        ("0-X-X", 3, "OK OK OK OK"),
        ("----0", 3, "OK OK OK OK"),
        ("-----", 3, "INSUFFICIENT stays ALARM OK"),
        ("0XX-X", 3, "ALARM ALARM ALARM ALARM"),
        ("--X--", 3, "ALARM stays ALARM OK"),
        ("0-X-X", 2, "ALARM ALARM ALARM ALARM"),
        ("00X0X", 2, "ALARM ALARM ALARM ALARM"),
        ("0-X--", 2, "OK OK ALARM OK"),
        ("----0", 2, "OK OK ALARM OK"),
        ("---X-", 2, "ALARM stays ALARM OK"),
    ],
)
def test_missing_data_is_treated_as_cloudwatchs_tables_say(points, needed, states):
    breaching = [{"0": False, "X": True, "-": None}[each] for each in reversed(points)]
    found = [verdict(breaching, 3, needed, treatment) for treatment in TREATMENTS]
    assert found == [STATES[state] for state in states.split()]


def test_an_alarm_does_not_ring_before_enough_of_the_newest_data_can_have_breached():
    assert verdict([True, None, None, None, None], 3, 3, "missing") is None


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("100 * errors / requests", 25.0),
        ("FILL(nothing, 0) + errors", 1.0),
        ("nothing + errors", None),
        ("errors / (requests - 4)", None),
        ("IF(requests > 3, errors, 0)", 1.0),
        ("SUM([errors, requests, nothing]) - MAX([errors, requests])", 1.0),
        ("-ABS(-requests)", -4.0),
    ],
)
def test_metric_math_is_arithmetic(expression, value):
    assert evaluate(expression, {"errors": 1.0, "requests": 4.0, "nothing": None}) == value


@pytest.mark.parametrize(
    "expression", ["errors +", "__import__('os').getpid()", "other", "SEARCH('{A}', 'Sum')", "errors.real", "[1]"]
)
def test_what_is_no_known_metric_math_is_refused_and_never_run(expression):
    with pytest.raises(MathError):
        evaluate(expression, {"errors": 1.0})


@pytest.fixture
def name(aws):
    name = f"alarm-{uuid.uuid4().hex[:8]}"
    yield name
    aws("cloudwatch").delete_alarms(AlarmNames=[name])


def put_alarm(aws, name, **alarm):
    """Ten-second data points; rings at one error."""
    about = {"Namespace": "Test", "MetricName": name, "Statistic": "Sum", "Period": 10}
    if "Metrics" in alarm:
        about = {}
    aws("cloudwatch").put_metric_alarm(
        **{
            "AlarmName": name,
            "EvaluationPeriods": 1,
            "Threshold": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "notBreaching",
            **about,
            **alarm,
        }
    )


def publish(aws, metric, value, seconds_ago=0.0, **dimensions):
    aws("cloudwatch").put_metric_data(
        Namespace="Test",
        MetricData=[
            {
                "MetricName": metric,
                "Value": value,
                "Timestamp": time.time() - seconds_ago,
                "Dimensions": [{"Name": key, "Value": each} for key, each in dimensions.items()],
            }
        ],
    )


def described(aws, name):
    [alarm] = aws("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return alarm


def state(aws, name):
    return described(aws, name)["StateValue"]


def test_an_alarm_hears_its_own_dimensions_only_and_is_silent_again_when_time_has_passed(aws, name):
    """No metric is published to bring it back to OK: the clock does."""
    put_alarm(aws, name, Dimensions=[{"Name": "Variant", "Value": "a"}])
    publish(aws, name, 9, 10, Variant="b")
    publish(aws, name, 9, 20, Variant="b")
    put_alarm(aws, name, Dimensions=[{"Name": "Variant", "Value": "a"}], Threshold=2)
    assert wait_until(lambda: state(aws, name) == "OK", 15)
    publish(aws, name, 5, Variant="a")
    assert wait_until(lambda: state(aws, name) == "ALARM", 20)
    assert "5.0" in described(aws, name)["StateReason"]
    assert wait_until(lambda: state(aws, name) == "OK", 60)  # CloudWatch looks back two periods for old data


def test_two_of_three_are_two_periods_and_not_one_burst(aws, name):
    put_alarm(aws, name, EvaluationPeriods=3, DatapointsToAlarm=2)
    now = time.time()
    period = now // 10 * 10
    for second in (1, 5, 9):
        publish(aws, name, 50, now - (period - 20 + second))
    put_alarm(aws, name, EvaluationPeriods=3, DatapointsToAlarm=2, Threshold=2)
    assert wait_until(lambda: state(aws, name) == "OK", 5)
    publish(aws, name, 50, now - (period - 5))
    put_alarm(aws, name, EvaluationPeriods=3, DatapointsToAlarm=2, Threshold=3)
    assert wait_until(lambda: state(aws, name) == "ALARM", 20)


def test_an_alarm_tells_its_topic_when_it_rings_and_when_it_stops(aws, name):
    topic = aws("sns").create_topic(Name=name)["TopicArn"]
    queue = aws("sqs").create_queue(QueueName=name)["QueueUrl"]
    arn = aws("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    put_alarm(aws, name, AlarmActions=[topic], OKActions=[topic])
    publish(aws, name, 1)
    told = []

    def received():
        for message in aws("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            aws("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            told.append(json.loads(json.loads(message["Body"])["Message"])["NewStateValue"])
        return told[-2:] == ["ALARM", "OK"]

    assert wait_until(received, 70), told


def test_an_alarm_may_watch_a_share_by_metric_math_through_the_api_and_through_cloudformation(aws, deploy, name):
    metrics = [
        {
            "Id": metric,
            "MetricStat": {
                "Metric": {"Namespace": "Test", "MetricName": f"{name}-{metric}", "Dimensions": []},
                "Period": 10,
                "Stat": "Sum",
            },
            "ReturnData": False,
        }
        for metric in ("errors", "requests")
    ]
    metrics.append({"Id": "share", "Expression": "100 * errors / requests", "ReturnData": True})
    put_alarm(aws, name, Metrics=metrics, Threshold=50)
    properties = {
        "AlarmName": f"{name}-stack",
        "Metrics": metrics,
        "Threshold": 50,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "TreatMissingData": "notBreaching",
    }
    resources = {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}}
    stack = deploy(aws("cloudformation"), name, resources)
    try:
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        assert [each["Id"] for each in described(aws, name)["Metrics"]] == ["errors", "requests", "share"]
        publish(aws, f"{name}-requests", 10)
        publish(aws, f"{name}-errors", 6)
        assert wait_until(lambda: state(aws, name) == state(aws, f"{name}-stack") == "ALARM", 20)
    finally:
        aws("cloudformation").delete_stack(StackName=name)
