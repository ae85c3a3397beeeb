"""The evaluator that the attacks are judged by: a wrong one would let all of them pass for refused."""

import pytest

from tests.stacks.iam import Call, allows, denies, matches

READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/proteins/*"}


def allowed(
    *statements: dict[str, object], action: str = "s3:GetObject", key: str = "proteins/x", **context: str
) -> bool:
    return allows(statements, Call(action=action, resource=f"arn:aws:s3:::b/{key}", context=context))


def test_nothing_is_allowed_but_what_a_statement_names() -> None:
    assert allowed(READ)
    assert not allowed()
    assert not allowed(READ, action="s3:PutObject")
    assert not allowed(READ, key="heldout/x")
    assert not allowed(READ, key="Proteins/x")
    assert allowed(READ, action="S3:getobject")


def test_a_denial_is_stronger_than_any_permission() -> None:
    assert not allowed(READ, {"Effect": "Deny", "Action": "s3:*", "Resource": "*"})
    assert allowed(READ, {"Effect": "Deny", "Action": "s3:Delete*", "Resource": "*"})


@pytest.mark.parametrize(
    ("condition", "given", "holds"),
    [
        ({"StringEquals": {"k": "a"}}, "a", True),
        ({"StringEquals": {"k": ["a", "b"]}}, "b", True),
        ({"StringEquals": {"k": "a*"}}, "ab", False),
        ({"StringLike": {"k": "a*"}}, "ab", True),
        ({"StringLike": {"k": "a?"}}, "abc", False),
        ({"ArnEquals": {"k": "arn:aws:iam::*:role/x"}}, "arn:aws:iam::1:role/x", True),
        ({"Bool": {"k": "true"}}, "true", True),
        ({"Bool": {"k": "true"}}, "false", False),
        ({"StringEquals": {"k": "a", "other": "b"}}, "a", False),
        ({"StringEquals": {"k": "a"}, "Bool": {"k": "true"}}, "a", False),
    ],
)
def test_every_condition_has_to_hold(condition: dict[str, object], given: str, holds: bool) -> None:
    assert allowed(READ | {"Condition": condition}, k=given) is holds
    assert not allowed(READ | {"Condition": condition})


@pytest.mark.parametrize(
    "unknown",
    [{"Condition": {"StringNotLike": {"k": "a"}}}, {"Condition": {"IpAddress": {"k": "a"}}}, {"NotPrincipal": "*"}],
)
def test_what_it_does_not_know_it_does_not_judge(unknown: dict[str, object]) -> None:
    with pytest.raises(NotImplementedError):
        allowed(READ | unknown)


@pytest.mark.parametrize(
    ("condition", "given", "without"),
    [
        ({"StringNotEquals": {"k": "a"}}, False, True),
        ({"StringNotEquals": {"k": ["b", "c"]}}, True, True),
        ({"Null": {"k": "true"}}, False, True),
        ({"Null": {"k": "false"}}, True, False),
        ({"StringNotEquals": {"k": "b"}, "Null": {"k": "false"}}, True, False),
    ],
)
def test_a_key_that_is_not_there_fulfils_what_negates_and_what_wants_it_absent(
    condition: dict[str, object], given: bool, without: bool
) -> None:
    assert allowed(READ | {"Condition": condition}, k="a") is given
    assert allowed(READ | {"Condition": condition}) is without


def test_a_policy_of_a_resource_denies_what_its_denials_are_about_and_nothing_by_its_permissions() -> None:
    call = Call(action="s3:GetObject", resource="arn:aws:s3:::b/proteins/x")
    everybody = {"Principal": {"AWS": "*"}}
    assert denies([READ | everybody | {"Effect": "Deny"}], call)
    assert not denies([READ | everybody], call)
    assert not denies([READ | everybody | {"Effect": "Deny", "Action": "s3:PutObject"}], call)


BOUNDARY = [{"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*"}]
ALL = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]


@pytest.mark.parametrize(
    ("policy", "boundary", "allowed"),
    [
        (ALL, BOUNDARY, True),
        (ALL, [], False),
        ([], ALL, False),
        ([READ], BOUNDARY, True),
        ([READ], [READ | {"Effect": "Deny"}, *ALL], False),
        ([READ | {"Effect": "Deny"}, *ALL], ALL, False),
        ([READ], [READ | {"Action": "s3:PutObject"}], False),
        ([READ], [READ | {"Resource": "arn:aws:s3:::b/heldout/*"}], False),
        ([READ], [READ | {"Condition": {"StringEquals": {"k": "a"}}}], False),
    ],
)
def test_a_boundary_grants_nothing_and_lets_through_what_both_allow(
    policy: list[dict[str, object]], boundary: list[dict[str, object]], allowed: bool
) -> None:
    call = Call(action="s3:GetObject", resource="arn:aws:s3:::b/proteins/x")
    assert allows(policy, call, boundary) is allowed


def test_all_but_some_actions_are_all_but_those() -> None:
    but = {"Effect": "Allow", "NotAction": ["iam:*", "S3:put*"], "Resource": "*"}
    assert allowed(but)
    assert not allowed(but, action="s3:PutObject")
    assert not allowed(but, action="iam:CreateUser")
    assert not allowed(but, action="IAM:CreateUser")


def test_a_statement_with_both_or_neither_is_not_judged() -> None:
    for strange in ({"Action": "*", "NotAction": "s3:*"}, {}):
        with pytest.raises(NotImplementedError):
            allowed({"Effect": "Allow", "Resource": "*", **strange})


def test_a_star_spans_everything_and_other_signs_are_themselves() -> None:
    assert matches("runs/a/b/model/x", "runs/*/model/*")
    assert not matches("runsXmodel", "runs.model")
    assert matches("a\nb", "a*b")
