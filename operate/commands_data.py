"""Commands about what people bring: proteins and weights, into the data bucket."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from operate import aws as aws_access
from operate import data, deployment
from operate.aws import Aws
from operate.commands_aws import Env, Json, out
from operate.errors import OperateError
from operate.settings import environment_named

app = typer.Typer()
data_app = typer.Typer(help="The proteins to train on, and the held-out ones to score.", no_args_is_help=True)
weights_app = typer.Typer(help="Weights to start from, in any layout that AMPLIFY has.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")


@data_app.command("add")
def data_add(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="FASTA files: plain, gzip or zstd.")],
    held_out: Annotated[bool, typer.Option("--held-out", help="Only to be scored, never trained on.")] = False,
    env: Env = "local",
) -> None:
    """Upload FASTA files to the data bucket."""
    aws = aws_access.connect(environment_named(env), context.obj)
    bucket = deployment.output(aws, "storage", "DataBucketName")
    for file in files:
        uri, unchanged = data.add(aws.client("s3"), bucket, "heldout" if held_out else "proteins", file)
        out.print(f"{uri}{' (was there already)' if unchanged else ''}", highlight=False, soft_wrap=True)


@data_app.command("ready")
def data_ready(context: typer.Context, env: Env = "local") -> None:
    """Say that the proteins are all there: a run begins, where the environment has `on_arrival` and none is active."""
    environment = environment_named(env)
    if environment.training is None or not environment.training.on_arrival:
        raise OperateError(
            f"In environment {env} no run begins when proteins are ready.",
            todo="Start one with `amplify train`, or set on_arrival in environments.py and deploy.",
        )
    aws = aws_access.connect(environment, context.obj)
    uri = data.ready(aws.client("s3"), deployment.output(aws, "storage", "DataBucketName"))
    out.print(f"{uri} is put; `amplify runs` shows the run that it begins.", highlight=False, soft_wrap=True)


@data_app.command("remove")
def data_remove(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(help="Files, as `amplify data list` names them.")],
    held_out: Annotated[bool, typer.Option("--held-out", help="Of the held-out files.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    env: Env = "local",
) -> None:
    """Remove FASTA files from the data bucket, which keeps their older versions for a while."""
    aws = aws_access.connect(environment_named(env), context.obj)
    bucket = deployment.output(aws, "storage", "DataBucketName")
    keys = [f"{'heldout' if held_out else 'proteins'}/{file}" for file in files]
    for key in keys:
        out.print(f"s3://{bucket}/{key}", highlight=False, soft_wrap=True)
    if not yes and not typer.confirm("Remove it?" if len(keys) == 1 else f"Remove these {len(keys)}?"):
        raise OperateError("Nothing was removed.")
    data.remove(aws.client("s3"), bucket, keys)
    out.print("Removed: no later run reads it.", highlight=False)


@data_app.command("list")
def data_list(context: typer.Context, env: Env = "local", as_json: Json = False) -> None:
    """The FASTA files in the data bucket."""
    aws = aws_access.connect(environment_named(env), context.obj)
    found = data.listed(aws.client("s3"), deployment.output(aws, "storage", "DataBucketName"))
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    table = Table("use", "file", "bytes")
    for one in found:
        table.add_row(one["use"], one["file"], f"{one['bytes']:,}")
    out.print(table if found else "There are no proteins yet: `amplify data add <file.fasta>`.")


@weights_app.command("add")
def weights_add(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="A checkpoint's folder (Hugging Face or Mila), or a model.tar.gz.")],
    name: Annotated[str | None, typer.Option(help="What to call it; by default as the folder is called.")] = None,
    env: Env = "local",
) -> None:
    """Upload a checkpoint; what is printed is what `amplify train --init` takes."""
    aws = aws_access.connect(environment_named(env), context.obj)
    out.print(upload_weights(aws, path, name), highlight=False, soft_wrap=True)


def upload_weights(aws: Aws, path: Path, name: str | None) -> str:
    """The URI of a checkpoint, once it lies in the data bucket. Raises OperateError."""
    if not path.exists():
        raise OperateError(
            f"{path} does not exist.", todo="Give a folder, a model.tar.gz, s3://… or hf:<owner>/<name>@<revision>."
        )
    bucket = deployment.output(aws, "storage", "DataBucketName")
    called = name or path.resolve().name.removesuffix(".gz").removesuffix(".tar")
    return data.add_weights(aws.client("s3"), bucket, path, called)
