"""Commands about AWS itself: this machine's (up, down, demo), what is deployed (deploy, status), and doctor."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from getpass import getuser
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import ClientError
from rich.console import Console
from rich.table import Table

from local_aws import server
from operate import aws as aws_access
from operate import demo as the_demo
from operate import deployment, doctor, pin_check, release_watch, releases, retained
from operate.cdk import Cdk
from operate.errors import OperateError, is_refusal
from operate.screen import Step, shown, watched
from operate.settings import ROOT, Settings, environment_named, neighbours_of
from stacks.release import SHADOW

app = typer.Typer()
LONGEST_DEPLOYMENT_S = 9 * 3600  # SageMaker itself gives a deployment up to eight hours
out = Console()
news = Console(stderr=True)
"""Progress of commands whose standard output is data."""

Env = Annotated[str, typer.Option("--env", help="Environment of environments.py.")]
Json = Annotated[bool, typer.Option("--json", help="For machines: one JSON document on standard output.")]


@app.command()
def demo(
    context: typer.Context,
    quick: Annotated[
        bool, typer.Option(help="A minute instead of three, with a model too small to be of use: does all work here?")
    ] = False,
    report: Annotated[Path, typer.Option(help="Where the report goes.")] = ROOT / "demo-report",
) -> None:
    """Real proteins to a served model on local AWS, step by step."""
    the_demo.run(context.obj, out, the_demo.QUICK if quick else the_demo.FULL, report.resolve())


@app.command()
def up(
    context: typer.Context,
    strict: Annotated[
        bool | None,
        typer.Option(
            "--strict/--fast", help="Hold every call to IAM's policies, over https. As last time if not given."
        ),
    ] = None,
) -> None:
    """Start local AWS; endpoints that were in service come back."""
    running = server.start(context.obj.state, strict=strict)
    out.print(
        f"Local AWS is up at {running.endpoint_url}, account {running.account}, {running.region}.", highlight=False
    )
    out.print(f"Its state is in {shown(context.obj.state)}. `amplify down` stops it.", highlight=False)


@app.command()
def down(context: typer.Context) -> None:
    """Stop local AWS and everything it runs. Its state is kept."""
    was_up = server.status(context.obj.state) is not None
    server.stop(context.obj.state)
    out.print("Local AWS is stopped; its state is kept." if was_up else "Local AWS was not running.")


@app.command()
def status(context: typer.Context, env: Env = "local", as_json: Json = False) -> None:
    """What runs and what is deployed."""
    settings: Settings = context.obj
    if env == "local" and server.status(settings.state) is None:
        if as_json:
            typer.echo(json.dumps({"running": False}))
        else:
            out.print("Local AWS is not running. `amplify up` starts it.")
        return
    aws = aws_access.connect(environment_named(env), settings)
    stacks = deployment.stacks(aws)
    pin = releases.read(settings.releases, env)
    served, trouble = None, "nothing yet"
    if any(stack.name.endswith("-endpoint") for stack in stacks):
        try:
            served = deployment.served_package(aws)
        except OperateError as error:
            trouble = f"nothing. {error.message} {error.todo}"
        except ClientError as error:
            if not is_refusal(error):
                raise
            trouble = f"not yours to see. {error.response['Error']['Message']}"
    if as_json:
        found = {
            "running": True,
            "stacks": {stack.name: {"status": stack.status, "resources": len(stack.resources)} for stack in stacks},
            "released": pin and pin["model_package_arn"],
            "served": served,
        }
        typer.echo(json.dumps(found, indent=1))
        return
    table = Table("stack", "status", "resources")
    for stack in stacks:
        table.add_row(stack.name, stack.status, str(len(stack.resources)))
    out.print(table if stacks else f"Nothing is deployed. `amplify deploy --env {env}` does it.")
    out.print(f"released: {pin['model_package_arn'] if pin else 'nothing yet'}", highlight=False)
    out.print(f"served:   {served or trouble}", highlight=False)


def _cdk(aws: aws_access.Aws, settings: Settings) -> Cdk:
    folder = settings.state / ("" if aws.is_local else aws.environment.name)
    return Cdk(aws=aws, releases=settings.releases, assembly=folder / "cdk.out", log=folder / "cdk.log")


@app.command()
def deploy(
    context: typer.Context,
    env: Env = "local",
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before permissions broaden: for what was reviewed.")
    ] = False,
    assembly: Annotated[
        Path | None, typer.Option(help="Deploy this cloud assembly as it lies there, as a workflow does.", exists=True)
    ] = None,
) -> None:
    """Deploy an environment's stacks with the CDK; the endpoint too, where releases/<env>.json names a model.

    An environment that takes part in promotion asks golden requests while a release goes live, and keeps a record of
    how that ended.
    """
    settings: Settings = context.obj
    aws = aws_access.connect(environment_named(env), settings)
    cdk = _cdk(aws, settings)
    pins = [pin for name in (env, f"{env}{SHADOW}") if (pin := releases.read(settings.releases, name))]
    recorded = bool(pins) and neighbours_of(env).any  # by the release role, which looks at all that is pinned
    if not recorded:
        _hold(aws, pins)
    if assembly is not None:
        cdk = replace(cdk, assembly=assembly)
        go: Callable[[str], None] = partial(_deploy_assembly, cdk, pins)
    else:
        _prepare(cdk, bootstrap=aws.is_local and settings.local_user is None)  # it is the administrator's
        go = partial(_deploy_quietly, cdk) if yes else cdk.deploy_in_the_open
    if aws.is_local:
        with watched(Step(out, "deploy")) as step:
            cdk.deploy(f"{env}/*", lambda line: step.show(f"cdk deploy: {line}"), method="direct")
    elif recorded:
        _deploy_recorded(cdk, pins, go)
    else:
        go(f"{env}/*")
    if not recorded:
        _hold(aws, pins)  # once more: SageMaker reads package and artefact at moments of its own
    if assembly is not None:
        return  # who deploys in a workflow sees nothing itself
    if pins:
        deployment.check_serves(aws, pins[0]["model_package_arn"])
    status(context, env)


def _prepare(cdk: Cdk, *, bootstrap: bool) -> None:
    """The assembly, and what an earlier deployment left behind."""
    with watched(Step(out, "deploy")) as step:
        step.show("cdk synth")
        cdk.synth(lambda line: step.show(f"cdk synth: {line}"))
        if bootstrap:
            cdk.bootstrap(lambda line: step.show(f"cdk bootstrap: {line}"))
        retained.take_over(cdk, step.show, step.say)


def _hold(aws: aws_access.Aws, pins: Sequence[releases.Pin]) -> None:
    """Hold what is registered and stored to the pins, as far as these credentials may look."""
    try:
        for pin in pins:
            pin_check.check_in_place(aws, pin)
    except ClientError as error:
        if not is_refusal(error):
            raise
        told = error.response["Error"]["Message"]
        out.print(f"Not looked at whether the release is as it was approved: {told}", highlight=False, soft_wrap=True)


def _deploy_assembly(cdk: Cdk, pins: Sequence[releases.Pin], stacks: str) -> None:
    """Raises OperateError where it was made of other pins than those that lie here and were looked at."""
    env, made = cdk.aws.environment.name, set()
    for template in (cdk.assembly / f"assembly-{env}").glob("*.template.json"):
        outputs = json.loads(template.read_text(encoding="utf-8")).get("Outputs", {})
        made |= {outputs[name]["Value"] for name in ("ModelPackageArn", "ShadowModelPackageArn") if name in outputs}
    pinned = {pin["model_package_arn"] for pin in pins}
    if made != pinned:
        told = [", ".join(sorted(map(str, some))) or "nothing" for some in (made, pinned)]
        raise OperateError(
            f"The assembly releases {told[0]}, and releases/ pins {told[1]} for {env}.",
            todo="It was made of other pins: `make synth` makes it anew.",
        )
    cdk.deploy_in_the_open(stacks, reviewed=True)


def _deploy_quietly(cdk: Cdk, stacks: str) -> None:
    with watched(Step(out, "cdk deploy")) as step:
        cdk.deploy(stacks, step.show, limit_s=LONGEST_DEPLOYMENT_S)


def _deploy_recorded(cdk: Cdk, pins: Sequence[releases.Pin], deploy: Callable[[str], None]) -> None:
    """Deploy an account's stacks; watched, judged and recorded by the role for that."""
    env, role = cdk.aws.environment.name, f"{cdk.aws.environment.resource_name}-release"
    try:
        aws = cdk.aws.acting_as(role)
    except OperateError:
        deploy(f"{env}/promotion")  # an environment of before: the role that watches the rest comes first
        aws = cdk.aws.acting_as(role)
    release_watch.deploy(
        aws, pins[0], getuser(), lambda: deploy(f"{env}/*"), lambda line: out.print(line, highlight=False), *pins[1:]
    )


