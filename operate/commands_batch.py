"""The command that asks a transform job: a whole file of proteins at once, without an endpoint."""

import json
from pathlib import Path
from typing import Annotated

import typer

from operate import aws as aws_access
from operate import batch, batch_answers, batch_records, batch_tasks
from operate.aws import Aws
from operate.batch import Place, Plan
from operate.commands_aws import Env, Json, news, out
from operate.errors import InterruptedByPersonError, OperateError
from operate.screen import Step, shown, watched
from operate.settings import environment_named
from stacks.config import Batch, Environment

app = typer.Typer()


@app.command("batch")
def batch_command(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(help="FASTA, JSON Lines or CSV, plain or gzipped; or s3://bucket/prefix of such.")
    ],
    task: Annotated[str, typer.Option(help=f"One of {', '.join(batch_tasks.TASKS)}.")] = "embed",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the task, as exact=true.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", help="Where answers go: .jsonl, .csv or .npz, as the task has it.")
    ] = None,
    package: Annotated[
        str | None, typer.Option(help="Another approved model: a version of the group, its ARN, or `latest`.")
    ] = None,
    job: Annotated[str | None, typer.Option(help="Go on with a job that was started for the same.")] = None,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Ask a transform job about every record, wait for it, and write one file of the answers.

    Needs `endpoint=Batch(…)` in environments.py. Records without an answer are listed in a file beside it.
    """
    environment = environment_named(env)
    jobs = _jobs_of(environment)
    question = batch_tasks.question(task, settings or [])
    path = output or batch_answers.default(source, question)
    batch_answers.check(path, question)
    if package is not None and not jobs.named_packages:
        raise OperateError(
            f"Jobs of {env} run the released model only.",
            todo="Leave out --package, or set named_packages of Batch in environments.py and deploy.",
        )
    records = None if source.startswith("s3://") else batch_records.read(source, lambda: None)
    aws = aws_access.connect(environment, context.obj)
    if records is None:
        records = batch_records.read(source, lambda: aws.client("s3"))
    made = batch.plan(records, question, jobs)
    if not made.objects:
        [first, *_] = made.refused.values()
        raise OperateError(f"No record can be sent: {first['message']}.", todo="Shorten the proteins.")
    place = Place.of(aws)
    if job is None:
        job = batch.start(aws, jobs, place, made, package)
        news.print(f"Job {job} has begun: {len(records):,} records, {len(made.objects)} parts.", highlight=False)
    else:
        batch.check_same(job, made, env)
    answered, failed = _wait_and_write(aws, place, job, made, path)
    if as_json:
        typer.echo(json.dumps({"job": job, "file": str(path), "answered": answered, "failed": failed}))
    else:
        out.print(f"{shown(path)}: answers for {answered:,} of {len(records):,} records", highlight=False)
    if failed:
        raise OperateError(
            f"{failed:,} records have no answer: {shown(batch_answers.failures_file(path))} says why of each.",
            todo="Mend them and ask about those alone; the others' answers are written.",
        )


def _jobs_of(environment: Environment) -> Batch:
    if not isinstance(environment.endpoint, Batch):
        raise OperateError(
            f"Environment {environment.name} serves in mode {environment.endpoint.mode}, which has no model for jobs.",
            todo="Set endpoint=Batch(instance_type=…) in environments.py and deploy; docs/endpoint-modes.md.",
        )
    return environment.endpoint


def _wait_and_write(aws: Aws, place: Place, job: str, made: Plan, path: Path) -> tuple[int, int]:
    """Ctrl-C ends the watching, not the job."""
    try:
        with watched(Step(news, "batch")) as step:
            described = batch.follow(aws, place, job, made, step.show)
            batch.tidy(aws, job, described["ModelName"])
            step.show("fetching the answers")
            counts = batch_answers.write(path, made.question, batch.outcomes(aws, place, job, made, described))
    except KeyboardInterrupt:
        raise InterruptedByPersonError(
            "Nobody watches any more; the job goes on.",
            todo=f"The same command with --job {job} waits for it again; `amplify stop {job}` ends it.",
        ) from None
    return counts
