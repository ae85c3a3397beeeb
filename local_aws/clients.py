"""boto3 clients for the server's own use: it calls its own AWS as any program would, over HTTP.

Slower than calling ministack's functions, and worth it: nothing private to break, and the same errors as a user sees.
Never call one on the event loop (the server would wait for itself); SageMaker's handlers run in threads.
"""

import functools
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config

from local_aws import identity
from local_aws.settings import Credentials, administrator, current

CONFIG = Config(proxies={}, retries={"mode": "standard", "total_max_attempts": 3}, max_pool_connections=32)

service_credentials: Callable[[str], Credentials] | None = None
"""Who SageMaker itself is in an account, where that is not its administrator: given by strict mode."""


def client(service: str, account: str, region: str) -> Any:
    """A client of `service` of this server: of the role that is acted in (`identity`), else of SageMaker itself."""
    acting = identity.acting()
    if acting is not None:
        return acting.client(service, region, current().endpoint_url, CONFIG)
    return _of_the_service(service, account, region)


@functools.lru_cache(maxsize=64)  # building a client costs tens of milliseconds; a built one serves all threads
def _of_the_service(service: str, account: str, region: str) -> Any:
    who = administrator(current(), account) if service_credentials is None else service_credentials(account)
    session = boto3.Session(who.access_key, who.secret_key, who.token, region_name=region)
    return session.client(service, endpoint_url=current().endpoint_url, config=CONFIG)  # type: ignore[call-overload]
