"""What strict mode touches; only strict mode loads it.

ministack evaluates IAM for its own services where AUTH is true. What it leaves out is added here: SageMaker, the keys
of S3 objects, roles handed to CloudFormation, the secret of root.
"""

import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from ministack.core import iam_actions, iam_evaluator, lambda_runtime, responses
from ministack.services import iam, kms, s3, sts
from ministack.services.cloudformation import changesets, handlers, helpers, stacks

from local_aws import build_requests
from local_aws.ministack_hooks.cloudformation import Properties
from local_aws.ministack_hooks.requests import Headers, Query, account, region, request_scope
from local_aws.settings import Credentials

Context = Mapping[str, Any]
Answer = tuple[int, dict[str, str], bytes]

_caller: ContextVar[str] = ContextVar("caller", default="")  # the access key of the request that is being answered
_more_context: ContextVar[Context] = ContextVar("more_context", default=MappingProxyType({}))

_out_of_bounds: ContextVar[bool] = ContextVar("out_of_bounds", default=False)  # why the request is refused

OUT_OF_BOUNDS = "no permissions boundary allows it"
NO_IDENTITY_POLICY, NO_BOUNDARY = "no identity-based policy allows", "no permissions boundary allows"
LOG_STREAM_ACTIONS = {"CreateLogStream", "DeleteLogStream", "PutLogEvents", "GetLogEvents"}
LOG_TAG_ACTIONS = {"TagResource", "UntagResource", "ListTagsForResource"}
METRIC_OPERATION = "/service/GraniteServiceVersion20100801/operation/"
STACK_OPERATIONS = (
    *("CreateStack", "UpdateStack", "DeleteStack", "RollbackStack", "ContinueUpdateRollback"),
    *("CreateChangeSet", "ExecuteChangeSet", "DeleteChangeSet"),
)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What IAM said to one call. `code` is AccessDenied where policies refuse, else why the credentials are refused."""

    access_key: str
    principal: str
    action: str
    resource: str
    context: Context
    allowed: bool
    code: str = ""
    message: str = ""


# ---- decisions -------------------------------------------------------------------------------------------------------


def watch_decisions(seen: Callable[[Decision], None]) -> None:
    """Have `seen` called with every decision, and remember whose request is being answered (`caller`)."""
    enforce = iam_evaluator.enforce

    def _enforce(
        access_key_id: str,
        iam_action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: dict[str, Any] | None = None,
    ) -> Any:
        _caller.set(access_key_id or "")
        context = {**_more_context.get(), **(service_context or {})}
        refused = enforce(access_key_id, iam_action, service, region, resource_arn, context)
        seen(_decision(access_key_id, iam_action, resource_arn, context, refused))
        return refused

    iam_evaluator.enforce = _enforce


def decide(access_key: str, action: str, resource: str, context: Context) -> Decision:
    """Whether the holder of a key, whose signature was checked, may do `action` to `resource`. Seen as all others."""
    service = action.partition(":")[0]
    owner = access_key if access_key.isdigit() else responses._account_from_sts_session(access_key)
    with request_scope(str(owner or account()), region()):  # the bucket of a request may be another account's
        refused = iam_evaluator.enforce(access_key, action, service, region(), resource, dict(context))
    return _decision(access_key, action, resource, context, refused)


def _decision(access_key: str, action: str, resource: str, context: Context, refused: Any) -> Decision:
    about: dict[str, Any] = {"access_key": access_key, "action": action, "resource": resource, "context": context}
    if isinstance(refused, iam_evaluator.AuthError):  # then nobody knows who it is
        return Decision(principal="", allowed=False, code=refused.code, message=refused.message, **about)
    known = iam_evaluator.resolve_credential(access_key or "")
    about["principal"] = getattr(known, "principal_arn", "anonymous")
    if refused is None:
        return Decision(allowed=True, **about)
    message = iam_actions.identity_denial_message(
        action, refused.principal_arn, resource, explicit_deny=refused.decision == "Deny"
    )
    if refused.reason == OUT_OF_BOUNDS:
        message = message.replace(NO_IDENTITY_POLICY, NO_BOUNDARY)
    return Decision(allowed=False, code="AccessDenied", message=message, **about)


class _Boundary(list[Any]):
    """The statements of a permissions boundary, to be told from a session's own policies."""


