"""The CDK app: every environment, each a stage of its own. `cdk synth`, `cdk deploy '<env>/*'`."""

from pathlib import Path

import aws_cdk as cdk

from environments import ENVIRONMENTS
from stacks.stage import AmplifyStage

ROOT = Path(__file__).parent


def add_environments(app: cdk.App) -> None:
    """All environments, whoever deploys which: one commit, one set of templates."""
    for environment in ENVIRONMENTS.values():
        AmplifyStage(app, environment)


if __name__ == "__main__":
    app = cdk.App()
    add_environments(app)
    app.synth()
