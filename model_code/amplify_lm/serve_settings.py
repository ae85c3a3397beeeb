"""Where the server listens and how much it takes on: its environment, read and checked in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Self

LARGEST_SCAN_TOKENS = 2048 * 2048  # a masked-marginal scan of the longest protein


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """Where the server listens and how much it takes on."""

    host: str = "127.0.0.1"
    port: int = 8080
    queue_tokens: int = 2 * LARGEST_SCAN_TOKENS
    batch_tokens: int = 0  # 0: what suits the device (amplify_lm/predict.py)
    longest_wait_s: int = 45  # InvokeEndpoint gives up after 60 s, computing and the way there included

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"SAGEMAKER_BIND_TO_PORT is {self.port}; a port from 0 to 65535 is wanted")
        if self.queue_tokens < 1:
            raise ValueError(f"AMPLIFY_QUEUE_TOKENS is {self.queue_tokens}; at least 1 is wanted")
        if self.batch_tokens < 0:
            raise ValueError(f"AMPLIFY_BATCH_TOKENS is {self.batch_tokens}; 0 (the device's default) or more is wanted")
        if self.longest_wait_s < 1:
            raise ValueError(f"AMPLIFY_LONGEST_WAIT_S is {self.longest_wait_s}; at least 1 is wanted")

    @classmethod
    def from_environment(cls) -> Self:
        """The one place where the server reads its environment."""
        return cls(
            host=os.environ.get("AMPLIFY_BIND_HOST", cls.host),
            port=_whole("SAGEMAKER_BIND_TO_PORT", cls.port),
            queue_tokens=_whole("AMPLIFY_QUEUE_TOKENS", cls.queue_tokens),
            batch_tokens=_whole("AMPLIFY_BATCH_TOKENS", cls.batch_tokens),
            longest_wait_s=_whole("AMPLIFY_LONGEST_WAIT_S", cls.longest_wait_s),
        )


def _whole(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}; a whole number is wanted") from None