def tell_of_boundaries() -> None:
    """Say of a call that a permissions boundary alone refuses that the boundary does, as AWS says it.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """
    boundary_of, evaluate = iam_evaluator._permissions_boundary, iam_evaluator.evaluate
    enforce, answer = iam_evaluator.enforce, iam_actions.access_denied_response

    def _permissions_boundary(*whose: Any) -> list[Any]:
        return [_Boundary(one) for one in boundary_of(*whose)]

    def _evaluate(asked: Any, policies: Any, *limits: Any) -> Any:
        result = evaluate(asked, policies, *limits)
        if result.decision == "ImplicitDeny" and evaluate(asked, policies).decision == "Allow":
            bounds = [limit for limit in limits if isinstance(limit, _Boundary)]
            if any(evaluate(asked, bound).decision != "Allow" for bound in bounds):
                result.reason = OUT_OF_BOUNDS
        return result

    def _enforce(*about: Any, **more: Any) -> Any:
        refused = enforce(*about, **more)
        _out_of_bounds.set(getattr(refused, "reason", "") == OUT_OF_BOUNDS)
        return refused

    def _access_denied_response(*about: Any, **more: Any) -> Any:
        status, headers, body = answer(*about, **more)
        if _out_of_bounds.get():
            body = body.replace(NO_IDENTITY_POLICY.encode(), NO_BOUNDARY.encode())
        return status, headers, body

    iam_evaluator._permissions_boundary, iam_evaluator.evaluate = _permissions_boundary, _evaluate
    iam_evaluator.enforce, iam_actions.access_denied_response = _enforce, _access_denied_response


def caller() -> str:
    """The access key of the request that is being answered; "" outside of one, and for one without a signature."""
    return _caller.get()


def require_the_secret_of_root() -> None:
    """Check the signature of an account's root user as any other: ministack takes its word for it."""
    iam_evaluator._is_root_key = lambda _access_key_id: False


# ---- roles and sessions ----------------------------------------------------------------------------------------------


def role(arn: str) -> Mapping[str, Any] | None:
    """The role of that ARN, in whatever account; None where there is none."""
    parts = arn.split(":", 5)
    if len(parts) < 6:
        return None
    found: Mapping[str, Any] | None = iam._roles.get_scoped(parts[4], None, parts[5].rpartition("/")[2])
    return found if found is not None and found["Arn"] == arn else None


def trusts(role: Mapping[str, Any], service: str, context: Context) -> bool:
    """Whether a role's trust policy lets an AWS service assume it, under the condition keys of `context`."""
    asked = iam_evaluator.EvalContext(
        principal_arn=service,  # no ARN: no statement about an AWS principal means a service
        principal_type="Service",
        principal_account="",
        action="sts:AssumeRole",
        resource_arn=role["Arn"],
        region=region(),
        service_context={key.lower(): value for key, value in context.items()},
    )
    policy = role.get("AssumeRolePolicyDocument")
    return bool(iam_evaluator.evaluate_resource_policy(policy, asked, service).decision == "Allow")


def register_session(credentials: Credentials, arn: str, user_id: str, expires: float) -> None:
    """From now on the credentials are a session of a role, `arn` its assumed-role ARN, until `expires`."""
    about = {"Arn": arn, "UserId": user_id, "AccountId": arn.split(":")[4], "PrincipalType": "AssumedRole"}
    _register(credentials, {**about, "Expiration": expires})


def let_services_act_in_their_account() -> None:
    """A session of a service has no ARN to tell its account by: without this it works in the server's own account,
    whichever it was begun for."""
    by_arn = responses._account_from_sts_session

    def _account_from_sts_session(access_key_id: str) -> str | None:
        session = sts._sessions.get(access_key_id) or {}
        found: str | None = session.get("AccountId") if session.get("PrincipalType") == "Root" else None
        return found or by_arn(access_key_id)

    responses._account_from_sts_session = _account_from_sts_session


def register_service(credentials: Credentials, account: str, name: str) -> None:
    """The credentials are those of an AWS service in an account: it may do all, and is called by its own name."""
    _register(credentials, {"Arn": name, "UserId": name, "AccountId": account, "PrincipalType": "Root"})


def _register(credentials: Credentials, session: dict[str, Any]) -> None:
    secrets = {"SecretAccessKey": credentials.secret_key, "SessionToken": credentials.token}
    sts.register_session(credentials.access_key, session | secrets)


def let_threads_begin_sessions() -> None:
    """Sessions begin in our threads and on ministack's loop: whoever looks for old ones must not stumble over that."""

    def _evict_expired_sessions() -> None:
        for key, session in list(sts._sessions.items()):
            if sts._session_expired(session):
                sts._sessions.pop(key, None)

    sts._evict_expired_sessions = _evict_expired_sessions


