"""On whose behalf code of the server does what it does: SageMaker's own, or a role's.

In strict mode a job, an endpoint, a pipeline acts under a session of its own role, as on AWS: `acting_as` makes that so
for the code inside it, `clients.client` hands out clients of that session, and a container's programs get its
credentials. In fast mode nobody has a session and all is done by the account's administrator.

Threads do not inherit it: whoever starts one that goes on for a role runs it in `contextvars.copy_context()`.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.credentials import CredentialProvider, CredentialResolver, RefreshableCredentials
from botocore.loaders import Loader
from botocore.session import Session

from local_aws.settings import Credentials

LOADER = Loader()  # keeps what it read: one for all, or each session would parse the service models anew
RENEW_SECONDS = 1200.0  # before the end; clients ask for new credentials 15 minutes before it


@dataclass(frozen=True, kw_only=True)
class Lease:
    """Credentials until a moment, in seconds since 1970."""

    credentials: Credentials
    expires: float

    @property
    def expiration(self) -> str:
        """The moment as AWS writes it."""
        return datetime.fromtimestamp(self.expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Identity:
    """Somebody's time in a role. `renew` begins a session of it, from the first use on, and raises where it cannot."""

    def __init__(self, role_arn: str, renew: Callable[[], Lease]) -> None:
        self.role_arn = role_arn
        self._renew = renew
        self._lease: Lease | None = None
        self._clients: dict[tuple[str, str], Any] = {}
        self._lock = threading.RLock()

    def lease(self) -> Lease:
        """Credentials with minutes of life left: a session follows the other for as long as the role can be assumed."""
        with self._lock:
            if self._lease is None or self._lease.expires - time.time() < RENEW_SECONDS:
                self._lease = self._renew()
            return self._lease

    def client(self, service: str, region: str, endpoint_url: str, config: Config) -> Any:
        """A client whose every call is made in the role."""
        with self._lock:
            if (service, region) not in self._clients:
                session = Session()
                session.register_component("data_loader", LOADER)
                session.register_component("credential_provider", CredentialResolver([_Provider(self)]))
                boto = boto3.Session(botocore_session=session, region_name=region)
                self._clients[service, region] = boto.client(  # type: ignore[call-overload]
                    service, endpoint_url=endpoint_url, config=config
                )
            return self._clients[service, region]


class _Provider(CredentialProvider):
    """Hands an identity's credentials to botocore, and new ones when it asks again."""

    METHOD = CANONICAL_NAME = "local-aws"

    def __init__(self, identity: Identity) -> None:
        super().__init__()
        self._identity = identity

    def load(self) -> RefreshableCredentials:
        return RefreshableCredentials.create_from_metadata(self._metadata(), self._metadata, self.METHOD)

    def _metadata(self) -> dict[str, str]:
        lease = self._identity.lease()
        return {
            "access_key": lease.credentials.access_key,
            "secret_key": lease.credentials.secret_key,
            "token": lease.credentials.token or "",
            "expiry_time": lease.expiration,
        }


Begin = Callable[[str, str, str], Identity]
Publish = Callable[[Identity], dict[str, str]]

_begin: Begin | None = None
_publish: Publish | None = None
_acting: ContextVar[Identity | None] = ContextVar("acting", default=None)


def use(begin: Begin, publish: Publish) -> None:
    """Strict mode gives what fast mode lacks: `begin(role ARN, session name, service)` makes an identity, and
    `publish(identity)` the variables by which a container's programs ask for its credentials."""
    global _begin, _publish
    _begin, _publish = begin, publish


@contextmanager
def acting_as(
    role_arn: str | None, session_name: str = "SageMaker", service: str = "sagemaker.amazonaws.com"
) -> Iterator[None]:
    """Act under a session of the role, which the service assumes; without one, and always in fast mode, for the service
    itself."""
    identity = None if _begin is None or role_arn is None else _begin(role_arn, session_name, service)
    token = _acting.set(identity)
    try:
        yield
    finally:
        _acting.reset(token)


def as_the_service() -> AbstractContextManager[None]:
    """Do SageMaker's own work amid a role's: that for which no role needs a permission."""
    return acting_as(None)


def acting() -> Identity | None:
    """Whose role code acts in here; None for the service's own work."""
    return _acting.get()


def container_variables() -> dict[str, str]:
    """How programs in a container get the credentials of the role that is acted in."""
    identity = _acting.get()
    return {} if identity is None or _publish is None else _publish(identity)
