"""What lies within what: the meaning of policies, without any template."""

from typing import Any

import pytest

from review.statements import grants, not_within


def allowed(*statements: dict[str, Any]) -> list[Any]:
    return [*grants({"Statement": [{"Effect": "Allow", "Principal": "*"} | one for one in statements]}, "Allow")]


S3 = {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::a/*"}


def under(**condition: Any) -> dict[str, Any]:
    return S3 | {"Condition": condition}


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (S3, S3 | {"Action": "s3:Get*"}),
        (S3, S3 | {"Action": "S3:*"}),
        (S3, S3 | {"Resource": "*"}),
        (S3 | {"Resource": "arn:aws:s3:::a/b/*"}, S3),
        (S3, {"NotAction": "iam:*", "Resource": "*"}),
        (S3, {"Action": "s3:GetObject", "NotResource": "arn:aws:s3:::b/*"}),
        ({"NotAction": ["iam:*", "s3:*"], "Resource": "*"}, {"NotAction": "iam:*", "Resource": "*"}),
        ({"NotAction": "iam:*", "Resource": "*"}, {"Action": "*", "Resource": "*"}),
        (S3 | {"Principal": {"AWS": "arn:aws:iam::1:role/x"}}, S3),
        (under(StringEquals={"k": "a"}), S3),
        (under(StringEquals={"k": "a"}), under(StringEquals={"k": ["a", "b"]})),
        (under(StringEquals={"k": "ab"}), under(StringLike={"k": "a*"})),
        (under(StringLike={"k": "a/b/*"}), under(StringLike={"k": "a/*"})),
        (under(ArnEquals={"k": "arn:x"}), under(ArnLike={"k": "arn:*"})),
        (under(StringNotEquals={"k": ["a", "b"]}), under(StringNotEquals={"k": "a"})),
        (under(NumericNotEquals={"k": ["1", "2"]}), under(NumericNotEquals={"k": "1"})),
        (under(NumericLessThan={"k": "5"}), under(NumericLessThan={"k": "9"})),
        (under(NumericGreaterThan={"k": "9"}), under(NumericGreaterThan={"k": "5"})),
        (under(IpAddress={"k": "10.0.1.0/24"}), under(IpAddress={"k": "10.0.0.0/16"})),
        (under(StringEquals={"k": "a"}), under(StringEqualsIfExists={"k": "a"})),
        (under(StringEquals={"k": "a", "l": "b"}), under(StringEquals={"l": "b"})),
    ],
)
def test_what_narrows_lies_within_and_what_widens_does_not(narrow: dict[str, Any], wide: dict[str, Any]) -> None:
    assert not_within(allowed(narrow), allowed(wide)) == []
    assert not_within(allowed(wide), allowed(narrow)) != []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"Action": ["s3:GetObject", "s3:PutObject"], "Resource": ["a", "b"]}, None),
        (S3 | {"Principal": "*"}, S3 | {"Principal": {"AWS": "*"}}),
        (S3 | {"Action": "S3:getobject"}, S3),
        (S3 | {"Principal": {"AWS": "111111111111"}}, S3 | {"Principal": {"AWS": "arn:aws:iam::111111111111:root"}}),
        (under(StringEquals={"K": "a"}), under(StringEquals={"k": "a"})),
        (under(ArnEquals={"k": "arn:a"}), under(ArnLike={"k": "arn:a"})),
        (S3 | {"Resource": {"Fn::Join": ["", ["arn:aws:s3", ":::a/*"]]}}, S3),
        (S3 | {"Resource": {"Fn::Sub": "arn:aws:s3:::a/*"}}, S3),
    ],
)
def test_the_same_written_otherwise_is_the_same(one: dict[str, Any], other: dict[str, Any] | None) -> None:
    others = (
        [other]
        if other
        else [{"Action": action, "Resource": resource} for action in one["Action"] for resource in one["Resource"]]
    )
    assert not_within(allowed(one), allowed(*others)) == []
    assert not_within(allowed(*others), allowed(one)) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (S3 | {"Action": "s3:Get?bject"}, S3 | {"Action": "s3:Get*"}),
        (under(StringEquals={"k": "a"}), under(StringEquals={"other": "a"})),
        (under(StringEquals={"k": "a"}), under(**{"ForAllValues:StringEquals": {"k": "a"}})),
        (under(StringEquals={"k": "a"}), under(StringLike={"k": "*"})),
        (under(StringNotEquals={"k": "a"}), under(StringEquals={"k": "b"})),
        (under(Null={"k": "false"}), under(Null={"k": "true"})),
        ({"Action": "s3:GetObject", "NotResource": "arn:aws:s3:::b/*"}, {"Action": "s3:GetObject", "Resource": "*"}),
        (S3 | {"Principal": {"Service": "a.amazonaws.com"}}, S3 | {"Principal": {"Service": "b.amazonaws.com"}}),
        (S3 | {"Principal": {"AWS": "arn:aws:iam::1:role/x"}}, S3 | {"NotPrincipal": {"AWS": "arn:aws:iam::2:root"}}),
    ],
)
def test_what_cannot_be_shown_to_lie_within_does_not(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert not_within(allowed(after), allowed(before)) != []


def test_a_denial_with_a_narrower_condition_denies_less() -> None:
    def denied(version: float) -> list[Any]:
        statement = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": "*",
            "Condition": {"NumericLessThan": {"s3:TlsVersion": version}},
        }
        return [*grants({"Statement": statement}, "Deny")]

    assert not_within(denied(1.2), denied(1.3)) == []
    assert not_within(denied(1.3), denied(1.2)) != []
