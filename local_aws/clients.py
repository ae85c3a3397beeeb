"""boto3 clients for the server's own use: it calls its own AWS as any program would, over HTTP.

Slower than calling ministack's functions, and worth it: nothing private to break, and the same errors as a user sees.
Never call one on the event loop (the server would wait for itself); SageMaker's handlers run in threads.
"""

import functools
from typing import Any

import boto3
from botocore.config import Config

from local_aws.settings import current


@functools.lru_cache(maxsize=64)  # building a client costs tens of milliseconds; a built one serves all threads
def client(service: str, account: str, region: str) -> Any:
    """A client of `service` of this server, as the root of `account`."""
    session = boto3.Session(aws_access_key_id=account, aws_secret_access_key="local", region_name=region)  # noqa: S106
    return session.client(
        service,  # type: ignore[call-overload]
        endpoint_url=current().endpoint_url,
        config=Config(proxies={}, retries={"mode": "standard", "total_max_attempts": 3}, max_pool_connections=32),
    )
