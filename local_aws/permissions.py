"""What a caller must be allowed to make a request of SageMaker: actions, the resources they are on, and condition keys.

From the Service Authorization Reference of SageMaker
(https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemaker.html): every resource that it
marks as required has to be allowed, tags in a request need sagemaker:AddTags, and a role in a request iam:PassRole.
A pure function of the request: it may be malformed, for AWS asks whether one may before it reads closely.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from local_aws.store import Scope

Request = Mapping[str, Any]

SERVICE = "sagemaker.amazonaws.com"
ROLES = ("RoleArn", "ExecutionRoleArn")
VERBS = ("Create", "Describe", "Update", "Delete", "Stop", "Start")


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing that has to be allowed. `context` holds condition keys of the request."""

    action: str
    resource: str
    context: Mapping[str, Any] = field(default_factory=dict)


# Operation → the resources it is on, each a template of members of the request. An operation that is not here is one on
# its own noun (CreateModel: model/{ModelName}), and List… is on everything.
RESOURCES: dict[str, tuple[str, ...]] = {
    "CreateEndpoint": ("endpoint/{EndpointName}", "endpoint-config/{EndpointConfigName}"),
    "UpdateEndpoint": ("endpoint/{EndpointName}", "endpoint-config/{EndpointConfigName}"),
    "UpdateEndpointWeightsAndCapacities": ("endpoint/{EndpointName}",),
    "PutModelPackageGroupPolicy": ("model-package-group/{ModelPackageGroupName}",),
    "GetModelPackageGroupPolicy": ("model-package-group/{ModelPackageGroupName}",),
    "DeleteModelPackageGroupPolicy": ("model-package-group/{ModelPackageGroupName}",),
    "UpdateModelPackage": ("{ModelPackageArn}",),
    "StartPipelineExecution": ("pipeline/{PipelineName}",),
    "ListPipelineExecutions": ("pipeline/{PipelineName}",),
    "AddTags": ("{ResourceArn}",),
    "DeleteTags": ("{ResourceArn}",),
    "ListTags": ("{ResourceArn}",),
    "InvokeEndpoint": ("endpoint/{EndpointName}",),
    "InvokeEndpointAsync": ("endpoint/{EndpointName}",),
    "InvokeEndpointWithResponseStream": ("endpoint/{EndpointName}",),
}
ON_AN_EXECUTION = (
    *("DescribePipelineExecution", "UpdatePipelineExecution", "ListPipelineExecutionSteps", "StopPipelineExecution"),
    *("ListPipelineParametersForExecution", "DescribePipelineDefinitionForExecution", "RetryPipelineExecution"),
)
RESOURCES |= dict.fromkeys(ON_AN_EXECUTION, ("{PipelineExecutionArn}",))

# Condition key → where a request has its value; several places where operations differ.
CONDITION_KEYS: dict[str, tuple[str, ...]] = {
    "sagemaker:InstanceTypes": (
        "ResourceConfig.InstanceType",
        "ProcessingResources.ClusterConfig.InstanceType",
        "TransformResources.InstanceType",
        "ProductionVariants.*.InstanceType",
        "InstanceType",
    ),
    "sagemaker:VolumeKmsKey": (
        "ResourceConfig.VolumeKmsKeyId",
        "ProcessingResources.ClusterConfig.VolumeKmsKeyId",
        "TransformResources.VolumeKmsKeyId",
        "KmsKeyId",
    ),
    "sagemaker:OutputKmsKey": (
        "OutputDataConfig.KmsKeyId",
        "ProcessingOutputConfig.KmsKeyId",
        "TransformOutput.KmsKeyId",
    ),
    "sagemaker:NetworkIsolation": ("EnableNetworkIsolation", "NetworkConfig.EnableNetworkIsolation"),
    "sagemaker:InterContainerTrafficEncryption": (
        "EnableInterContainerTrafficEncryption",
        "NetworkConfig.EnableInterContainerTrafficEncryption",
    ),
    "sagemaker:VpcSubnets": ("VpcConfig.Subnets", "NetworkConfig.VpcConfig.Subnets"),
    "sagemaker:VpcSecurityGroupIds": ("VpcConfig.SecurityGroupIds", "NetworkConfig.VpcConfig.SecurityGroupIds"),
    "sagemaker:MaxRuntimeInSeconds": ("StoppingCondition.MaxRuntimeInSeconds",),
    "sagemaker:KeepAlivePeriod": ("ResourceConfig.KeepAlivePeriodInSeconds",),
    "sagemaker:ModelApprovalStatus": ("ModelApprovalStatus",),
    "sagemaker:TargetModel": ("TargetModel",),
}


