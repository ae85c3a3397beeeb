"""Application Auto Scaling for endpoints: its operations, on records that `scaling_loop` acts by.

ministack lacks the service. Here it knows one thing to scale, the number of instances of a variant; the others that AWS
knows answer `NotEmulated`.
"""

import asyncio
import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.session import get_session

from local_aws import authorization, endpoint_life, scaling_schedules, store, validation
from local_aws.errors import SageMakerError, invalid, not_emulated
from local_aws.listings import page
from local_aws.ministack_hooks.requests import access_key, account, region
from local_aws.permissions import Need
from local_aws.store import Record, Scope

logger = logging.getLogger("local_aws")

SERVICE = get_session().get_service_model("application-autoscaling")
TARGET, POLICY, ACTION, ACTIVITY = "scalable-target", "scaling-policy", "scheduled-action", "scaling-activity"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
RESOURCE = re.compile(r"endpoint/([^/]+)/variant/([^/]+)")
PREDEFINED = {
    # predefined metric: (metric, statistic, seconds of a data point)
    "SageMakerVariantConcurrentRequestsPerModelHighResolution": ("ConcurrentRequestsPerModel", "Average", 10),
    "SageMakerVariantInvocationsPerInstance": ("InvocationsPerInstance", "Sum", 60),
}
ROLE = "role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com"
ROLE_NAME = "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
JSON_TYPE = "application/x-amz-json-1.1"

Request = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]

_pool = ThreadPoolExecutor(4, thread_name_prefix="application-autoscaling")


async def handle(
    _method: str, _path: str, headers: Mapping[str, str], body: bytes, query: Mapping[str, list[str]]
) -> Answer:
    """Answer one request that is for Application Auto Scaling."""
    scope, name = Scope(account(), region()), headers.get("x-amz-target", "").rpartition(".")[2]
    caller = access_key(headers, query)
    return await asyncio.get_running_loop().run_in_executor(_pool, _answer, scope, caller, name, body)


def call(scope: Scope, name: str, request: Request) -> dict[str, Any]:
    """Do an operation. Raises SageMakerError."""
    authorization.require(scope, [_need(scope, name, request)])
    if name not in SERVICE.operation_names:
        raise SageMakerError("UnknownOperationException", f"The requested operation {name!r} is not recognized.")
    shapes = SERVICE.operation_model(name)
    if faults := list(validation.find_faults(shapes.input_shape, request)):
        raise validation.fault_error(faults)
    if name not in OPERATIONS:
        raise not_emulated(name)
    _check_dimension(request)
    found: dict[str, Any] = validation.pick(shapes.output_shape, OPERATIONS[name](scope, request))
    return found


def _need(scope: Scope, name: str, request: Request) -> Need:
    """What has to be allowed: service-authorization/latest/reference/list_awsapplicationautoscaling.html. A target's id
    is known to nobody before it is made."""
    targets = f"arn:aws:application-autoscaling:{scope.region}:{scope.account}:scalable-target/*"
    keys = {"service-namespace": "ServiceNamespace", "scalable-dimension": "ScalableDimension"}
    context = {f"application-autoscaling:{key}": request[member] for key, member in keys.items() if member in request}
    resource = "*" if name.startswith("Describe") else targets
    return Need(action=f"application-autoscaling:{name}", resource=resource, context=context)


def _answer(scope: Scope, caller: str, name: str, body: bytes) -> Answer:
    try:
        with authorization.called_by(caller):
            answered = call(scope, name, json.loads(body or b"{}"))
        return 200, {"Content-Type": JSON_TYPE}, json.dumps(answered).encode()
    except SageMakerError as error:
        told = {"__type": error.code, "message": str(error)}
        return error.status, {"Content-Type": JSON_TYPE}, json.dumps(told).encode()
    except Exception as error:
        logger.exception("%s failed", name)
        told = {"__type": "InternalServiceException", "message": f"a bug of local AWS, see server.log: {error!r}"}
        return 500, {"Content-Type": JSON_TYPE}, json.dumps(told).encode()


def _check_dimension(request: Request) -> None:
    if request["ServiceNamespace"] != "sagemaker":
        raise not_emulated(f"Scaling of {request['ServiceNamespace']}")
    if request.get("ScalableDimension", DIMENSION) != DIMENSION:
        raise not_emulated(f"Scaling of {request['ScalableDimension']}")
    if "ResourceId" in request and not RESOURCE.fullmatch(request["ResourceId"]):
        raise invalid(f"ResourceId is {request['ResourceId']!r}: give endpoint/<endpoint>/variant/<variant>")


