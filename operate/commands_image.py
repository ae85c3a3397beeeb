"""The command about the image of the deployed code."""

import json

import typer

from operate import aws as aws_access
from operate import image as images
from operate.commands_aws import Env, Json, out
from operate.screen import Step, watched
from operate.settings import environment_named

app = typer.Typer()


@app.command()
def image(context: typer.Context, env: Env = "local", as_json: Json = False) -> None:
    """The image that jobs and endpoints run: its digest, and what is in it. Built here where it is not built yet."""
    aws = aws_access.connect(environment_named(env), context.obj)
    if as_json:
        found = images.wait_until_built(aws, lambda _: None, again=True)
        typer.echo(json.dumps(images.records(aws, found), indent=1))
        return
    with watched(Step(out, "image")) as step:
        found = images.wait_until_built(aws, step.show, again=True)
    known = images.records(aws, found)
    out.print(known["image"], highlight=False, soft_wrap=True)
    packages = "not on record" if known["packages"] is None else f"{known['packages']:,}"
    out.print(f"  packages: {packages}", highlight=False)
    out.print(f"  findings of the scan: {images.scan_text(known)}", highlight=False)
    out.print(f"  on record: {known['records']}", highlight=False, soft_wrap=True)
