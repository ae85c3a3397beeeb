"""What a caller did wrong, said so that the caller can mend it: status, code, message, and where.

Every refusal of the server is one of these; anything else that is raised is a bug of ours. Through SageMaker's
InvokeEndpoint a caller sees neither our headers nor always our status, so the body says everything once more.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable

_ECHO_CHARACTERS = 60  # of a caller's own value in a message


class RequestError(ValueError):
    """A refusal. `where` names the part of the request that is at fault ("inputs[2]", "record 3 (P12345)", "row 4").

    | status | code | when |
    |---|---|---|
    | 400 | bad_body, bad_request, bad_parameter, bad_sequence, bad_variant | the request must be changed |
    | 406 | not_acceptable | no answer format that the caller accepts |
    | 413 | body_too_large, sequence_too_long, too_much_work, answer_too_large | the message says the limit |
    | 415 | unsupported_media_type | a body that is none of ours |
    | 422 | nothing_to_score | well formed, but empty of work |
    | 429 | queue_full | try again in `retry_after_s` |
    | 503 | loading, draining, unhealthy | try another instance, or again in `retry_after_s` |
    """

    def __init__(
        self, status: int, code: str, message: str, *, where: str = "", retry_after_s: int | None = None
    ) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.status = status
        self.code = code
        self.message = message
        self.where = where
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, str | int]:
        """The error as the caller reads it."""
        body: dict[str, str | int] = {"code": self.code, "message": self.message, "where": self.where}
        if self.retry_after_s is not None:
            body["retry_after_s"] = self.retry_after_s
        return body


def unknown_name(what: str, given: str, known: Iterable[str]) -> str:
    """A message for a name that does not exist: what was given, the nearest that does, and all of them."""
    names = list(known)
    near = difflib.get_close_matches(given[:_ECHO_CHARACTERS], names, n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"unknown {what} {echo(given)}{hint}; one of these is wanted: {', '.join(names)}"


def echo(value: object) -> str:
    """A caller's value in a message, as JSON writes it and cut short; a string keeps Python's quotes."""
    try:
        text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr)
    except RecursionError:  # the reader of JSON stood higher on the stack, and could go deeper
        text = f"a {type(value).__name__} of great depth"
    return text if len(text) <= _ECHO_CHARACTERS else f"{text[:_ECHO_CHARACTERS]}…"
