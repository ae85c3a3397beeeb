"""Commands about models: runs of the pipelines, and the approval of what they registered."""

import json
from getpass import getuser
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from operate import aws as aws_access
from operate import batch, deployment, machine_choice, pipeline_run, releases, report
from operate import image as images
from operate.aws import Aws
from operate.commands_aws import Env, Json, news, out
from operate.commands_data import upload_weights
from operate.errors import InterruptedByPersonError, OperateError
from operate.screen import Step, shown, watched
from operate.settings import environment_named
from operate.watch import watch as watch_run
from stacks.config import Environment

app = typer.Typer()

MAX_OVERRIDES = 256
"""Characters that SageMaker takes as one argument of a processing job."""

Run = Annotated[str, typer.Argument(help="Id of the run; the latest one by default.")]


@app.command()
def train(
    context: typer.Context,
    recipe: Annotated[str | None, typer.Option(help="A recipe of model_code/recipes.")] = None,
    instance_type: Annotated[str | None, typer.Option(help="One that environments.py lists.")] = None,
    instance_count: Annotated[int | None, typer.Option(min=1, help="Machines that train together.")] = None,
    init: Annotated[
        str | None,
        typer.Option(help="scratch, a folder, a model.tar.gz, s3://… or hf:<owner>/<name>@<revision>."),
    ] = None,
    data_prefix: Annotated[str | None, typer.Option("--data", help="S3 prefix of the FASTA files.")] = None,
    script: Annotated[str | None, typer.Option(help="Another entry point of the code bundle.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A key of the recipe.")
    ] = None,
    watch: Annotated[bool, typer.Option(help="Stay and show how it goes.")] = False,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Start a run of the pipeline: prepare, train, evaluate, and register what beats the letter frequencies.

    What is not given is the environment's default. Starting weights that lie on this machine are uploaded first.
    """
    environment = environment_named(env)
    overrides = overrides_json(settings) if settings else None
    check_reachable(environment, init)
    machine_choice.check(environment, instance_type, instance_count)
    overrides = overrides_json(settings) if settings else None
    aws = aws_access.connect(environment, context.obj)
    given = {
        "recipe": recipe,
        "instance_type": instance_type,
        "instance_count": None if instance_count is None else str(instance_count),
        "init": init if init in (None, "scratch") else in_reach(aws, init),
        "data": data_prefix,
        "script": script,
        "overrides": overrides,
    }
    pipeline = deployment.output(aws, "training", "PipelineName")
    parameters = {name: value for name, value in given.items() if value is not None}
    execution = pipeline_run.start(aws, pipeline, parameters | {"image": built_image(aws, as_json=as_json)})
    announce(aws, execution, watch=watch, as_json=as_json)


@app.command()
def register(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A folder, a model.tar.gz, s3://… or hf:<owner>/<name>@<revision>.")],
    name: Annotated[str | None, typer.Option(help="What a folder or archive is called in the data bucket.")] = None,
    watch: Annotated[bool, typer.Option(help="Stay and show how it goes.")] = False,
    env: Env = "local",
    as_json: Json = False,
) -> None:
    """Register a model that was trained elsewhere: fetch its weights, evaluate them, and register what is sound.

    From there it is a model as any other: `amplify approve` releases it. No training, and nothing of the Hub later on.
    """
    aws = aws_access.connect(environment_named(env), context.obj)
    pipeline = deployment.output(aws, "training", "RegistrationPipelineName")
    parameters = {"init": in_reach(aws, source, name), "image": built_image(aws, as_json=as_json)}
    announce(aws, pipeline_run.start(aws, pipeline, parameters), watch=watch, as_json=as_json)


@app.command()
def watch(context: typer.Context, run: Run = "latest", env: Env = "local") -> None:
    """Show a run as it goes, until it ends."""
    aws = aws_access.connect(environment_named(env), context.obj)
    show_run(aws, execution_of(aws, run))


@app.command()
def stop(context: typer.Context, run: Run = "latest", env: Env = "local") -> None:
    """Stop a run, whose training job saves a checkpoint first; or a job of `amplify batch`, by its name."""
    aws = aws_access.connect(environment_named(env), context.obj)
    if run.startswith(f"amplify-{env}-batch-"):
        batch.stop(aws, run)
        out.print(f"Job {run} is being stopped.", highlight=False)
        return
    execution = execution_of(aws, run)
    pipeline_run.stop(aws, execution)
    out.print(f"Run {run_id(execution)} is being stopped.", highlight=False)


@app.command()
def runs(context: typer.Context, env: Env = "local", as_json: Json = False) -> None:
    """The runs of the pipelines, newest first, and the models they registered."""
    aws = aws_access.connect(environment_named(env), context.obj)
    found = pipeline_run.listed(aws, pipelines(aws))
    if as_json:
        typer.echo(json.dumps(found, indent=1, default=str))
        return
    table = Table("run", "began", "status", "model", "reason")
    for one in found:
        model = f"version {one['version']}, {one['approval']}" if one["version"] else ""
        table.add_row(one["run"], f"{one['began']:%Y-%m-%d %H:%M}", one["status"], model, one["reason"])
    out.print(table if found else "There are no runs yet: `amplify train --watch`.")


@app.command()
def approve(
    context: typer.Context,
    package: Annotated[str, typer.Argument(help="A version, an ARN, or `latest`.")] = "latest",
    by: Annotated[str | None, typer.Option(help="Who decides; by default the user of this machine.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Release it as the shadow variant, which answers nobody.")
    ] = False,
    env: Env = "local",
) -> None:
    """Look at a registered model, its losses and what a scan found in its image, and release it.

    It is set to Approved, and releases/<env>.json is written.
    """
    aws = aws_access.connect(environment_named(env), context.obj)
    arn = releases.package_of(aws, deployment.output(aws, "registry", "ModelPackageGroupName"), package)
    out.print(arn, highlight=False, soft_wrap=True)
    for name, loss in report.baselines(releases.evaluation_of(aws, arn)):
        out.print(f"  {name:<40} {loss:.3f} nats a residue", highlight=False)
    tag = releases.image_tag_of(aws, arn)
    scan = images.scan_text({"scan": None, "findings": None} if tag is None else images.scan_of(aws, tag))
    out.print(f"  findings in its image: {scan}", highlight=False)
    if not yes and not typer.confirm("Release this model?"):
        raise OperateError("Nothing was approved.")
    pin = releases.approve(aws, arn, by or getuser(), releases.read(context.obj.releases, env))
    path = releases.write(context.obj.releases, f"{env}.shadow" if shadow else env, pin)
    out.print(f"{shown(path)} pins version {pin['model_package_version']}.", highlight=False)
    out.print(f"`amplify deploy --env {env}` puts it in service.", highlight=False)


# ---- parts -----------------------------------------------------------------------------------------------------------


def in_reach(aws: Aws, source: str, name: str | None = None) -> str:
    """Weights as a job reaches them: what lies on this machine is uploaded. Raises OperateError where it is nothing."""
    return source if source.startswith(("hf:", "s3://")) else upload_weights(aws, Path(source), name)


def overrides_json(settings: list[str]) -> str:
    """`["steps=100", "seed=1"]` → `{"steps": 100, "seed": 1}`. Raises OperateError for what is no key=value."""
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key.strip():
            raise OperateError(f"--set {setting!r} is no setting.", todo="Give a key and its value: --set steps=1000.")
        try:
            overrides[key.strip()] = json.loads(value)
        except json.JSONDecodeError:
            overrides[key.strip()] = value
    text = json.dumps(overrides, separators=(",", ":"))
    if len(text) > MAX_OVERRIDES:
        raise OperateError(
            f"The settings take {len(text)} characters; SageMaker hands {MAX_OVERRIDES} to a job.",
            todo="Put them into a recipe of their own in model_code/recipes, and deploy.",
        )
    return text


def check_reachable(environment: Environment, init: str | None) -> None:
    """Raises OperateError for starting weights of the Hub where jobs run in a network that has no way to it."""
    if environment.network is not None and init is not None and init.startswith("hf:"):
        env = environment.name
        raise OperateError(
            f"The jobs of {env} run in a network without a way to the Hub: they cannot fetch {init}.",
            todo=f"Mirror it once: `amplify register {init} --env {env} --watch`. Then start from the artefact of the "
            f"registered model: --init s3://…, as `amplify runs --env {env} --json` tells it.",
        )


def pipelines(aws: Aws) -> list[str]:
    """The environment's pipelines: of training, of registration."""
    return [deployment.output(aws, "training", key) for key in ("PipelineName", "RegistrationPipelineName")]


def built_image(aws: Aws, *, as_json: bool) -> str:
    """The image by its digest, once it is built; says that it waits. Raises OperateError where it cannot be built."""
    console = news if as_json else out
    with watched(Step(console, "image")) as step:
        return images.wait_until_built(aws, step.show).by_digest


def announce(aws: Aws, execution: str, *, watch: bool, as_json: bool) -> None:
    """Say that a run has begun; then show it, or say how to."""
    if as_json:
        typer.echo(json.dumps({"execution": execution}))
    else:
        out.print(f"Run {run_id(execution)} has begun.", highlight=False)
    if watch:
        show_run(aws, execution)
    elif not as_json:
        out.print(f"`amplify watch {run_id(execution)}` shows how it goes.", highlight=False)


def execution_of(aws: Aws, run: str) -> str:
    """The ARN of a run given by its id, its ARN, or `latest`. Raises OperateError where there is none."""
    if run.startswith("arn:"):
        return run
    found = pipeline_run.executions(aws, pipelines(aws))
    if not found:
        raise OperateError("There are no runs yet.", todo="Start one: `amplify train --watch`.")
    matching = [one for one in found if run in ("latest", run_id(one["PipelineExecutionArn"]))]
    if not matching:
        raise OperateError(f"There is no run {run!r}.", todo="`amplify runs` lists them.")
    return matching[0]["PipelineExecutionArn"]


def run_id(execution: str) -> str:
    """The last part of an execution's ARN."""
    return execution.rsplit("/", 1)[-1]


def show_run(aws: Aws, execution: str) -> None:
    """Follow a run on the screen. Ctrl-C ends the watching, not the run."""
    try:
        with watched(Step(out, "run")) as step:
            watch_run(aws, execution, step)
    except KeyboardInterrupt:
        run = run_id(execution)
        raise InterruptedByPersonError(
            "Nobody watches any more; the run goes on.",
            todo=f"`amplify watch {run}` shows it, `amplify stop {run}` ends it.",
        ) from None
    out.print("The model is registered. `amplify approve` looks at it and releases it.", highlight=False)
