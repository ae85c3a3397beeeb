"""What is easily taken for nothing: updates in place, things that go, reasons that excuse everything."""

from tests.review.workshop import Planted

SMALL = "stacks/constructs/small_function.py"
NAG = "tests/stacks/test_nag.py"
REASONS = "EXPLAINED = [  # construct path, finding, reason\n"

TABLE = (
    Planted(
        name="more time for a function",
        environment="dev",
        edits=((SMALL, "timeout=cdk.Duration.seconds(60)", "timeout=cdk.Duration.seconds(600)"),),
        expect={"safeguards": "look"},
        says="Timeout: 60 → 600",
    ),
    Planted(
        name="a function that sends elsewhere",
        environment="dev",
        edits=(
            (
                SMALL,
                "            environment=environment,\n",
                '            environment=environment | {"TELL": "s3://strangers-bucket/all"},\n',
            ),
        ),
        expect={"safeguards": "look", "exposure": "stop"},
        says="bucket strangers-bucket",
    ),
    Planted(
        name="a password in a function's environment",
        environment="dev",
        edits=(
            (
                SMALL,
                "            environment=environment,\n",
                '            environment=environment | {"API_KEY": "f3a9c1d2e4"},\n',
            ),
        ),
        expect={"safeguards": "look", "exposure": "stop"},
        says="holds a secret",
    ),
    Planted(
        name="containers that are told something else",
        environment="dev",
        edits=(("stacks/pipeline_steps.py", '"ContainerArguments": ["evaluate"]', '"ContainerArguments": ["fetch"]'),),
        expect={"safeguards": "look"},
        says="ContainerArguments",
    ),
    Planted(
        name="a stack that another role deploys",
        edits=(
            (
                "stacks/storage.py",
                "super().__init__(scope, id, description=",
                "kwargs = kwargs | {\n"
                '            "synthesizer": cdk.DefaultStackSynthesizer(\n'
                '                cloud_formation_execution_role="arn:aws:iam::${AWS::AccountId}:role/administrator"\n'
                "            )\n"
                "        }\n"
                "        super().__init__(scope, id, description=",
            ),
        ),
        expect={"broadening": "stop"},
        says="the stack is deployed with cloudFormationExecutionRoleArn",
    ),
    Planted(
        name="a reason for everything",
        edits=((NAG, REASONS, f'{REASONS}    (r".*", r".*", "it is fine"),\n'),),
        expect={"policy": "stop"},
        says="a new reason excuses findings anywhere",
    ),
    Planted(
        name="a reason for one thing",
        edits=((NAG, REASONS, f'{REASONS}    (r"people/NoPolicy", r":model/\\*", "it is only read"),\n'),),
        expect={"policy": "look"},
        says="a new reason, for :model/",
    ),
)
