"""What goes wrong for a person: what happened, what to do about it, and the lines of a log that show it."""


class OperateError(Exception):
    """A failure that the person at the keyboard can mend. Printed without a stack trace; the exit code is 1."""

    def __init__(self, message: str, *, todo: str = "", log_tail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.todo = todo
        self.log_tail = log_tail


class InterruptedByPersonError(OperateError):
    """Ended by the person: Ctrl-C, or a signal that asks for the end. The exit code is 130."""
