"""Being somebody: the keys of IAM users of a local AWS, for people and tests that want less than all rights.

A user is made as on AWS, by `iam:CreateUser` or a stack. The first who asks for its keys has the administrator make
them; they are kept in the folder, for this machine's user alone.
"""

import json
import re
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from local_aws import server
from local_aws.files import write_whole
from local_aws.settings import Credentials

USER = re.compile(r"[\w+=,.@-]{1,64}")  # iam:CreateUser's


def credentials(folder: Path, user: str) -> Credentials:
    """The access key of an IAM user. Raises LocalAwsError where local AWS does not run, is not strict (there everybody
    may do all), or has no such user."""
    running = server.status(folder)
    if running is None or not running.strict:
        raise server.LocalAwsError(
            f"local AWS does not run in strict mode in {folder}, and only there users count: "
            "start it with `python -m local_aws up --strict`"
        )
    if not USER.fullmatch(user):
        raise server.LocalAwsError(f"{user!r} is no name of an IAM user")
    kept = running.settings.strict_folder / "users" / f"{user}.json"
    iam = _iam_of_the_administrator(folder)
    try:
        known = {key["AccessKeyId"] for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]}
        if kept.is_file() and (found := json.loads(kept.read_text()))["access_key"] in known:
            return Credentials(**found)
        made = iam.create_access_key(UserName=user)["AccessKey"]
    except ClientError as error:
        raise server.LocalAwsError(f"IAM user {user}: {error.response['Error']['Message']}") from error
    found = {"access_key": made["AccessKeyId"], "secret_key": made["SecretAccessKey"]}
    write_whole(kept, json.dumps(found))
    return Credentials(**found)


def _iam_of_the_administrator(folder: Path) -> Any:
    variables = server.client_environment(folder)
    return boto3.client(
        "iam",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        region_name=variables["AWS_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        verify=variables["AWS_CA_BUNDLE"],
        config=Config(proxies={}, retries={"total_max_attempts": 1}),
    )