def end_sessions_of_remade_roles() -> None:
    """A session is of the role that was there when it began, not of another that has its name now."""
    gather = iam_evaluator.resolve_principal

    def _resolve_principal(access_key_id: str, account_id: str, credential: Any = None) -> Any:
        principal = gather(access_key_id, account_id, credential)
        session = sts._sessions.get(access_key_id) or {}
        if getattr(principal, "type", "") == "AssumedRole":
            _, _, _, _, owner, resource = session["Arn"].split(":", 5)
            now = iam._roles.get_scoped(owner, None, resource.split("/")[1]) or {}
            if session["UserId"].partition(":")[0] not in (now.get("RoleId"), now.get("RoleName")):
                return iam_evaluator.AuthError(
                    "UnrecognizedClientException", "The security token included in the request is invalid."
                )
        return principal

    iam_evaluator.resolve_principal = _resolve_principal


def assume_roles_of_functions(may_assume: Callable[[str, str], bool]) -> None:
    """Let a Lambda function have its role's session only where `may_assume(role ARN, service)`."""
    credentials = lambda_runtime.execution_credentials

    def _execution_credentials(config: dict[str, Any]) -> dict[str, str]:
        if not may_assume(config.get("Role", ""), "lambda.amazonaws.com"):
            raise RuntimeError("The role defined for the function cannot be assumed by Lambda.")
        found: dict[str, str] = credentials(config)
        return found

    lambda_runtime.execution_credentials = _execution_credentials


# ---- what a request is about -----------------------------------------------------------------------------------------


def name_resources() -> None:
    """Have the calls of CloudWatch, its Logs and CodeBuild evaluated as AWS does it.

    A policy names a log group with `:*` at its end for all but tags
    (https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_LogGroup.html), and a stream by its name;
    cloudwatch:PutMetricData is bounded by cloudwatch:namespace; builds are asked for by their project, and what a
    request would have otherwise than that sets condition keys.
    """
    action_of, resource_of = iam_actions.extract_iam_action, iam_actions.extract_resource_arn

    def _extract_iam_action(
        service: str, method: str, path: str, headers: Headers, body: bytes, query_params: Query
    ) -> str | None:
        _more_context.set({})
        action: str | None = action_of(service, method, path, headers, body, query_params)
        if service == "monitoring":
            if action is None and path.startswith(METRIC_OPERATION):
                action = f"cloudwatch:{path.removeprefix(METRIC_OPERATION)}"
            if action == "cloudwatch:PutMetricData":
                _more_context.set({"cloudwatch:namespace": _namespace(body, query_params)})
        if action == "codebuild:StartBuild":
            _more_context.set(build_requests.conditions(_json(body)))
        return action

    def _extract_resource_arn(
        service: str, method: str, path: str, headers: Headers, body: bytes, *more: Any, **named: Any
    ) -> str:
        if service == "logs":
            action = headers.get("x-amz-target", "").rpartition(".")[2]
            if action not in LOG_TAG_ACTIONS:
                return _log_resource(action, body)
        if service == "codebuild" and (builds := _json(body).get("ids")):
            return f"arn:aws:codebuild:{region()}:{account()}:project/{str(builds[0]).partition(':')[0]}"
        return str(resource_of(service, method, path, headers, body, *more, **named))

    iam_actions.extract_iam_action, iam_actions.extract_resource_arn = _extract_iam_action, _extract_resource_arn


def _log_resource(action: str, body: bytes) -> str:
    request = _json(body)
    group = str(request.get("logGroupName") or request.get("logGroupIdentifier") or "").rpartition(":log-group:")[2]
    stream = str(request.get("logStreamName", "")) if action in LOG_STREAM_ACTIONS else ""
    return f"arn:aws:logs:{region()}:{account()}:log-group:{group.removesuffix(':*')}:log-stream:{stream}"


def _namespace(body: bytes, query: Query) -> str:
    """The namespace of a PutMetricData; of its third form, CBOR, ministack as it is installed here can read nothing."""
    if body.startswith(b"{"):
        return str(_json(body).get("Namespace", ""))
    return str((query.get("Namespace") or [""])[0])


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


# ---- keys behind objects ---------------------------------------------------------------------------------------------


