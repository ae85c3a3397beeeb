"""Metrics and alarms."""

import json
import time

import pytest

from local_aws.ministack_hooks import cloudwatch as hooks
from local_aws.ministack_hooks import requests, services
from tests.local_aws.ministack_hooks.calls import call_cloudformation, request, template


@pytest.fixture
def cloudwatch(ministack, monkeypatch):
    """ministack's CloudWatch, empty, with its functions as they were after the test."""
    del ministack
    cloudwatch, provisioners = hooks.cloudwatch, hooks.provisioners
    for module, name in (
        (cloudwatch, "_evaluate_alarm"),
        (cloudwatch, "_put_metric_alarm"),
        (cloudwatch, "get_state"),
        (cloudwatch, "_metrics"),
        (provisioners, "_cw_metric_alarm_record"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    cloudwatch.reset()
    with requests.request_scope("222222222222", "eu-west-1"):
        yield cloudwatch
    cloudwatch.reset()


def call_cloudwatch(app, operation, **body):
    headers = {
        "x-amz-target": f"GraniteServiceVersion20100801.{operation}",
        "content-type": "application/x-amz-json-1.0",
    }
    return request(app, "monitoring", "/", json.dumps(body).encode(), **headers)


def test_every_evaluation_of_an_alarm_is_ours(ministack, cloudwatch):
    evaluated = []
    hooks.evaluate_alarms_with(lambda alarm: evaluated.append((alarm["AlarmName"], requests.region())))
    about = {"Namespace": "N", "MetricName": "M", "Threshold": 1, "EvaluationPeriods": 1}
    call_cloudwatch(ministack, "PutMetricAlarm", AlarmName="a", ComparisonOperator="GreaterThanThreshold", **about)
    call_cloudwatch(ministack, "PutMetricData", Namespace="N", MetricData=[{"MetricName": "M", "Value": 1}])
    hooks.evaluate_all_alarms()
    assert evaluated == [("a", "eu-west-1")] * 3
    del cloudwatch


def test_a_metrics_points_and_their_statistics_are_read_by_its_dimensions(ministack, cloudwatch):
    del cloudwatch
    data = [
        {
            "MetricName": "M",
            "Values": [1, 3],
            "Counts": [1, 3],
            "Unit": "Count",
            "Dimensions": [{"Name": "D", "Value": "x"}],
        },
        {"MetricName": "M", "Value": 9, "Dimensions": [{"Name": "D", "Value": "y"}]},
    ]
    call_cloudwatch(ministack, "PutMetricData", Namespace="N", MetricData=data)
    points = hooks.metric_points("N", "M", {"D": "x"})
    assert {point["Unit"] for point in points} == {"Count"}
    assert all(abs(point["Timestamp"] - time.time()) < 60 for point in points)
    values = {name: hooks.statistic(points, name) for name in ("SampleCount", "Sum", "Average", "p50")}
    assert values == {"SampleCount": 4, "Sum": 10, "Average": 2.5, "p50": 3}
    assert hooks.statistic([], "Sum") is None


def test_an_alarms_new_state_is_in_its_history_and_rings_at_its_parents(ministack, cloudwatch):
    about = {"Namespace": "N", "MetricName": "M", "Threshold": 1, "EvaluationPeriods": 1}
    call_cloudwatch(ministack, "PutMetricAlarm", AlarmName="a", ComparisonOperator="GreaterThanThreshold", **about)
    call_cloudwatch(ministack, "PutCompositeAlarm", AlarmName="all", AlarmRule="ALARM(a)")
    hooks.set_alarm_state(cloudwatch._alarms["a"], "ALARM", "because")
    found = call_cloudwatch(ministack, "DescribeAlarms", AlarmTypes=["MetricAlarm", "CompositeAlarm"]).json()
    states = {
        alarm["AlarmName"]: alarm["StateValue"] for kind in ("MetricAlarms", "CompositeAlarms") for alarm in found[kind]
    }
    assert states == {"a": "ALARM", "all": "ALARM"}
    history = call_cloudwatch(ministack, "DescribeAlarmHistory", AlarmName="a").json()["AlarmHistoryItems"]
    assert any("from INSUFFICIENT_DATA to ALARM" in item["HistorySummary"] for item in history)


def test_metric_math_is_kept_by_the_api_and_by_cloudformation(ministack, cloudwatch):
    metrics = [{"Id": "m", "Expression": "1 + 1", "ReturnData": True}]
    rest = {"Threshold": 1, "EvaluationPeriods": 1, "ComparisonOperator": "GreaterThanThreshold"}
    hooks.evaluate_alarms_with(lambda _: None)
    hooks.keep_metric_math()
    call_cloudwatch(ministack, "PutMetricAlarm", AlarmName="api", Metrics=metrics, **rest)
    properties = {"AlarmName": "stack", "Metrics": metrics, **rest}
    body = template("AWS::CloudWatch::Alarm", **properties)
    call_cloudformation(ministack, "CreateStack", StackName="math", TemplateBody=body)
    assert {name: cloudwatch._alarms[name]["Metrics"] for name in ("api", "stack")} == {
        "api": metrics,
        "stack": metrics,
    }
    assert "MetricName" not in cloudwatch._alarms["stack"]


def test_metrics_are_copied_whole_and_read_again(ministack, cloudwatch):
    hooks.copy_metrics_quickly()
    call_cloudwatch(ministack, "PutMetricData", Namespace="N", MetricData=[{"MetricName": "M", "Value": 7}])
    state = cloudwatch.get_state()
    call_cloudwatch(ministack, "PutMetricData", Namespace="N", MetricData=[{"MetricName": "M", "Value": 8}])
    text = services.encode("cloudwatch", state)
    assert '"Value": 7' in text
    assert '"Value": 8' not in text
    assert [point["Value"] for point in hooks.metric_points("N", "M", {})] == [7, 8]
    cloudwatch.reset()
    cloudwatch.load_persisted_state(state)
    assert [point["Value"] for point in hooks.metric_points("N", "M", {})] == [7]


def test_old_points_are_thinned_and_young_ones_are_not(ministack, cloudwatch):
    del cloudwatch
    now = time.time()
    data = [{"MetricName": "M", "Value": 1, "Timestamp": now - age} for age in (7200, 7201, 60, 0)]
    call_cloudwatch(ministack, "PutMetricData", Namespace="N", MetricData=data)
    hooks.thin_metrics(now - 3600, lambda points: points[:1])
    assert len(hooks.metric_points("N", "M", {})) == 3
