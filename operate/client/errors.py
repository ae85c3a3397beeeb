"""What an endpoint's refusals and failures are in Python."""

import json
import re
from collections.abc import Mapping
from typing import Any, Self

BUSY = {429, 503}
TOO_LARGE = {"answer_too_large", "body_too_large", "timeout", "too_much_work"}
"""Codes of what half as many proteins may pass by."""
INTERNAL = "internal"
AWAY = {"draining", "loading", "queue_full", "unhealthy"}


class EndpointError(Exception):
    """The endpoint refused or failed. `where` names the part of the request at fault, such as `inputs[2]`."""

    def __init__(
        self, status: int, code: str, message: str, where: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.status = status
        self.code = code
        self.message = message
        self.where = where
        self.retry_after_s = retry_after_s

    def counted_from(self, first: int) -> Self:
        """The same of a request whose first protein was the caller's number `first`, from 0."""
        where = re.sub(r"^inputs\[(\d+)\]", lambda found: f"inputs[{first + int(found[1])}]", self.where)
        return type(self)(self.status, self.code, self.message, where, self.retry_after_s)


class RefusedError(EndpointError):
    """4xx: the request must be changed."""


class BusyError(EndpointError):
    """429 or 503, for longer than the client was willing to wait: the queue is full, or the server comes or goes."""


class FailedError(EndpointError):
    """The server failed: 5xx that is not 503, or an answer that is not of our contract."""


def read_error(response: Mapping[str, Any]) -> EndpointError:
    """The exception that an error response of InvokeEndpoint stands for.

    The container's own refusal is inside a ModelError: its status as OriginalStatusCode, its body as OriginalMessage.
    Everything else is SageMaker's: no such endpoint, no permission, throttling.
    """
    kind: type[EndpointError]
    error = response.get("Error", {})
    if error.get("Code") == "ModelError" and "timed out" in error.get("Message", ""):
        return FailedError(504, "timeout", error["Message"])  # SageMaker gives a container 60 seconds
    if "OriginalStatusCode" not in response:
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        kind = BusyError if error.get("Code") in ("ThrottlingException", "ServiceUnavailable") else RefusedError
        return kind(status, error.get("Code", "unknown"), error.get("Message", "no message"))
    status = int(response["OriginalStatusCode"])
    body = _object(response.get("OriginalMessage", ""))
    code, message = body.get("code", "unknown"), body.get("message", response.get("OriginalMessage", ""))
    kind = BusyError if status in BUSY else RefusedError if 400 <= status < 500 else FailedError
    return kind(status, code, message, body.get("where", ""), body.get("retry_after_s"))


def read_failure(content: bytes) -> EndpointError:
    """The exception that an object below S3FailurePath stands for: the container's refusal, or SageMaker's words."""
    text = content.decode("utf-8", "replace")
    body = _object(text)
    code, message, where = body.get("code", "unknown"), body.get("message", text[:500]), body.get("where", "")
    if code in AWAY:
        return BusyError(503, code, message, where, body.get("retry_after_s"))
    if "code" not in body or code == INTERNAL:
        return FailedError(500, code, message, where)
    return RefusedError(413 if code in TOO_LARGE else 400, code, message, where)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
