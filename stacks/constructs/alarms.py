"""The alarms of an endpoint. All tell a person; those of our own faults also take a bad release back.

They know the endpoint by name: its roll-back needs them before it exists.
Metrics: https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
"""

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.config.endpoint.base import SERVER_REQUESTS
from stacks.config.endpoint.deployment import ALARM_MINUTES
from stacks.constructs.ringing_alarm import FIVE_MINUTES, MINUTE, RingingAlarm

NO_CAPACITY_MINUTES = 20  # an instance comes up in less; then there are none to be had
FEWEST_FOR_A_SHARE = 20  # requests in five minutes: of fewer, one bad request is a large share
LARGEST_BAD_SHARE = 20  # percent


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
        return RingingAlarm(
            self,
            "ServerErrors",
            description="The endpoint answers 5xx: requests are lost. Read its log; take the release back.",
            runbook="endpoint-server-errors",
            metric=self._metric("Invocation5XXErrors", "Sum", MINUTE),
            threshold=1,
            evaluation_periods=ALARM_MINUTES,
            datapoints_to_alarm=ALARM_MINUTES - 1,
            topic=self._topic,
        )


class EndpointAlarms(_Alarms):
    """Errors and latency of an endpoint that answers at once."""

    def __init__(
        self, scope: Construct, id: str, *, dimensions: dict[str, str], max_latency_ms: int, topic: sns.ITopic
    ) -> None:
        super().__init__(scope, id, dimensions=dimensions, topic=topic)
        server_errors = self._server_errors()
        latency = RingingAlarm(
            self,
            "Latency",
            description=f"One request in a hundred takes over {max_latency_ms} ms.",
            runbook="endpoint-latency",
            metric=self._metric("ModelLatency", "p99", FIVE_MINUTES),
            threshold=max_latency_ms * 1_000,  # the metric counts microseconds
            evaluation_periods=2,
            topic=self._topic,
        )
        # Bad requests are the clients' doing: a hostile one must not be able to take a good release back.
        RingingAlarm(
            self,
            "ClientErrors",
            description=f"Over {LARGEST_BAD_SHARE} % of the requests are refused (4xx): ask who is calling.",
            runbook="endpoint-client-errors",
            metric=self._share_refused(),
            threshold=LARGEST_BAD_SHARE,
            evaluation_periods=2,
            topic=self._topic,
        )
        self.roll_back_on = [server_errors, latency]

    def _share_refused(self) -> cloudwatch.MathExpression:
        """Percent, 0 where there are too few requests to say."""
        return cloudwatch.MathExpression(
            expression=f"IF(requests >= {FEWEST_FOR_A_SHARE}, 100 * refused / requests, 0)",
            label="requests refused, percent",
            using_metrics={
                "refused": self._metric("Invocation4XXErrors", "Sum", FIVE_MINUTES),
                "requests": self._metric("Invocations", "Sum", FIVE_MINUTES),
            },
            period=FIVE_MINUTES,
        )

    def watch_concurrency(self, max_concurrency: int) -> None:
        """Of a serverless endpoint: over its limit it refuses."""
        RingingAlarm(
            self,
            "Concurrency",
            description=f"Nine tenths of the {max_concurrency} requests that may run at once do.",
            runbook="endpoint-concurrency",
            metric=self._metric("ServerlessConcurrentExecutionsUtilization", "Maximum", MINUTE),
            threshold=0.9,
            evaluation_periods=5,
            datapoints_to_alarm=3,
            topic=self._topic,
        )

    def watch_queue(self, metric: str) -> None:
        """Of instances or copies, by the metric that counts what each has under way: the server refuses over 256."""
        RingingAlarm(
            self,
            "Queue",
            description=f"Three quarters of the {SERVER_REQUESTS} requests that a server takes at once are under way.",
            runbook="endpoint-concurrency",
            metric=self._metric(metric, "Maximum", MINUTE),
            threshold=SERVER_REQUESTS * 3 // 4,
            evaluation_periods=5,
            datapoints_to_alarm=3,
            topic=self._topic,
        )

    def watch_answers(self, namespace: str, endpoint_name: str) -> None:
        """Golden requests, asked while a release is deployed: one wrong answer takes it back."""
        wrong = cloudwatch.Metric(
            namespace=namespace,
            metric_name="WrongAnswers",
            dimensions_map={"EndpointName": endpoint_name},
            statistic="Sum",
            period=MINUTE,
        )
        alarm = RingingAlarm(
            self,
            "WrongAnswers",
            description="A release that is being deployed answers other than where it was recorded.",
            runbook="endpoint-wrong-answers",
            metric=wrong,
            threshold=1,
            topic=self._topic,
        )
        self.roll_back_on.append(alarm)

    def watch_copies(self) -> None:
        """Of an inference component: requests fail while there is no copy, and none comes up."""
        RingingAlarm(
            self,
            "NoCapacity",
            description=f"Requests have failed for {NO_CAPACITY_MINUTES} minutes because no copy of the model is up.",
            runbook="endpoint-no-capacity",
            metric=self._metric("NoCapacityInvocationFailures", "Sum", MINUTE),
            threshold=1,
            evaluation_periods=NO_CAPACITY_MINUTES,
            datapoints_to_alarm=NO_CAPACITY_MINUTES * 3 // 4,
            topic=self._topic,
        )


class QueueAlarms(_Alarms):
    """Failures and waiting of an asynchronous endpoint.

    https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-monitor.html
    """

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
        RingingAlarm(
            self,
            "Failures",
            description="Queued requests fail, and their senders find an error object. It says why.",
            runbook="endpoint-failures",
            metric=self._metric("InvocationFailures", "Sum", FIVE_MINUTES),
            threshold=10,
            evaluation_periods=2,
            topic=self._topic,
        )
        RingingAlarm(
            self,
            "Waiting",
            description=f"A request has waited over {max_wait_minutes} minutes.",
            runbook="endpoint-waiting",
            metric=self._metric("ApproximateAgeOfOldestRequest", "Maximum", FIVE_MINUTES, of_the_endpoint),
            threshold=max_wait_minutes * 60,
            topic=self._topic,
        )
        RingingAlarm(
            self,
            "NoCapacity",
            description="Requests wait and no instance comes up.",
            runbook="endpoint-no-capacity",
            metric=self._metric("HasBacklogWithoutCapacity", "Minimum", MINUTE, of_the_endpoint),
            threshold=1,
            evaluation_periods=NO_CAPACITY_MINUTES,
            topic=self._topic,
        )
        self.roll_back_on = [server_errors]
