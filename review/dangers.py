"""Grants to stop for, whatever was allowed before: everything, everybody, or somebody else's."""

import re
from collections.abc import Iterable

from review.addresses import is_anywhere
from review.holders import Holder
from review.statements import ANYBODY, Clause, Grant, Pattern

WITHOUT_RESOURCE = re.compile(
    r"ecr:GetAuthorizationToken|cloudwatch:(PutMetricData|GetMetric\w+|ListMetrics|DescribeAlarms)|ec2:Describe\w*\*?"
    r"|\w[\w-]*:List\w*\*?|logs:Describe\w*\*?|xray:Put\w+|sts:GetCallerIdentity|tag:Get\w+|cloudformation:ValidateTemplate"
    r"|servicequotas:Get\w+|pricing:\w+"
)
"""Actions for which AWS takes no resource, or that only list: https://docs.aws.amazon.com/service-authorization/"""
PRECIOUS = ("iam", "sts", "s3", "kms", "secretsmanager", "ssm", "lambda", "ecr", "dynamodb", "organizations")
"""Services where all resources of a kind are too many."""
PRIVILEGED = re.compile(
    r"iam:(\*|PassRole|Create|Put|Attach|Add|Update|Set|Delete|Detach|Tag)|sts:AssumeRole|kms:(CreateGrant|PutKeyPolicy|Schedule|Disable)"
    r"|s3:(PutBucketPolicy|DeleteBucket|PutBucketPublic|PutObjectAcl|PutBucketAcl)|lambda:(AddPermission|UpdateFunctionCode)"
    r"|ec2:(AuthorizeSecurityGroup|CreateRoute|AttachInternetGateway)|sagemaker:CreatePresigned|cloudtrail:|organizations:"
)
"""Actions by which more rights, or others' data, are to be had."""
BINDS_STRANGERS = re.compile(
    r"aws:(Source(Account|Arn|OrgID|Vpce|Vpc|Ip)|Principal(Account|Arn|OrgID|OrgPaths)|ResourceAccount|VpcSourceIp)"
    r"|kms:(CallerAccount|ViaService)|sts:ExternalId|[\w.-]+:(sub|aud)",
    re.IGNORECASE,
)
"""Condition keys that say who may come, or whence."""
OF_OUR_ACCOUNT = {"aws:resourceaccount", "aws:resourceorgid", "aws:resourceorgpaths"}
WHO_COMES = {"aws:principalaccount", "aws:principalorgid", "aws:principalorgpaths", "aws:principalarn"}


_ACCOUNT = re.compile(r"(?<![\w.])\d{12}(?![\w.])")


def danger(grant: Grant, holder: Holder, ours: frozenset[str]) -> str | None:
    """A rule to stop for, whatever was before. `ours` are the accounts that base names."""
    action, resource = str(grant.action), grant.resource
    if grant.action.but or resource.but or grant.principal.but:
        return "permissions.all_but"
    if holder.kind == "vpc endpoint":
        keys = {clause.key.lower() for clause in grant.condition if not asks_nothing(clause)}
        anywhere = resource.text in ("*", "arn:aws:s3:::*") and not WITHOUT_RESOURCE.fullmatch(action)
        # A way out for data: with any credentials, or into anybody's bucket.
        if action == "*" or (anywhere and not keys & OF_OUR_ACCOUNT) or not keys & WHO_COMES:
            return "exposure.endpoint_policy"
    area = {"identity": "permissions", "trust": "trust"}.get(holder.kind, "exposure")
    if (named := accounts_in(grant.condition, resource.text)) and not named <= ours | {holder.account}:
        return f"{area}.other_account"
    if holder.kind == "vpc endpoint":
        return None
    if holder.kind != "identity" and (stranger := _stranger(grant, holder, area)):
        return stranger
    own_root = f"AWS:arn:aws:iam::{holder.account}:root"
    if holder.kind != "identity" and str(grant.principal).replace("${AWS::Partition}", "aws") == own_root:
        return None  # hands the decision to the account's own policies
    if action == "*" or action.endswith(":*"):
        return "permissions.every_action"
    if holder.kind == "identity" and _is_wide(resource.text, action) and not WITHOUT_RESOURCE.fullmatch(action):
        return "permissions.every_resource"
    return None


def accounts_in(condition: Iterable[Clause], *texts: str) -> set[str]:
    """Accounts that conditions let pass, or that a text names."""
    wanted = [value for clause in condition if "Not" not in clause.operator for value in clause.values]
    return {account for one in (*wanted, *texts) for account in _ACCOUNT.findall(one)}


def _stranger(grant: Grant, holder: Holder, area: str) -> str | None:
    principal = str(grant.principal)
    if principal in (ANYBODY, "*") or principal.startswith("AWS:arn:aws:iam::*"):
        return f"{area}.{'bound_anybody' if any(map(_binds, grant.condition)) else 'anybody'}"
    account = re.search(r"^AWS:(?:arn:[^:]*:(?:iam|sts)::)?(\d{12})", principal.replace("${AWS::Partition}", "aws"))
    if account and account[1] != holder.account:
        return f"{area}.other_account"
    if principal.startswith("Federated:") and not any(map(names_a_subject, grant.condition)):
        return f"{area}.anybody"
    return None


def names_a_subject(clause: Clause) -> bool:
    """Whose token it is: the audience alone is that of everybody who asks the provider."""
    return (
        clause.key.rpartition(":")[2] in ("sub", "repository", "repository_id", "job_workflow_ref", "amr")
        and _is_positive(clause)
        and not any(re.fullmatch(r"[*?]+|repo:[^/]*[*?].*", value) for value in clause.values)
    )


def _binds(clause: Clause) -> bool:
    return bool(BINDS_STRANGERS.fullmatch(clause.key)) and _is_positive(clause) and not asks_nothing(clause)


def _is_positive(clause: Clause) -> bool:
    """Whether it names what may pass, and passes nothing that does not say."""
    return clause.is_asked_of_all and "Not" not in clause.operator and clause.operator != "Null"


def asks_nothing(clause: Clause) -> bool:
    """Whether about everything passes: a bare wildcard, half of the internet, a call that leaves the key out."""
    anything = any(re.fullmatch(r"[*?]*|arn:\*", value) or is_anywhere(value) for value in clause.values)
    return anything or not clause.is_asked_of_all


def locks_out(denied: Grant) -> bool:
    """Whether it denies everything of a service to everybody, its owner and CloudFormation among them."""
    return (
        denied.principal.text in (ANYBODY, "*")
        and not denied.principal.but
        and re.fullmatch(r"\*|\w+:\*", denied.action.text) is not None
        and not denied.condition
    )


def has_an_administrator(key: Holder) -> bool:
    """Whether somebody of the key's own account may change its policy: nobody can mend it otherwise."""
    own = re.compile(rf"AWS:(arn:[^:]*:iam::{key.account}:.*|\*|\$\{{\w+\.Arn\}})")
    change = Pattern("kms:putkeypolicy")
    return any(
        change.within(Pattern(grant.action.text.lower()))
        and own.fullmatch(grant.principal.text)
        and not grant.condition
        for grant in key.allows
    )


def _is_wide(resource: str, action: str) -> bool:
    if resource == "*":
        return True
    service = action.split(":")[0]
    every_one = r"arn:[^:]*:[^:]*:[^:]*:[^:]*:([\w-]+[/:])?\*(/\*)?|arn:\*.*|arn:aws:\*.*"
    return service in PRECIOUS and re.fullmatch(every_one, resource.replace("${AWS::Partition}", "aws")) is not None
