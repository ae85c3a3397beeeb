"""What there is in an account, and what stacks say of themselves: for tests that compare before and after."""

import json
from collections.abc import Callable
from typing import Any

from operate.deployment import STACKS

Client = Callable[[str], Any]
"""A boto3 client by its service."""


def inventory(aws: Client) -> set[str]:
    """Everything that our stacks can make, as `type name`, whoever made it.

    Without the log groups that services make by themselves (`/aws/…`): on AWS too they outlive all stacks.
    """
    lists: list[tuple[str, str, str, str]] = [
        ("sagemaker", "list_endpoints", "Endpoints", "EndpointName"),
        ("sagemaker", "list_endpoint_configs", "EndpointConfigs", "EndpointConfigName"),
        ("sagemaker", "list_models", "Models", "ModelName"),
        ("sagemaker", "list_pipelines", "PipelineSummaries", "PipelineName"),
        ("sagemaker", "list_model_package_groups", "ModelPackageGroupSummaryList", "ModelPackageGroupName"),
        ("iam", "list_roles", "Roles", "RoleName"),
        ("lambda", "list_functions", "Functions", "FunctionName"),
        ("events", "list_rules", "Rules", "Name"),
        ("sns", "list_topics", "Topics", "TopicArn"),
        ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
        ("ecr", "describe_repositories", "repositories", "repositoryName"),
        ("scheduler", "list_schedules", "Schedules", "Name"),
        ("logs", "describe_log_groups", "logGroups", "logGroupName"),
    ]
    found = set()
    for service, operation, members, name in lists:
        for page in aws(service).get_paginator(operation).paginate():
            found |= {f"{operation.partition('_')[2]} {one[name]}" for one in page[members]}
    found |= {f"buckets {bucket['Name']}" for bucket in aws("s3").list_buckets()["Buckets"]}
    found |= {f"projects {name}" for name in aws("codebuild").list_projects()["projects"]}
    found |= {f"queues {url}" for url in aws("sqs").list_queues().get("QueueUrls", [])}
    for page in aws("iam").get_paginator("list_policies").paginate(Scope="Local"):
        found |= {f"policies {policy['PolicyName']}" for policy in page["Policies"]}
    for page in aws("cloudwatch").get_paginator("describe_alarms").paginate():
        found |= {f"alarms {alarm['AlarmName']}" for alarm in page["MetricAlarms"]}
    for page in aws("kms").get_paginator("list_keys").paginate():
        keys = [aws("kms").describe_key(KeyId=key["KeyId"])["KeyMetadata"] for key in page["Keys"]]
        found |= {f"keys {key['KeyId']}" for key in keys if key["KeyState"] == "Enabled"}
    return {one for one in found if not one.startswith("log_groups /aws/")}


def deployed(aws: Client) -> list[str]:
    """The names of the stacks of `local` that are there."""
    there = {stack["StackName"] for stack in aws("cloudformation").describe_stacks()["Stacks"]}
    return [name for name in (f"amplify-local-{stack}" for stack in STACKS) if name in there]


def state(aws: Client, stack: str) -> dict[str, Any]:
    """What a stack is: its template, its outputs, and the physical id of each resource."""
    cloudformation = aws("cloudformation")
    [described] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    return {
        "template": cloudformation.get_template(StackName=stack)["TemplateBody"],
        "outputs": {one["OutputKey"]: one["OutputValue"] for one in described.get("Outputs", [])},
        "resources": resources(aws, stack),
    }


def resources(aws: Client, stack: str) -> dict[str, str]:
    """Logical id → physical id."""
    pages = aws("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
    summaries = [one for page in pages for one in page["StackResourceSummaries"]]
    return {one["LogicalResourceId"]: one.get("PhysicalResourceId", "") for one in summaries}


def status(aws: Client, stack: str) -> str:
    [described] = aws("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return str(described["StackStatus"])


def events(aws: Client, stack: str) -> int:
    """How many there were so far: nothing happens to a stack without one."""
    pages = aws("cloudformation").get_paginator("describe_stack_events").paginate(StackName=stack)
    return sum(len(page["StackEvents"]) for page in pages)


def retained(aws: Client, stack: str) -> dict[str, str]:
    """Logical id → physical id of what the stack's own template says is to outlive it."""
    template = aws("cloudformation").get_template(StackName=stack)["TemplateBody"]
    made = template if isinstance(template, dict) else json.loads(template)
    kept = {name for name, one in made["Resources"].items() if one.get("DeletionPolicy", "").startswith("Retain")}
    return {name: physical for name, physical in resources(aws, stack).items() if name in kept}
