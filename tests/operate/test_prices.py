"""Refreshing the price table, against a server that answers GetProducts in AWS's form."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from operate.errors import OperateError
from operate.prices import read, refreshed, written

PRICES = Path(__file__).parents[2] / "stacks" / "prices.json"


def offer(name: str, component: str, usd: str, unit: str = "Hrs") -> str:
    """One product as the price list writes it."""
    dimension = {"unit": unit, "pricePerUnit": {"USD": usd}, "description": f"${usd} per {unit}"}
    return json.dumps(
        {
            "product": {
                "productFamily": "ML Instance",
                "sku": f"SKU{name}{component}",
                "attributes": {"instanceName": name, "component": component, "regionCode": "us-east-1"},
            },
            "serviceCode": "AmazonSageMaker",
            "terms": {"OnDemand": {"A.B": {"priceDimensions": {"A.B.C": dimension}}}},
        }
    )


@contextmanager
def price_list(*pages: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a server that has these pages, and what it was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(request | {"target": self.headers["X-Amz-Target"]})
            page = int(request.get("NextToken", "0"))
            answer: dict[str, Any] = {"FormatVersion": "aws_v1", "PriceList": pages[page]}
            if page + 1 < len(pages):
                answer["NextToken"] = str(page + 1)
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refresh(table: Path, address: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | {
        "AWS_ENDPOINT_URL_PRICING": address,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    return subprocess.run(
        [sys.executable, "-m", "operate.cli", "prices", "--table", str(table), *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(name="table")
def a_copy_of_the_table(tmp_path: Path) -> Path:
    table = tmp_path / "prices.json"
    table.write_text(PRICES.read_text())
    return table


def test_prices_of_the_list_replace_those_of_the_table_and_the_rest_stays(table: Path) -> None:
    first = [
        offer("ml.g5.xlarge", "Hosting", "1.5000000000"),
        offer("ml.g5.xlarge", "Training", "1.5000000000"),
        offer("ml.p4d.24xlarge", "Hosting", "25.2500000000"),
        offer("ml.m5.xlarge", "Hosting", "0.0000000000"),  # a free tier
        offer("ml.m5.xlarge", "Hosting", "0.2300000000"),
    ]
    second = [
        offer("ml.g5.2xlarge", "Hosting", "1.5150000000"),
        offer("ml.g5.2xlarge", "Training", "1.7000000000"),
        offer("ml.c5.large", "Studio-Notebook", "9.0000000000"),
        offer("ml.trn1.2xlarge", "Training", "1.5450000000"),
        offer("ml.g5.xlarge", "Hosting", "0.0000000100", unit="GB"),
    ]
    with price_list(first, second) as (address, asked):
        done = refresh(table, address, "--add", "ml.trn1.2xlarge")
    assert (done.returncode, done.stderr) == (0, "")
    assert [one["target"].split(".")[-1] for one in asked] == ["GetProducts", "GetProducts"]
    assert asked[0]["Filters"] == [{"Field": "regionCode", "Type": "TERM_MATCH", "Value": "us-east-1"}]
    before, after = read(PRICES)["instance_hour"]["prices"], read(table)["instance_hour"]["prices"]
    assert after["ml.g5.xlarge"] == {"usd": 1.5, "source": "price-list-api"}
    assert after["ml.p4d.24xlarge"] == {"usd": 25.25, "source": "price-list-api"}  # no longer uncertain
    assert after["ml.m5.xlarge"]["usd"] == 0.23
    assert after["ml.g5.2xlarge"]["usd"] == 1.7
    assert after["ml.g5.2xlarge"]["uncertain"] == "it depends on the use (hosting 1.515, training 1.7): the dearest"
    assert after["ml.trn1.2xlarge"]["usd"] == 1.545
    assert after["ml.c5.large"] == before["ml.c5.large"]
    assert "ml.g5.xlarge: 1.408 → 1.5" in done.stdout
    assert "Not in the price list, left as they were: ml.t3.medium" in done.stdout
    assert read(table)["sources"]["price-list-api"].startswith("pricing:GetProducts of AmazonSageMaker, us-east-1, 20")


@pytest.mark.parametrize(
    ("offers", "arguments", "message"),
    [
        ([], [], "names none of the"),
        ([offer("ml.g5.xlarge", "Hosting", "1.5")], ["--add", "ml.g99.xlarge"], "has no ml.g99.xlarge in us-east-1"),
    ],
)
def test_an_answer_without_the_prices_writes_nothing(
    table: Path, offers: list[str], arguments: list[str], message: str
) -> None:
    with price_list(offers) as (address, _):
        done = refresh(table, address, *arguments)
    assert done.returncode == 1
    assert message in " ".join(done.stderr.split())
    assert table.read_text() == PRICES.read_text()


def test_a_table_written_is_the_table_that_was_read() -> None:
    assert written(read(PRICES)) == PRICES.read_text()


def test_a_table_that_is_no_json_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "prices.json"
    broken.write_text("{")
    with pytest.raises(OperateError, match="cannot be read"):
        read(broken)


def test_a_refresh_changes_nothing_of_a_table_that_agrees() -> None:
    table = read(PRICES)
    hours = {name: {"Hosting": row["usd"]} for name, row in table["instance_hour"]["prices"].items()}
    assert refreshed(table, hours, month="2026-12").changed == ()
