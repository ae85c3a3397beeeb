"""Metrics of a training job: numbers that its metric definitions find in its output, sent to CloudWatch."""

import logging
import re
import time
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from local_aws.clients import client
from local_aws.errors import invalid
from local_aws.store import Scope

logger = logging.getLogger("local_aws")

NAMESPACE = "/aws/sagemaker/TrainingJobs"
MOST_DATA_A_CALL = 1000  # of PutMetricData


class MetricReader:
    """Follows a growing log. `read` may be called at any time; each line is looked at once, when it is complete."""

    def __init__(self, definitions: list[dict[str, str]]) -> None:
        self._expressions = [(definition["Name"], re.compile(definition["Regex"])) for definition in definitions]
        self._offset = 0
        self.last: dict[str, dict[str, Any]] = {}

    def read(self, log: Path, *, ended: bool = False) -> list[dict[str, Any]]:
        """The metrics of the lines that are new, as FinalMetricDataList has them. `ended`: the last line counts too."""
        if not log.is_file():
            return []
        with log.open("rb") as stream:
            stream.seek(self._offset)
            text = stream.read()
        complete = text if ended else text[: text.rfind(b"\n") + 1]
        self._offset += len(complete)
        found: list[dict[str, Any]] = [
            {"MetricName": name, "Value": value, "Timestamp": time.time()}
            for line in complete.decode(errors="replace").splitlines()
            for name, value in metrics_of(line, self._expressions)
        ]
        self.last |= {metric["MetricName"]: metric for metric in found}
        return found


def metrics_of(line: str, expressions: list[tuple[str, re.Pattern[str]]]) -> list[tuple[str, float]]:
    """(name, value) of every metric in a line. What is no number is passed over, as SageMaker does."""
    found = []
    for name, expression in expressions:
        if match := expression.search(line):
            try:
                found.append((name, float(match[1])))
            except (ValueError, TypeError):
                continue
    return found


def check_definitions(definitions: list[dict[str, str]]) -> None:
    """Raises SageMakerError for an expression that cannot find a number."""
    for definition in definitions:
        try:
            groups = re.compile(definition["Regex"]).groups
        except re.error as error:
            raise invalid(
                f"MetricDefinition {definition['Name']}: {definition['Regex']!r} is no expression: {error}"
            ) from None
        if groups == 0:
            raise invalid(
                f"MetricDefinition {definition['Name']}: {definition['Regex']!r} has no group that holds the number"
            )


def send(scope: Scope, job: str, host: str, metrics: list[dict[str, Any]]) -> None:
    """Put metrics into CloudWatch, by the job's host (algo-1) as SageMaker does."""
    data = [metric | {"Dimensions": [{"Name": "Host", "Value": f"{job}/{host}"}]} for metric in metrics]
    cloudwatch = client("cloudwatch", scope.account, scope.region)
    for start in range(0, len(data), MOST_DATA_A_CALL):
        try:
            cloudwatch.put_metric_data(Namespace=NAMESPACE, MetricData=data[start : start + MOST_DATA_A_CALL])
        except ClientError as error:  # the role may not: as with its log, the job itself goes on
            logger.warning("the metrics of %s are not stored: %s", job, error)
