"""CodeBuild on this machine: builds of images from code bundles, as the training stack's project asks, and no others.

There is no docker: what the commands of the project's buildspec do is done here, from the same environment variables
(docs/seams.md, 2), phase by phase, so that a build begins, goes on, succeeds or fails as on AWS, and says why.
"""

import logging
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from local_aws import identity, images
from local_aws.clients import client
from local_aws.containers import base_environment
from local_aws.errors import SageMakerError
from local_aws.ministack_hooks.codebuild import Build
from local_aws.ministack_hooks.requests import account, region

logger = logging.getLogger("local_aws")

SERVICE = "codebuild.amazonaws.com"
VARIABLES = ("IMAGE", "BUNDLE", "BUNDLE_SHA256", "RECORDS")
INVENTORY = "inventory.py"  # of the image's code: writes what the image is made of
INVENTORY_SECONDS = 60


class BuildError(Exception):
    """The build failed; the message says at what, and why."""


def carry_out(build: Build) -> None:
    """The whole build, in its project's role, and its result. In a thread, for account and region of who began it."""
    failure: str | None = None
    try:
        with identity.acting_as(build.role_arn, "AWSCodeBuild", SERVICE):
            failure = _carry_out(build)
    except (SageMakerError, ClientError, BotoCoreError) as error:  # the role cannot be assumed, or may write no log
        failure = str(error)
    except Exception as error:
        logger.exception("build %s", build.id)
        failure = f"a bug of local AWS: {error!r}"
    build.end(failure)


def _carry_out(build: Build) -> str | None:
    """Why the build failed; None where it did not."""
    log = _Log(*build.log)
    build.begin("PRE_BUILD")
    try:
        variables = _variables(build.variables)
        log.say(f"fetch {variables['BUNDLE']}")
        images.fetch(variables["IMAGE"], variables["BUNDLE"], account(), region())
        build.begin("BUILD")
        image = images.push(variables["IMAGE"], account(), region())
        log.say(f"{variables['IMAGE']} is {image.digest}")
        build.begin("POST_BUILD")
        _keep_inventory(image, variables["RECORDS"], log)
    except (BuildError, images.ImageError, ClientError, BotoCoreError) as error:
        log.say(str(error))
        return str(error)
    return None


def _variables(given: Mapping[str, str]) -> Mapping[str, str]:
    if missing := [name for name in VARIABLES if not given.get(name)]:
        raise BuildError(
            f"the project sets no {', '.join(missing)}: local AWS builds images of code bundles, and runs no other "
            "buildspec"
        )
    if not given["IMAGE"].endswith(given["BUNDLE_SHA256"]):
        raise BuildError(f"{given['IMAGE']} is not the image of the bundle {given['BUNDLE_SHA256']}: its tag says so")
    return given


def _keep_inventory(image: images.Image, records: str, log: "_Log") -> None:
    """Put what the image is made of beside the models: here that is this machine's interpreter. No scanner is here."""
    if not (image.folder / INVENTORY).is_file():
        log.say(f"the bundle has no {INVENTORY}: nothing says what the image is made of")
        return
    text = _inventory(image)
    bucket, _, prefix = records.removeprefix("s3://").partition("/")
    key = f"{prefix}/sbom.cdx.json"
    client("s3", account(), region()).put_object(Bucket=bucket, Key=key, Body=text.encode())
    log.say(f"what the image is made of: s3://{bucket}/{key}")


def _inventory(image: images.Image) -> str:
    python, script, *_ = images.command(image, [])
    command = [python, str(Path(script).with_name(INVENTORY)), image.digest]
    try:
        done = subprocess.run(
            command, env=base_environment(), capture_output=True, text=True, timeout=INVENTORY_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"{INVENTORY} did not end within {INVENTORY_SECONDS} s") from None
    if done.returncode != 0:
        raise BuildError(f"{INVENTORY} failed: {done.stderr.strip()[-1_000:]}")
    return done.stdout


class _Log:
    """The build's log, in CloudWatch Logs."""

    def __init__(self, group: str, stream: str) -> None:
        self._logs = client("logs", account(), region())
        self._where = {"logGroupName": group, "logStreamName": stream}
        try:
            self._logs.create_log_stream(**self._where)
        except self._logs.exceptions.ResourceNotFoundException:  # a project without a group of its own
            with suppress(self._logs.exceptions.ResourceAlreadyExistsException):  # another build was first
                self._logs.create_log_group(logGroupName=group)
            self._logs.create_log_stream(**self._where)

    def say(self, line: str) -> None:
        event = {"timestamp": round(time.time() * 1000), "message": line}
        self._logs.put_log_events(**self._where, logEvents=[event])
