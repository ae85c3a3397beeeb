"""What becomes of a request that is not answered, and what is known of each when it is logged."""

from __future__ import annotations

import traceback
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from .request_errors import RequestError
from .uploads import Upload


@dataclass(slots=True)
class Observed:
    """What is known of a request when it is logged."""

    request_id: str
    status: int = 499
    code: str = ""
    task: str = "unknown"
    inputs: int = 0
    tokens: int = 0
    waited_s: float = 0.0


async def refused(error: BaseException, upload: Upload, observed: Observed) -> Response:
    """The response to what went wrong. What is no refusal is a bug: its trace goes to the log, never to the caller."""
    if isinstance(error, ClientDisconnect):
        observed.code = "client_gone"
        return Response(status_code=499)
    said = as_refusal(error, observed)
    if said is None:
        return JSONResponse(internal(observed).body(), 500)
    try:
        whole = await upload.discard()
    except ClientDisconnect:
        return Response(status_code=499)
    headers = {} if said.retry_after_s is None else {"Retry-After": str(said.retry_after_s)}
    if not whole:
        headers["Connection"] = "close"
    return JSONResponse(said.body(), said.status, headers)


def as_refusal(error: BaseException, observed: Observed) -> RequestError | None:
    """The error, noted, if it is a refusal; None, and its trace in the log, if it is a bug."""
    if isinstance(error, RequestError):
        observed.code = error.code
        return error
    observed.code = "internal"
    traceback.print_exception(error)
    return None


def internal(observed: Observed) -> RequestError:
    """What a caller reads of a bug."""
    return RequestError(500, "internal", f"internal error; the server's log has it under request {observed.request_id}")
