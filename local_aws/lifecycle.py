"""Moments of the server's life at which a part of it has something to do.

Parts register a function when they are installed; `host` calls them. A function that fails is logged and does not keep
the others from being called: a part that cannot end must not keep the rest from it.
"""

import logging
from collections.abc import Callable

logger = logging.getLogger("local_aws")

Callback = Callable[[], None]

# The port answers, clients still wait: read what was kept. Long work in a thread of its own.
on_start: list[Callback] = []
# The server is asked to end and still answers: end what was started. Within 5 seconds.
on_stop: list[Callback] = []


def call(callbacks: list[Callback]) -> None:
    """Call each, in the order of registration."""
    for callback in list(callbacks):
        try:
            callback()
        except Exception:
            logger.exception("%s.%s failed", callback.__module__, callback.__qualname__)
