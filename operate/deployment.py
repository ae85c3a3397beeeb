"""What is deployed in an environment: names from the stacks' outputs, and the list of what there is."""

from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from operate.aws import Aws
from operate.errors import OperateError

STACKS = (
    *("storage", "registry", "network", "training", "people", "promotion"),
    *("endpoint", "workbench", "monitoring"),
)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One deployed stack."""

    name: str
    status: str
    resources: tuple[tuple[str, str], ...]
    """Of each resource its CloudFormation type and its physical id."""


def output(aws: Aws, stack: str, key: str) -> str:
    """An output of stack `storage`, `registry`, `training` or `endpoint`. Raises OperateError where there is none."""
    name = f"amplify-{aws.environment.name}-{stack}"
    described = _describe(aws.client("cloudformation"), name)
    if key in (found := _outputs(described)):
        return found[key]
    todo = f"Deploy it: `amplify deploy --env {aws.environment.name}`."
    if described is not None and described["StackStatus"].endswith("IN_PROGRESS"):
        raise OperateError(f"Stack {name} is {described['StackStatus']}.", todo="Somebody deploys: wait for its end.")
    if described is not None:
        raise OperateError(f"Stack {name} is {described['StackStatus']} and has no {key}.", todo=todo)
    if stack == "endpoint":
        todo = "The endpoint exists where a model is released: `amplify approve`, then `amplify deploy`."
    raise OperateError(f"Stack {name} is not deployed.", todo=todo)


def stacks(aws: Aws) -> list[Stack]:
    """The deployed stacks of this environment, in the order of their making, with their resources."""
    cloudformation = aws.client("cloudformation")
    found = []
    for stack in STACKS:
        name = f"amplify-{aws.environment.name}-{stack}"
        if described := _describe(cloudformation, name):
            pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
            resources = [
                (one["ResourceType"], one.get("PhysicalResourceId", ""))
                for page in pages
                for one in page["StackResourceSummaries"]
            ]
            found.append(Stack(name=name, status=described["StackStatus"], resources=tuple(resources)))
    return found


def status_of(aws: Aws, name: str) -> str | None:
    """A stack's status; None where there is no stack of this name."""
    described = _describe(aws.client("cloudformation"), name)
    return described["StackStatus"] if described is not None else None


def protected(aws: Aws) -> list[str]:
    """The deployed stacks that are protected against termination."""
    cloudformation = aws.client("cloudformation")
    described = [_describe(cloudformation, f"amplify-{aws.environment.name}-{stack}") for stack in STACKS]
    return [stack["StackName"] for stack in described if stack and stack.get("EnableTerminationProtection")]


def served_package(aws: Aws) -> str:
    """The ARN of the model package that is served now, from the endpoint itself. Raises OperateError."""
    model = aws.client("sagemaker").describe_model(ModelName=_served_model(aws))
    container = model.get("PrimaryContainer") or model["Containers"][0]
    return container["ModelPackageName"]


def _served_model(aws: Aws) -> str:
    """The model of the endpoint's variant, of its inference component, or that of transform jobs, by the mode."""
    stack = _describe(aws.client("cloudformation"), f"amplify-{aws.environment.name}-endpoint")
    sagemaker, outputs = aws.client("sagemaker"), _outputs(stack)
    if "ModelName" in outputs:
        return outputs["ModelName"]
    name = output(aws, "endpoint", "EndpointName")
    endpoint = sagemaker.describe_endpoint(EndpointName=name)
    if endpoint["EndpointStatus"] != "InService":
        reason = endpoint.get("FailureReason", "AWS gives no reason")
        raise OperateError(f"Endpoint {name} is {endpoint['EndpointStatus']}: {reason}", todo="Deploy it again.")
    if component := outputs.get("InferenceComponentName"):
        return sagemaker.describe_inference_component(InferenceComponentName=component)["Specification"]["ModelName"]
    config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    return config["ProductionVariants"][0]["ModelName"]


def check_serves(aws: Aws, package_arn: str) -> None:
    """Raises OperateError where the endpoint serves another package: a roll-back leaves CloudFormation green too."""
    if (found := served_package(aws)) != package_arn:
        name = f"amplify-{aws.environment.name}-endpoint"
        status = (_describe(aws.client("cloudformation"), name) or {}).get("StackStatus", "gone")
        rolled_back = "ROLLBACK" in status
        raise OperateError(
            f"The endpoint serves {found}, not {package_arn}: stack {name} is {status}"
            f"{', the deployment was rolled back' if rolled_back else ''}.",
            todo=f"{'The alarms and logs of the endpoint say why. ' if rolled_back else ''}Then deploy it again: "
            f"`amplify deploy --env {aws.environment.name}`; `amplify status` shows what is in service.",
        )


def check_configuration(aws: Aws) -> None:
    """Raises OperateError where the endpoint has another configuration than its stack made for it.

    After a roll-back SageMaker says InService, and a stack that was never told is green.
    """
    name = f"amplify-{aws.environment.name}-endpoint"
    resources = aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
    made = [
        one["PhysicalResourceId"].rpartition("/")[2]
        for page in resources
        for one in page["StackResourceSummaries"]
        if one["ResourceType"] == "AWS::SageMaker::EndpointConfig"
    ]
    endpoint = aws.client("sagemaker").describe_endpoint(EndpointName=output(aws, "endpoint", "EndpointName"))
    if endpoint["EndpointConfigName"] not in made:
        raise OperateError(
            f"The endpoint has configuration {endpoint['EndpointConfigName']}, and stack {name} made "
            f"{', '.join(made)}: it was rolled back. {endpoint.get('FailureReason', '')}",
            todo="The alarms and logs of the endpoint say why.",
        )


def _outputs(described: dict[str, Any] | None) -> dict[str, str]:
    return {one["OutputKey"]: one["OutputValue"] for one in (described or {}).get("Outputs", [])}


def _describe(cloudformation: Any, name: str) -> dict[str, Any] | None:
    try:
        [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" in error.response["Error"]["Message"]:
            return None
        raise
    return None if stack["StackStatus"] in ("DELETE_COMPLETE", "REVIEW_IN_PROGRESS") else stack
