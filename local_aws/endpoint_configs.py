"""Endpoint configurations: records, held to what AWS takes and to what is emulated."""

import time
from collections.abc import Mapping
from typing import Any

from local_aws import resources, store
from local_aws.errors import invalid, not_emulated
from local_aws.listings import page
from local_aws.s3_files import S3Error, split
from local_aws.store import Scope

Request = dict[str, Any]

KIND, WORDS = "endpoint-config", "endpoint configuration"
STRATEGIES = ("LEAST_OUTSTANDING_REQUESTS", "RANDOM")


def create(scope: Scope, request: Request) -> dict[str, Any]:
    name = request["EndpointConfigName"]
    if "ShadowProductionVariants" in request:
        raise not_emulated("A shadow variant (ShadowProductionVariants)")
    if "ExplainerConfig" in request:
        raise not_emulated("ExplainerConfig")
    _check_variants(scope, request["ProductionVariants"])
    serverless = any("ServerlessConfig" in variant for variant in request["ProductionVariants"])
    if config := request.get("AsyncInferenceConfig"):
        _check_async(config, serverless)
    if config := request.get("DataCaptureConfig"):
        _check_capture(config, serverless, "AsyncInferenceConfig" in request)
    arn = scope.arn(f"{KIND}/{name}")
    record = {**request, "EndpointConfigArn": arn, "CreationTime": time.time()}
    return resources.put_new(scope, KIND, WORDS, name, record)


def describe(scope: Scope, request: Request) -> dict[str, Any]:
    return dict(resources.find(scope, KIND, WORDS, request["EndpointConfigName"]))


def delete(scope: Scope, request: Request) -> dict[str, Any]:
    describe(scope, request)
    store.current().delete(scope, KIND, request["EndpointConfigName"])
    return {}


def list_configs(scope: Scope, request: Request) -> dict[str, Any]:
    records = store.current().all(scope, KIND)
    return page(records, request, result="EndpointConfigs", name="EndpointConfigName")


def _check_variants(scope: Scope, variants: list[dict[str, Any]]) -> None:
    names = [variant["VariantName"] for variant in variants]
    if len(set(names)) < len(names):
        raise invalid(f"ProductionVariants must have different names; given are {', '.join(names)}.")
    if len({"ServerlessConfig" in variant for variant in variants}) > 1:
        raise invalid("ProductionVariants are either all serverless or all on instances.")
    for variant in variants:
        what = f"Production variant {variant['VariantName']}"
        if "ModelName" not in variant:
            raise not_emulated("A variant of inference components (one without ModelName)")
        if "ManagedInstanceScaling" in variant:
            raise not_emulated("ManagedInstanceScaling, which is for inference components,")
        if "CapacityReservationConfig" in variant:
            raise not_emulated("A training plan's capacity (CapacityReservationConfig)")
        strategy = variant.get("RoutingConfig", {}).get("RoutingStrategy", "RANDOM")
        if strategy not in STRATEGIES:
            raise not_emulated(f"RoutingStrategy {strategy}")
        model = resources.find(scope, "model", "model", variant["ModelName"])
        if "ServerlessConfig" in variant:
            _check_serverless(variant, model, what)
        elif "InstanceType" not in variant and "InstancePools" not in variant:
            raise invalid(f"{what} needs an InstanceType.")
        elif variant.get("InitialInstanceCount", 1) < 1:
            raise invalid(f"{what} has InitialInstanceCount {variant['InitialInstanceCount']}: give at least 1.")


def _check_serverless(variant: Mapping[str, Any], model: Mapping[str, Any], what: str) -> None:
    given = [name for name in ("InstanceType", "InitialInstanceCount", "VolumeSizeInGB") if name in variant]
    if given:
        raise invalid(f"{what} is serverless: it takes no {', '.join(given)}.")
    if "VpcConfig" in model or model.get("EnableNetworkIsolation"):
        raise invalid(f"{what} is serverless: its model {model['ModelName']} can have no VpcConfig and no isolation.")
    config = variant["ServerlessConfig"]
    if config["MemorySizeInMB"] % 1024:
        raise invalid(f"{what}: MemorySizeInMB is {config['MemorySizeInMB']}; give 1024 to 6144 in steps of 1024.")
    if config.get("ProvisionedConcurrency", 0) > config["MaxConcurrency"]:
        raise invalid(f"{what}: ProvisionedConcurrency is greater than MaxConcurrency {config['MaxConcurrency']}.")


def _check_async(config: Mapping[str, Any], serverless: bool) -> None:
    if serverless:
        raise invalid("AsyncInferenceConfig is for variants on instances: a serverless one takes none.")
    output = config["OutputConfig"]
    if "S3OutputPath" not in output:
        raise invalid("AsyncInferenceConfig needs an S3OutputPath.")
    for member in ("S3OutputPath", "S3FailurePath"):
        if member in output:
            _check_uri(member, output[member])


def _check_capture(config: Mapping[str, Any], serverless: bool, asynchronous: bool) -> None:
    if not config.get("EnableCapture", False):
        return
    if serverless:
        raise invalid("DataCaptureConfig: a serverless endpoint captures nothing.")
    if asynchronous:
        raise not_emulated("Data capture of an asynchronous endpoint, whose requests and answers lie in S3,")
    _check_uri("DestinationS3Uri", config["DestinationS3Uri"])


def _check_uri(member: str, uri: str) -> None:
    try:
        split(uri)
    except S3Error as error:
        raise invalid(f"{member}: {error}") from None


OPERATIONS = {
    "CreateEndpointConfig": create,
    "DescribeEndpointConfig": describe,
    "DeleteEndpointConfig": delete,
    "ListEndpointConfigs": list_configs,
}
