"""Changes that nobody has to look at."""

from tests.review.planted.variants import GATE
from tests.review.workshop import Planted

DOCSTRING = '"""State. Retained when the stack goes; termination-protected where the environment says so."""'

TABLE = (
    Planted(
        name="a comment",
        edits=(("stacks/storage.py", DOCSTRING, f"{DOCSTRING}\n\n    # Buckets, the key and a topic."),),
    ),
    Planted(
        name="the order of a dict",
        edits=(
            (
                "stacks/pipeline_definition.py",
                '            "EnableNetworkIsolation": True,\n            "EnableInterContainerTrafficEncryption": True,\n',
                '            "EnableInterContainerTrafficEncryption": True,\n            "EnableNetworkIsolation": True,\n',
            ),
        ),
        environment="dev",
    ),
    Planted(
        name="a renamed variable",
        edits=(
            (
                "stacks/storage.py",
                'access_logs = AccessLogBucket(self, "AccessLogBucket", keep=cdk.Duration.days(365))',
                'who_reads = AccessLogBucket(self, "AccessLogBucket", keep=cdk.Duration.days(365))\n        access_logs = who_reads',
            ),
        ),
    ),
    Planted(
        name="the order of actions",
        edits=(
            (
                "stacks/constructs/flow_log.py",
                '["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]',
                '["logs:PutLogEvents", "logs:DescribeLogStreams", "logs:CreateLogStream"]',
            ),
        ),
    ),
    Planted(
        name="the order of statements",
        edits=(
            (
                "stacks/storage.py",
                "        self._let_log_groups_use_the_key()\n        self._let_events_use_the_key()\n",
                "        self._let_events_use_the_key()\n        self._let_log_groups_use_the_key()\n",
            ),
        ),
    ),
    Planted(
        name="one statement written as two",
        edits=(
            (
                "stacks/storage.py",
                '                    actions=["kms:Decrypt", "kms:GenerateDataKey*"],\n                    resources=["*"],\n                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},\n                )\n            )\n\n    def _let_them',
                '                    actions=["kms:Decrypt"],\n                    resources=["*"],\n                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},\n                )\n            )\n            self.key.add_to_resource_policy(\n                iam.PolicyStatement(\n                    sid=f"{sid}More",\n                    principals=[iam.ServicePrincipal(service)],\n                    actions=["kms:GenerateDataKey*"],\n                    resources=["*"],\n                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},\n                )\n            )\n\n    def _let_them',
            ),
        ),
    ),
    Planted(
        name="a narrower permission",
        edits=(
            (
                "stacks/people.py",
                'policy.list(artifacts, "runs/", "images/", "drift/")',
                'policy.list(artifacts, "drift/")',
            ),
        ),
        says="AuditorPolicy may no longer s3:ListBucket",
    ),
    Planted(
        name="a condition more",
        edits=(
            (
                "stacks/constructs/service_role.py",
                '        self._allow(["sns:Publish"], [topic.topic_arn for topic in topics])',
                '        condition: dict[str, object] = {"Bool": {"aws:SecureTransport": "true"}}\n        self._allow(["sns:Publish"], [topic.topic_arn for topic in topics], condition)',
            ),
            (
                "stacks/constructs/service_role.py",
                '        # cloudwatch:PutMetricData has no resource: the namespace condition is what bounds it.\n        self._allow(["cloudwatch:PutMetricData"], ["*"], {"StringEquals": {"cloudwatch:namespace": metric_namespace}})',
                '        only = {"StringEquals": {"cloudwatch:namespace": metric_namespace, "aws:RequestedRegion": "us-east-1"}}\n        self._allow(["cloudwatch:PutMetricData"], ["*"], only)',
            ),
        ),
    ),
    Planted(
        name="a renamed construct without state",
        edits=(("stacks/endpoint.py", '            "InstanceAlarms",', '            "Machines",'),),
    ),
    Planted(
        name="a stack's description",
        edits=(("stacks/registry.py", "AMPLIFY: registered models and their images", "AMPLIFY: models and images"),),
    ),
    Planted(
        name="an alarm that rings sooner",
        edits=(("environments.py", "max_latency_ms=2_000", "max_latency_ms=1_000"),),
    ),
    Planted(
        name="access logs kept longer",
        edits=(("stacks/storage.py", "keep=cdk.Duration.days(365)", "keep=cdk.Duration.days(730)"),),
        says="365 → 730 days",
    ),
    Planted(
        name="a gate tightened",
        starts_from="with a literal gate",
        environment="dev",
        edits=(("stacks/pipeline_steps.py", '"RightValue": 2.40', '"RightValue": 2.30'),),
        says="gate `evaluation.loss` tightened: < 2.4 → < 2.3",
    ),
    Planted(
        name="a second gate",
        environment="dev",
        edits=(
            (
                "stacks/pipeline_steps.py",
                f"{GATE}\n                }}\n",
                f'{GATE}\n                }},\n                {{"Type": "GreaterThan", "LeftValue": _evaluation("accuracy"), "RightValue": 0.05}},\n',
            ),
        ),
        says="asked as well: `evaluation.accuracy` > 0.05",
    ),
    Planted(
        name="a comment in the code that ships",
        environment="dev",
        edits=(("model_code/recipes/demo.json", "{", "{\n"),),
    ),
    Planted(
        name="more memory for a function",
        environment="dev",
        edits=(("stacks/constructs/small_function.py", "memory_size=256", "memory_size=512"),),
    ),
    Planted(
        name="one more tag",
        edits=(
            (
                "stacks/config/environment.py",
                '{"project": "amplify", "environment": self.name}',
                '{"project": "amplify", "environment": self.name, "team": "proteins"}',
            ),
        ),
    ),
)
