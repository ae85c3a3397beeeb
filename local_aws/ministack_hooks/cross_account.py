"""Calls into other accounts, held to both sides' policies: strict mode only.

ministack asks for the caller's own account alone: a key's, repository's or bucket's policy is looked up there, the
account of a bucket is the caller's, and a session's aws:PrincipalArn is that of the session and not of its role.
"""

from collections.abc import Mapping
from typing import Any

from ministack.core import iam_actions, iam_evaluator
from ministack.services import ecr, kms, s3
from ministack.services import iam as roles

from local_aws.ministack_hooks import iam
from local_aws.ministack_hooks.requests import Headers, Query, account, region, request_scope

Policy = tuple[str, str]  # its text, and the account that owns it


def install() -> None:
    _tell_roles_and_owners()
    _name_repositories_of_other_accounts()
    _look_policies_up_where_they_are()
    _ask_bucket_policies_by_caller()


def _tell_roles_and_owners() -> None:
    """aws:PrincipalArn of a session is its role's; aws:ResourceAccount of a bucket is who owns it.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
    """
    resolve = iam_evaluator._resolve_condition_key

    def _resolve_condition_key(key: str, ctx: Any) -> Any:
        name = key.lower()
        if name == "aws:principalarn":
            return _role_of(ctx.principal_arn)
        if name in ("aws:resourceaccount", "s3:resourceaccount") and ctx.resource_arn.startswith("arn:aws:s3:::"):
            owner = s3._bucket_owner_account(ctx.resource_arn.removeprefix("arn:aws:s3:::").partition("/")[0])
            return owner or ctx.principal_account
        return resolve(key, ctx)

    iam_evaluator._resolve_condition_key = _resolve_condition_key


def _role_of(arn: str) -> str:
    """`arn:aws:sts::1:assumed-role/name/session` → the role's own ARN, with its path."""
    head, _, resource = arn.partition(":assumed-role/")
    if not resource:
        return arn
    owner, name = head.split(":")[4], resource.partition("/")[0]
    found = roles._roles.get_scoped(owner, None, name)
    return str(found["Arn"]) if found else f"arn:aws:iam::{owner}:role/{name}"


def _name_repositories_of_other_accounts() -> None:
    """The resource of a call to ECR is in the registry that it names."""
    resource_of = iam_actions.extract_resource_arn

    def _extract_resource_arn(
        service: str, method: str, path: str, headers: Headers, body: bytes, *more: Any, **named: Any
    ) -> str:
        found = str(resource_of(service, method, path, headers, body, *more, **named))
        registry = iam._json(body).get("registryId") if service == "ecr" else None
        if registry and ":repository/" in found:
            return f"arn:aws:ecr:{region()}:{registry}:repository/{found.partition(':repository/')[2]}"
        return found

    iam_actions.extract_resource_arn = _extract_resource_arn


def _look_policies_up_where_they_are() -> None:
    key_policy, repository_policy = kms.key_policy_for_arn, ecr.repository_policy_for_arn

    def key_policy_for_arn(arn: str) -> Policy | None:
        with request_scope(_account_in(arn), region()):
            found: Policy | None = key_policy(arn)
        return found

    def repository_policy_for_arn(arn: str) -> Policy | None:
        with request_scope(_account_in(arn), region()):
            found: Policy | None = repository_policy(arn)
        return found or ("", _account_in(arn))

    kms.key_policy_for_arn, ecr.repository_policy_for_arn = key_policy_for_arn, repository_policy_for_arn


def _account_in(arn: str) -> str:
    parts = arn.split(":")
    return parts[4] if len(parts) > 4 and parts[4].isdigit() else account()


def _ask_bucket_policies_by_caller() -> None:
    """By who calls, and not by the root of their account. Access control lists count for nothing: our buckets have
    BucketOwnerEnforced."""

    def _foreign_bucket_allows(
        owner_account: str,
        bucket_name: str,
        key: str,
        method: str,
        query_params: Query,
        caller: str,
        headers: Headers | None = None,
    ) -> bool:
        policy = s3._bucket_policies.get_scoped(owner_account, None, bucket_name)
        path = f"/{bucket_name}/{key}" if key else f"/{bucket_name}"
        name = iam_actions._s3_action(method, path, query_params)
        action = f"s3:{name or ('GetObject' if method in ('GET', 'HEAD') else 'PutObject')}"
        with request_scope(owner_account, region()):
            context = iam_actions.s3_service_context(action, query_params, path, headers or {})
        return policy is not None and allows(policy, caller, action, f"arn:aws:s3:::{path[1:]}", context)

    s3._foreign_bucket_allows = _foreign_bucket_allows


def allows(policy: str, owner: str, action: str, resource: str, context: Mapping[str, Any]) -> bool:
    """Whether a resource's policy lets the caller of this request, of account `owner`, do something to it."""
    key = iam.caller()
    with request_scope(owner, region()):
        who = iam_evaluator.resolve_credential(key)
    if not isinstance(who, iam_evaluator.ResolvedCredential):
        return False
    asked = iam_evaluator.EvalContext(
        principal_arn=who.principal_arn,
        principal_type=who.principal_type,
        principal_account=who.account_id,
        action=action,
        resource_arn=resource,
        region=region(),
        service_context={name.lower(): value for name, value in context.items()},
    )
    return bool(iam_evaluator.evaluate_resource_policy(policy, asked).decision == "Allow")
