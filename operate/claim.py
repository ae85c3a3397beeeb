"""One at a time: an object of the artifact bucket that says who is at work, made and renewed under S3's own conditions.

Whoever dies with it stops renewing, and is followed a minute later; a copy of hours goes on renewing. By the clock of
S3 alone: two machines need not agree about the time.
"""

import contextlib
import json
import threading
import uuid
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from operate.errors import OperateError

KEY = "releases/promoting.json"
STALE_SECONDS = 60.0
RENEWALS = 4  # in that time, so that one may fail


class Claim:
    """Held as long as the context is open."""

    def __init__(self, s3: Any, bucket: str, what: str, by: str, stale_seconds: float = STALE_SECONDS) -> None:
        self._s3, self._bucket, self._stale = s3, bucket, stale_seconds
        self._mine = {"what": what, "by": by}
        self._tag, self._over, self._lost = "", threading.Event(), False
        self._thread = threading.Thread(target=self._renew, name="claim", daemon=True)

    def __enter__(self) -> "Claim":
        """Raises OperateError where somebody else is at work, and says who: of two, one is told."""
        self._tag = self._take()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        with contextlib.suppress(ClientError, BotoCoreError):  # it ends by itself, or is somebody else's already
            self._put({"done": True}, IfMatch=self._tag)

    def check(self) -> None:
        """Raises OperateError where it is somebody else's by now: this machine slept, or could not reach S3."""
        if self._lost:
            raise _taken(self._found()[0])

    def _take(self) -> str:
        try:
            theirs, tag, age = self._found()
        except self._s3.exceptions.NoSuchKey:
            condition = {"IfNoneMatch": "*"}
        else:
            if not theirs.get("done") and age < self._stale:
                raise _taken(theirs)
            condition = {"IfMatch": tag}
        try:
            return self._put(self._mine, **condition)
        except ClientError as error:
            if not _is_conflict(error):
                raise
            raise _taken(self._found()[0]) from None

    def _renew(self) -> None:
        while not self._over.wait(self._stale / RENEWALS):
            try:
                self._tag = self._put(self._mine, IfMatch=self._tag)
            except ClientError as error:
                if _is_conflict(error):
                    self._lost = True
                    return
            except BotoCoreError:
                continue  # the network may come back in time

    def _found(self) -> tuple[dict[str, Any], str, float]:
        """What the claim says, its ETag, and for how many seconds nobody has renewed it."""
        found = self._s3.get_object(Bucket=self._bucket, Key=KEY)
        now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
        try:
            told = json.loads(found["Body"].read())
        except ValueError:
            told = None
        # What is no claim says nothing of who is at work: it is waited for like one that nobody renews.
        return told if isinstance(told, dict) else {}, found["ETag"], (now - found["LastModified"]).total_seconds()

    def _put(self, document: dict[str, Any], **condition: str) -> str:
        # Never the same bytes twice: an ETag may be of the content alone, and would not tell a renewal.
        body = json.dumps(document | {"put": uuid.uuid4().hex}).encode()
        put = self._s3.put_object(Bucket=self._bucket, Key=KEY, Body=body, ContentType="application/json", **condition)
        return str(put["ETag"])


def _is_conflict(error: ClientError) -> bool:
    return error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412)


def _taken(claim: dict[str, Any]) -> OperateError:
    return OperateError(
        f"{claim.get('by', 'somebody')} is promoting {claim.get('what', 'a release')} at this moment; one of two wins, "
        "and it is not this one.",
        todo="See what came of it (`amplify releases`), then promote again if yours is still wanted. A promotion that "
        "was killed is forgotten after a minute.",
    )
