"""What keeps a bad model, a bad deployment or a silent failure away."""

from tests.review.planted.variants import GATE
from tests.review.workshop import Planted

STEPS = "stacks/pipeline_steps.py"
ROLLS_BACK = "        self.roll_back_on = [server_errors, latency]"
MIN = "min_instances=2, max_instances=4"

TABLE = (
    Planted(
        name="a gate loosened",
        starts_from="with a literal gate",
        environment="dev",
        edits=((STEPS, '"RightValue": 2.40', '"RightValue": 2.60'),),
        expect={"safeguards": "stop"},
        says="gate `evaluation.loss` loosened: < 2.4 → < 2.6",
    ),
    Planted(
        name="a gate that lets the same pass",
        environment="dev",
        edits=((STEPS, '                    "Type": "LessThan",', '                    "Type": "LessThanOrEqualTo",'),),
        expect={"safeguards": "stop"},
        says="loosened",
    ),
    Planted(
        name="a gate that looks elsewhere",
        environment="dev",
        edits=((STEPS, GATE, GATE.replace("letter_frequencies", "uniform_20")),),
        expect={"safeguards": "look"},
        says="evaluation.baselines.letter_frequencies → < evaluation.baselines.uniform",
    ),
    Planted(
        name="a gate with a number in the code",
        environment="dev",
        edits=((STEPS, GATE, '                    "RightValue": 2.40,'),),
        expect={"safeguards": "stop"},
        says="compared with a constant",
    ),
    Planted(
        name="a gate that whoever starts a run sets",
        environment="dev",
        edits=((STEPS, GATE, '                    "RightValue": parameter("init"),'),),
        expect={"safeguards": "stop"},
        says="whoever starts a run chooses what is compared",
    ),
    Planted(
        name="a gate that measures nothing",
        environment="dev",
        edits=(
            (STEPS, '                    "LeftValue": _evaluation("loss"),', '                    "LeftValue": 0.1,'),
        ),
        expect={"safeguards": "stop"},
        says="no longer asked: `evaluation.loss`",
    ),
    Planted(
        name="an image of a stranger",
        environment="dev",
        edits=(
            (
                STEPS,
                '{"Image": parameter("image"), "ModelDataUrl": model}',
                '{"Image": "registry.example.org/amplify@sha256:" + "0" * 64, "ModelDataUrl": model}',
            ),
        ),
        expect={"exposure": "stop", "promotion": "look"},
        says="is of registry registry.example.org",
    ),
    Planted(
        name="a model of a stranger",
        environment="dev",
        edits=(
            (
                STEPS,
                '{"Image": parameter("image"), "ModelDataUrl": model}',
                '{"Image": parameter("image"), "ModelDataUrl": "s3://strangers-bucket/model.tar.gz"}',
            ),
        ),
        expect={"exposure": "stop", "promotion": "look"},
        says="bucket strangers-bucket",
    ),
    Planted(
        name="no gate",
        environment="dev",
        edits=(
            (
                "stacks/pipeline_definition.py",
                '            check_loss(around, model, "recipe", "data", "init"),',
                '            check_loss(around, model, "recipe", "data", "init")["Arguments"]["IfSteps"][0],',
            ),
        ),
        expect={"safeguards": "stop"},
        says="registers the model whatever its evaluation says",
    ),
    Planted(
        name="a gate the wrong way round",
        environment="dev",
        edits=(
            (
                STEPS,
                '            "IfSteps": [_register(around, model, parameters)],',
                '            "IfSteps": [_refuse(around)],',
            ),
            (
                STEPS,
                '            "ElseSteps": [_refuse(around)],',
                '            "ElseSteps": [_register(around, model, parameters)],',
            ),
        ),
        expect={"safeguards": "stop"},
        says='IfSteps: ["Register"] → ["Refuse"]',
    ),
    Planted(
        name="models approved by nobody",
        environment="dev",
        edits=((STEPS, '"ModelApprovalStatus": "PendingManualApproval"', '"ModelApprovalStatus": "Approved"'),),
        expect={"safeguards": "stop"},
        says="a model is registered as Approved",
    ),
    Planted(
        name="an image by its tag",
        environment="dev",
        edits=(
            (STEPS, '{"Name": "image", "Type": "String"}', 'text_parameter("image", "a.registry/amplify-dev:latest")'),
        ),
        expect={"safeguards": "stop", "exposure": "stop"},  # and of a registry that nobody knows
        says="image of a run that names none: nothing → a.registry/amplify-dev:latest",
    ),
    Planted(
        name="no checkpoints",
        environment="dev",
        edits=(
            (
                "stacks/pipeline_definition.py",
                '            "CheckpointConfig": {"S3Uri": checkpoints_of_this_run(around), "LocalPath": "/opt/ml/checkpoints"},\n',
                "",
            ),
        ),
        expect={"safeguards": "look", "policy": "stop"},
        says="an interrupted run begins anew",
    ),
    Planted(
        name="one alarm fewer to roll back on",
        edits=(("stacks/constructs/alarms.py", ROLLS_BACK, ROLLS_BACK.replace(", latency", "")),),
        expect={"safeguards": "stop"},
        says="no longer rolled back on <AlarmsLatency>",
    ),
    Planted(
        name="nothing to roll back on",
        edits=(
            ("stacks/constructs/alarms.py", ROLLS_BACK, ROLLS_BACK.replace("server_errors, latency", "")),
            ("stacks/constructs/alarms.py", "        self.roll_back_on.append(alarm)\n", ""),
        ),
        expect={"safeguards": "stop"},
        says="on no alarm at all",
    ),
    Planted(
        name="all traffic at once",
        edits=(
            (
                "environments.py",
                "from stacks.config import (\n",
                "from stacks.config import (\n    AllAtOnce,\n",
            ),
            ("environments.py", "max_latency_ms=2_000", "max_latency_ms=2_000, deployment=AllAtOnce(bake_minutes=10)"),
        ),
        expect={"safeguards": "stop"},
        says="CANARY → ALL_AT_ONCE",
    ),
    Planted(
        name="a shorter watch",
        edits=(
            (
                "environments.py",
                "from stacks.config import (\n",
                "from stacks.config import (\n    Canary,\n",
            ),
            ("environments.py", "max_latency_ms=2_000", "max_latency_ms=2_000, deployment=Canary(wait_minutes=4)"),
        ),
        expect={"safeguards": "look"},
        says="alarms are watched: 600 s → 240 s",
    ),
    Planted(
        name="an alarm removed",
        edits=(("stacks/endpoint.py", '        alarms.watch_queue("ConcurrentRequestsPerModel")\n', ""),),
        expect={"safeguards": "look"},
        says="alarm AlarmsQueue",
    ),
    Planted(
        name="an alarm that tells nobody",
        edits=(
            (
                "stacks/constructs/ringing_alarm.py",
                "        self.add_alarm_action(",
                "        if False:\n          self.add_alarm_action(",
            ),
        ),
        expect={"safeguards": "look"},
        says="no longer tells",
    ),
    Planted(
        name="an alarm that rings later",
        edits=(("environments.py", "max_latency_ms=2_000", "max_latency_ms=20_000"),),
        expect={"safeguards": "look"},
        says="rings at",
    ),
    Planted(
        name="capture off",
        starts_from="with capture",
        edits=(("environments.py", ", capture=Capture(percent=20)", ""),),
        expect={"safeguards": "look"},
        says="requests kept: 20 % → none",
    ),
    Planted(
        name="less capture",
        starts_from="with capture",
        edits=(("environments.py", "Capture(percent=20)", "Capture(percent=1)"),),
        expect={"safeguards": "look"},
        says="requests kept: 20 % → 1 %",
    ),
    Planted(
        name="a smaller fleet",
        edits=(("environments.py", MIN, "min_instances=1, max_instances=4"),),
        expect={"safeguards": "stop"},
        says="at least 2 → 1 instances",
    ),
    Planted(
        name="an endpoint with another name",
        edits=(
            (
                "stacks/constructs/realtime_endpoint.py",
                "            endpoint_name=name,\n",
                '            endpoint_name=f"{name}-2",\n',
            ),
        ),
        expect={"destructive": "stop", "safeguards": "look"},
        says="ModelEndpoint (SageMaker::Endpoint) is replaced",
    ),
    Planted(
        name="a renamed endpoint construct",
        edits=(("stacks/constructs/realtime_endpoint.py", '            "Endpoint",', '            "Served",'),),
        expect={"destructive": "stop"},
        says="which the old one still has: CloudFormation will refuse",
    ),
)
