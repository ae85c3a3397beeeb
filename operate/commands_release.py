"""Commands about releases: forward (`promote`), back (`rollback`), and what is where (`releases`, `lineage`)."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from operate import aws as aws_access
from operate import lineage as lineages
from operate import releases as pins
from operate.aws import Aws
from operate.commands_aws import Env, Json, out
from operate.errors import OperateError
from operate.ledger import Entry, Ledger, release_id
from operate.promotion import Promotion
from operate.promotion_branch import Repository
from operate.releases import Pin
from operate.screen import Step, shown, watched
from operate.settings import Settings, all_environments, environment_named, neighbours_of
from stacks.config import Environment

app = typer.Typer()


@app.command()
def promote(
    context: typer.Context,
    to: Annotated[str, typer.Option("--to", help="Environment that gets the release.")],
    source: Annotated[str | None, typer.Option("--from", help="Where it comes from; as environments.py says.")] = None,
    by: Annotated[str | None, typer.Option(help="Who decides; by default the user of this machine.")] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(metavar="GATE=WHY", help="Answer for a gate that is shut: the reviewer reads why."),
    ] = None,
    carry: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Lay branch, title and text there, for who opens the pull request."),
    ] = None,
) -> None:
    """Copy an environment's release into the account of the next, and write its pin on a branch, with a pull request's
    text. It never deploys: merging does. Credentials are those of the target's account."""
    settings: Settings = context.obj
    target = environment_named(to)
    origin = neighbours_of(to).source
    if origin is None:
        raise OperateError(f"{to} gets no releases from another environment.", todo="Give it promotion=Promotion(…).")
    if source not in (None, origin.name):
        raise OperateError(
            f"Releases of {to} come from {origin.name}, not from {source}.", todo="environments.py says so: promotion."
        )
    aws = aws_access.connect(target, settings).acting_as(f"{target.resource_name}-promotion")
    promotion = Promotion(
        source=origin,
        target=target,
        aws=aws,
        releases=settings.releases,
        by=by or getuser(),
        accepted=dict(_accepted(accept or [])),
    )
    with watched(Step(out, "promote")) as step:
        done = promotion.run(step.say, settings.state / "promotions")
    out.print(f"Branch {done.branch}: {done.title}", highlight=False, soft_wrap=True)
    if carry is not None:
        Repository.of(settings.releases).carry(done.branch, carry)
        (carry / "title").write_text(done.title, encoding="utf-8")
        shutil.copyfile(done.text, carry / "text.md")
        return
    out.print(f"The pull request's text is in {shown(done.text)}. Push the branch and open it:", highlight=False)
    command = f"git push -u origin {done.branch} && gh pr create --head {done.branch}"
    out.print(f'{command} --title "{done.title}" --body-file {done.text}', highlight=False, soft_wrap=True)


@app.command()
def rollback(
    context: typer.Context,
    env: Env = "local",
    to: Annotated[str | None, typer.Option("--to", help="A release of the record; the one before by default.")] = None,
    branch: Annotated[bool, typer.Option("--branch", help="Write it on a branch and not here.")] = False,
) -> None:
    """Write the pin of an earlier release again. The environment's own record has it: no other account is asked."""
    settings: Settings = context.obj
    environment = environment_named(env)
    ledger = Ledger.of(_in_release_role(environment, settings))
    entry = earlier(ledger, pins.read(settings.releases, env), to)
    pin, identity = entry["pin"], entry["release"]
    if branch:
        title = f"Roll {env} back to release {identity} (version {pin['model_package_version']})"
        name = Repository.of(settings.releases).branch(env, pin, title)
        out.print(f"Branch {name}: {title}", highlight=False)
    else:
        path = pins.write(settings.releases, env, pin)
        out.print(f"{shown(path)} pins release {identity} again: {_words(entry)}.", highlight=False, soft_wrap=True)
    out.print(f"Commit it, and `amplify deploy --env {env}` brings it back.", highlight=False)


@app.command(name="releases")
def releases_command(
    context: typer.Context,
    env: Annotated[str | None, typer.Option("--env", help="Its record too: every deployment of a release.")] = None,
    as_json: Json = False,
) -> None:
    """What runs where: releases, their ages, their metrics, and where they differ."""
    settings: Settings = context.obj
    found = [_standing(environment, settings) for environment in all_environments()[0].values()]
    history = Ledger.of(_in_release_role(environment_named(env), settings)).entries() if env else []
    if as_json:
        typer.echo(json.dumps({"environments": found, "history": history}, indent=1))
        return
    table = Table(
        "environment", "release", "recipe", "loss", "held out", "approved", "live", "differs from its source in"
    )
    for one in found:
        table.add_row(
            *(str(one[name]) for name in ("environment", "release", "recipe", "loss", "held_out")),
            one["approved"],
            one["live"],
            one["differs"],
        )
    out.print(table)
    if history:
        record = Table("at", "release", "outcome", "version", "loss", "by", "reason")
        for entry in history:
            pin = entry["pin"]
            record.add_row(
                entry["at"],
                entry["release"],
                entry["outcome"],
                str(pin["model_package_version"]),
                f"{pin['evaluation']['loss']:.4f}",
                entry["by"],
                entry["reason"],
            )
        out.print(record)


