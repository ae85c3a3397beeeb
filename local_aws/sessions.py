"""Sessions of roles, as AWS's services begin them: only of a role that is there and trusts the service.

SageMaker acts in them (`begin`), and the programs of a container get theirs from an address on this machine, as from
the one that SageMaker's containers ask: whoever has the token of a running container is given its role's credentials.
"""

import hmac
import json
import secrets
import string
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from weakref import WeakValueDictionary

from local_aws.errors import SageMakerError, invalid
from local_aws.identity import Identity, Lease
from local_aws.ministack_hooks import iam
from local_aws.ministack_hooks.requests import request_scope
from local_aws.settings import HOST, Credentials, current

SESSION_SECONDS = 3600.0  # the longest that a role allows where its maker said nothing else
SERVICE = "sagemaker.amazonaws.com"
ITSELF = "local-aws"  # the principal of what AWS does by itself
KEY_LETTERS = string.ascii_uppercase + "234567"


def begin(role_arn: str, session_name: str, service: str = SERVICE) -> Identity:
    """A service in a role: what is done by it raises SageMakerError where the service cannot assume the role."""
    return Identity(role_arn, lambda: assume(role_arn, service, session_name))


def check_role(role_arn: str, service: str = SERVICE) -> None:
    """Raises SageMakerError, in SageMaker's words, where the service could not assume the role now."""
    if not may_assume(role_arn, service):
        raise invalid(
            f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal '{service}' to "
            "assume the role."
        )


def may_assume(role_arn: str, service: str) -> bool:
    """Whether the role exists, and trusts a service that acts for the role's own account."""
    role = iam.role(role_arn)
    owner, ours = account_of(role_arn), current()
    about = {
        "aws:SourceAccount": owner,
        "aws:SourceArn": f"arn:aws:{service.partition('.')[0]}:{ours.region}:{owner}:*",
    }
    return role is not None and iam.trusts(role, service, about)


def account_of(arn: str) -> str:
    return arn.split(":")[4]


def new_credentials(kind: str) -> Credentials:
    """Random ones: `kind` is ASIA for a session's access key."""
    key = kind + "".join(secrets.choice(KEY_LETTERS) for _ in range(16))
    return Credentials(access_key=key, secret_key=secrets.token_urlsafe(30), token=secrets.token_urlsafe(90))


def service_credentials(account: str) -> Credentials:
    """Local AWS itself in an account, for the work that no role needs a permission for; in the record by its name."""
    with _services_lock:
        if account not in _services:
            _services[account] = new_credentials("ASIA")
            iam.register_service(_services[account], account, ITSELF)
        return _services[account]


_services: dict[str, Credentials] = {}
_services_lock = threading.Lock()


def assume(role_arn: str, service: str, session_name: str) -> Lease:
    """A new session. Raises SageMakerError where the role is not there or does not trust the service."""
    owner = account_of(role_arn)
    with request_scope(owner, current().region):
        check_role(role_arn, service)
        role = iam.role(role_arn)
        assert role is not None, "check_role found it"
        lease = Lease(credentials=new_credentials("ASIA"), expires=time.time() + SESSION_SECONDS)
        arn = f"arn:aws:sts::{owner}:assumed-role/{role['RoleName']}/{session_name}"
        iam.register_session(lease.credentials, arn, f"{role['RoleId']}:{session_name}", lease.expires)
    return lease


# ---- credentials for containers --------------------------------------------------------------------------------------


class CredentialServer:
    """Answers `GET /credentials` with the credentials of whom the Authorization header is the token of.

    An identity that nobody holds any more (its job has ended) is forgotten.
    """

    def __init__(self) -> None:
        self._identities: WeakValueDictionary[str, Identity] = WeakValueDictionary()
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    def publish(self, identity: Identity) -> dict[str, str]:
        """The variables by which any AWS SDK asks here, in the identity's name."""
        with self._lock:
            if self._server is None:
                self._server = ThreadingHTTPServer((HOST, 0), _handler(self.find))
                self._server.daemon_threads = True
                threading.Thread(target=self._server.serve_forever, name="credentials", daemon=True).start()
            token = secrets.token_urlsafe(30)
            self._identities[token] = identity
            port = self._server.server_address[1]
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{HOST}:{port}/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }

    def find(self, token: str) -> Identity | None:
        with self._lock:
            for known, identity in self._identities.items():
                if hmac.compare_digest(known.encode(), token.encode()):
                    return identity
        return None


def _handler(find: Callable[[str], Identity | None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            identity = find(self.headers.get("Authorization", ""))
            if identity is None:
                self._answer(401, {"code": "Unauthorized", "message": "no running container has this token"})
                return
            try:
                lease = identity.lease()
            except SageMakerError as error:
                self._answer(400, {"code": error.code, "message": str(error)})
                return
            credentials = lease.credentials
            self._answer(
                200,
                {
                    "AccessKeyId": credentials.access_key,
                    "SecretAccessKey": credentials.secret_key,
                    "Token": credentials.token or "",
                    "Expiration": lease.expiration,
                    "RoleArn": identity.role_arn,
                },
            )

        def _answer(self, status: int, members: dict[str, str]) -> None:
            body = json.dumps(members).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing to standard error: every container asks, again and again."""

    return Handler
