"""Commands about a change before it is merged: its review, and the prices that the review reckons with."""

import time
from pathlib import Path
from typing import Annotated, Literal

import boto3
import typer

from operate import prices as price_list
from operate.commands_aws import out
from operate.errors import OperateError
from operate.settings import ROOT
from review.report import Request
from review.report import run as run_review
from review.rules import AREAS
from review.trees import ReviewError

app = typer.Typer()
PRICES = ROOT / "stacks" / "prices.json"


@app.command()
def review(
    context: typer.Context,
    base: Annotated[str, typer.Option(help="Git ref to compare with, such as origin/main.")],
    head: Annotated[str | None, typer.Option(help="Git ref. Without it, the working tree as it lies there.")] = None,
    to: Annotated[Path, typer.Option("--out", help="Folder of review.md and review.json.")] = ROOT / "review-report",
    gate: Annotated[Literal["never", "look", "stop"], typer.Option(help="Exit with 3 from this verdict on.")] = "never",
    areas: Annotated[str, typer.Option(help="What the gate looks at, by comma.")] = ",".join(AREAS),
) -> None:
    """One page about what a change does to the infrastructure, what it opens and what it costs. No AWS is asked."""
    wanted = tuple(areas.split(","))
    if strangers := [name for name in wanted if name not in AREAS]:
        raise typer.BadParameter(f"--areas holds {', '.join(strangers)}: give some of {', '.join(AREAS)}")
    request = Request(
        repository=ROOT,
        base=base,
        head=head,
        out=to.resolve(),
        cache=context.obj.state / "review",
        gate=None if gate == "never" else gate,
        areas=wanted,
    )
    try:
        code = run_review(request, lambda line: out.print(line, highlight=False, soft_wrap=True))
    except ReviewError as error:
        raise OperateError(
            f"There is no review: {error}.", todo="`git log --oneline` shows what can be named."
        ) from None
    if code:
        raise typer.Exit(code)


@app.command()
def prices(
    add: Annotated[
        list[str] | None, typer.Option(help="Instance type to add, such as ml.g6.xlarge; again for more.")
    ] = None,
    table: Annotated[Path, typer.Option(help="The table to refresh.")] = PRICES,
) -> None:
    """Take the prices of instances anew from AWS's price list, with your own credentials (pricing:GetProducts)."""
    old = price_list.read(table)
    client = boto3.client("pricing", region_name=price_list.PRICING_REGION)
    hours = price_list.hours_of(client, old["region"])
    new = price_list.refreshed(old, hours, month=time.strftime("%Y-%m"), added=add or ())
    table.write_text(price_list.written(new.table), encoding="utf-8")
    for line in new.changed or ("No price has changed.",):
        out.print(line, highlight=False)
    if new.kept:
        out.print(f"Not in the price list, left as they were: {', '.join(new.kept)}", highlight=False, soft_wrap=True)
    out.print(f"Written: {table}. Read the difference before you commit it.", highlight=False, soft_wrap=True)
