"""The record of releases in the account itself: what was deployed when, how it ended, and what is live.

Git says what is wanted; this says what became of it. One document a deployment lies below `releases/history/` of the
artifact bucket, with the whole pin in it, so that going back needs nobody else's memory; which release is live stands
in Parameter Store, and beside the history for the account that releases go to next.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from botocore.exceptions import ClientError

from operate import deployment, releases
from operate.aws import Aws
from operate.claim import Claim
from operate.errors import OperateError
from operate.releases import Pin

HISTORY, LIVE = "releases/history/", "releases/live.json"

Outcome = Literal["live", "failed"]
Entry = dict[str, Any]


def release_id(pin: Pin) -> str:
    """Twelve letters that name a release: of all that its pin says, so that a changed pin is another release."""
    return hashlib.sha256(releases.as_text(pin).encode()).hexdigest()[:12]


class Ledger:
    """The record of one environment, for whoever may read it; writing takes its release role."""

    def __init__(self, aws: Aws, bucket: str) -> None:
        self._aws, self._bucket = aws, bucket

    @classmethod
    def of(cls, aws: Aws) -> "Ledger":
        """That of a deployed environment. Raises OperateError where it is not deployed."""
        return cls(aws, deployment.output(aws, "storage", "ArtifactBucketName"))

    def entries(self) -> list[Entry]:
        """Every deployment of a release, newest first: `release`, `outcome`, `reason`, `smoke`, `at`, `by`,
        `pin`."""
        s3 = self._aws.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=HISTORY)
        listed = (one["Key"] for page in pages for one in page.get("Contents", []))
        keys = sorted((key for key in listed if key.endswith(".json")), reverse=True)
        return [found for key in keys if (found := self._read(key)) is not None]

    def failure_of(self, pin: Pin) -> str | None:
        """Why this very release failed when it was deployed; None where it did not, or was live at any time.

        What was live once is what people go back to: a deployment of it that fails is not the release's fault.
        """
        own = [entry for entry in self.entries() if entry["release"] == release_id(pin)]
        if not own or any(entry["outcome"] == "live" for entry in own):
            return None
        return str(own[0]["reason"])

    def live(self) -> Entry | None:
        """The release that is live, as Parameter Store has it: `release`, `model_package_arn`, `at`, `by`."""
        try:
            found = self._aws.client("ssm").get_parameter(Name=self._parameter)["Parameter"]["Value"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ParameterNotFound":
                return None
            raise
        told: Entry = json.loads(found)
        return told

    def live_in_bucket(self) -> Entry | None:
        """The same with its pin, from the bucket: what the next account can read."""
        return self._read(LIVE)

    def write(self, pin: Pin, outcome: Outcome, by: str, reason: str = "", smoke: str = "") -> Entry:
        """Keep how a deployment ended; a live one is from now on what is live. `smoke`: what was asked of it then."""
        entry: Entry = {"release": release_id(pin), "outcome": outcome, "reason": reason, "smoke": smoke}
        entry |= {"at": releases.now(), "by": by, "pin": pin}
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self.keep(f"{HISTORY}{stamp}-{entry['release']}.json", entry)
        if outcome == "live":
            self.keep(LIVE, entry)
            short = {name: entry[name] for name in ("release", "at", "by")}
            short["model_package_arn"] = pin["model_package_arn"]
            self._aws.client("ssm").put_parameter(
                Name=self._parameter, Value=json.dumps(short), Type="String", Overwrite=True
            )
        return entry

    def keep(self, key: str, document: dict[str, Any]) -> None:
        """Put a document below `releases/`."""
        body = json.dumps(document, indent=1).encode()
        self._aws.client("s3").put_object(Bucket=self._bucket, Key=key, Body=body, ContentType="application/json")

    def claimed(self, what: str, by: str) -> Claim:
        """Promote alone, as long as this context is open."""
        return Claim(self._aws.client("s3"), self._bucket, what, by)

    @property
    def _parameter(self) -> str:
        return f"/amplify/{self._aws.environment.resource_name}/live"

    def _read(self, key: str) -> Entry | None:
        return read_json(self._aws.client("s3").get_object, self._bucket, key)


def read_json(get_object: Callable[..., Any], bucket: str, key: str) -> dict[str, Any] | None:
    """A JSON document of a bucket; None where there is none. Who may not list a bucket is refused what is not there."""
    found: Any
    try:
        found = json.loads(get_object(Bucket=bucket, Key=key)["Body"].read())
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "AccessDenied"):
            return None
        raise
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OperateError(
            f"s3://{bucket}/{key} is no document of ours.",
            todo="Look at its versions: bring the last good one back, or delete it where it never was one.",
        )
    return found
