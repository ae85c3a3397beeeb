"""`AWS::IAM::OIDCProvider`, which ministack's CloudFormation lacks and its IAM has: whose tokens an account trusts."""

import contextlib
from typing import Any

from local_aws.clients import client
from local_aws.interrupted_stacks import about_to_touch
from local_aws.ministack_hooks.cloudformation import Created, Properties, add_resource_type
from local_aws.ministack_hooks.requests import account, region

TYPE = "AWS::IAM::OIDCProvider"


def install() -> None:
    add_resource_type(TYPE, create=_create, update=_update, delete=_delete)


def _iam() -> Any:
    return client("iam", account(), region())


def _arn(properties: Properties) -> str:
    return f"arn:aws:iam::{account()}:oidc-provider/{properties['Url'].removeprefix('https://').rstrip('/')}"


def _create(_logical_id: str, properties: Properties, _stack: str) -> Created:
    """One a URL: IAM itself refuses a second."""
    about_to_touch(_arn(properties))
    arn = _iam().create_open_id_connect_provider(
        Url=properties["Url"],
        ClientIDList=properties.get("ClientIdList", []),
        ThumbprintList=properties.get("ThumbprintList", []),
        Tags=properties.get("Tags", []),
    )["OpenIDConnectProviderArn"]
    return arn, {"Arn": arn}


def _update(arn: str, _old: Properties, new: Properties, stack: str, logical_id: str) -> Created:
    """Another URL is another provider. The rest AWS changes in place; ministack cannot, so that it is made anew, at
    the same ARN."""
    if _arn(new) == arn:
        _delete(arn, new)
    return _create(logical_id, new, stack)


def _delete(arn: str, _properties: Properties) -> None:
    iam = _iam()
    with contextlib.suppress(iam.exceptions.NoSuchEntityException):  # somebody was quicker
        iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
