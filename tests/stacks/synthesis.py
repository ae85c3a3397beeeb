"""All templates of the app, made once for all tests of a run: starting jsii and Node costs more than the tests.

The releases are those of tests/stacks/releases, so that each environment has an endpoint stack to look at.
CloudFormation's own validation is off (tests/conftest.py) for speed; test_synth.py keeps it on once.
"""

import atexit
import functools
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from environments import DEV, ENVIRONMENTS, PROD, STAGING
from stacks.config import Capture, Delivery, Drift, Environment, Monitoring, People, RealTime, Workbench

ROOT = Path(__file__).parents[2]
RELEASES = Path(__file__).parent / "releases"

Template = dict[str, Any]

# What people may choose and environments.py does not show: held to the same rules as the rest.
assert DEV.training is not None
VARIANTS: dict[str, Environment] = {
    "private-dev": replace(DEV, network=STAGING.network),
    "workbench-dev": replace(
        DEV,
        network=STAGING.network,
        workbench=Workbench(users=("trainers",)),
        people=People(trainers=("trainers",), auditors=(f"arn:aws:iam::{DEV.account}:role/audit/auditors",)),
        monthly_ceiling_usd=None,
    ),
    "bounded-dev": replace(
        DEV,
        network=STAGING.network,
        workbench=Workbench(),
        permissions_boundary="amplify-boundary",
        monthly_ceiling_usd=None,
    ),
    "triggered-dev": replace(DEV, training=replace(DEV.training, schedule="cron(0 3 ? * SUN *)", on_arrival=True)),
    "watched-prod": replace(
        PROD,
        endpoint=RealTime(instance_type="ml.g5.xlarge", capture=Capture(percent=5)),
        monitoring=Monitoring(alarm_emails=("on-call@example.org",), monthly_budget_usd=5_000, drift=Drift()),
    ),
}

DELIVERY = Delivery(repository="example/amplify")


def new_app(outdir: Path) -> Any:
    """An App as the CDK command line makes it: the feature flags of cdk.json, no version resource."""
    import aws_cdk as cdk

    context = json.loads((ROOT / "cdk.json").read_text())["context"] | {"releases": str(RELEASES)}
    return cdk.App(outdir=str(outdir), context=context, analytics_reporting=False)


@functools.cache
def assembly() -> Path:
    """The cloud assembly of every environment, synthesised once per process."""
    from app import add_environments

    folder = Path(tempfile.mkdtemp(prefix="amplify-assembly-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    app = new_app(folder)
    add_environments(app)
    app.synth()
    return folder


def templates_in(folder: Path) -> dict[str, Template]:
    """`dev/storage` → its template, read from a cloud assembly."""
    found = {}
    for manifest in sorted(folder.glob("assembly-*/manifest.json")):
        for artifact in json.loads(manifest.read_text())["artifacts"].values():
            if artifact["type"] == "aws:cloudformation:stack":
                template = manifest.parent / artifact["properties"]["templateFile"]
                found[artifact["displayName"]] = json.loads(template.read_text())
    return found


@functools.cache
def templates() -> dict[str, Template]:
    """Every stack's template, by its id. Shared: a test that changes one copies it first."""
    return templates_in(assembly())


@functools.cache
def variants() -> dict[str, Template]:
    """`private-dev/training` → its template: the stacks of each variant, under its name."""
    found = {}
    for name, environment in VARIANTS.items():
        of_it = templates_of(environment).items()
        found |= {stack.replace(environment.name, name, 1): template for stack, template in of_it}
    return found


def add_variant(app: Any, environment: Environment) -> None:
    """One environment as app.py adds it, with the release of its name."""
    from stacks.release import read_releases
    from stacks.stage import AmplifyStage

    everything = {environment.name: environment}
    pins = Path(tempfile.mkdtemp(prefix="amplify-pins-"))
    atexit.register(shutil.rmtree, pins, ignore_errors=True)
    shutil.copy(RELEASES / f"{environment.name}.json", pins)
    release = read_releases(pins, everything)[environment.name]
    code = {"model_code": ROOT / "model_code", "lambda_code": ROOT / "lambda_code", "project": ROOT}
    AmplifyStage(app, environment, release=release, **code)


@functools.cache
def delivery_of(delivery: Delivery, *environments: Environment) -> dict[str, Template]:
    """`delivery/dev` → its template: what the accounts of these environments get from a person."""
    from stacks.delivery import DeliveryStage

    with tempfile.TemporaryDirectory(prefix="amplify-delivery-") as folder:
        app = new_app(Path(folder))
        DeliveryStage(app, delivery, environments)
        app.synth()
        return templates_in(Path(folder))


@functools.cache
def account_template(environment: Environment) -> Template:
    """What the account of an environment gets from a person: of `local` too, whose account no workflow deploys to."""
    import aws_cdk as cdk

    from stacks.delivery import DeliveryStack

    with tempfile.TemporaryDirectory(prefix="amplify-account-") as folder:
        app = new_app(Path(folder))
        env = cdk.Environment(account=environment.account, region=environment.region)
        DeliveryStack(app, "account", env=env, delivery=DELIVERY, environments=[environment])
        app.synth()
        template: Template = json.loads((Path(folder) / "account.template.json").read_text())
    return template


def templates_of(environment: Environment) -> dict[str, Template]:
    """`local/storage` → its template: all stacks of one environment, with the release of its name."""
    with tempfile.TemporaryDirectory(prefix=f"amplify-{environment.name}-") as folder:
        app = new_app(Path(folder))
        add_variant(app, environment)
        app.synth()
        return templates_in(Path(folder))


def delivery_templates() -> dict[str, Template]:
    """Those of the environments' accounts, as a repository is trusted there."""
    return delivery_of(DELIVERY, *ENVIRONMENTS.values())


def all_templates() -> dict[str, Template]:
    """Those of the environments and of the variants, `modes/async`, an endpoint stack of each mode, and `delivery/dev`,
    the accounts' own."""
    from tests.stacks.mode_examples import mode_templates

    return templates() | variants() | mode_templates() | delivery_templates()


def manifests() -> dict[str, dict[str, Any]]:
    """Stack id → its entry in the assembly's manifest (name, account, termination protection)."""
    entries = {}
    for manifest in assembly().glob("assembly-*/manifest.json"):
        for artifact in json.loads(manifest.read_text())["artifacts"].values():
            if artifact["type"] == "aws:cloudformation:stack":
                entries[artifact["displayName"]] = artifact
    return entries


def resources(template: Template, type_: str) -> dict[str, dict[str, Any]]:
    """Logical id → resource, of one type."""
    return {id_: resource for id_, resource in template["Resources"].items() if resource["Type"] == type_}


def only(template: Template, type_: str) -> dict[str, Any]:
    """The properties of the one resource of a type."""
    [resource] = resources(template, type_).values()
    return resource["Properties"]
