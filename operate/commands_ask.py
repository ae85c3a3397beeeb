"""Commands that ask the endpoint about the proteins of a FASTA file: embed, perplexity, scan."""

import csv
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from operate import aws as aws_access
from operate import deployment, fasta, plots
from operate.aws import Aws
from operate.client import AmplifyClient, Protein, Queue, Scan
from operate.commands_aws import Env, Json, news, out
from operate.errors import OperateError
from operate.screen import Step, shown, watched
from operate.settings import environment_named
from stacks.config import Async, Batch, InferenceComponents

app = typer.Typer()

POLL_LOCAL_S = 0.2

Fasta = Annotated[Path, typer.Argument(help="Proteins, FASTA, plain or gzipped.")]


@app.command()
def embed(
    context: typer.Context,
    proteins: Fasta,
    output: Annotated[Path, typer.Option("--out", help="An .npz with `ids` and `embeddings`.")] = Path(
        "embeddings.npz"
    ),
    env: Env = "local",
) -> None:
    """The mean embedding of each protein."""
    _make_room(output)
    ask, records = _asking(context, env, proteins)
    with watched(Step(out, "embed")) as step:
        embeddings = ask(step).embed(_inputs(records))
    np.savez(output, ids=np.array([one.name for one in records]), embeddings=embeddings)
    out.print(f"{shown(output)}: {embeddings.shape[0]} embeddings of {embeddings.shape[1]} numbers", highlight=False)


@app.command()
def perplexity(
    context: typer.Context,
    proteins: Fasta,
    exact: Annotated[
        bool, typer.Option(help="Mask each residue in turn: comparable with the literature, slower.")
    ] = False,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """How surprised the model is by each protein: `id,perplexity` as CSV on standard output."""
    ask, records = _asking(context, env, proteins)
    with watched(Step(news, "perplexity")) as step:
        found = ask(step).perplexity(_inputs(records), exact=exact)
    values = [round(float(value), 4) for value in found]
    rows = zip([one.name for one in records], values, strict=True)
    if as_json:
        typer.echo(json.dumps([{"id": name, "perplexity": value} for name, value in rows], indent=1))
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("id", "perplexity"))
        writer.writerows(rows)


@app.command()
def scan(
    context: typer.Context,
    proteins: Fasta,
    output: Annotated[Path, typer.Option("--out", help="Folder for a CSV and a PNG of each protein.")] = Path("scans"),
    env: Env = "local",
) -> None:
    """Score every single substitution of each protein: a table and a heat-map."""
    ask, records = _asking(context, env, proteins)
    output.mkdir(parents=True, exist_ok=True)
    with watched(Step(out, "scan")) as step:
        client = ask(None)
        for number, record in enumerate(records):
            step.show(record.name, number / len(records))
            result = client.scan(_inputs([record])[0])
            base = output / file_name(record.name)
            write_scan(result, base.with_suffix(".csv"))
            plots.mutation_heatmap(result, name=record.name, path=base.with_suffix(".png"))
            step.say(f"{shown(base)}.csv and .png: {19 * len(result.sequence):,} substitutions")


def write_scan(result: Scan, path: Path) -> None:
    """`mutation,score` rows: M1A, M1C, … without the wild type itself and without what the model cannot score."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("mutation", "score"))
        for position, (residue, row) in enumerate(zip(result.sequence, result.scores, strict=True), start=1):
            for letter, score in zip(result.letters, row, strict=True):
                if letter != residue and not np.isnan(score):
                    writer.writerow((f"{residue}{position}{letter}", f"{score:.4f}"))


def file_name(name: str) -> str:
    """A record's name as a file's: `sp|P12345|X` → `sp_P12345_X`."""
    return (
        "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in name)[:100].lstrip(".") or "protein"
    )


def _asking(
    context: typer.Context, env: str, path: Path
) -> tuple[Callable[[Step | None], AmplifyClient], list[fasta.Protein]]:
    """A client of the environment's endpoint, that tells a step how far it is, and the records to ask about: first the
    file, it is quick to check."""
    records = fasta.read(path)
    environment = environment_named(env)
    settings = environment.endpoint
    if isinstance(settings, Batch):
        raise OperateError(
            f"Environment {env} serves in mode batch: jobs answer there, and no endpoint.",
            todo=f"Ask a job: `amplify batch {path} --env {env}`.",
        )
    aws: Aws = aws_access.connect(environment, context.obj)
    name = deployment.output(aws, "endpoint", "EndpointName")
    component = name if isinstance(settings, InferenceComponents) else None
    queue = _queue_of(aws) if isinstance(settings, Async) else None

    def ask(step: Step | None) -> AmplifyClient:
        def tell(done: int, total: int) -> None:
            if step is not None:
                step.show(f"{done:,} of {total:,} proteins", done / total)

        return AmplifyClient(
            name, inference_component=component, queue=queue, runtime=aws.runtime(), progress=tell if step else False
        )

    return ask, records


def _queue_of(aws: Aws) -> Queue:
    queue = Queue(
        bucket=deployment.output(aws, "storage", "ArtifactBucketName"),
        input_prefix=deployment.output(aws, "endpoint", "InputPrefix"),
        s3=aws.client("s3"),
    )
    return replace(queue, poll_s=POLL_LOCAL_S) if aws.is_local else queue


def _inputs(records: list[fasta.Protein]) -> list[Protein]:
    return [{"id": one.name, "sequence": one.sequence} for one in records]


def _make_room(path: Path) -> None:
    if path.suffix != ".npz":
        raise OperateError(f"--out is {path}: a name that ends in .npz is wanted.", todo="Give --out embeddings.npz.")
    path.parent.mkdir(parents=True, exist_ok=True)
