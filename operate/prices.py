"""Refreshing stacks/prices.json from AWS's own price list. The one command that asks AWS about money.

GetProducts: https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html. Its
answer is a list of JSON texts: `product.attributes` (`instanceName`, `component`, `regionCode`) and `terms.OnDemand`.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operate.errors import OperateError

PRICING_REGION = "us-east-1"  # the API answers in few regions, this one among them, for all
SERVICE = "AmazonSageMaker"
COMPONENTS = ("Hosting", "Training", "Processing")
"""Of one instance type these cost the same, as far as is known; where they do not, the dearest is taken, and said."""
SOURCE = "price-list-api"


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """What a refresh did to the table."""

    table: dict[str, Any]
    changed: tuple[str, ...]
    """`ml.g5.xlarge: 1.408 → 1.41`"""
    kept: tuple[str, ...]
    """Rows of which the price list says nothing: as they were."""


def hours_of(client: Any, region: str) -> dict[str, dict[str, float]]:
    """Instance type → component → US dollars an hour, on demand. `client` is boto3's of `pricing`."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    pages = client.get_paginator("get_products").paginate(
        ServiceCode=SERVICE,
        FormatVersion="aws_v1",
        Filters=[{"Type": "TERM_MATCH", "Field": "regionCode", "Value": region}],
    )
    for page in pages:
        for text in page["PriceList"]:
            offer = json.loads(text)
            attributes = offer.get("product", {}).get("attributes", {})
            name, component = str(attributes.get("instanceName", "")), attributes.get("component")
            usd = _per_hour(offer.get("terms", {}).get("OnDemand", {}))
            if name.startswith("ml.") and component in COMPONENTS and usd is not None:
                found[name][component] = max(usd, found[name].get(component, 0.0))
    return dict(found)


def _per_hour(terms: Mapping[str, Any]) -> float | None:
    dimensions = [one for term in terms.values() for one in term.get("priceDimensions", {}).values()]
    prices = [
        float(one["pricePerUnit"]["USD"]) for one in dimensions if str(one.get("unit", "")).lower().startswith("h")
    ]
    return max(prices, default=0.0) or None  # a price of 0 is a free tier's, not the price


def refreshed(
    table: dict[str, Any], hours: Mapping[str, Mapping[str, float]], *, month: str, added: Iterable[str] = ()
) -> Refreshed:
    """The table with the prices of the list, and rows for `added` types.

    Raises OperateError where the list has none of the table's types, or not an added one: an empty answer is no news.
    """
    rows: dict[str, Any] = dict(table["instance_hour"]["prices"])
    if not any(type_ in hours for type_ in rows):
        raise OperateError(
            f"The price list names none of the {len(rows)} instance types of the table: nothing was written.",
            todo=f"Is {table['region']} the region that you mean, and may your role call pricing:GetProducts?",
        )
    changed, kept = [], []
    for type_ in dict.fromkeys([*rows, *added]):
        if type_ not in hours:
            if type_ not in rows:
                raise OperateError(f"The price list has no {type_} in {table['region']}.", todo="Give another --add.")
            kept.append(type_)
            continue
        usd = max(hours[type_].values())
        row: dict[str, Any] = {"usd": usd, "source": SOURCE}
        if len(set(hours[type_].values())) > 1:
            each = ", ".join(f"{component.lower()} {price:g}" for component, price in sorted(hours[type_].items()))
            row["uncertain"] = f"it depends on the use ({each}): the dearest"
        if type_ not in rows or rows[type_]["usd"] != usd:
            changed.append(f"{type_}: {rows[type_]['usd'] if type_ in rows else 'new'} → {usd:g}")
        rows[type_] = row
    url = f"pricing:GetProducts of {SERVICE}, {table['region']}, {month}"
    new = table | {
        "as_of": month,
        "sources": table["sources"] | {SOURCE: url},
        "instance_hour": table["instance_hour"] | {"prices": rows},
    }
    return Refreshed(table=new, changed=tuple(changed), kept=tuple(kept))


def written(table: dict[str, Any]) -> str:
    """As the file is kept: a row a line, so that a diff shows the price that changed."""

    def rows(of: Mapping[str, Any], indent: str) -> str:
        return ",\n".join(f"{indent}{json.dumps(key)}: {json.dumps(value)}" for key, value in of.items())

    parts = []
    for key, value in table.items():
        if key == "instance_hour":
            text = f'{{\n  "of": {json.dumps(value["of"])},\n  "prices": {{\n{rows(value["prices"], "   ")}\n  }}\n }}'
        elif isinstance(value, dict):
            text = f"{{\n{rows(value, '  ')}\n }}"
        else:
            text = json.dumps(value)
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def read(path: Path) -> dict[str, Any]:
    """The table. Raises OperateError where it is not there or no JSON."""
    try:
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise OperateError(f"{path} cannot be read: {error}", todo="Take it from git.") from None
    return table
