"""What SageMaker's List operations have in common: filters, order, pages.

`NextToken` says after which item the next page begins, not how many were shown: what is made or deleted between two
pages neither repeats nor hides an item.
"""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from local_aws.errors import invalid
from local_aws.store import Record

PAGE = 10  # AWS's default
TIME_FILTERS = {
    "CreationTimeAfter": "CreationTime",
    "CreatedAfter": "CreationTime",
    "LastModifiedTimeAfter": "LastModifiedTime",
}
TIME_FILTERS |= {after.replace("After", "Before"): member for after, member in TIME_FILTERS.items()}


def page(
    records: Iterable[Record],
    request: Mapping[str, Any],
    *,
    result: str,
    name: str,
    status: str = "Status",
    order: str = "Descending",
    page_size: int = PAGE,
    keep: Callable[[Record], bool] = lambda _: True,
) -> dict[str, Any]:
    """The page of `records` that `request` asks for, under `result`, with `NextToken` where more follow.

    `name` and `status` are the members that `NameContains`, `StatusEquals` and `SortBy` mean; `order` is what AWS does
    where the request says none; `keep` holds the operation's own filters. Raises SageMakerError for a bad token.
    """
    sort_member = {"Name": name, "Status": status, "LastModifiedTime": "LastModifiedTime"}.get(
        request.get("SortBy", ""), "CreationTime"
    )

    def key(record: Record) -> list[Any]:
        value = record.get(sort_member, "")
        return [value, record.get("CreationTime", 0), str(record.get(name, ""))]

    found = [record for record in records if keep(record) and _passes(record, request, name, status)]
    descending = request.get("SortOrder", order) == "Descending"
    found.sort(key=key, reverse=descending)
    if token := request.get("NextToken"):
        last = _decode(token)
        found = [record for record in found if (key(record) < last if descending else key(record) > last)]
    size = request.get("MaxResults", page_size)
    answer: dict[str, Any] = {result: found[:size]}
    if len(found) > size:
        answer["NextToken"] = _encode(key(found[size - 1]))
    return answer


def seconds(time: float | str) -> float:
    """A timestamp of a request, which may be a number or ISO 8601, as seconds since 1970."""
    if isinstance(time, str):
        try:
            return datetime.fromisoformat(time).timestamp()
        except ValueError:
            raise invalid(f"{time!r} is no timestamp: give seconds since 1970 or an ISO 8601 date") from None
    return time


def _passes(record: Record, request: Mapping[str, Any], name: str, status: str) -> bool:
    # SageMaker's names are compared without regard to case.
    if request.get("NameContains", "").lower() not in str(record.get(name, "")).lower():
        return False
    if "StatusEquals" in request and record.get(status) != request["StatusEquals"]:
        return False
    for name_of_filter, member in TIME_FILTERS.items():
        if name_of_filter in request:
            limit, time = seconds(request[name_of_filter]), record.get(member, 0)
            if not (time > limit if name_of_filter.endswith("After") else time < limit):
                return False
    return True


def _encode(key: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _decode(token: str) -> list[Any]:
    try:
        key = json.loads(base64.urlsafe_b64decode(token))
        if not isinstance(key, list) or len(key) != 3:
            raise ValueError
    except ValueError:
        raise invalid("Invalid pagination token: give the NextToken of the page before, unchanged") from None
    return key
