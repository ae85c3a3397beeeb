"""Strict mode: IAM as AWS evaluates it, where ministack alone leaves gaps. Installed where a server is asked for it.

| who | how it is held to its policies |
|---|---|
| callers of SageMaker | `authorization`, before every operation; of roles handed over, iam:PassRole and their trust |
| jobs, endpoints, pipelines | `identity`: all they do is done under a session of their role (`sessions`) |
| whoever uses objects under a KMS key | kms:Decrypt and kms:GenerateDataKey, by the key's policy and the caller's |
| CloudFormation | provisions SageMaker under the role that the command line hands over; that role must be passed |
| root | needs its secret; may do all |
"""

import functools

from local_aws import authorization, calls, clients, identity, sessions
from local_aws.errors import SageMakerError
from local_aws.ministack_hooks import cross_account, encryption, iam
from local_aws.ministack_hooks.iam import Decision
from local_aws.ministack_hooks.requests import account, region, request_scope
from local_aws.permissions import Need
from local_aws.settings import Settings
from local_aws.stack_roles import StackRoles
from local_aws.store import Scope


def install(ours: Settings) -> None:
    """Once, before the server listens."""
    recorder = calls.Recorder(ours.calls)
    iam.require_the_secret_of_root()
    iam.let_threads_begin_sessions()
    iam.let_services_act_in_their_account()
    iam.end_sessions_of_remade_roles()
    iam.name_resources()
    encryption.tell_of_keys()
    iam.tell_of_boundaries()
    cross_account.install()
    iam.watch_decisions(functools.partial(_record, recorder))
    iam.check_keys_of_objects(_ask_for_key)
    iam.assume_roles_of_functions(sessions.may_assume)
    roles = StackRoles(ours.strict_folder / "stack-roles.json")
    iam.watch_stack_operations(roles.before_operation)
    iam.watch_resources(roles.before_resource)
    clients.service_credentials = sessions.service_credentials
    identity.use(sessions.begin, sessions.CredentialServer().publish)
    authorization.use(_ask, sessions.check_role, cross_account.allows)


def _record(recorder: calls.Recorder, decision: Decision) -> None:
    recorder(
        principal=decision.principal,
        action=decision.action,
        resource=decision.resource,
        context=decision.context,
        allowed=decision.allowed,
        code=decision.code,
        message=decision.message,
    )


def _ask(scope: Scope, access_key: str, need: Need) -> None:
    """Raises SageMakerError where IAM does not allow it, in AWS's words."""
    with request_scope(scope.account, scope.region):
        decision = iam.decide(access_key, need.action, need.resource, need.context)
    if not decision.allowed:
        code = "AccessDeniedException" if decision.code == "AccessDenied" else decision.code
        raise SageMakerError(code, decision.message)


def _ask_for_key(action: str, key: str, object_arn: str) -> Decision | None:
    """What S3 asks KMS in the name of whoever reads or writes."""
    caller = iam.caller()
    if not caller:
        return None
    context = {
        "kms:ViaService": f"s3.{region()}.amazonaws.com",
        "kms:CallerAccount": account(),
        "kms:EncryptionContext:aws:s3:arn": object_arn,
    }
    return iam.decide(caller, action, key, context)
