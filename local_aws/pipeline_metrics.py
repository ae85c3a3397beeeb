"""What SageMaker publishes about the runs of a pipeline in CloudWatch: that they began, and how they ended.

https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html (SageMaker pipelines metrics)
"""

import logging
import threading
import time
from typing import Any

from botocore.exceptions import BotoCoreError

from local_aws.clients import client
from local_aws.store import Scope

logger = logging.getLogger("local_aws")

NAMESPACE = "AWS/Sagemaker/ModelBuildingPipeline"  # so written
ATTEMPTS = 10  # a server that starts tells of runs that were interrupted before it listens


def began(scope: Scope, pipeline: str) -> None:
    """A run started."""
    _publish(scope, pipeline, {"ExecutionStarted": 1.0})


def ended(scope: Scope, pipeline: str, status: str, seconds: float) -> None:
    """A run came to its end: Succeeded, Failed or Stopped."""
    _publish(scope, pipeline, {f"Execution{status}": 1.0, "ExecutionDuration": seconds * 1000})


def _publish(scope: Scope, pipeline: str, values: dict[str, float]) -> None:
    data = [
        {
            "MetricName": name,
            "Dimensions": [{"Name": "PipelineName", "Value": pipeline}],
            "Timestamp": time.time(),
            "Value": value,
            "Unit": "Milliseconds" if name == "ExecutionDuration" else "Count",
        }
        for name, value in values.items()
    ]
    threading.Thread(target=_put, args=(scope, data), name=f"metrics of {pipeline}", daemon=True).start()


def _put(scope: Scope, data: list[dict[str, Any]]) -> None:
    for _ in range(ATTEMPTS):
        try:
            client("cloudwatch", scope.account, scope.region).put_metric_data(Namespace=NAMESPACE, MetricData=data)
            return
        except BotoCoreError:
            time.sleep(1)
    logger.warning("metrics of a pipeline could not be published")