@app.command()
def lineage(
    context: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="Such as amplify-prod.")] = "amplify-local",
    as_json: Json = False,
) -> None:
    """From an endpoint back to its proteins: package, job, recipe, code commit, data manifest, FASTA files."""
    settings: Settings = context.obj
    environment = environment_named(endpoint.removeprefix("amplify-"))
    aws = aws_access.connect(environment, settings)
    told = lineages.of_endpoint(aws, pins.read(settings.releases, environment.name))
    if as_json:
        typer.echo(json.dumps(told.as_json(), indent=1))
        return
    out.print(f"{told.endpoint} serves {told.package}", highlight=False, soft_wrap=True)
    for name, value in told.facts.items():
        out.print(f"  {name:<17} {value}", highlight=False, soft_wrap=True)
    for one in told.fasta:
        words = f"{one['file']}, {one['records']:,} records, SHA-256 {one['sha256']}"
        out.print(f"  {'FASTA':<17} {words}", highlight=False, soft_wrap=True)
    for what in told.unknown:
        out.print(f"  not known         {what}", highlight=False, soft_wrap=True)


# ---- parts -----------------------------------------------------------------------------------------------------------


def earlier(ledger: Ledger, pin: Pin | None, wanted: str | None) -> Entry:
    """The entry of the record to go back to. Raises OperateError where there is none.

    What is live, where the pin is of a release that failed; else the last one that was live before, and is not now.
    """
    entries = ledger.entries()
    were_live = {entry["release"]: entry for entry in reversed(entries) if entry["outcome"] == "live"}
    if wanted is not None:
        if wanted not in were_live:
            known = ", ".join(were_live) or "none"
            raise OperateError(f"No release {wanted} was ever live here.", todo=f"These were: {known}.")
        return were_live[wanted]
    now, pinned = ledger.live(), release_id(pin) if pin is not None else None
    if now is not None and now["release"] != pinned and now["release"] in were_live:
        return were_live[now["release"]]
    for entry in entries:
        if entry["outcome"] == "live" and entry["release"] != pinned:
            return entry
    raise OperateError("No other release was ever live here.", todo="`amplify releases --env …` shows the record.")


def _accepted(given: list[str]) -> Iterator[tuple[str, str]]:
    for one in given:
        gate, separator, why = one.partition("=")
        if not separator or not why.strip():
            raise OperateError(f"--accept {one!r} gives no reason.", todo='Such as --accept evaluation="new proteins".')
        yield gate.strip(), why.strip()


def _in_release_role(environment: Environment, settings: Settings) -> Aws:
    if not neighbours_of(environment.name).any:
        raise OperateError(
            f"{environment.name} keeps no record of releases: it takes no part in promotion.",
            todo="`amplify approve <version>` pins any earlier model.",
        )
    return aws_access.connect(environment, settings).acting_as(f"{environment.resource_name}-release")


def _standing(environment: Environment, settings: Settings) -> dict[str, Any]:
    """One row: what git pins, and what is live where the credentials at hand reach."""
    pin = pins.read(settings.releases, environment.name)
    row: dict[str, Any] = {"environment": environment.name, "release": "—", "recipe": "", "loss": "", "held_out": ""}
    row |= {"approved": "", "differs": "", "live": _live_words(environment, settings, pin)}
    if pin is None:
        return row
    row |= {"release": f"{release_id(pin)} (version {pin['model_package_version']})", "recipe": pin["recipe"]}
    row |= {"loss": f"{pin['evaluation']['loss']:.4f}", "held_out": pin["evaluation"].get("proteins", "")}
    row["approved"] = f"{_age(pin['approved_at'])} ago, {pin['approved_by']}"
    promotion = environment.promotion
    source = pins.read(settings.releases, promotion.source) if promotion else None
    if source is not None:
        row["differs"] = ", ".join(_differences(pin, source)) or "nothing"
    return row


def _live_words(environment: Environment, settings: Settings, pin: Pin | None) -> str:
    try:
        live = Ledger.of(_in_release_role(environment, settings)).live()
    except OperateError:
        return "not asked"
    if live is None:
        return "nothing"
    pinned = pin is not None and live["release"] == release_id(pin)
    return f"{live['release']} for {_age(live['at'])}" + ("" if pinned else ", NOT what is pinned")


def _differences(pin: Pin, source: Pin) -> Iterator[str]:
    if pin["artifact"]["sha256"] != source["artifact"]["sha256"]:
        worse = pin["evaluation"]["loss"] - source["evaluation"]["loss"]
        yield f"model (loss {worse:+.4f})"
    if pin["image_digest"] != source["image_digest"]:
        yield "image"
    if pin["data_manifest_sha256"] != source["data_manifest_sha256"]:
        yield "data"


def _age(at: str) -> str:
    """
    >>> _age("2000-01-01T00:00:00+00:00").endswith(" days")
    True
    """
    try:
        hours = (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds() / 3600
    except (TypeError, ValueError):
        return f"{at!r}, which is no time,"
    if hours < 1:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"


def _words(entry: Entry) -> str:
    pin = entry["pin"]
    return f"version {pin['model_package_version']}, recipe {pin['recipe']}, live since {entry['at']}"
