"""Conditions that hold nobody back, and denials that hold back too many."""

from tests.review.planted.permissions import ROLE
from tests.review.workshop import Planted

STORAGE = "stacks/storage.py"
BY_ACCOUNT = '{"StringEquals": {"aws:SourceAccount": cdk.Stack.of(scope).account}}'
TOPIC_BY_ACCOUNT = (
    "                    resources=[self.alarm_topic.topic_arn],\n"
    '                    conditions={"StringEquals": {"aws:SourceAccount": self.account}},'
)
EVENTS = "        self._let_events_use_the_key()\n\n"
PUBLISH = "        self._let_them_publish()\n\n"


def denied(actions: str, condition: str = "{}") -> str:
    """One statement more in the policy of the data bucket."""
    return (
        "        self.data_bucket.add_to_resource_policy(\n"
        "            iam.PolicyStatement(\n"
        f"                effect=iam.Effect.DENY, principals=[iam.AnyPrincipal()], actions={actions},\n"
        f'                resources=[self.data_bucket.arn_for_objects("*")], conditions={condition},\n'
        "            )\n        )\n"
    )


TABLE = (
    Planted(
        name="trust in callers that leave the account out",
        edits=((ROLE, BY_ACCOUNT, BY_ACCOUNT.replace("StringEquals", "StringEqualsIfExists")),),
        expect={"broadening": "stop"},
        says="no longer only where aws:SourceAccount is 333333333333",
    ),
    Planted(
        name="trust in services for a stranger's account",
        edits=((ROLE, BY_ACCOUNT, '{"StringEquals": {"aws:SourceAccount": "999999999999"}}'),),
        expect={"broadening": "stop"},
        says="aws:SourceAccount is 999999999999",
    ),
    Planted(
        name="alarms from half of the internet, twice",
        edits=(
            (
                STORAGE,
                TOPIC_BY_ACCOUNT,
                TOPIC_BY_ACCOUNT.replace(
                    '{"StringEquals": {"aws:SourceAccount": self.account}}',
                    '{"IpAddress": {"aws:SourceIp": ["0.0.0.0/1", "128.0.0.0/1"]}}',
                ),
            ),
        ),
        expect={"exposure": "stop"},
        says="no longer only where aws:SourceAccount",
    ),
    Planted(
        name="a stricter bucket policy",
        edits=(
            (
                "stacks/constructs/private_bucket.py",
                "            minimum_tls_version=1.2,\n            versioned=True,\n            server_access",
                "            minimum_tls_version=1.3,\n            versioned=True,\n            server_access",
            ),
        ),
        expect={"exposure": "look"},  # whoever still speaks TLS 1.2 is locked out
        says="now denies s3:*",
    ),
    Planted(
        name="nobody writes by day",
        edits=(
            (
                STORAGE,
                PUBLISH,
                PUBLISH[:-1] + denied('["s3:PutObject"]', '{"StringEquals": {"aws:PrincipalTag/shift": "day"}}') + "\n",
            ),
        ),
        expect={"exposure": "look"},
        says="now denies s3:PutObject",
    ),
    Planted(
        name="nobody at all",
        edits=((STORAGE, PUBLISH, PUBLISH[:-1] + denied('["s3:*"]') + "\n"),),
        expect={"exposure": "stop"},
        says="denies everybody s3:*",
    ),
    Planted(
        name="a key without anybody who may change it",
        edits=(
            (
                STORAGE,
                EVENTS,
                EVENTS[:-1]
                + '        self.key.node.default_child.add_property_deletion_override("KeyPolicy.Statement.0")\n\n',
            ),
        ),
        expect={"destructive": "stop"},
        says="nobody may change the policy of Key any more",
    ),
    Planted(
        name="sessions of half a day",
        environment="dev",
        edits=(
            (
                ROLE,
                "assumed_by=iam.ServicePrincipal(service, conditions=whose)",
                "assumed_by=iam.ServicePrincipal(service, conditions=whose), max_session_duration=cdk.Duration.hours(12)",
            ),
        ),
        expect={"broadening": "look"},
        says="a session lasts at most: 3600 s → 43200 s",
    ),
)
