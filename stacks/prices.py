"""What things cost by the hour or month, from prices.json: a dated table of one region, with a source for every row.

A price that is not there is `Unknown`, with the reason, and never 0: a sum with a hole in it would look cheap. A row
that its source does not settle is marked `uncertain`, and sums that hold it say so.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

TABLE = Path(__file__).with_name("prices.json")
HOURS_A_MONTH = 730.0  # 365 days / 12, as AWS's own calculator takes it

Other = Literal[
    "interface_endpoint_hour",
    "nat_gateway_hour",
    "kms_key_month",
    "alarm_month",
    "high_resolution_alarm_month",
    "dashboard_month",
    "s3_gb_month",
    "logs_gb",
]


@dataclass(frozen=True, kw_only=True)
class Price:
    """US dollars for one unit, on demand."""

    usd: float
    source: str
    uncertain: str | None = None
    """Why the figure may be wrong."""


@dataclass(frozen=True, kw_only=True)
class Unknown:
    """There is no price, and why. It is not 0."""

    reason: str


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def as_of() -> str:
    """The month of the table, such as 2026-11."""
    return str(_table()["as_of"])


def instance_hour(instance_type: str, region: str) -> Price | Unknown:
    """One hour of an instance that hosts, trains or processes."""
    return _price(_table()["instance_hour"]["prices"], instance_type, region)


def other(name: Other, region: str) -> Price | Unknown:
    """One unit of something else; prices.json says of what."""
    return _price(_table()["other"], name, region)


def _price(rows: dict[str, Any], name: str, region: str) -> Price | Unknown:
    table = _table()
    if region != table["region"]:
        return Unknown(reason=f"stacks/prices.json has the prices of {table['region']}, none of {region}")
    if name not in rows:
        return Unknown(reason=f"stacks/prices.json ({table['as_of']}) has no row {name}: add it, with its source")
    row = rows[name]
    return Price(usd=row["usd"], source=table["sources"][row["source"]], uncertain=row.get("uncertain"))
