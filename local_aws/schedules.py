"""What EventBridge Scheduler does when a schedule is due: it calls the target in the schedule's role.

Beside ministack's own targets: a SageMaker pipeline, and SageMaker's operations by their universal target. Once: no
retries, no dead letters; but an alarm on TargetErrorCount hears of it.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
https://docs.aws.amazon.com/scheduler/latest/UserGuide/monitoring-cloudwatch.html
"""

import json
import logging
import re
import uuid
from collections.abc import Callable

from local_aws import api, authorization, identity
from local_aws.clients import client
from local_aws.errors import SageMakerError, invalid
from local_aws.ministack_hooks.cloudformation import Properties
from local_aws.ministack_hooks.requests import account, region
from local_aws.ministack_hooks.schedules import deliver_schedules
from local_aws.permissions import Need
from local_aws.store import Scope

SERVICE = "scheduler.amazonaws.com"
NAMESPACE = "AWS/Scheduler"
PIPELINE = re.compile(r"arn:aws:sagemaker:[a-z0-9-]+:\d{12}:pipeline/([^/]+)")
UNIVERSAL = re.compile(r"arn:aws:scheduler:::aws-sdk:sagemaker:([a-z]\w*)")
FUNCTION = re.compile(r"arn:aws:lambda:[a-z0-9-]+:\d{12}:function:.+")

logger = logging.getLogger("local_aws")


def install() -> None:
    deliver_schedules(deliver)


def deliver(schedule: Properties, as_ministack_does: Callable[[], None]) -> None:
    """Call the target; where its role may not, or the target refuses, say so in the log and by a metric."""
    role = schedule["Target"].get("RoleArn")
    try:
        with identity.acting_as(role, uuid.uuid4().hex, SERVICE):
            _call(schedule["Target"], as_ministack_does)
    except SageMakerError as error:
        logger.warning("schedule %s: %s: %s", schedule["Arn"], error.code, error)
        _count("TargetErrorCount", schedule)


def _call(target: Properties, as_ministack_does: Callable[[], None]) -> None:
    """Raises SageMakerError."""
    scope, arn = Scope(account(), region()), target["Arn"]
    if pipeline := PIPELINE.fullmatch(arn):
        parameters = target.get("SageMakerPipelineParameters", {}).get("PipelineParameterList", [])
        api.call(
            scope,
            "StartPipelineExecution",
            {
                "PipelineName": pipeline[1],
                "PipelineParameters": parameters,
                "ClientRequestToken": uuid.uuid4().hex,
            },
        )
    elif operation := UNIVERSAL.fullmatch(arn):
        api.call(scope, operation[1][0].upper() + operation[1][1:], _request(target.get("Input", "{}")))
    else:
        if FUNCTION.fullmatch(arn):
            authorization.require(scope, [Need(action="lambda:InvokeFunction", resource=arn)])
        as_ministack_does()


def _request(text: str) -> dict[str, object]:
    try:
        request = json.loads(text)
    except ValueError:
        request = None
    if not isinstance(request, dict):
        raise invalid(f"Input of a universal target is the JSON of a request, not {text[:100]!r}")
    return request


def _count(metric: str, schedule: Properties) -> None:
    dimensions = [{"Name": "ScheduleGroup", "Value": schedule.get("GroupName", "default")}]
    data = [{"MetricName": metric, "Dimensions": dimensions, "Value": 1.0, "Unit": "Count"}]
    client("cloudwatch", account(), region()).put_metric_data(Namespace=NAMESPACE, MetricData=data)
