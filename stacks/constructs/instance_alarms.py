"""The alarms of the machines behind an endpoint: full memory ends the server, full processors make people wait.

Metrics: namespace /aws/sagemaker/Endpoints. Those of processors and GPUs are sums over all of an instance, so that four
cores come to 400; the server uses one GPU, so that its GPU metrics come to 100 whatever the type.
https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html (instance metrics)
"""

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sns as sns
from constructs import Construct

from stacks.constructs.ringing_alarm import FIVE_MINUTES, RingingAlarm
from stacks.instance_types import has_gpu, vcpus

NAMESPACE = "/aws/sagemaker/Endpoints"
FULL = 90  # percent
BUSY_PERIODS = 6  # of five minutes: scaling out takes its ten


class InstanceAlarms(Construct):
    """Memory, processors, disk, and GPU where the type has one. None takes a release back: traffic fills them."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        endpoint_name: str,
        variant_name: str,
        instance_type: str | None,
        topic: sns.ITopic,
    ) -> None:
        """`instance_type` None: serverless, which tells of its memory only."""
        super().__init__(scope, id)
        self._dimensions = {"EndpointName": endpoint_name, "VariantName": variant_name}
        self._topic = topic
        self._full("Memory", "MemoryUtilization", "memory", periods=2)
        if instance_type is None:
            return
        self._full("Disk", "DiskUtilization", "disk", periods=2)
        self._full("Cpu", "CPUUtilization", "processors", periods=BUSY_PERIODS, units=vcpus(instance_type))
        if has_gpu(instance_type):
            self._full("Gpu", "GPUUtilization", "GPU", periods=BUSY_PERIODS)
            self._full("GpuMemory", "GPUMemoryUtilization", "GPU memory", periods=2)

    def _full(self, id: str, metric: str, what: str, *, periods: int, units: int = 1) -> None:
        RingingAlarm(
            self,
            id,
            description=f"The {what} of the endpoint's instances: over {FULL} % for {5 * periods} minutes.",
            runbook="endpoint-instances-full",
            metric=cloudwatch.Metric(
                namespace=NAMESPACE,
                metric_name=metric,
                dimensions_map=self._dimensions,
                statistic="Average",
                period=FIVE_MINUTES,
            ),
            threshold=FULL * units,
            evaluation_periods=periods,
            topic=self._topic,
        )