@app.command()
def destroy(
    context: typer.Context,
    env: Env = "local",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Delete an environment's stacks. Proteins, models, images and their key are kept, for the next deployment."""
    settings: Settings = context.obj
    aws = aws_access.connect(environment_named(env), settings)
    deployed = deployment.stacks(aws)
    if not deployed:
        out.print("Nothing is deployed.")
        return
    if protected := deployment.protected(aws):
        raise OperateError(
            f"These stacks are protected against termination: {', '.join(protected)}.",
            todo=f"Set termination_protection=False for {env} in environments.py, deploy that, and destroy then.",
        )
    names = ", ".join(stack.name for stack in deployed)
    if not yes and not typer.confirm(f"Delete the stacks {names} of account {aws.environment.account}?"):
        raise typer.Abort
    cdk = _cdk(aws, settings)
    with watched(Step(out, "destroy")) as step:
        step.show("cdk synth")
        cdk.synth(lambda line: step.show(f"cdk synth: {line}"))
        if strangers := [stack.name for stack in deployed if stack.name not in retained.stacks_of(aws, cdk.assembly)]:
            raise OperateError(
                f"Nobody would delete {', '.join(strangers)}, which the code of this tree does not make: "
                f"was releases/{env}.json removed, or a part of the environment?",
                todo="Bring it back, or delete that stack first: `aws cloudformation delete-stack --stack-name …`.",
            )
        cdk.destroy(f"{env}/*", lambda line: step.show(f"cdk destroy: {line}"))
        for stack in deployed:
            for kind, identifier in retained.of_deleted(aws, stack.name).values():
                step.say(f"kept: {kind} {identifier}")


@app.command(name="doctor")
def doctor_command(context: typer.Context, env: Env = "local", as_json: Json = False) -> None:
    """What this machine has and lacks, and how to mend it."""
    findings = doctor.examine(context.obj, environment_named(env))
    if as_json:
        typer.echo(json.dumps([finding.as_json() for finding in findings], indent=1))
    else:
        for finding in findings:
            mark = "[green]✓[/]" if finding.good else "[red]✗[/]"
            out.print(f"{mark} {finding.what:<26} {finding.found}", highlight=False)
            if not finding.good:
                out.print(f"  → {finding.todo}", highlight=False)
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)
