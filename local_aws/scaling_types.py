"""AWS::ApplicationAutoScaling::ScalableTarget and ScalingPolicy: the operations as CloudFormation asks for them."""

from collections.abc import Mapping
from typing import Any

from local_aws import scaling, validation
from local_aws.cloudformation import ProvisioningError
from local_aws.errors import SageMakerError
from local_aws.interrupted_stacks import about_to_touch
from local_aws.ministack_hooks.cloudformation import Created, Properties, add_resource_type
from local_aws.ministack_hooks.requests import account, region
from local_aws.store import Scope

IDENTITY = (
    "ResourceId",
    "ScalableDimension",
    "ServiceNamespace",
)  # whose change replaces; Ref of a target, in this order


def install() -> None:
    target, policy = _Target(), _Policy()
    for name, handler in (("ScalableTarget", target), ("ScalingPolicy", policy)):
        add_resource_type(
            f"AWS::ApplicationAutoScaling::{name}",
            create=handler.create,
            update=handler.update,
            delete=handler.delete,
        )


class _Target:
    """A scalable target with its scheduled actions."""

    def create(self, _logical_id: str, properties: Properties, _stack_name: str) -> Created:
        return self._put(properties, [])

    def update(self, _physical_id: str, old: Properties, new: Properties, _stack: str, _logical_id: str) -> Created:
        same = all(old[name] == new[name] for name in IDENTITY)
        return self._put(new, old.get("ScheduledActions", []) if same else [])

    def delete(self, physical_id: str, _properties: Properties) -> None:
        _call("DeregisterScalableTarget", _identity(physical_id), missing_is_fine=True)

    def _put(self, properties: Properties, before: list[dict[str, Any]]) -> Created:
        identity = {name: properties[name] for name in IDENTITY}
        actions = properties.get("ScheduledActions", [])
        rest = {key: value for key, value in properties.items() if key != "ScheduledActions"}
        if "Tags" in rest:  # a list in CloudFormation, a map in the API
            rest["Tags"] = {tag["Key"]: tag["Value"] for tag in rest["Tags"]}
        physical_id = "|".join(str(properties[name]) for name in IDENTITY)
        about_to_touch(physical_id)
        _call("RegisterScalableTarget", rest)
        try:
            kept = {action["ScheduledActionName"] for action in actions}
            for name in {action["ScheduledActionName"] for action in before} - kept:
                _call("DeleteScheduledAction", {**identity, "ScheduledActionName": name}, missing_is_fine=True)
            for action in actions:
                _call("PutScheduledAction", {**identity, **action})
        except ProvisioningError:
            if not before:
                self.delete(physical_id, properties)
            raise
        return physical_id, {"Id": physical_id}


class _Policy:
    """A scaling policy of a target that it names by its three members, or by the target's Ref."""

    def create(self, _logical_id: str, properties: Properties, _stack_name: str) -> Created:
        answer = _call("PutScalingPolicy", self._request(properties))
        return answer["PolicyARN"], {"Arn": answer["PolicyARN"]}

    def update(self, _physical_id: str, _old: Properties, new: Properties, stack: str, logical_id: str) -> Created:
        return self.create(logical_id, new, stack)  # under another name or of another target it has another ARN

    def delete(self, physical_id: str, properties: Properties) -> None:
        request = self._request(properties)
        names = {name: request[name] for name in (*IDENTITY, "PolicyName")}
        del physical_id
        _call("DeleteScalingPolicy", names, missing_is_fine=True)

    def _request(self, properties: Properties) -> dict[str, Any]:
        request = dict(properties)
        if target := request.pop("ScalingTargetId", None):
            request |= _identity(target)
        return request


def _identity(physical_id: str) -> dict[str, str]:
    return dict(zip(IDENTITY, physical_id.split("|"), strict=True))


def _call(operation: str, properties: Mapping[str, Any], *, missing_is_fine: bool = False) -> dict[str, Any]:
    """Raises ProvisioningError in AWS's words."""
    shape = scaling.SERVICE.operation_model(operation).input_shape
    try:
        return scaling.call(Scope(account(), region()), operation, validation.convert(shape, dict(properties)))
    except SageMakerError as error:
        if missing_is_fine and error.code == "ObjectNotFoundException":
            return {}
        raise ProvisioningError(
            f"{error} (Service: ApplicationAutoScaling, Operation: {operation}, Error Code: {error.code})"
        ) from error
