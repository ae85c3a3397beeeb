"""What loading a checkpoint raises."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: what is wrong, where, and what is wanted."""


class SourceUnavailableError(CheckpointError):
    """A checkpoint that nobody has looked at: it is not on this machine, and where it lies could not be reached."""
