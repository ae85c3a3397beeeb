"""IAM's decision about one call, from the policies of templates: an explicit Deny, else an Allow, else no.

After https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html, for identity policies
of one account and permissions boundaries. What it does not know it refuses to judge, by NotImplementedError: a test
must not pass by a condition that was skipped.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.stacks.readable import plain
from tests.stacks.synthesis import Template, resources

Statement = Mapping[str, Any]
MEMBERS = {"Sid", "Effect", "Action", "NotAction", "Resource", "Condition"}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call: what is done, to what, and the condition keys that AWS sets."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def allows(policy: Sequence[Statement], call: Call, boundary: Sequence[Statement] | None = None) -> bool:
    """Whether the statements together allow the call, and the boundary, where there is one, lets them.

    A boundary grants nothing: what is allowed is what both allow and neither denies.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
    """
    return _allow(policy, call) and (boundary is None or _allow(boundary, call))


def denies(policy: Sequence[Statement], call: Call) -> bool:
    """Whether a statement denies it: of a bucket's policy, whose own Deny nobody's Allow outweighs."""
    own = [{key: value for key, value in one.items() if key != "Principal"} for one in policy]
    return any(one["Effect"] == "Deny" and _is_about(one, call) for one in own)


def _allow(policy: Sequence[Statement], call: Call) -> bool:
    effects = {statement["Effect"] for statement in policy if _is_about(statement, call)}
    return "Allow" in effects and "Deny" not in effects


def _is_about(statement: Statement, call: Call) -> bool:
    if unknown := set(statement) - MEMBERS:
        raise NotImplementedError(f"{sorted(unknown)} of a statement")
    if ("Action" in statement) == ("NotAction" in statement):
        raise NotImplementedError("a statement without Action, or with NotAction beside it")
    # Actions are compared without regard to case, resources with it.
    named = any(
        matches(call.action.lower(), one.lower())
        for one in _list(statement["Action"] if "Action" in statement else statement["NotAction"])
    )
    return (
        named == ("Action" in statement)
        and any(matches(call.resource, one) for one in _list(statement["Resource"]))
        and all(
            _holds(operator, wanted, call.context.get(key))
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def matches(value: str, pattern: str) -> bool:
    """`*` is any run of letters, `/` and `:` too, `?` any one of them."""
    expression = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern)
    return re.fullmatch(expression, value, re.DOTALL) is not None


def _holds(operator: str, wanted: Any, given: str | None) -> bool:
    """A key that the call does not have fulfils a condition that negates or that wants it absent, and no other."""
    if operator == "Null":
        return (given is None) == (str(wanted).lower() == "true")
    if operator == "StringNotEquals":
        return given not in _list(wanted)
    if operator not in ("StringEquals", "StringLike", "ArnEquals", "ArnLike", "Bool", "NumericLessThan"):
        raise NotImplementedError(f"the condition {operator}")
    if given is None:
        return False
    if operator == "StringEquals":
        return given in _list(wanted)
    if operator == "NumericLessThan":
        return any(float(given) < float(one) for one in _list(wanted))
    if operator == "Bool":
        return given.lower() in [str(one).lower() for one in _list(wanted)]
    return any(matches(given, one) for one in _list(wanted))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# ---- policies of templates -------------------------------------------------------------------------------------------


def policies(template: Template, account: str) -> Iterator[tuple[str, list[Statement]]]:
    """Every identity of a template: a role by its logical id without the digest, with all that its policies in the
    template say; and every managed policy, for those it will be given to. References are `<DataBucket>` and so on."""
    for id_ in resources(template, "AWS::IAM::Role"):
        statements = [
            statement
            for policy in resources(template, "AWS::IAM::Policy").values()
            if {"Ref": id_} in policy["Properties"]["Roles"]
            for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        ]
        for policy in template["Resources"][id_]["Properties"].get("Policies", []):
            statements += policy["PolicyDocument"]["Statement"]
        yield id_[:-8], [named(statement, account) for statement in statements]
    for id_, policy in resources(template, "AWS::IAM::ManagedPolicy").items():
        if not is_boundary(id_):
            yield id_[:-8], [named(one, account) for one in policy["Properties"]["PolicyDocument"]["Statement"]]


def is_boundary(id_: str) -> bool:
    """Whether a managed policy of this logical id is there to bound others: it grants nothing to anybody.

    A rule holds those to it (tests/stacks/rules/delivery.py, boundaries_are_nobodys_policies).
    """
    return id_[:-8] in ("Boundary", "DeploymentBoundary")


def boundaries(template: Template, account: str) -> dict[str, list[Statement]]:
    """Name → statements of each policy that bounds others."""
    return {
        policy["Properties"]["ManagedPolicyName"]: [
            named(one, account) for one in policy["Properties"]["PolicyDocument"]["Statement"]
        ]
        for id_, policy in resources(template, "AWS::IAM::ManagedPolicy").items()
        if is_boundary(id_)
    }


def bounds(template: Template) -> dict[str, str]:
    """Role, by its logical id without the digest → the name of its boundary; roles without one are left out."""
    return {
        id_[:-8]: plain(role["Properties"]["PermissionsBoundary"]).rpartition("/")[2]
        for id_, role in resources(template, "AWS::IAM::Role").items()
        if "PermissionsBoundary" in role["Properties"]
    }


def named(statement: Statement, account: str) -> Statement:
    """The statement with resources of all stacks as they would be: `arn:aws:s3:::<DataBucket>/proteins/*`."""
    text = json.dumps(plain(statement))
    text = re.sub(r"\$\{import [\w-]+:ExportsOutput(?:FnGetAtt|Ref)(\w+)\}", lambda found: _of_export(found[1]), text)
    text = re.sub(r"\$\{(\w+)\.Arn\}", lambda found: _arn(_without_digest(found[1])), text)
    text = (
        text.replace("${AWS::Partition}", "aws")
        .replace("${AWS::Region}", "us-east-1")
        .replace("${AWS::URLSuffix}", "amazonaws.com")
    )
    text = re.sub(r"\$\{(\w+)(?:\.\w+)?\}", lambda found: f"<{_without_digest(found[1])}>", text)
    assert "${" not in text, text
    text = text.replace(":iam:<region>:", ":iam::").replace("<region>", "us-east-1").replace("<account>", account)
    return json.loads(text)


def _of_export(name: str) -> str:
    """`DataBucketE3889A50Arn98F8399F` → the bucket's ARN; of other attributes and of Ref, a name in brackets."""
    found = re.fullmatch(r"(\w+?)[0-9A-F]{8}Arn[0-9A-F]{8}", name)
    return _arn(found[1]) if found else f"<{re.sub(r'[0-9A-F]{8,16}', '', name)}>"


def _without_digest(id_: str) -> str:
    return re.sub(r"[0-9A-F]{8}$", "", id_)


def _arn(name: str) -> str:
    if name.endswith("Bucket"):
        return f"arn:aws:s3:::<{name}>"
    kind, path = next(
        (kind, path)
        for end, kind, path in (
            ("Key", "kms", "key/"),
            ("Repository", "ecr", "repository/"),
            ("Project", "codebuild", "project/"),
            ("Topic", "sns", ""),
            ("DeadLetters", "sqs", ""),
            ("LogGroup", "logs", "log-group:"),
            ("Log", "logs", "log-group:"),
            ("Role", "iam", "role/"),
            ("", "unknown", ""),
        )
        if name.endswith(end)
    )
    return f"arn:aws:{kind}:<region>:<account>:{path}<{name}>"
