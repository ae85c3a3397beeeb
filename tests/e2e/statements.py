"""Statements of the roles of a deployed project: taken out one at a time, and what then goes wrong."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from local_aws import calls
from tests.e2e.conftest import ROOT
from tests.e2e.held_roles import kind_of
from tests.e2e.role_work import calls_of, do_work
from tests.e2e.strict_project import StrictProject

SERVICE_CALLS = json.loads((ROOT / "tests" / "data" / "iam" / "service_calls.json").read_text())
FAILS_NO_JOB = {"logs", "cloudwatch"}  # on AWS too: the job runs on without its log or its metrics
TELL_THEIR_ROLES_FAILURE = {"job", "pipeline", "endpoint", "build"}
TOLD_TO_NOBODY = {  # of an endpoint that goes on answering: what is captured, an answer for S3, a message
    *("s3:PutObject", "kms:GenerateDataKey", "sns:Publish"),
}


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement of a role's policy."""

    role: str
    """`<stack>/<role>`"""
    physical: str
    policy: str
    document: Mapping[str, Any]
    number: int

    @property
    def actions(self) -> list[str]:
        given = self.document["Statement"][self.number]["Action"]
        return given if isinstance(given, list) else [given]

    def __str__(self) -> str:
        return f"{self.role}: {', '.join(self.actions)}"

    @contextlib.contextmanager
    def taken_out(self, project: StrictProject) -> Iterator[None]:
        """The role without this statement."""
        left = [one for number, one in enumerate(self.document["Statement"]) if number != self.number]
        iam, policy = project.aws("iam"), {"RoleName": self.physical, "PolicyName": self.policy}
        if left:
            iam.put_role_policy(**policy, PolicyDocument=json.dumps({**self.document, "Statement": left}))
        else:  # IAM takes no policy that says nothing
            iam.delete_role_policy(**policy)
        try:
            yield
        finally:
            iam.put_role_policy(**policy, PolicyDocument=json.dumps(self.document))


def statements(project: StrictProject, of: str = "") -> list[Statement]:
    """Every statement of every role of our stacks, or of those of the stack `of`."""
    iam, found = project.aws("iam"), []
    for role, physical in sorted(project.roles().items()):
        for policy in iam.list_role_policies(RoleName=physical)["PolicyNames"] if role.startswith(of) else []:
            document = iam.get_role_policy(RoleName=physical, PolicyName=policy)["PolicyDocument"]
            found += [
                Statement(role=role, physical=physical, policy=policy, document=document, number=number)
                for number in range(len(document["Statement"]))
            ]
    return found


def why_it_is_there(project: StrictProject, statement: Statement) -> str:
    """What goes wrong without the statement, or which calls of AWS explain it. Raises AssertionError for neither."""
    refused, ended = _refusals_without(project, statement)
    own, kind = [call for call in refused if call["action"] in statement.actions], kind_of(statement.role)
    if own:
        assert all(is_in_aws_words(call) for call in own), own
        action = own[0]["action"]
        untold = action.split(":")[0] in FAILS_NO_JOB or (kind == "endpoint" and action in TOLD_TO_NOBODY)
        if kind in TELL_THEIR_ROLES_FAILURE and not (untold and not ended):
            in_words = action in ended and "is not authorized to perform" in ended
            to_a_head = "(403)" in ended and "Forbidden" in ended  # to a HEAD, S3 says no more
            assert in_words or to_a_head, (statement, ended)
        return f"{action} is refused"
    assert (refused, ended) == ([], ""), statement
    explained = {row["action"] for row in SERVICE_CALLS if kind in row["roles"]}
    unexplained = set(statement.actions) - explained
    assert not unexplained, f"{statement}: nothing needs {', '.join(sorted(unexplained))}: take it out of the role"
    return "AWS's own calls"


def _refusals_without(project: StrictProject, statement: Statement) -> tuple[list[calls.Call], str]:
    """What the role was refused while it did its work without the statement, and how that ended."""
    before = len(project.calls())
    with statement.taken_out(project):
        ended = do_work(project, statement.role)
        refused = [call for call in calls_of(project, statement.role, before) if not call["allowed"]]
    if statement.role == "endpoint/Role":
        do_work(project, statement.role)  # in service again
    return refused, ended


def is_in_aws_words(refusal: calls.Call) -> bool:
    """Whether a refusal reads as AWS writes it."""
    action = refusal["action"]
    return refusal["message"] == (
        f"User: {refusal['principal']} is not authorized to perform: {action} on resource: {refusal['resource']} "
        f"because no identity-based policy allows the {action} action"
    )
