"""The CDK app: every environment, each a stage of its own, and the accounts' own, `delivery`, where one is set.

`cdk synth`, `cdk deploy '<env>/*'`; `cdk deploy delivery/<env>`, once an account, is a person's.

`cdk synth -c nag=true` holds all of it to our rules about SageMaker too (stacks/nag_pack.py).
"""

from pathlib import Path

import aws_cdk as cdk

from stacks.config import SettingsError
from stacks.config.promotion import neighbours
from stacks.delivery import DeliveryStage
from stacks.release import read_releases
from stacks.stage import AmplifyStage

ROOT = Path(__file__).parent


def add_environments(app: cdk.App) -> None:
    """All environments, whoever deploys which: one commit, one set of templates. Raises SettingsError."""
    from environments import DELIVERY, ENVIRONMENTS  # here, where somebody answers for their faults

    # No stack traces in the assembly. Not in cdk.json: there the command line warns of a key that is the CDK's own.
    app.node.set_context("aws:cdk:disable-creation-stack-traces", True)
    releases = read_releases(ROOT / (app.node.try_get_context("releases") or "releases"), ENVIRONMENTS)
    around = neighbours(ENVIRONMENTS)
    for name, environment in ENVIRONMENTS.items():
        AmplifyStage(
            app,
            environment,
            neighbours=around[name],
            release=releases.get(name),
            shadow_release=releases.get(f"{name}.shadow"),
            model_code=ROOT / "model_code",
            lambda_code=ROOT / "lambda_code",
            project=ROOT,
        )
    if DELIVERY is not None:
        DeliveryStage(app, DELIVERY, [*ENVIRONMENTS.values()])


if __name__ == "__main__":
    app = cdk.App()
    try:
        add_environments(app)
    except SettingsError as error:
        raise SystemExit(f"Nothing was synthesised. {error}") from None
    if app.node.try_get_context("nag"):
        from stacks.nag_pack import SageMakerChecks  # half a second that nobody else has to wait

        cdk.Validations.of(app).add_plugins(SageMakerChecks(app))
    app.synth()
