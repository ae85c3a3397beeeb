"""SageMaker's errors, by the codes and words that AWS answers with.

A message of our own says so: `NotEmulated` stands where the operation or option exists on AWS and not here, so that
nobody takes silence for success.
"""


class SageMakerError(Exception):
    """An answer other than success. `code` is what boto3 shows; `status` the HTTP status."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def invalid(message: str) -> SageMakerError:
    """ValidationException: most of what a caller can do wrong, an unknown endpoint included."""
    return SageMakerError("ValidationException", message)


def not_found(message: str) -> SageMakerError:
    return SageMakerError("ResourceNotFound", message)


def in_use(message: str) -> SageMakerError:
    return SageMakerError("ResourceInUse", message)


def conflict(message: str) -> SageMakerError:
    return SageMakerError("ConflictException", message)


def not_emulated(what: str) -> SageMakerError:
    """`what` works on AWS and not here. Begins the sentence: "Step type 'Lambda'"."""
    return SageMakerError("NotEmulated", f"{what} is not emulated by local AWS. It exists on AWS itself.", status=501)
