"""The record of strict mode: every call, who made it, and what IAM said. `python -m local_aws calls` shows it.

One JSON document a line: `time` (seconds since 1970), `principal` (ARN, or the service's name), `action`, `resource`,
`context` (the condition keys that the request set), `allowed`, and where it was not `code` and `message`.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

MOST_BYTES = 64 * 1024 * 1024  # of a file; the one before it is kept beside, as calls.jsonl.1

Call = Mapping[str, Any]


class Recorder:
    """Appends to the record. May be called from any thread; a line is whole or not there."""

    def __init__(self, file: Path) -> None:
        self._logger = logging.Logger("calls")
        self._logger.addHandler(RotatingFileHandler(file, maxBytes=MOST_BYTES, backupCount=1, encoding="utf-8"))

    def __call__(
        self,
        *,
        principal: str,
        action: str,
        resource: str,
        context: Mapping[str, Any],
        allowed: bool,
        code: str,
        message: str,
    ) -> None:
        kept = {key: value for key, value in sorted(context.items()) if value is not None}
        line = {"time": round(time.time(), 3), "principal": principal, "action": action, "resource": resource}
        line |= {"context": kept, "allowed": allowed}
        line |= {} if allowed else {"code": code, "message": message}
        self._logger.info(json.dumps(line))


def read(file: Path) -> Iterator[Call]:
    """The calls of a record, in their order; none where there is no record. A line half written is left out."""
    for part in (file.with_name(f"{file.name}.1"), file):
        if part.is_file():
            for line in part.read_text(encoding="utf-8").splitlines(keepends=True):
                if line.endswith("\n"):
                    yield json.loads(line)


def principal_name(arn: str) -> str:
    """Who it is, without account and session.

    >>> principal_name("arn:aws:sts::123456789012:assumed-role/TrainRole/SageMaker")
    'role/TrainRole'
    >>> principal_name("arn:aws:iam::123456789012:user/ci"), principal_name("sagemaker.amazonaws.com")
    ('user/ci', 'sagemaker.amazonaws.com')
    """
    resource = arn.rpartition(":")[2]
    return f"role/{resource.split('/')[1]}" if resource.startswith("assumed-role/") else resource
