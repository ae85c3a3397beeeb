"""The operations on endpoints. What runs of them is in `endpoint_life`; how they are updated, in `deployments`."""

import time
from collections.abc import Mapping
from typing import Any

from local_aws import deployments, endpoint_life, resources, store
from local_aws.deployments import Progress
from local_aws.endpoint_life import CONFIG, KIND, Desired, change, find, life_of
from local_aws.errors import invalid
from local_aws.fleet import Fleet, Variant
from local_aws.listings import page
from local_aws.store import Record, Scope

Request = dict[str, Any]

CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


def create(scope: Scope, request: Request) -> dict[str, Any]:
    name = request["EndpointName"]
    config = resources.find(scope, CONFIG, "endpoint configuration", request["EndpointConfigName"])
    policy = request.get("DeploymentConfig", {})
    # Its alarms may come later: they watch an endpoint that does not exist yet.
    _check_deployment(scope, policy, config, {}, alarms_exist=False)
    arn, now = scope.arn(f"{KIND}/{name}"), time.time()
    record = {"EndpointName": name, "EndpointArn": arn, "EndpointConfigName": request["EndpointConfigName"]}
    record |= {"EndpointStatus": "Creating", "CreationTime": now, "LastModifiedTime": now}
    record |= {"LastDeploymentConfig": policy} if policy else {}
    with store.current().lock:
        if store.current().get(scope, KIND, name) is not None:
            raise invalid(f'Cannot create already existing endpoint "{arn}".')
        store.current().put(scope, KIND, name, record | {"Tags": request.get("Tags", [])})
    endpoint_life.begin(scope, name, endpoint_life.create)
    return {"EndpointArn": arn}


def describe(scope: Scope, request: Request) -> dict[str, Any]:
    record = find(scope, request["EndpointName"])
    described = dict(record) | _of_its_config(scope, record)
    life = life_of(scope, request["EndpointName"])
    if life is not None and life.traffic.old is not None:
        described["ProductionVariants"] = _variants(life.traffic.old, record.get("_Desired", {}))
    if life is not None and life.progress is not None:
        described["PendingDeploymentSummary"] = _pending(life.progress)
    return described


def list_endpoints(scope: Scope, request: Request) -> dict[str, Any]:
    records = store.current().all(scope, KIND)
    return page(records, request, result="Endpoints", name="EndpointName", status="EndpointStatus")


def update(scope: Scope, request: Request) -> dict[str, Any]:
    """Go over to another configuration. The one in the record stays that in service until the new one is."""
    name, config = request["EndpointName"], request["EndpointConfigName"]
    new = resources.find(scope, CONFIG, "endpoint configuration", config)
    with store.current().lock:
        record = find(scope, name)
        _refuse_while_changing(record)
        if config == record["EndpointConfigName"] and record["EndpointStatus"] == "InService":
            raise invalid(f"Cannot update endpoint {name}: it has the endpoint configuration {config} already.")
        desired, kept = _retained(scope, request, record, new)
        last = record.get("LastDeploymentConfig", {}) if request.get("RetainDeploymentConfig") else {}
        policy = request.get("DeploymentConfig") or last or deployments.DEFAULT
        _check_deployment(scope, policy, new, desired, alarms_exist=True)
        change(scope, name, EndpointStatus="Updating", FailureReason=None)
    endpoint_life.begin(
        scope,
        name,
        lambda scope, name, life: endpoint_life.deploy(scope, name, life, config, desired, policy, kept),
    )
    return {"EndpointArn": record["EndpointArn"]}


def update_weights_and_capacities(scope: Scope, request: Request) -> dict[str, Any]:
    """New shares of the requests, from the next one on; other numbers of instances, as soon as they run."""
    name = request["EndpointName"]
    with store.current().lock:
        record = find(scope, name)
        _refuse_while_changing(record)
        life = life_of(scope, name)
        variants = life.traffic.old.variants if life is not None and life.traffic.old is not None else {}
        before = record.get("_Desired", {})
        wanted, counts = dict(before), {}
        for desired in request["DesiredWeightsAndCapacities"]:
            variant = desired["VariantName"]
            if variant not in variants:
                raise invalid(f"Endpoint {name} has no variant {variant}; it has {', '.join(sorted(variants))}.")
            wanted[variant] = wanted.get(variant, {}) | desired
            if "DesiredInstanceCount" in desired:
                _check_capacity(scope, record, variants[variant], desired["DesiredInstanceCount"])
                counts[variant] = desired["DesiredInstanceCount"]
        status = {"EndpointStatus": "Updating", "FailureReason": None} if counts else {}
        change(scope, name, _Desired=wanted, **status)
        for variant, each in wanted.items():
            if "DesiredWeight" in each and variant in variants:
                variants[variant].weight = float(each["DesiredWeight"])
    if counts:
        endpoint_life.begin(
            scope, name, lambda scope, name, life: endpoint_life.scale(scope, name, life, counts, before or None)
        )
    return {"EndpointArn": record["EndpointArn"]}


def delete(scope: Scope, request: Request) -> dict[str, Any]:
    name = request["EndpointName"]
    with store.current().lock:
        record = find(scope, name)
        if record["EndpointStatus"] == "Deleting":
            raise invalid(f'Cannot delete endpoint "{record["EndpointArn"]}": it is being deleted.')
        change(scope, name, EndpointStatus="Deleting")
        endpoint_life.delete(scope, name)
    return {}


# ---- rules -----------------------------------------------------------------------------------------------------------


