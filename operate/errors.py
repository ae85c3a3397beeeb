"""What goes wrong for a person: what happened, what to do about it, and the lines of a log that show it."""

from botocore.exceptions import ClientError

MAY_NOT = "It is somebody else's to do: `people` and `invokers` in environments.py say who may do what."
"""What a person can do about a right that they do not have."""


def is_refusal(error: ClientError) -> bool:
    """Whether AWS says that the caller may not."""
    codes = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403")  # a HEAD of S3 says no more
    return error.response["Error"]["Code"] in codes


class OperateError(Exception):
    """A failure that the person at the keyboard can mend. Printed without a stack trace; the exit code is 1."""

    def __init__(self, message: str, *, todo: str = "", log_tail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.todo = todo
        self.log_tail = log_tail


class InterruptedByPersonError(OperateError):
    """Ended by the person: Ctrl-C, or a signal that asks for the end. The exit code is 130."""
