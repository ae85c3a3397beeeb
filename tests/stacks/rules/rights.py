"""What must hold of roles, of their policies and of those of resources."""

import json
import re
from collections.abc import Iterable
from typing import Any

from tests.stacks.readable import plain
from tests.stacks.rules.reading import allowing, as_list, resource_policies
from tests.stacks.synthesis import Template, resources

INVOKE_POLICY = "InvokePolicy"  # the start of its logical id
SERVICES = {
    *("sagemaker.amazonaws.com", "codebuild.amazonaws.com", "scheduler.amazonaws.com"),
    "vpc-flow-logs.amazonaws.com",
}
SERVICES_OF_ONE_ACCOUNT = {"lambda.amazonaws.com"}  # takes no role of another account, and says no SourceAccount
WITHOUT_RESOURCE = {  # AWS defines these for * only
    *("ecr:GetAuthorizationToken", "cloudwatch:PutMetricData"),
    *("ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups"),
    *("ec2:DescribeSubnets", "ec2:DescribeVpcs", "sagemaker:ListModelPackages", "servicequotas:ListServiceQuotas"),
    # What only who looks for drift asks for.
    *(f"application-autoscaling:{one}" for one in ("DescribeScalableTargets", "DescribeScalingPolicies")),
    *(f"application-autoscaling:{one}" for one in ("DescribeScheduledActions", "ListTagsForResource")),
    *(f"ec2:Describe{one}" for one in ("FlowLogs", "NetworkAcls", "RouteTables", "SecurityGroupRules")),
    *(f"ec2:Describe{one}" for one in ("VpcAttribute", "VpcEncryptionControls", "VpcEndpoints")),
    *(f"logs:Describe{one}" for one in ("IndexPolicies", "LogGroups", "ResourcePolicies")),
    *("logs:GetDataProtectionPolicy", "logs:ListTagsForResource"),
    "cloudformation:DescribeStackDriftDetectionStatus",
}


def other_accounts_are_named_by_their_root_and_one_role(template: Template) -> Iterable[str]:
    """A role as the principal of a policy is refused by AWS while it does not exist: two empty accounts would wait for
    each other. And the root alone would be everybody there."""
    for id_, statement in resource_policies(template):
        principal = statement["Principal"]
        for one in as_list(principal.get("AWS", [])) if isinstance(principal, dict) else []:
            named = str(plain(one))
            if re.search(r":(role|user)/", named):
                yield f"{id_} names {named}: it could not be made before that is"
            # kms:* is how a key says that policies of its own account count.
            if (account := re.search(r":iam::(\d{12}):root$", named)) and statement["Action"] != "kms:*":
                allowed = str(plain(statement.get("Condition", {}).get("ArnEquals", {}).get("aws:PrincipalArn", "")))
                if not re.fullmatch(rf"arn:.+:iam::{account[1]}:role/amplify-[a-z0-9-]+-promotion", allowed):
                    yield f"{id_} lets everybody of account {account[1]} in"


def roles_serve_this_account_only(template: Template) -> Iterable[str]:
    for id_, role in resources(template, "AWS::IAM::Role").items():
        for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]:
            if re.fullmatch(r"arn:[^:]+:iam::\$\{AWS::AccountId\}:root", plain(statement["Principal"]).get("AWS", "")):
                continue  # whom a policy of this account lets
            service = statement["Principal"].get("Service")
            if set(statement["Principal"]) == {"Federated"}:
                continue  # the next rule
            if set(statement["Principal"]) != {"Service"} or service not in SERVICES | SERVICES_OF_ONE_ACCOUNT:
                yield f"{id_} can be assumed by {statement['Principal']}"
            named = "aws:SourceAccount" in statement.get("Condition", {}).get("StringEquals", {})
            if not named and service not in SERVICES_OF_ONE_ACCOUNT:
                yield f"{id_} can be assumed on behalf of another account"


def no_statement_allows_more_than_it_names(template: Template) -> Iterable[str]:
    for id_, statement in allowing(template):
        actions = set(as_list(statement["Action"]))
        if any("*" in action for action in actions):
            yield f"{id_} allows {sorted(actions)}"
        if "*" in as_list(statement["Resource"]) and not actions <= WITHOUT_RESOURCE:
            yield f"{id_} allows {sorted(actions)} on everything"
        if {"NotAction", "NotResource"} & set(statement):
            yield f"{id_} allows all but something"


def roles_are_passed_to_sagemaker_only(template: Template) -> Iterable[str]:
    for id_, statement in allowing(template):
        bound = statement.get("Condition", {}).get("StringEquals", {}).get("iam:PassedToService")
        if "iam:PassRole" in as_list(statement["Action"]) and bound != "sagemaker.amazonaws.com":
            yield f"{id_} passes a role to any service"


def grants_on_the_key_are_for_aws_resources_only(template: Template) -> Iterable[str]:
    for id_, statement in allowing(template):
        bound = statement.get("Condition", {}).get("Bool", {}).get("kms:GrantIsForAWSResource")
        if "kms:CreateGrant" in as_list(statement["Action"]) and bound != "true":
            yield f"{id_} may hand the key to anyone"


def only_the_invoke_policy_lets_anybody_ask(template: Template) -> Iterable[str]:
    for id_, statement in allowing(template):
        actions = as_list(statement["Action"])
        if any(action.startswith("sagemaker:Invoke") for action in actions) and not id_.startswith(INVOKE_POLICY):
            yield f"{id_} allows {actions}"


def users_of_a_role_wait_for_its_policy(template: Template) -> Iterable[str]:
    """The roles that a resource names, in its properties or through another resource of the stack that it names."""
    everything = template["Resources"]
    apart = ("AWS::IAM::Policy", "AWS::Lambda::Function")  # a function waits itself

    def named(id_: str, seen: set[str]) -> set[str]:
        text = json.dumps(everything[id_].get("Properties", {}))
        for other in everything:
            if other not in seen and f'"{other}"' in text and everything[other]["Type"] not in apart:
                seen |= {other} | named(other, seen | {other})
        return seen

    def waited_for(resource: dict[str, Any]) -> set[str]:
        direct = set(as_list(resource.get("DependsOn", [])))
        return direct.union(*(waited_for(everything[id_]) for id_ in direct))

    def policies_of(roles: set[str]) -> set[str]:
        found = resources(template, "AWS::IAM::Policy").items()
        return {id_ for id_, policy in found if roles & {role["Ref"] for role in policy["Properties"]["Roles"]}}

    for type_ in (
        *("AWS::SageMaker::Model", "AWS::SageMaker::Endpoint", "AWS::SageMaker::Pipeline"),
        "AWS::SageMaker::NotebookInstance",
        *("AWS::Lambda::Function", "AWS::Scheduler::Schedule", "Custom::ImageBuild"),
    ):
        for id_, resource in resources(template, type_).items():
            if missing := policies_of(named(id_, set())) - waited_for(resource):
                yield f"{id_} does not wait for {sorted(missing)}"
