"""Commands that GitHub's workflows call, and people may: `drift`, and `targets`, what there is to deploy."""

import json
from typing import Annotated

import typer
from rich.markup import escape

from operate import aws as aws_access
from operate import drift as the_drift
from operate.commands_aws import Env, Json, news, out
from operate.errors import OperateError
from operate.screen import Step, watched
from operate.settings import all_environments, environment_named
from stacks.config import targets as targets_of

app = typer.Typer()


@app.command()
def drift(context: typer.Context, env: Env = "local", as_json: Json = False) -> None:
    """Whether somebody changed by hand what was deployed. Exit code 1 where it was, or where nobody could look."""
    aws = aws_access.connect(environment_named(env), context.obj)
    with watched(Step(news, "drift")) as step:
        found = the_drift.detect(aws, lambda stack: step.show(f"looking at {stack}"))
    if as_json:
        document = {
            "stacks": list(found.stacks),
            "in_sync": found.in_sync,
            "findings": [finding.as_json() for finding in found.findings],
        }
        typer.echo(json.dumps(document, indent=1))
    else:
        for finding in found.findings:
            what = " ".join(part for part in (finding.stack, finding.resource, finding.type) if part)
            out.print(f"[red]{finding.status}[/] {escape(what)}", highlight=False, soft_wrap=True)
            for detail in finding.details:
                out.print(f"  {escape(detail)}", highlight=False, soft_wrap=True)
        out.print(found.summary, highlight=False)
    if found.findings:
        names = ", ".join(f"{one.stack}/{one.resource or '(all of it)'}" for one in found.findings)
        raise OperateError(
            f"{env} is not as it was deployed, or could not be looked at: {names}.",
            todo="Take the change back by hand, or make it one of the code and deploy that (docs/real-account.md).",
        )


@app.command()
def targets(
    repository: Annotated[str, typer.Option(help="owner/name of the repository whose workflow asks.")],
) -> None:
    """What a workflow of this repository deploys, by environment: JSON of regions and roles. {} where no account of
    environments.py trusts it."""
    environments, delivery = all_environments()
    typer.echo(json.dumps(targets_of(delivery, environments.values(), repository)))