def check_keys_of_objects(check: Callable[[str, str, str], Decision | None]) -> None:
    """Call `check(action, key ARN, what for)` with the kms:… action that each use of a KMS-protected object needs, and
    the ARN that S3 names as the encryption context: that of the bucket where it has a bucket key, else the object's;
    a refusal ends the request with S3's AccessDenied, a disabled key with its KMS error."""
    resolve, get, upload = s3._resolve_sse_write_headers, s3._get_object, s3._upload_part

    def refusal(action: str, headers: Mapping[str, str] | None, bucket: str, key: str) -> Answer | None:
        named = (headers or {}).get("x-amz-server-side-encryption-aws-kms-key-id")
        record = kms._resolve_key(named) if named else None
        if record is None:  # none, or that which AWS keeps for S3, which everybody of the account may use
            return None
        if (unusable := kms._check_key_state(record)) is not None:
            said = json.loads(unusable[2])
            return _s3_error(f"KMS.{said['__type']}", said["message"], 400, f"/{bucket}/{key}")
        settings = s3._get_bucket_encryption(bucket)[2]
        shared = "<BucketKeyEnabled>true<" in (settings.decode() if isinstance(settings, bytes) else settings)
        decision = check(action, record["Arn"], f"arn:aws:s3:::{bucket}" + ("" if shared else f"/{key}"))
        if decision is None or decision.allowed:
            return None
        return _s3_error("AccessDenied", decision.message, 403, f"/{bucket}/{key}")

    def _resolve_sse_write_headers(headers: Headers, bucket_name: str) -> Any:
        applied, error = resolve(headers, bucket_name)
        if error is not None:
            return applied, error
        refused = refusal("kms:GenerateDataKey", applied, bucket_name, "")
        return (None, refused) if refused is not None else (applied, None)

    def _get_object(bucket_name: str, key: str, headers: Headers, query_params: Query | None = None) -> Any:
        answer = get(bucket_name, key, headers, query_params)
        return answer if answer[0] >= 300 else refusal("kms:Decrypt", answer[1], bucket_name, key) or answer

    def _upload_part(bucket_name: str, key: str, body: bytes, query_params: Query, headers: Headers) -> Any:
        [upload_id] = query_params.get("uploadId") or [""]
        begun = s3._multipart_uploads.get(upload_id) or {}
        refused = refusal("kms:Decrypt", begun.get("preserved_headers"), bucket_name, key)
        return refused or upload(bucket_name, key, body, query_params, headers)

    def copying(copy: Callable[..., Any]) -> Callable[..., Any]:
        def _copy(bucket_name: str, dest_key: str, *more: Any) -> Any:
            path, _, version = more[-1].get("x-amz-copy-source", "").lstrip("/").partition("?versionId=")
            bucket, _, key = unquote(path).partition("/")
            source = s3._head_object(bucket, key, {}, {"versionId": [version]} if version else {})
            refused = refusal("kms:Decrypt", source[1], bucket, key) if source[0] < 300 else None
            return refused or copy(bucket_name, dest_key, *more)

        return _copy

    s3._resolve_sse_write_headers, s3._get_object, s3._upload_part = (
        _resolve_sse_write_headers,
        _get_object,
        _upload_part,
    )
    s3._copy_object, s3._upload_part_copy = copying(s3._copy_object), copying(s3._upload_part_copy)


def _s3_error(code: str, message: str, status: int, resource: str) -> Answer:
    answer: Answer = s3._error(code, message, status, resource)
    return answer


# ---- CloudFormation --------------------------------------------------------------------------------------------------


def watch_stack_operations(before: Callable[[str, str, bool], str | None]) -> None:
    """Call `before(stack name, role ARN or "", whether it is new)` at every operation on a stack, in the request's
    context, which the stack's work inherits. A text refuses the operation: AccessDenied with this message."""

    def watched(operation: str, handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def _handler(params: Any) -> Any:
            is_new = operation == "CreateStack" or helpers._p(params, "ChangeSetType") == "CREATE"
            refused = before(_stack_name(params), str(helpers._p(params, "RoleARN")), is_new)
            return handler(params) if refused is None else helpers._error("AccessDenied", refused, 403)

        return _handler

    for operation in STACK_OPERATIONS:
        handlers._ACTION_HANDLERS[operation] = watched(operation, handlers._ACTION_HANDLERS[operation])


def _stack_name(params: Any) -> str:
    """The name of the stack that a request names by its name or id, or by a change set's id."""
    named = str(helpers._p(params, "StackName"))
    if not named:
        _, change_set = changesets._find_change_set(helpers._p(params, "ChangeSetName"), "")
        named = change_set["StackName"] if change_set else ""
    return named.split("/")[1] if named.startswith("arn:") else named


def watch_resources(before: Callable[[str, Properties], None]) -> None:
    """Call `before(type, properties)` before a stack makes or changes a resource; what it raises fails the resource."""
    provision, update = stacks._provision_resource, stacks._update_resource

    def _provision_resource(resource_type: str, logical_id: str, props: Properties, stack_name: str) -> Any:
        before(resource_type, props)
        return provision(resource_type, logical_id, props, stack_name)

    def _update_resource(
        resource_type: str, physical_id: str, old_props: Properties, new_props: Properties, *more: Any
    ) -> Any:
        if old_props != new_props:
            before(resource_type, new_props)
        return update(resource_type, physical_id, old_props, new_props, *more)

    stacks._provision_resource, stacks._update_resource = _provision_resource, _update_resource
