"""The ways to hand a request to a container and get its answer: at once, or through the queue of an async endpoint.

Both say what a request may be at most (`most`): of work, so that it is answered in time, and of bytes there and back.
"""

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import boto3
from botocore.exceptions import ClientError, EventStreamError, HTTPClientError, IncompleteReadError, ReadTimeoutError

from operate.portions import Room

from .errors import BusyError, FailedError, read_error, read_failure

JSON = "application/json"
NOT_THERE = ("NoSuchKey", "404")


@dataclass(frozen=True, kw_only=True)
class AtOnce:
    """InvokeEndpoint: six megabytes there and back, in 60 seconds."""

    runtime: Any
    target: Mapping[str, str]
    most: ClassVar[Room] = Room(tokens=20_000, numbers=1_000_000, records=200, bytes=5_000_000)
    """20,000 tokens are some ten seconds of the large model on CPUs: four such requests share a machine in time."""

    def send(self, body: bytes, *, content_type: str = JSON, accept: str = JSON) -> bytes:
        with _translated():
            answer = self.runtime.invoke_endpoint(**self.target, Body=body, ContentType=content_type, Accept=accept)
            content: bytes = answer["Body"].read()
            return content

    def lines(self, body: bytes) -> Iterator[bytes]:
        """The lines of a streamed answer, as they come."""
        with _translated():
            answer = self.runtime.invoke_endpoint_with_response_stream(**self.target, Body=body, ContentType=JSON)
            rest = b""
            for event in answer["Body"]:
                *whole, rest = (rest + event["PayloadPart"]["Bytes"]).split(b"\n")
                yield from whole
            if rest:
                raise BusyError(503, "broken_stream", "the stream ended within a line")


@dataclass(frozen=True, kw_only=True)
class Queue:
    """Where an async endpoint's requests lie: outputs InputPrefix of its stack, ArtifactBucketName of storage's."""

    bucket: str
    input_prefix: str
    s3: Any = None
    """A boto3 client; the default takes boto3's usual settings."""
    poll_s: float = 2.0
    longest_wait_s: float = 6 * 3600.0
    """SageMaker drops what has waited for so long; an endpoint that scaled to zero needs some minutes to come up."""


@dataclass(frozen=True, kw_only=True)
class Later:
    """InvokeEndpointAsync: the request is an object, and so is its answer, within an hour of work."""

    runtime: Any
    endpoint_name: str
    queue: Queue
    most: ClassVar[Room] = Room(tokens=200_000, numbers=1_000_000, records=200, bytes=5_000_000)

    def send(self, body: bytes, *, content_type: str = JSON, accept: str = JSON) -> bytes:
        s3 = self.queue.s3 or boto3.client("s3")
        key = f"{self.queue.input_prefix}{uuid.uuid4().hex}"
        with _translated():
            s3.put_object(Bucket=self.queue.bucket, Key=key, Body=body, ContentType=content_type)
            taken = self.runtime.invoke_endpoint_async(
                EndpointName=self.endpoint_name,
                ContentType=content_type,
                Accept=accept,
                InputLocation=f"s3://{self.queue.bucket}/{key}",
                InvocationTimeoutSeconds=3600,
            )
            give_up = time.monotonic() + self.queue.longest_wait_s
            while time.monotonic() < give_up:
                if (answer := _content(s3, taken["OutputLocation"])) is not None:
                    return answer
                if (failure := _content(s3, taken.get("FailureLocation"))) is not None:
                    raise read_failure(failure)
                time.sleep(self.queue.poll_s)
        raise BusyError(503, "no_answer", f"no answer at {taken['OutputLocation']} after {self.queue.longest_wait_s} s")


@contextmanager
def _translated() -> Iterator[None]:
    """botocore's exceptions as ours."""
    try:
        yield
    except EventStreamError as error:
        raise BusyError(503, "broken_stream", str(error)) from None
    except ClientError as error:
        raise read_error(error.response) from None
    except ReadTimeoutError:
        raise FailedError(504, "timeout", "no answer came in time") from None
    except (HTTPClientError, IncompleteReadError) as error:
        raise BusyError(503, "unreachable", str(error)) from None


def _content(s3: Any, uri: str | None) -> bytes | None:
    if uri is None:
        return None
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        content: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if error.response["Error"]["Code"] in NOT_THERE:
            return None
        raise
    return content
