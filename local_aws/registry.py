"""The model registry: groups, their numbered packages, and who may be deployed.

A package keeps the digest of its image, found when it is registered: from then on it means the same code, whatever its
tag comes to name.
"""

import json
import re
import time
from typing import Any

from local_aws import authorization, images, store
from local_aws.errors import SageMakerError, conflict, invalid, not_emulated
from local_aws.listings import page
from local_aws.store import Record, Scope

Request = dict[str, Any]
GROUP, PACKAGE = "model-package-group", "model-package"


# ---- groups ----------------------------------------------------------------------------------------------------------


def create_group(scope: Scope, request: Request) -> dict[str, Any]:
    name = request["ModelPackageGroupName"]
    arn = scope.arn(f"{GROUP}/{name}")
    with store.current().lock:
        if store.current().get(scope, GROUP, name) is not None:
            raise invalid(f"Model Package Group already exists: {arn}")
        record = {**request, "ModelPackageGroupArn": arn, "ModelPackageGroupStatus": "Completed"}
        return dict(store.current().put(scope, GROUP, name, {**record, "CreationTime": time.time(), "CreatedBy": {}}))


def describe_group(scope: Scope, request: Request) -> dict[str, Any]:
    return dict(_group(scope, request["ModelPackageGroupName"]))


def delete_group(scope: Scope, request: Request) -> dict[str, Any]:
    with store.current().lock:
        group = _group(scope, request["ModelPackageGroupName"])
        name = group["ModelPackageGroupName"]
        if _packages(scope, name):
            raise conflict(
                f"Model Package Group {group['ModelPackageGroupArn']} cannot be deleted: it still contains packages."
            )
        store.current().delete(scope, GROUP, name)
    return {}


def list_groups(scope: Scope, request: Request) -> dict[str, Any]:
    return page(
        store.current().all(scope, GROUP),
        request,
        result="ModelPackageGroupSummaryList",
        name="ModelPackageGroupName",
        order="Ascending",
    )


def put_group_policy(scope: Scope, request: Request) -> dict[str, Any]:
    group = _group(scope, request["ModelPackageGroupName"])
    try:
        json.loads(request["ResourcePolicy"])
    except ValueError as error:
        raise invalid(f"ResourcePolicy is not JSON: {error}") from None
    store.current().change(scope, GROUP, group["ModelPackageGroupName"], _Policy=request["ResourcePolicy"])
    return {"ModelPackageGroupArn": group["ModelPackageGroupArn"]}


def get_group_policy(scope: Scope, request: Request) -> dict[str, Any]:
    group = _group(scope, request["ModelPackageGroupName"])
    if "_Policy" not in group:
        raise invalid(f"Cannot find resource policy for: {group['ModelPackageGroupArn']}")
    return {"ResourcePolicy": group["_Policy"]}


def delete_group_policy(scope: Scope, request: Request) -> dict[str, Any]:
    group = _group(scope, request["ModelPackageGroupName"])
    store.current().change(scope, GROUP, group["ModelPackageGroupName"], _Policy=None)
    return {}


def _group(scope: Scope, arn_or_name: str) -> Record:
    name = arn_or_name.removeprefix(scope.arn(f"{GROUP}/"))
    record = store.current().get(scope, GROUP, name)
    if record is None:
        raise invalid(f"ModelPackageGroup {scope.arn(f'{GROUP}/{name}')} does not exist.")
    return record


# ---- packages --------------------------------------------------------------------------------------------------------


def create_package(scope: Scope, request: Request) -> dict[str, Any]:
    """The next version of its group. Raises SageMakerError."""
    if "ModelPackageName" in request:
        raise not_emulated("A model package outside a group (ModelPackageName)")
    if "ModelPackageGroupName" not in request:
        raise invalid("ModelPackageGroupName is missing: a package belongs to a group.")
    if "InferenceSpecification" not in request:
        raise not_emulated("A model package without InferenceSpecification")
    specification = _with_digests(scope, request["InferenceSpecification"])
    with store.current().lock:
        group = _group(scope, request["ModelPackageGroupName"])["ModelPackageGroupName"]
        if same := _of_token(scope, group, request.get("ClientToken")):
            return dict(same)
        highest = store.current().change(scope, GROUP, group, _Versions=_highest_version(scope, group) + 1)
        version = highest["_Versions"]
        arn = scope.arn(f"{PACKAGE}/{group}/{version}")
        now = time.time()
        record = {
            "ModelApprovalStatus": "PendingManualApproval",
            **request,
            "ModelPackageName": f"{group}/{version}",
            "ModelPackageGroupName": group,
            "ModelPackageVersion": version,
            "ModelPackageArn": arn,
            "InferenceSpecification": specification,
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
            "CertifyForMarketplace": False,
            "CreationTime": now,
            "CreatedBy": {},
        }
        return dict(store.current().put(scope, PACKAGE, f"{group}/{version}", record))


def describe_package(scope: Scope, request: Request) -> dict[str, Any]:
    named = request["ModelPackageName"]
    owner = _owner(scope, named)
    record = dict(_package(owner, named))
    if owner != scope:
        group = store.current().get(owner, GROUP, record["ModelPackageGroupName"]) or {}
        if not authorization.lets_in(group.get("_Policy"), scope, "sagemaker:DescribeModelPackage", named):
            raise SageMakerError(
                "AccessDeniedException",
                f"User is not authorized to perform: sagemaker:DescribeModelPackage on resource: {named} because no "
                "resource-based policy allows the sagemaker:DescribeModelPackage action",
                status=400,
            )
    # AWS answers a version of a group with its ARN as name.
    return {**record, "ModelPackageName": record["ModelPackageArn"]}


