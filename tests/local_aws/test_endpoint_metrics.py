"""What endpoints publish in CloudWatch: of requests, of concurrency, and of the processes that serve."""

import contextlib
import time
from collections import Counter

import pytest
from botocore.exceptions import ClientError

from local_aws.alarms import one_a_minute
from local_aws.metric_values import merged
from local_aws.processes import wait_until
from tests.local_aws.small_endpoints import Asking, ask


def statistics(aws, metric, namespace="AWS/SageMaker", period=86400, **dimensions):
    """Every statistic of a metric, over all of it; None where nothing was published."""
    found = aws("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime="2020-01-01T00:00:00Z",
        EndTime="2100-01-01T00:00:00Z",
        Period=period,
        Statistics=["Sum", "Average", "Maximum", "SampleCount"],
    )
    return found["Datapoints"][0] if found["Datapoints"] else None


def test_each_request_is_counted_by_what_came_of_it(aws, create_endpoint):
    name = create_endpoint("a", InitialInstanceCount=2)
    config = aws("sagemaker").describe_endpoint(EndpointName=name)["EndpointConfigName"]
    about = {"EndpointName": name, "VariantName": "v0"}
    for body in (b"x", b"x", b"status 400", b"status 503"):
        with contextlib.suppress(ClientError):
            ask(aws, name, body)
    ask(aws, name, b"sleep 0.2")

    def total(metric, **more):
        return (statistics(aws, metric, **about, **more) or {}).get("Sum")

    assert wait_until(lambda: total("Invocations") == 5, 20)
    errors = [total(f"Invocation{kind}Errors") for kind in ("4XX", "5XX", "Model")]
    assert errors == [1, 1, 2]
    assert statistics(aws, "Invocation5XXErrors", **about)["Average"] == 0.2
    assert total("InvocationsPerInstance") == 2.5
    assert total("Invocations", EndpointConfigName=config) == 5
    latency, overhead = statistics(aws, "ModelLatency", **about), statistics(aws, "OverheadLatency", **about)
    assert latency["SampleCount"] == overhead["SampleCount"] == 5
    assert 200_000 <= latency["Maximum"] < 2_000_000, "microseconds"
    assert 0 <= overhead["Maximum"] < 1_000_000


def test_concurrency_is_that_of_one_instance_and_is_zero_when_nobody_asks(aws, create_endpoint):
    name = create_endpoint("a", InitialInstanceCount=2, RoutingConfig={"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"})
    about = {"EndpointName": name, "VariantName": "v0"}
    asking = Asking(aws, name, threads=4, body=b"sleep 1")
    try:
        assert wait_until(
            lambda: (statistics(aws, "ConcurrentRequestsPerModel", **about) or {"Maximum": 0})["Maximum"] == 2, 20
        )
    finally:
        asking.stop()
    found = aws("cloudwatch").list_metrics(MetricName="ConcurrentRequestsPerModel")["Metrics"]
    assert sorted(each["Name"] for each in found[0]["Dimensions"]) == ["EndpointName", "VariantName"]
    since = time.time()

    def newest():
        data = aws("cloudwatch").get_metric_data(
            StartTime=since,
            EndTime=since + 60,
            MetricDataQueries=[
                {
                    "Id": "m",
                    "MetricStat": {
                        "Metric": {
                            "Namespace": "AWS/SageMaker",
                            "MetricName": "ConcurrentRequestsPerModel",
                            "Dimensions": [{"Name": key, "Value": value} for key, value in about.items()],
                        },
                        "Period": 1,
                        "Stat": "Average",
                    },
                }
            ],
        )
        return data["MetricDataResults"][0]["Values"][-1:]

    assert wait_until(lambda: newest() == [0], 20)


def test_the_processes_of_each_instance_are_measured(aws, create_endpoint):
    name = create_endpoint("a", InitialInstanceCount=2)

    def measured(metric):
        namespace = "/aws/sagemaker/Endpoints"
        return statistics(aws, metric, namespace, EndpointName=name, VariantName="v0")

    assert wait_until(lambda: measured("MemoryUtilization") is not None, 30)
    assert measured("MemoryUtilization")["SampleCount"] == 2, "AWS: the sample count is the number of instances"
    assert 0 < measured("MemoryUtilization")["Average"] < 20
    assert 0 <= measured("CPUUtilization")["Average"] < 200


@pytest.mark.parametrize(
    "values",
    [[1000 + 37.7 * number for number in range(5000)], [0.0, 1.0, 0.0], [10.0**power for power in range(-3, 9)]],
)
def test_many_different_values_become_few_and_keep_their_number_and_their_sum(values):
    counted = merged(Counter(values), 25)
    assert len(counted) <= 25
    assert counted.total() == len(values)
    assert sum(value * number for value, number in counted.items()) == pytest.approx(sum(values))
    assert max(counted) == pytest.approx(max(values), rel=0.3)
    assert list(merged(Counter([1.0, 2.0, 2.0]), 25).items()) == [(1.0, 1), (2.0, 2)]


def test_old_values_are_kept_by_the_minute():
    points = [
        {"Timestamp": 600.0 + number, "Value": number % 2, "Unit": "Count", "Dimensions": {}, "Count": 2.0}
        for number in range(120)
    ]
    statistics = {"Timestamp": 610.0, "Value": 5.0, "Unit": "Count", "_stat": {"SampleCount": 2, "Sum": 10}}
    thinned = one_a_minute([*points, statistics])
    assert [(point["Timestamp"], point["Value"], point["Count"]) for point in thinned if "_stat" not in point] == [
        (600.0, 0.0, 60.0),
        (600.0, 1.0, 60.0),
        (660.0, 0.0, 60.0),
        (660.0, 1.0, 60.0),
    ]
    assert statistics in thinned
