"""One hook each: S3, schedules, ECR, Lambda; and the tables of all services."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import ministack.app as ministack
from ministack.core import lambda_runtime, persistence, responses
from ministack.services import ecr, eventbridge, s3

from local_aws.ministack_hooks.cloudformation import Properties
from local_aws.ministack_hooks.requests import Headers, account, region


def encrypt_with_the_buckets_key() -> None:
    """Let a write that asks for aws:kms and names no key have the bucket's, or else the account's own for S3.

    So does AWS; ministack refuses it, and with it every upload of the CDK command line to its bootstrap bucket.
    """
    resolve = s3._resolve_sse_write_headers
    asked, key = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"

    def _resolve_sse_write_headers(headers: Headers, bucket: str) -> Any:
        if headers.get(asked) == "aws:kms" and not headers.get(key):
            own = s3._bucket_default_sse_headers(bucket).get(key)
            headers = {**headers, key: own or f"arn:aws:kms:{region()}:{account()}:alias/aws/s3"}
        return resolve(headers, bucket)

    s3._resolve_sse_write_headers = _resolve_sse_write_headers


def next_of_cron(expression: str, after: datetime) -> datetime | None:
    """The first minute after `after` that an AWS `cron(…)` names; None where there is none in four years.

    Raises ValueError where it is no such expression.
    """
    fields = eventbridge._parse_cron_fields(expression)
    if fields is None:
        raise ValueError(f"{expression!r} is no AWS cron expression: give cron(minutes hours day month weekday year)")
    found: datetime | None = eventbridge._cron_next_fire(fields, after)
    return found


def miss_images() -> None:
    """Let DescribeImages say that an image it was asked for is not there, as ECR does; ministack leaves it out."""
    describe = ecr._describe_images

    def _describe_images(request: Properties) -> Any:
        name = request.get("repositoryName", "")
        if name in ecr._repositories:
            for image_id in request.get("imageIds") or []:
                if ecr._find_image(name, image_id) is None:
                    asked = ", ".join(f"{part}:'{value}'" for part, value in image_id.items())
                    message = f"The image with imageId {{{asked}}} does not exist within the repository '{name}'"
                    return responses.error_response_json("ImageNotFoundException", message, 400)
        return describe(request)

    ecr._describe_images = _describe_images


def end_functions() -> None:
    """End the processes of Lambda functions, which wait for their next event."""
    lambda_runtime.reset()


def state_of_services() -> dict[str, Callable[[], Any]]:
    """For each service that was used: the function that returns its tables."""
    return dict(ministack._build_persistence_save_dict())


def encode(service: str, state: Any) -> str:
    """A service's tables as ministack's own loader reads them."""
    wrapped = {"__ministack_format__": persistence._state_format_version(service), "payload": state}
    return json.dumps(wrapped, default=persistence._json_default)