def _owner(scope: Scope, arn_or_name: str) -> Scope:
    """Where a package is registered: the policy of its group may let other accounts look."""
    named = re.fullmatch(rf"arn:aws:sagemaker:([a-z0-9-]+):(\d{{12}}):{PACKAGE}/.+", arn_or_name)
    return Scope(named[2], named[1]) if named else scope


def update_package(scope: Scope, request: Request) -> dict[str, Any]:
    with store.current().lock:
        package = _package(scope, request["ModelPackageArn"])
        changes = {key: value for key, value in request.items() if key in UPDATABLE}
        if "InferenceSpecification" in changes:
            changes["InferenceSpecification"] = _with_digests(scope, changes["InferenceSpecification"])
        metadata = package.get("CustomerMetadataProperties", {}) | request.get("CustomerMetadataProperties", {})
        removed = request.get("CustomerMetadataPropertiesToRemove", [])
        changes["CustomerMetadataProperties"] = {key: text for key, text in metadata.items() if key not in removed}
        changes |= {"LastModifiedTime": time.time(), "LastModifiedBy": {}}
        store.current().change(scope, PACKAGE, _name(scope, package["ModelPackageArn"]), **changes)
    return {"ModelPackageArn": package["ModelPackageArn"]}


UPDATABLE = {"ModelApprovalStatus", "ApprovalDescription", "InferenceSpecification", "SourceUri", "ModelCard"}
UPDATABLE |= {"ModelLifeCycle", "ModelPackageRegistrationType"}


def delete_package(scope: Scope, request: Request) -> dict[str, Any]:
    package = _package(scope, request["ModelPackageName"])
    store.current().delete(scope, PACKAGE, _name(scope, package["ModelPackageArn"]))
    return {}


def list_packages(scope: Scope, request: Request) -> dict[str, Any]:
    group = request.get("ModelPackageGroupName")
    if group is not None:
        group = _group(scope, group)["ModelPackageGroupName"]
    approval = request.get("ModelApprovalStatus")

    def keep(package: Record) -> bool:
        return group in (None, package["ModelPackageGroupName"]) and approval in (None, package["ModelApprovalStatus"])

    return page(
        store.current().all(scope, PACKAGE),
        request,
        result="ModelPackageSummaryList",
        name="ModelPackageName",
        status="ModelPackageStatus",
        order="Ascending",
        keep=keep,
    )


def approved_package(scope: Scope, arn_or_name: str) -> Record:
    """A package that may be deployed. Raises SageMakerError where there is none, or where nobody approved it."""
    package = _package(scope, arn_or_name)
    if package["ModelApprovalStatus"] != "Approved":
        raise invalid(
            f"Model package {package['ModelPackageArn']} cannot be deployed: its ModelApprovalStatus is "
            f"{package['ModelApprovalStatus']}, and Approved is required."
        )
    return package


def container_of(package: Record) -> dict[str, Any]:
    """The one container of a package, its image by digest: what serves is what was registered."""
    containers = package["InferenceSpecification"]["Containers"]
    if len(containers) > 1:
        raise not_emulated("An inference pipeline of several containers")
    [container] = containers
    repository = re.split(r"[:@]", container["Image"], maxsplit=1)[0]
    return {**container, "Image": f"{repository}@{container['ImageDigest']}"}


def _package(scope: Scope, arn_or_name: str) -> Record:
    record = store.current().get(scope, PACKAGE, _name(scope, arn_or_name))
    if record is None:
        raise invalid(f"ModelPackage {scope.arn(f'{PACKAGE}/{_name(scope, arn_or_name)}')} does not exist.")
    return record


def _name(scope: Scope, arn_or_name: str) -> str:
    return arn_or_name.removeprefix(scope.arn(f"{PACKAGE}/"))


def _packages(scope: Scope, group: str) -> list[Record]:
    packages = store.current().all(scope, PACKAGE)
    return [package for package in packages if package["ModelPackageGroupName"] == group]


def _highest_version(scope: Scope, group: str) -> int:
    """Versions are never given twice, also where the last package was deleted."""
    given: int = _group(scope, group).get("_Versions", 0)
    return given


def _of_token(scope: Scope, group: str, token: str | None) -> Record | None:
    """The package that the same request made before, told by its token."""
    same = [package for package in _packages(scope, group) if token and package.get("ClientToken") == token]
    return same[0] if same else None


def _with_digests(scope: Scope, specification: dict[str, Any]) -> dict[str, Any]:
    """The specification with `ImageDigest` in each container. Raises SageMakerError where an image cannot be had."""
    containers = []
    for container in specification["Containers"]:
        try:
            image = images.resolve(container["Image"], scope.account, scope.region)
        except images.ImageError as error:
            raise invalid(f"Requested image {container['Image']} not found: {error}") from None
        containers.append({**container, "ImageDigest": image.digest})
    return {**specification, "Containers": containers}


OPERATIONS = {
    "CreateModelPackageGroup": create_group,
    "DescribeModelPackageGroup": describe_group,
    "DeleteModelPackageGroup": delete_group,
    "ListModelPackageGroups": list_groups,
    "PutModelPackageGroupPolicy": put_group_policy,
    "GetModelPackageGroupPolicy": get_group_policy,
    "DeleteModelPackageGroupPolicy": delete_group_policy,
    "CreateModelPackage": create_package,
    "DescribeModelPackage": describe_package,
    "UpdateModelPackage": update_package,
    "DeleteModelPackage": delete_package,
    "ListModelPackages": list_packages,
}