def needs(scope: Scope, operation: str, request: Request) -> Iterator[Need]:
    """All that has to be allowed for `operation`, in the order in which AWS asks."""
    context = conditions(request)
    if operation == "CreateTransformJob":
        context["sagemaker:ModelArn"] = scope.arn(f"model/{request.get('ModelName')}")
    resources = list(_resources(scope, operation, request))
    for resource in resources:
        yield Need(action=f"sagemaker:{operation}", resource=resource, context=context)
    if request.get("Tags") and operation.startswith("Create"):
        yield Need(action="sagemaker:AddTags", resource=resources[0], context=context)
    for role in passed_roles(request):
        yield Need(action="iam:PassRole", resource=role, context={"iam:PassedToService": SERVICE})


def passed_roles(request: Request) -> Iterator[str]:
    """The roles that a request hands to SageMaker."""
    yield from (str(request[member]) for member in ROLES if request.get(member))


def conditions(request: Request) -> dict[str, Any]:
    """The condition keys that a request sets."""
    found: dict[str, Any] = {}
    for key, paths in CONDITION_KEYS.items():
        values = [value for path in paths for value in _at(request, path.split("."))]
        if values:
            found[key] = values[0] if len(values) == 1 else values
    tags = [tag for tag in request.get("Tags") or [] if isinstance(tag, Mapping) and "Key" in tag]
    found |= {f"aws:RequestTag/{tag['Key']}": str(tag.get("Value", "")) for tag in tags}
    if keys := [str(tag["Key"]) for tag in tags] or list(request.get("TagKeys") or []):
        found["aws:TagKeys"] = keys
    return found


def _resources(scope: Scope, operation: str, request: Request) -> Iterator[str]:
    """ARNs of what an operation is on; `*` where it is on nothing in particular."""
    if operation == "CreateModelPackage":
        group = str(request.get("ModelPackageGroupName") or "*").removeprefix(scope.arn("model-package-group/"))
        yield scope.arn(f"model-package-group/{group}")
        yield scope.arn(f"model-package/{group}/*")  # its version is known only once it is made
    elif operation in RESOURCES:
        for template in RESOURCES[operation]:
            yield _filled(scope, template, request)
    elif operation.startswith("List"):
        yield "*"
    else:
        verb = next((verb for verb in VERBS if operation.startswith(verb)), "")
        noun = operation.removeprefix(verb)
        yield _filled(scope, f"{kebab(noun)}/{{{noun}Name}}", request)


def kebab(noun: str) -> str:
    """
    >>> kebab("ModelPackageGroup"), kebab("TrainingJob")
    ('model-package-group', 'training-job')
    """
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in noun).lstrip("-")


def _filled(scope: Scope, template: str, request: Request) -> str:
    kind, _, member = template.rpartition("/")
    given = str(
        request.get(member.strip("{}")) or "*"
    )  # without a name, only a policy for everything of a kind matches
    if given.startswith("arn:"):
        return given  # many members take the name or the ARN
    return scope.arn(f"{kind}/{given}") if kind else "*"


def _at(value: Any, path: list[str]) -> Iterator[Any]:
    """What lies at a path of a request; `*` is every member of a list."""
    if not path:
        yield from value if isinstance(value, list) else [value]
    elif path[0] == "*":
        for member in value if isinstance(value, list) else []:
            yield from _at(member, path[1:])
    elif isinstance(value, Mapping) and value.get(path[0]) is not None:
        yield from _at(value[path[0]], path[1:])
