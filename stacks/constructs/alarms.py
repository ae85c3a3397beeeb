"""The alarms of an endpoint. All tell a person; those of our own faults also take a bad release back."""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct


class EndpointAlarms(Construct):
    """Errors and latency of one endpoint, known by name: its roll-back needs them before it exists."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        endpoint_name: str,
        variant_name: str,
        max_latency_ms: int,
        topic: sns.ITopic,
    ) -> None:
        super().__init__(scope, id)
        self._dimensions = {"EndpointName": endpoint_name, "VariantName": variant_name}
        self._topic = topic

        server_errors = self._alarm(
            "ServerErrors",
            "The endpoint answers 5xx: requests are lost. Read its log; take the release back.",
            metric=self._metric("Invocation5XXErrors", "Sum", cdk.Duration.minutes(1)),
            threshold=1,
            evaluation_periods=3,
            datapoints_to_alarm=2,
        )
        latency = self._alarm(
            "Latency",
            f"One request in a hundred takes over {max_latency_ms} ms. Add instances, or look for long proteins.",
            metric=self._metric("ModelLatency", "p99", cdk.Duration.minutes(5)),
            threshold=max_latency_ms * 1_000,  # the metric counts microseconds
            evaluation_periods=2,
            datapoints_to_alarm=2,
        )
        # Bad requests are the clients' doing: a hostile one must not be able to take a good release back.
        self._alarm(
            "ClientErrors",
            "Many requests are refused as malformed (4xx). Ask who is calling; the release itself is not at fault.",
            metric=self._metric("Invocation4XXErrors", "Sum", cdk.Duration.minutes(5)),
            threshold=100,
            evaluation_periods=2,
            datapoints_to_alarm=2,
        )
        self.roll_back_on = [server_errors, latency]

    def _metric(self, name: str, statistic: str, period: cdk.Duration) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/SageMaker",
            metric_name=name,
            dimensions_map=self._dimensions,
            statistic=statistic,
            period=period,
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
