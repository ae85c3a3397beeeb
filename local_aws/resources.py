"""Models, which are records and nothing more; and the tags of every resource."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from local_aws import images, networks, registry, store
from local_aws.clients import client
from local_aws.errors import SageMakerError, invalid, not_emulated
from local_aws.listings import page
from local_aws.s3_files import split
from local_aws.store import Record, Scope

Request = dict[str, Any]
Operation = Callable[[Scope, Request], dict[str, Any]]

MOST_TAGS = 50


# ---- models ----------------------------------------------------------------------------------------------------------


def create_model(scope: Scope, request: Request) -> dict[str, Any]:
    name = request["ModelName"]
    containers = _containers(request)
    if len(containers) > 1:
        raise not_emulated("An inference pipeline of several containers")
    [container] = containers
    _check_container(scope, container)
    networks.check_vpc_config(scope, request.get("VpcConfig"))
    record = {**request, "ModelArn": scope.arn(f"model/{name}"), "CreationTime": time.time()}
    record.setdefault("EnableNetworkIsolation", False)
    if "PrimaryContainer" in record:
        record["PrimaryContainer"] = {"Mode": "SingleModel", **record["PrimaryContainer"]}
    return put_new(scope, "model", "model", name, record)


def container_of(scope: Scope, model: Record) -> dict[str, Any]:
    """What a model runs: `Image`, and `ModelDataUrl` or `ModelDataSource`, and `Environment`.

    Those of its package where it names one. Raises SageMakerError where the package is gone or not approved.
    """
    [container] = _containers(model)
    if "ModelPackageName" not in container:
        return container
    packaged = registry.container_of(registry.approved_package(scope, container["ModelPackageName"]))
    environment = packaged.get("Environment", {}) | container.get("Environment", {})
    return {**packaged, "Environment": environment}


def find(scope: Scope, kind: str, words: str, name: str) -> Record:
    """The record of a model, configuration or endpoint. Raises AWS's error where there is none."""
    record = store.current().get(scope, kind, name)
    if record is None:
        raise invalid(f'Could not find {words} "{scope.arn(f"{kind}/{name}")}".')
    return record


def role_of_model(scope: Scope, name: str) -> str | None:
    """The ARN of the role that a model's containers, and what they make, are of; None where the model is gone."""
    model = store.current().get(scope, "model", name) or {}
    role: str | None = model.get("ExecutionRoleArn")
    return role


def describe_model(scope: Scope, request: Request) -> dict[str, Any]:
    return dict(find(scope, "model", "model", request["ModelName"]))


def delete_model(scope: Scope, request: Request) -> dict[str, Any]:
    find(scope, "model", "model", request["ModelName"])
    store.current().delete(scope, "model", request["ModelName"])
    return {}


def list_models(scope: Scope, request: Request) -> dict[str, Any]:
    return page(store.current().all(scope, "model"), request, result="Models", name="ModelName")


def _containers(model: Record) -> list[dict[str, Any]]:
    if ("PrimaryContainer" in model) == ("Containers" in model):
        raise invalid("Give either PrimaryContainer or Containers, not both and not neither.")
    containers: list[dict[str, Any]] = model.get("Containers") or [model["PrimaryContainer"]]
    return containers


def _check_container(scope: Scope, container: dict[str, Any]) -> None:
    """Hold a container to what can be known before it runs. Raises SageMakerError."""
    if ("Image" in container) == ("ModelPackageName" in container):
        raise invalid("A container needs either Image or ModelPackageName, not both and not neither.")
    if container.get("Mode") == "MultiModel":
        raise not_emulated("Mode 'MultiModel'")
    if "ModelPackageName" in container:
        registry.approved_package(scope, container["ModelPackageName"])
        return
    if "ModelDataUrl" in container and "ModelDataSource" in container:
        raise invalid("A container takes either ModelDataUrl or ModelDataSource, not both.")
    try:
        images.resolve(container["Image"], scope.account, scope.region)
    except images.ImageError as error:
        raise invalid(f"Requested image {container['Image']} not found: {error}") from None
    if url := container.get("ModelDataUrl"):
        bucket, key = split(url)
        try:
            client("s3", scope.account, scope.region).head_object(Bucket=bucket, Key=key)
        except ClientError:
            raise invalid(f"Could not find model data at {url}.") from None


def put_new(scope: Scope, kind: str, words: str, name: str, record: Record) -> dict[str, Any]:
    """Keep a record under a name that nobody has. Raises SageMakerError."""
    with store.current().lock:
        if store.current().get(scope, kind, name) is not None:
            raise invalid(f'Cannot create already existing {words} "{scope.arn(f"{kind}/{name}")}".')
        return dict(store.current().put(scope, kind, name, record))


# ---- tags ------------------------------------------------------------------------------------------------------------


def add_tags(scope: Scope, request: Request) -> dict[str, Any]:
    with store.current().lock:
        kind, name, record = _tagged(scope, request["ResourceArn"])
        tags = {tag["Key"]: tag["Value"] for tag in [*record.get("Tags", []), *request["Tags"]]}
        if any(key.lower().startswith("aws:") for key in tags):
            raise invalid("Tag keys that begin with 'aws:' are reserved for AWS.")
        if len(tags) > MOST_TAGS:
            raise SageMakerError("ResourceLimitExceeded", f"A resource takes {MOST_TAGS} tags; {len(tags)} are given.")
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        store.current().change(scope, kind, name, Tags=listed)
    return {"Tags": listed}


def delete_tags(scope: Scope, request: Request) -> dict[str, Any]:
    with store.current().lock:
        kind, name, record = _tagged(scope, request["ResourceArn"])
        left = [tag for tag in record.get("Tags", []) if tag["Key"] not in request["TagKeys"]]
        store.current().change(scope, kind, name, Tags=left)
    return {}


def list_tags(scope: Scope, request: Request) -> dict[str, Any]:
    _, _, record = _tagged(scope, request["ResourceArn"])
    return page(record.get("Tags", []), request, result="Tags", name="Key", order="Ascending", page_size=50)


def _tagged(scope: Scope, arn: str) -> tuple[str, str, Record]:
    """(kind, name, record) of a resource by its ARN. Raises SageMakerError where there is none."""
    for kind, name in _names_in(arn.removeprefix(scope.arn(""))):
        record = store.current().get(scope, kind, name)
        if record is not None:
            return kind, name, record
    raise invalid(f"Could not find a resource with the ARN {arn}.")


def _names_in(resource: str) -> Iterator[tuple[str, str]]:
    """`pipeline/p/execution/e` names an execution; everything else is `kind/name`."""
    kind, _, name = resource.partition("/")
    if "/execution/" in name:
        yield "pipeline-execution", name
    yield kind, name


OPERATIONS: dict[str, Operation] = {
    "CreateModel": create_model,
    "DescribeModel": describe_model,
    "DeleteModel": delete_model,
    "ListModels": list_models,
    "AddTags": add_tags,
    "DeleteTags": delete_tags,
    "ListTags": list_tags,
}