def _check_deployment(
    scope: Scope, policy: Mapping[str, Any], config: Record, desired: Desired, *, alarms_exist: bool
) -> None:
    serverless = any("ServerlessConfig" in variant for variant in config["ProductionVariants"])
    if serverless and policy and policy != deployments.DEFAULT:
        raise invalid("DeploymentConfig is for endpoints on instances: a serverless endpoint takes none.")
    deployments.check(scope, policy, endpoint_life.counts_of(config, desired), alarms_exist=alarms_exist)


def _check_capacity(scope: Scope, record: Record, variant: Variant, count: int) -> None:
    if "ServerlessConfig" in variant.settings:
        raise invalid(f"Variant {variant.name} is serverless: it has no DesiredInstanceCount.")
    config = resources.find(scope, CONFIG, "endpoint configuration", record["EndpointConfigName"])
    if count < 1 and "AsyncInferenceConfig" not in config:
        raise invalid(f"DesiredInstanceCount of {variant.name} is {count}: only asynchronous endpoints scale to zero.")


def _refuse_while_changing(record: Record) -> None:
    if record["EndpointStatus"] in CHANGING:
        raise invalid(f'Cannot update in-progress endpoint "{record["EndpointArn"]}".')


def _retained(scope: Scope, request: Request, record: Record, new: Record) -> tuple[Desired, dict[str, Any]]:
    """What an update keeps of the endpoint as it is: (weights and numbers by variant, other changes of the record)."""
    if not request.get("RetainAllVariantProperties"):
        return {}, {"_DataCapture": None}
    left_out = {each["VariantPropertyType"] for each in request.get("ExcludeRetainedVariantProperties", [])}
    life = life_of(scope, request["EndpointName"])
    fleet = life.traffic.old if life is not None else None
    desired: dict[str, dict[str, Any]] = {}
    for settings in new["ProductionVariants"]:
        variant = fleet.variants.get(settings["VariantName"]) if fleet is not None else None
        if variant is None or "ServerlessConfig" in settings or "ServerlessConfig" in variant.settings:
            continue
        kept = {"DesiredWeight": variant.weight, "DesiredInstanceCount": len(variant.servers)}
        wanted = record.get("_Desired", {}).get(variant.name, {})
        kept |= {key: wanted[key] for key in kept if key in wanted}
        desired[variant.name] = {key: value for key, value in kept.items() if key not in left_out}
    capture = capture_of(scope, record) if "DataCaptureConfig" not in left_out else None
    return desired, {"_DataCapture": capture}


# ---- what DescribeEndpoint shows -------------------------------------------------------------------------------------


def capture_of(scope: Scope, record: Record) -> Mapping[str, Any] | None:
    """The DataCaptureConfig that an endpoint obeys: its configuration's, or one that an update retained."""
    if "_DataCapture" in record:
        return dict(record["_DataCapture"])
    config = store.current().get(scope, CONFIG, record["EndpointConfigName"]) or {}
    return config.get("DataCaptureConfig")


def _of_its_config(scope: Scope, record: Record) -> dict[str, Any]:
    config = store.current().get(scope, CONFIG, record["EndpointConfigName"]) or {}
    shown = {key: config[key] for key in ("AsyncInferenceConfig", "MetricsConfig") if key in config}
    if capture := capture_of(scope, record):
        enabled = capture.get("EnableCapture", False)
        shown["DataCaptureConfig"] = {
            "EnableCapture": enabled,
            "CaptureStatus": "Started" if enabled else "Stopped",
            "CurrentSamplingPercentage": capture["InitialSamplingPercentage"],
            "DestinationS3Uri": capture["DestinationS3Uri"],
            "KmsKeyId": capture.get("KmsKeyId", ""),
        }
    return shown


def _variants(fleet: Fleet, desired: Desired) -> list[dict[str, Any]]:
    return [_variant(variant, desired.get(variant.name, {})) for variant in fleet.variants.values()]


def _variant(variant: Variant, desired: Mapping[str, Any]) -> dict[str, Any]:
    servers = variant.servers
    images = {server.image for server in servers}
    shown: dict[str, Any] = {
        "VariantName": variant.name,
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image} for image in sorted(images)],
        "CurrentWeight": variant.weight,
        "DesiredWeight": variant.weight,
    }
    if serverless := variant.settings.get("ServerlessConfig"):
        return shown | {"CurrentServerlessConfig": serverless, "DesiredServerlessConfig": serverless}
    wanted = desired.get("DesiredInstanceCount", variant.settings.get("InitialInstanceCount", 1))
    shown |= {"CurrentInstanceCount": len(servers), "DesiredInstanceCount": wanted}
    routing = variant.settings.get("RoutingConfig")
    return shown | ({"RoutingConfig": routing} if routing else {})


def _pending(progress: Progress) -> dict[str, Any]:
    """What DescribeEndpoint shows of an update that goes on."""
    status = [{"Status": progress.stage, "StartTime": progress.since}]
    variants = []
    for variant in progress.fleet.variants.values():
        desired = {"DesiredInstanceCount": progress.counts[variant.name]}
        shown = _variant(variant, desired) | {"VariantStatus": status}
        if instance_type := variant.settings.get("InstanceType"):
            shown["InstanceType"] = instance_type
        variants.append(shown)
    config = progress.fleet.config
    return {"EndpointConfigName": config, "ProductionVariants": variants, "StartTime": progress.start}


OPERATIONS = {
    "CreateEndpoint": create,
    "DescribeEndpoint": describe,
    "ListEndpoints": list_endpoints,
    "UpdateEndpoint": update,
    "UpdateEndpointWeightsAndCapacities": update_weights_and_capacities,
    "DeleteEndpoint": delete,
}