# ---- targets ---------------------------------------------------------------------------------------------------------


def register(scope: Scope, request: Request) -> dict[str, Any]:
    resource = request["ResourceId"]
    with store.current().lock:
        known = store.current().get(scope, TARGET, resource)
        if known is None:
            if missing := [name for name in ("MinCapacity", "MaxCapacity") if name not in request]:
                raise invalid(f"{' and '.join(missing)} must be given for a new scalable target")
            _check_variant(scope, resource)
            unique = uuid.uuid4().hex[:12]
            arn = f"arn:aws:application-autoscaling:{scope.region}:{scope.account}:scalable-target/{unique}"
            role = f"arn:aws:iam::{scope.account}:{ROLE}/{ROLE_NAME}"
            known = {"ScalableTargetARN": arn, "CreationTime": time.time(), "RoleARN": role}
        target = {**known, **{key: value for key, value in request.items() if key != "Tags"}}
        if target["MinCapacity"] > target["MaxCapacity"]:
            raise invalid(f"MinCapacity {target['MinCapacity']} is greater than MaxCapacity {target['MaxCapacity']}")
        store.current().put(scope, TARGET, resource, target)
    return {"ScalableTargetARN": target["ScalableTargetARN"]}


def _check_variant(scope: Scope, resource: str) -> None:
    """Raises SageMakerError where the endpoint has no such variant, or is serverless."""
    match = RESOURCE.fullmatch(resource)
    assert match is not None, "it was checked"
    record = store.current().get(scope, endpoint_life.KIND, match[1])
    config = store.current().get(scope, endpoint_life.CONFIG, record["EndpointConfigName"]) if record else None
    variants = {each["VariantName"]: each for each in (config or {}).get("ProductionVariants", [])}
    if match[2] not in variants:
        raise invalid(f"There is no variant {match[2]} of an endpoint {match[1]}: create the endpoint first")
    if "ServerlessConfig" in variants[match[2]]:
        raise invalid(f"Variant {match[2]} of {match[1]} is serverless: it has no number of instances")


def describe_targets(scope: Scope, request: Request) -> dict[str, Any]:
    wanted = request.get("ResourceIds")
    found = [each for each in store.current().all(scope, TARGET) if not wanted or each["ResourceId"] in wanted]
    return page(found, request, result="ScalableTargets", name="ResourceId", order="Ascending", page_size=50)


def deregister(scope: Scope, request: Request) -> dict[str, Any]:
    resource = request["ResourceId"]
    target_of(scope, resource)
    store.current().delete(scope, TARGET, resource)
    for kind, name in ((POLICY, "PolicyName"), (ACTION, "ScheduledActionName")):
        for record in of_resource(scope, kind, resource):
            store.current().delete(scope, kind, f"{resource}/{record[name]}")
    return {}


def target_of(scope: Scope, resource: str) -> Record:
    """Raises SageMakerError where it is not registered."""
    target = store.current().get(scope, TARGET, resource)
    if target is None:
        raise SageMakerError("ObjectNotFoundException", f"No scalable target registered for {resource}")
    return target


def of_resource(scope: Scope, kind: str, resource: str) -> list[Record]:
    return [record for record in store.current().all(scope, kind) if record["ResourceId"] == resource]


# ---- policies --------------------------------------------------------------------------------------------------------


def put_policy(scope: Scope, request: Request) -> dict[str, Any]:
    resource, name = request["ResourceId"], request["PolicyName"]
    target_of(scope, resource)
    kind = request.get("PolicyType", "StepScaling")
    if kind == "PredictiveScaling":
        raise not_emulated("Predictive scaling")
    member = f"{kind}PolicyConfiguration"
    if member not in request:
        raise invalid(f"A policy of the type {kind} needs {member}")
    if kind == "StepScaling":
        _check_steps(request[member])
    else:
        _check_tracking(request[member])
    known = store.current().get(scope, POLICY, f"{resource}/{name}") or {}
    base = f"arn:aws:autoscaling:{scope.region}:{scope.account}:scalingPolicy:{uuid.uuid4()}"
    arn = known.get("PolicyARN") or f"{base}:resource/sagemaker/{resource}:policyName/{name}"
    record = {**request, "PolicyType": kind, "PolicyARN": arn, "Alarms": []}
    record["CreationTime"] = known.get("CreationTime", time.time())
    store.current().put(scope, POLICY, f"{resource}/{name}", record)
    return {"PolicyARN": arn, "Alarms": []}


