"""Whether the caller may: asked before every operation of SageMaker, whoever asks for it.

A caller is the holder of an access key: of an HTTP request, of the role that CloudFormation provisions with, of a
pipeline's role. In fast mode nobody is asked anything.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from local_aws import identity, permissions
from local_aws.errors import SageMakerError
from local_aws.permissions import Need
from local_aws.store import Scope

Ask = Callable[[Scope, str, Need], None]
CheckRole = Callable[[str], None]
Allows = Callable[[str, str, str, str, Mapping[str, Any]], bool]

_ask: Ask | None = None
_check_role: CheckRole | None = None
_allows: Allows | None = None
_caller: ContextVar[str | None] = ContextVar("caller", default=None)


def use(ask: Ask, check_role: CheckRole, allows: Allows) -> None:
    """Strict mode gives what fast mode lacks: `ask(scope, access key, need)` and `check_role(ARN)`, which raise
    SageMakerError where IAM refuses, and where SageMaker cannot assume a role; and `allows(policy, caller's account,
    action, resource, context)`, whether a resource's own policy lets another account's caller."""
    global _ask, _check_role, _allows
    _ask, _check_role, _allows = ask, check_role, allows


def lets_in(policy: str | None, scope: Scope, action: str, resource: str) -> bool:
    """Whether the policy of another account's resource lets the caller, of `scope`; in fast mode everybody is let."""
    return _allows is None or (policy is not None and _allows(policy, scope.account, action, resource, {}))


@contextmanager
def called_by(access_key: str) -> Iterator[None]:
    """Operations in here are asked for by the holder of this key, whose signature was checked; "" is nobody's."""
    token = _caller.set(access_key)
    try:
        yield
    finally:
        _caller.reset(token)


def go_on_as(access_key: str) -> None:
    """The same for all that follows in this context, and what inherits it."""
    _caller.set(access_key)


def caller() -> str | None:
    """Whose key it is; None where SageMaker itself goes on with what was allowed before."""
    acting = identity.acting()
    return _caller.get() if acting is None else acting.lease().credentials.access_key


def check(scope: Scope, operation: str, request: Mapping[str, Any]) -> None:
    """Raises SageMakerError where the caller may not, where a role in the request is another account's, and where it is
    not one that SageMaker can assume."""
    require(scope, permissions.needs(scope, operation, request))
    if _check_role is not None and caller() is not None:
        for role in permissions.passed_roles(request):
            _check_role(role)


def require(scope: Scope, needs: Iterable[Need]) -> None:
    """Raises SageMakerError where the caller may not."""
    who = caller()
    if _ask is None or who is None:
        return
    if who == "":
        raise SageMakerError("MissingAuthenticationTokenException", "Missing Authentication Token", status=403)
    for need in needs:
        if need.action == "iam:PassRole" and f":{scope.account}:" not in need.resource:
            raise SageMakerError("AccessDeniedException", "Cross-account pass role is not allowed.")
        _ask(scope, who, need)
