"""One page for an environment: what people ask, how it is answered, what is being trained, and what it costs."""

from collections.abc import Iterable

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from stacks.config import Async, Batch, Drift, Environment, InferenceComponents, RealTime, Serverless
from stacks.constructs.drift_check import drift_metric, limits
from stacks.constructs.instance_alarms import NAMESPACE as ENDPOINT_INSTANCES
from stacks.constructs.pipeline_alarms import runs_that
from stacks.constructs.ringing_alarm import FIVE_MINUTES, HOUR, MINUTE, RUNBOOK
from stacks.constructs.served_model import VARIANT_NAME
from stacks.instance_types import has_gpu

WIDTH, HEIGHT = 24, 6  # of the page, in CloudWatch's units; of a graph
TRAINING_JOBS = "/aws/sagemaker/TrainingJobs"


class EnvironmentDashboard(cloudwatch.Dashboard):
    """Rows of graphs, by what the environment has."""

    def __init__(self, scope: Construct, id: str, *, environment: Environment, metric_namespace: str) -> None:
        super().__init__(
            scope,
            id,
            dashboard_name=environment.resource_name,
            default_interval=cdk.Duration.days(1),
            period_override=cloudwatch.PeriodOverride.INHERIT,
        )
        self._environment = environment
        self._name = environment.resource_name
        self._text(
            f"# AMPLIFY, {environment.name}\n"
            f"What to do about an alarm: `{RUNBOOK}`. What runs: `amplify runs --env {environment.name}`."
        )
        if not isinstance(environment.endpoint, Batch):
            self._text("## Endpoint")
            self._row(*self._endpoint())
        if environment.training is not None:
            self._text("## Training: every job of the account whose log has our metric lines")
            self._row(*self._training())
        if environment.monitoring.drift is not None:
            self._text("## Drift: what people send against the training set; the least that each difference is")
            self._row(*self._drift(environment.monitoring.drift, metric_namespace))
        self._text(
            "## Spend of the account this month\nOnly where billing alerts are switched on "
            "(Billing preferences, in the console); a few hours late."
        )
        self._row(self._spend())

    # ---- rows ----------------------------------------------------------------------------------------------------

    def _text(self, markdown: str) -> None:
        self.add_widgets(cloudwatch.TextWidget(markdown=markdown, width=WIDTH, height=2))

    def _row(self, *graphs: cloudwatch.GraphWidget) -> None:
        self.add_widgets(*graphs)

    def _endpoint(self) -> Iterable[cloudwatch.GraphWidget]:
        settings = self._environment.endpoint
        yield self._graph(
            "Requests and refusals, a minute",
            self._asked("Invocations", "Sum", "requests"),
            self._asked("Invocation4XXErrors", "Sum", "4xx: the caller's"),
            self._asked("Invocation5XXErrors", "Sum", "5xx: ours"),
        )
        yield self._graph(
            "Latency, microseconds",
            self._asked("ModelLatency", "p50", "model, median"),
            self._asked("ModelLatency", "p99", "model, slowest hundredth"),
            self._asked("OverheadLatency", "p99", "SageMaker on top, slowest hundredth"),
        )
        match settings:
            case RealTime() | InferenceComponents():
                name = "Model" if isinstance(settings, RealTime) else "Copy"
                yield self._graph(
                    "Requests under way", self._asked(f"ConcurrentRequestsPer{name}", "Maximum", f"per {name.lower()}")
                )
            case Async():
                yield self._graph(
                    "Queue",
                    self._of_the_endpoint("ApproximateBacklogSize", "requests that wait"),
                    self._of_the_endpoint("ApproximateAgeOfOldestRequest", "seconds the oldest waits"),
                )
            case Serverless():
                yield self._graph(
                    "Share of the permitted concurrency",
                    self._asked("ServerlessConcurrentExecutionsUtilization", "Maximum", "in use"),
                )
        if isinstance(settings, Serverless):
            yield self._graph("Memory, percent", self._instances("MemoryUtilization", "memory"))
        elif isinstance(settings, RealTime | Async | InferenceComponents):
            yield self._graph(
                "Instances, percent (summed over processors and GPUs)", *self._busy(settings.instance_type)
            )

    def _busy(self, instance_type: str) -> Iterable[cloudwatch.Metric]:
        yield self._instances("CPUUtilization", "processors")
        yield self._instances("MemoryUtilization", "memory")
        yield self._instances("DiskUtilization", "disk")
        if has_gpu(instance_type):
            yield self._instances("GPUUtilization", "GPU")
            yield self._instances("GPUMemoryUtilization", "GPU memory")

    def _training(self) -> Iterable[cloudwatch.GraphWidget]:
        yield self._graph(
            "Loss, nats a residue", self._found("train:loss", "training"), self._found("validation:loss", "validation")
        )
        yield self._graph("Residues a second", self._found("train:residues_per_second", "speed"))
        for title, pipeline in (
            ("Runs of the training pipeline", self._name),
            ("Registrations", f"{self._name}-register"),
        ):
            kinds = ("Started", "Succeeded", "Failed", "Stopped")
            yield self._graph(
                title, *(runs_that(kind, pipeline).with_(label=kind.lower(), period=HOUR) for kind in kinds)
            )

    def _drift(self, drift: Drift, namespace: str) -> Iterable[cloudwatch.GraphWidget]:
        def metric(name: str, label: str) -> cloudwatch.Metric:
            found = drift_metric(name, namespace=namespace, endpoint_name=self._name)
            return found.with_(label=label) if isinstance(found, cloudwatch.Metric) else found

        yield self._graph("Looked at, a run", metric("Requests", "requests"), metric("Proteins", "proteins"))
        for name, (limit, _) in limits(drift).items():
            yield cloudwatch.GraphWidget(
                title=name,
                left=[metric(name, "at least")],
                left_annotations=[cloudwatch.HorizontalAnnotation(value=limit, label="limit", color="#d62728")],
                left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
                width=WIDTH // 4,
                height=HEIGHT,
            )
        yield self._graph("Perplexity", metric("Perplexity", "of a sample"))

    def _spend(self) -> cloudwatch.GraphWidget:
        charges = cloudwatch.Metric(
            namespace="AWS/Billing",
            metric_name="EstimatedCharges",
            dimensions_map={"Currency": "USD"},
            statistic="Maximum",
            period=cdk.Duration.hours(6),
            label="US dollars since the first of the month",
            region="us-east-1",  # where AWS keeps this one metric
        )
        budget = self._environment.monitoring.monthly_budget_usd
        limit = [cloudwatch.HorizontalAnnotation(value=budget, label="budget", color="#d62728")] if budget else []
        return cloudwatch.GraphWidget(
            title="Estimated charges",
            left=[charges],
            left_annotations=limit,
            left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
            width=WIDTH // 2,
            height=HEIGHT,
            region="us-east-1",
        )

    # ---- metrics -------------------------------------------------------------------------------------------------

    def _graph(self, title: str, *metrics: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
        return cloudwatch.GraphWidget(
            title=title,
            left=list(metrics),
            left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
            width=WIDTH // 4,
            height=HEIGHT,
        )

    def _asked(self, name: str, statistic: str, label: str) -> cloudwatch.Metric:
        """Of the variant, or of the component where there is one."""
        component = isinstance(self._environment.endpoint, InferenceComponents)
        return cloudwatch.Metric(
            namespace="AWS/SageMaker",
            metric_name=name,
            dimensions_map={"InferenceComponentName": self._name} if component else self._variant,
            statistic=statistic,
            period=MINUTE,
            label=label,
        )

    def _of_the_endpoint(self, name: str, label: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/SageMaker",
            metric_name=name,
            dimensions_map={"EndpointName": self._name},
            statistic="Maximum",
            period=MINUTE,
            label=label,
        )

    def _instances(self, name: str, label: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=ENDPOINT_INSTANCES,
            metric_name=name,
            dimensions_map=self._variant,
            statistic="Average",
            period=FIVE_MINUTES,
            label=label,
        )

    def _found(self, name: str, label: str) -> cloudwatch.MathExpression:
        """Of every training job: SageMaker names jobs anew each run, so they are searched for."""
        return cloudwatch.MathExpression(
            expression=f"SEARCH('Namespace=\"{TRAINING_JOBS}\" MetricName=\"{name}\"', 'Average', 60)",
            using_metrics={},
            label=label,
            period=MINUTE,
        )

    @property
    def _variant(self) -> dict[str, str]:
        return {"EndpointName": self._name, "VariantName": VARIANT_NAME}
