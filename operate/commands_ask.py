"""Commands that ask the endpoint about the proteins of a FASTA file: embed, perplexity, scan."""

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from operate import aws as aws_access
from operate import deployment, fasta, plots
from operate.aws import Aws
from operate.client import AmplifyClient, Protein, Scan
from operate.commands_aws import Env, Json, news, out
from operate.errors import OperateError
from operate.screen import Step, shown, watched
from operate.settings import environment_named
from stacks.config import Async, Batch, InferenceComponents

app = typer.Typer()

RESIDUES_A_REQUEST = 20_000
RECORDS_A_REQUEST = 200

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
    client, records = _asking(context, env, proteins)
    rows = []
    with watched(Step(out, "embed")) as step:
        for batch in _batches(records, step):
            rows.append(client.embed(_inputs(batch)))
    embeddings = np.concatenate(rows)
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
    client, records = _asking(context, env, proteins)
    values: list[float] = []
    with watched(Step(news, "perplexity")) as step:
        for batch in _batches(records, step, residues=2_000 if exact else RESIDUES_A_REQUEST):
            values += [round(float(value), 4) for value in client.perplexity(_inputs(batch), exact=exact)]
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
    client, records = _asking(context, env, proteins)
    output.mkdir(parents=True, exist_ok=True)
    with watched(Step(out, "scan")) as step:
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


def _asking(context: typer.Context, env: str, path: Path) -> tuple[AmplifyClient, list[fasta.Protein]]:
    """A client of the environment's endpoint, and the records to ask about: first the file, it is quick to check."""
    records = fasta.read(path)
    environment = environment_named(env)
    settings = environment.endpoint
    if isinstance(settings, Async | Batch):
        raise OperateError(
            f"Environment {env} serves in mode {settings.mode}, which does not answer at once.",
            todo="Ask an environment of mode realtime, serverless or inference_components; docs/endpoint-modes.md.",
        )
    aws: Aws = aws_access.connect(environment, context.obj)
    name = deployment.output(aws, "endpoint", "EndpointName")
    component = name if isinstance(settings, InferenceComponents) else None
    return AmplifyClient(name, inference_component=component, runtime=aws.runtime()), records


def _batches(
    records: list[fasta.Protein], step: Step, residues: int = RESIDUES_A_REQUEST
) -> Iterator[list[fasta.Protein]]:
    done = 0
    for batch in fasta.batches(records, residues=residues, records=RECORDS_A_REQUEST):
        step.show(f"{done:,} of {len(records):,} proteins", done / len(records))
        yield batch
        done += len(batch)


def _inputs(batch: list[fasta.Protein]) -> list[Protein]:
    return [{"id": one.name, "sequence": one.sequence} for one in batch]


def _make_room(path: Path) -> None:
    if path.suffix != ".npz":
        raise OperateError(f"--out is {path}: a name that ends in .npz is wanted.", todo="Give --out embeddings.npz.")
    path.parent.mkdir(parents=True, exist_ok=True)
