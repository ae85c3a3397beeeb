"""Requests: which of them are ours, and for which account and region code runs."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager

import ministack.app as ministack
from ministack.core import responses, router

Headers = dict[str, str]
Query = dict[str, list[str]]
Handler = Callable[[str, str, Headers, bytes, Query], Awaitable[tuple[int, Headers, bytes]]]


def route_sagemaker(handle: Handler) -> None:
    """Send SageMaker's and SageMaker Runtime's requests to `handle(method, path, headers, body, query)`.

    Both are signed for "sagemaker". ministack gives every "Content-Type" that it finds the form usual for the service;
    what a model answers has its own, and header names in small letters are not found.
    """

    async def answer(method: str, path: str, headers: Headers, body: bytes, query: Query) -> tuple[int, Headers, bytes]:
        status, answered, content = await handle(method, path, headers, body, query)
        return status, {name.lower(): value for name, value in answered.items()}, content

    router.SERVICE_PATTERNS["sagemaker"] = {"target_prefixes": ["SageMaker."]}
    ministack.SERVICE_HANDLERS["sagemaker"] = answer


def route_application_auto_scaling(handle: Handler) -> None:
    """Send Application Auto Scaling's requests, a service that ministack lacks, to `handle`."""
    router.SERVICE_PATTERNS["application-autoscaling"] = {"target_prefixes": ["AnyScaleFrontendService."]}
    ministack.SERVICE_HANDLERS["application-autoscaling"] = handle


def account() -> str:
    """The account of the request, or of the stack, that this code runs for."""
    return str(responses.get_account_id())


def region() -> str:
    """The region of the request, or of the stack, that this code runs for."""
    return str(responses.get_region())


def access_key(headers: Mapping[str, str], query: Mapping[str, list[str]]) -> str:
    """Whose signature a request has, which ministack checks in strict mode; "" for none."""
    return str(router.extract_access_key_id(headers, query))


def request_scope(account: str, region: str) -> AbstractContextManager[None]:
    """Code in this context runs for that account and region: for threads of our own."""
    return responses.request_scope(account, region)