def _check_tracking(config: Mapping[str, Any]) -> None:
    predefined = config.get("PredefinedMetricSpecification")
    customized = config.get("CustomizedMetricSpecification")
    if (predefined is None) == (customized is None):
        raise invalid("Give either PredefinedMetricSpecification or CustomizedMetricSpecification")
    if predefined and predefined["PredefinedMetricType"] not in PREDEFINED:
        raise not_emulated(f"Tracking of {predefined['PredefinedMetricType']}")
    if config["TargetValue"] <= 0:
        raise invalid(f"TargetValue is {config['TargetValue']}: give a number above 0")


def _check_steps(config: Mapping[str, Any]) -> None:
    if "AdjustmentType" not in config or not config.get("StepAdjustments"):
        raise invalid("StepScalingPolicyConfiguration needs AdjustmentType and StepAdjustments")


def describe_policies(scope: Scope, request: Request) -> dict[str, Any]:
    return _described(scope, request, POLICY, "ScalingPolicies", "PolicyName", "PolicyNames")


def delete_policy(scope: Scope, request: Request) -> dict[str, Any]:
    return _deleted(scope, request, POLICY, "PolicyName", "scaling policy")


# ---- scheduled actions and what was done -----------------------------------------------------------------------------


def put_action(scope: Scope, request: Request) -> dict[str, Any]:
    resource, name = request["ResourceId"], request["ScheduledActionName"]
    target_of(scope, resource)
    known = store.current().get(scope, ACTION, f"{resource}/{name}") or {}
    if "Schedule" not in request and "Schedule" not in known:
        raise invalid("Schedule must be given for a new scheduled action")
    if "Schedule" in request:
        scheduling = (request["Schedule"], request.get("Timezone", "UTC"))
        try:
            scaling_schedules.next_time(*scheduling, after=time.time())
        except ValueError as error:
            raise invalid(str(error)) from None
    arn = f"arn:aws:autoscaling:{scope.region}:{scope.account}:scheduledAction:{uuid.uuid4()}"
    arn += f":resource/sagemaker/{resource}:scheduledActionName/{name}"
    now = time.time()
    record = {"ScheduledActionARN": arn, "CreationTime": now, **known, **request, "_Since": now}
    store.current().put(scope, ACTION, f"{resource}/{name}", record)
    return {}


def describe_actions(scope: Scope, request: Request) -> dict[str, Any]:
    names = "ScheduledActionNames"
    return _described(scope, request, ACTION, "ScheduledActions", "ScheduledActionName", names)


def delete_action(scope: Scope, request: Request) -> dict[str, Any]:
    return _deleted(scope, request, ACTION, "ScheduledActionName", "scheduled action")


def describe_activities(scope: Scope, request: Request) -> dict[str, Any]:
    found = [
        each for each in store.current().all(scope, ACTIVITY) if request.get("ResourceId") in (None, each["ResourceId"])
    ]
    return page(found, request, result="ScalingActivities", name="ActivityId", page_size=50)


def _described(scope: Scope, request: Request, kind: str, result: str, name: str, names: str) -> dict[str, Any]:
    found = [
        record
        for record in store.current().all(scope, kind)
        if request.get("ResourceId") in (None, record["ResourceId"])
        and (not request.get(names) or record[name] in request[names])
    ]
    return page(found, request, result=result, name=name, order="Ascending", page_size=50)


def _deleted(scope: Scope, request: Request, kind: str, name: str, words: str) -> dict[str, Any]:
    key = f"{request['ResourceId']}/{request[name]}"
    if store.current().get(scope, kind, key) is None:
        raise SageMakerError(
            "ObjectNotFoundException", f"No {words} found for {request['ResourceId']}: {request[name]}"
        )
    store.current().delete(scope, kind, key)
    return {}


OPERATIONS: dict[str, Callable[[Scope, Request], dict[str, Any]]] = {
    "RegisterScalableTarget": register,
    "DescribeScalableTargets": describe_targets,
    "DeregisterScalableTarget": deregister,
    "PutScalingPolicy": put_policy,
    "DescribeScalingPolicies": describe_policies,
    "DeleteScalingPolicy": delete_policy,
    "PutScheduledAction": put_action,
    "DescribeScheduledActions": describe_actions,
    "DeleteScheduledAction": delete_action,
    "DescribeScalingActivities": describe_activities,
}
