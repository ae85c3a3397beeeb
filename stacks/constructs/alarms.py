"""The alarms of an endpoint. All tell a person; those of our own faults also take a bad release back.

They know the endpoint by name: its roll-back needs them before it exists.
"""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.config.endpoint.deployment import ALARM_MINUTES

MINUTE, FIVE_MINUTES = cdk.Duration.minutes(1), cdk.Duration.minutes(5)


class _Alarms(Construct):
    """Alarms on SageMaker's metrics of one thing, given by its dimensions."""

    def __init__(self, scope: Construct, id: str, *, dimensions: dict[str, str], topic: sns.ITopic) -> None:
        super().__init__(scope, id)
        self._dimensions, self._topic = dimensions, topic
        self.roll_back_on: list[cloudwatch.Alarm] = []

    def _metric(
        self, name: str, statistic: str, period: cdk.Duration, dimensions: dict[str, str] | None = None
    ) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/SageMaker",
            metric_name=name,
            dimensions_map=self._dimensions if dimensions is None else dimensions,
            statistic=statistic,
            period=period,
        )

    def _server_errors(self) -> cloudwatch.Alarm:
        """It rings within config.endpoint.deployment.ALARM_MINUTES: the waits of a deployment reckon with that."""
        return self._alarm(
            "ServerErrors",
            "The endpoint answers 5xx: requests are lost. Read its log; take the release back.",
            metric=self._metric("Invocation5XXErrors", "Sum", MINUTE),
            threshold=1,
            evaluation_periods=ALARM_MINUTES,
            datapoints_to_alarm=ALARM_MINUTES - 1,
        )

    def _alarm(
        self,
        id: str,
        description: str,
        *,
        metric: cloudwatch.Metric,
        threshold: float,
        evaluation_periods: int,
        datapoints_to_alarm: int,
    ) -> cloudwatch.Alarm:
        alarm = cloudwatch.Alarm(
            self,
            id,
            alarm_description=description,
            metric=metric,
            threshold=threshold,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            evaluation_periods=evaluation_periods,
            datapoints_to_alarm=datapoints_to_alarm,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(actions.SnsAction(self._topic))
        alarm.add_ok_action(actions.SnsAction(self._topic))
        return alarm


class EndpointAlarms(_Alarms):
    """Errors and latency of an endpoint that answers at once."""

    def __init__(
        self, scope: Construct, id: str, *, dimensions: dict[str, str], max_latency_ms: int, topic: sns.ITopic
    ) -> None:
        super().__init__(scope, id, dimensions=dimensions, topic=topic)
        server_errors = self._server_errors()
        latency = self._alarm(
            "Latency",
            f"One request in a hundred takes over {max_latency_ms} ms. Add instances, or look for long proteins.",
            metric=self._metric("ModelLatency", "p99", FIVE_MINUTES),
            threshold=max_latency_ms * 1_000,  # the metric counts microseconds
            evaluation_periods=2,
            datapoints_to_alarm=2,
        )
        # Bad requests are the clients' doing: a hostile one must not be able to take a good release back.
        self._alarm(
            "ClientErrors",
            "Many requests are refused as malformed (4xx). Ask who is calling; the release itself is not at fault.",
            metric=self._metric("Invocation4XXErrors", "Sum", FIVE_MINUTES),
            threshold=100,
            evaluation_periods=2,
            datapoints_to_alarm=2,
        )
        self.roll_back_on = [server_errors, latency]

    def watch_concurrency(self, max_concurrency: int) -> None:
        """Of a serverless endpoint: over its limit it refuses."""
        self._alarm(
            "Concurrency",
            f"Nine tenths of the {max_concurrency} requests that may run at once do. Raise max_concurrency.",
            metric=self._metric("ServerlessConcurrentExecutionsUtilization", "Maximum", MINUTE),
            threshold=0.9,
            evaluation_periods=5,
            datapoints_to_alarm=3,
        )


class QueueAlarms(_Alarms):
    """Failures and waiting of an asynchronous endpoint."""

    # https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html
    NO_CAPACITY_MINUTES = 20  # an instance comes up in less; then there are none to be had

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        endpoint_name: str,
        variant_name: str,
        max_wait_minutes: int,
        topic: sns.ITopic,
    ) -> None:
        of_the_endpoint = {"EndpointName": endpoint_name}
        super().__init__(scope, id, dimensions=of_the_endpoint | {"VariantName": variant_name}, topic=topic)
        server_errors = self._server_errors()
        # Those that clients brought about count too, so this one takes no release back.
        self._alarm(
            "Failures",
            "Queued requests fail, and their senders find an error object. It says why.",
            metric=self._metric("InvocationFailures", "Sum", FIVE_MINUTES),
            threshold=10,
            evaluation_periods=2,
            datapoints_to_alarm=2,
        )
        self._alarm(
            "Waiting",
            f"A request has waited over {max_wait_minutes} minutes. Raise max_instances, or see what blocks.",
            metric=self._metric("ApproximateAgeOfOldestRequest", "Maximum", FIVE_MINUTES, of_the_endpoint),
            threshold=max_wait_minutes * 60,
            evaluation_periods=1,
            datapoints_to_alarm=1,
        )
        self._alarm(
            "NoCapacity",
            "Requests wait and no instance comes up. Look at the scaling activities: quota, or no such type to be had.",
            metric=self._metric("HasBacklogWithoutCapacity", "Minimum", MINUTE, of_the_endpoint),
            threshold=1,
            evaluation_periods=self.NO_CAPACITY_MINUTES,
            datapoints_to_alarm=self.NO_CAPACITY_MINUTES,
        )
        self.roll_back_on = [server_errors]
