"""Whom the accounts trust to deploy."""

from tests.review.workshop import Planted

STACK = "stacks/delivery.py"
DELIVERED = {"starts_from": "with delivery", "environment": "delivery"}

TABLE = (
    Planted(
        name="another repository trusted",
        **DELIVERED,
        edits=(
            ("environments.py", 'Delivery(repository="example/amplify")', 'Delivery(repository="stranger/amplify")'),
        ),
        expect={"broadening": "stop"},
        says="repo:stranger/amplify:environment:prod",
    ),
    Planted(
        name="any branch trusted",
        **DELIVERED,
        edits=((STACK, '            f"{GITHUB}:ref": f"refs/heads/{self._delivery.branch}",\n', ""),),
        expect={"broadening": "stop"},
        says="no longer only where token.actions.githubusercontent.com:ref is refs/heads/main",
    ),
    Planted(
        name="any repository trusted",
        **DELIVERED,
        edits=((STACK, '            f"{GITHUB}:sub": f"repo:{self._delivery.repository}:{subject}",\n', ""),),
        expect={"broadening": "stop"},
        says="no longer only where token.actions.githubusercontent.com:sub is",
    ),
    Planted(
        name="any workflow of the repository trusted",
        **DELIVERED,
        edits=(
            (STACK, 'f"repo:{self._delivery.repository}:{subject}"', 'f"repo:{self._delivery.repository}:*"'),
            (
                STACK,
                'iam.WebIdentityPrincipal(self._provider, {"StringEquals": claims})',
                'iam.WebIdentityPrincipal(self._provider, {"StringLike": claims})',
            ),
        ),
        expect={"broadening": "stop"},
        says="repo:example/amplify:*",
    ),
    Planted(
        name="a deployment that may change what bounds it",
        **DELIVERED,
        edits=(
            (
                STACK,
                '                iam.PolicyStatement(effect=iam.Effect.DENY, actions=["iam:*"], resources=itself),\n',
                "",
            ),
        ),
        expect={"broadening": "stop"},
        says="no longer denies iam:*",
    ),
    Planted(
        name="roles without a boundary",
        **DELIVERED,
        edits=(
            (STACK, '                    conditions={"StringEquals": {"iam:PermissionsBoundary": boundary}},\n', ""),
        ),
        expect={"broadening": "stop"},
        says="no longer only where iam:PermissionsBoundary",
    ),
    Planted(
        name="a comment about trust",
        **DELIVERED,
        edits=((STACK, "        claims = {\n", "        # three claims\n        claims = {\n"),),
    ),
)
