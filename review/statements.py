"""Policies by meaning: each statement taken apart into grants, and whether one grant lies within another.

After https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html and
reference_policies_condition_operators.html. Where it cannot tell, it says "not within":
a reviewer looks once too often.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from review.addresses import lies_within
from review.words import listed, plain, text

Statement = Mapping[str, Any]
ANYBODY = "AWS:*"
_NEGATED = (
    "StringNotEquals",
    "StringNotEqualsIgnoreCase",
    "StringNotLike",
    "ArnNotEquals",
    "ArnNotLike",
    "NotIpAddress",
    "NumericNotEquals",
    "DateNotEquals",
)
_PATTERNS = ("StringLike", "StringNotLike", "ArnLike", "ArnEquals", "ArnNotLike", "ArnNotEquals")
_AT_MOST = ("NumericLessThan", "NumericLessThanEquals", "DateLessThan", "DateLessThanEquals")
_AT_LEAST = ("NumericGreaterThan", "NumericGreaterThanEquals", "DateGreaterThan", "DateGreaterThanEquals")
_EQUIVALENT = {"ArnEquals": "ArnLike", "ArnNotEquals": "ArnNotLike"}  # both take wildcards


@dataclass(frozen=True, order=True)
class Pattern:
    """What a member of a statement is about: one name with wildcards; or, of NotAction and the like, all but some."""

    text: str
    but: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"everything but {', '.join(self.but)}" if self.but else self.text

    def within(self, other: "Pattern") -> bool:
        if self.but:
            return other.text == "*" and all(any(_matches(mine, one) for mine in self.but) for one in other.but)
        if other.but:
            return not any(_overlap(self.text, one) for one in other.but)
        return _matches(other.text, self.text)


EVERYTHING = Pattern("*")


@dataclass(frozen=True, order=True)
class Clause:
    """One line of a Condition."""

    operator: str
    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key} {_READ.get(self.operator, self.operator)} {' or '.join(self.values)}"

    @property
    def is_asked_of_all(self) -> bool:
        """Whether a call that does not send the key fails."""
        wants_none = self.operator == "Null" and "false" not in map(str.lower, self.values)
        return not wants_none and not re.match(r"ForAllValues:|.*IfExists$", self.operator)

    def implies(self, other: "Clause") -> bool:
        """Whether every call that fulfils this clause fulfils the other."""
        if self.key.lower() != other.key.lower():
            return False
        mine, theirs = _EQUIVALENT.get(self.operator, self.operator), _EQUIVALENT.get(other.operator, other.operator)
        if mine != theirs:
            exact_for_pattern = {("StringEquals", "StringLike")}  # an exact value among patterns
            if (mine, theirs) in exact_for_pattern:
                return all(any(_matches(pattern, value) for pattern in other.values) for value in self.values)
            return theirs == f"{mine}IfExists" and replace(self, operator=theirs).implies(other)
        kind = re.sub(r"^For(Any|All)Values?:|IfExists$", "", mine)
        if kind in _NEGATED:
            return all(any(_covers(kind, one, value) for one in self.values) for value in other.values)
        if kind in (*_AT_MOST, *_AT_LEAST):
            return _within_bound(kind, self.values, other.values)
        return all(any(_covers(kind, one, value) for one in other.values) for value in self.values)


_READ = {
    **dict.fromkeys(("StringEquals", "ArnEquals", "Bool", "NumericEquals", "StringEqualsIgnoreCase"), "is"),
    **dict.fromkeys(("StringLike", "ArnLike"), "is like"),
    **dict.fromkeys(("StringNotEquals", "ArnNotEquals", "NumericNotEquals"), "is not"),
    **dict.fromkeys(("StringNotLike", "ArnNotLike"), "is not like"),
    "NumericLessThan": "below",
    "IpAddress": "is in",
    "NotIpAddress": "is not in",
}


@dataclass(frozen=True, order=True)
class Grant:
    """One principal, one action, one resource, under all the conditions. Of Deny, one thing that is refused."""

    principal: Pattern
    action: Pattern
    resource: Pattern
    condition: tuple[Clause, ...] = ()

    def within(self, other: "Grant", *, whatever_condition: bool = False) -> bool:
        """Whether all that this one covers is covered by the other."""
        return (
            self.principal.within(other.principal)
            and _lower(self.action).within(_lower(other.action))
            and self.resource.within(other.resource)
            and (whatever_condition or self.is_bound_as(other))
        )

    def is_bound_as(self, other: "Grant") -> bool:
        """Whether this one's conditions hold only where the other's do."""
        return all(any(mine.implies(theirs) for mine in self.condition) for theirs in other.condition)


def grants(document: Any, effect: str, principal: Pattern | None = None) -> Iterator[Grant]:
    """The grants of a policy document with this effect. `principal` is whom an identity's policy belongs to."""
    for statement in listed(plain(document).get("Statement")) if isinstance(plain(document), dict) else ():
        if statement.get("Effect") != effect:
            continue
        condition = tuple(sorted(_clauses(statement.get("Condition", {}))))
        principals = [principal] if principal is not None else [*_principals(statement)]
        actions = [*_patterns(statement, "Action")]
        resources = [*_patterns(statement, "Resource")] or [EVERYTHING]
        for who, action, resource in product(principals, actions, resources):
            yield Grant(who, action, resource, condition)


def not_within(some: Iterable[Grant], others: Iterable[Grant]) -> list[Grant]:
    """Those of `some` that no one of `others` covers."""
    there = [*others]
    return [one for one in sorted(set(some)) if not any(one.within(other) for other in there)]


def _patterns(statement: Statement, member: str) -> Iterator[Pattern]:
    if f"Not{member}" in statement:
        yield Pattern("*", tuple(sorted(text(one) for one in listed(statement[f"Not{member}"]))))
    else:
        yield from (Pattern(text(one)) for one in listed(statement.get(member)))


def _principals(statement: Statement) -> Iterator[Pattern]:
    if "NotPrincipal" in statement:
        yield Pattern("*", tuple(sorted(_named(statement["NotPrincipal"]))))
    else:
        yield from (Pattern(one) for one in _named(statement.get("Principal", {})))


def _named(principal: Any) -> Iterator[str]:
    if isinstance(principal, str):
        yield ANYBODY if principal == "*" else principal
        return
    for kind, names in principal.items():
        for name in listed(names):
            written = text(name)
            if kind == "AWS" and re.fullmatch(r"\d{12}", written):
                written = f"arn:aws:iam::{written}:root"
            yield f"{kind}:{written}"


def _clauses(condition: Mapping[str, Any]) -> Iterator[Clause]:
    for operator, keys in condition.items():
        for key, values in keys.items():
            yield Clause(operator, key, tuple(sorted(text(value) for value in listed(values))))


def _lower(pattern: Pattern) -> Pattern:
    return Pattern(pattern.text.lower(), tuple(one.lower() for one in pattern.but))


def _matches(pattern: str, value: str) -> bool:
    """Whether `pattern` covers `value`, which may have wildcards itself: `s3:*` covers `s3:Get*`."""
    expression = "".join({"*": ".*", "?": "[^*]"}.get(letter, re.escape(letter)) for letter in pattern)
    return re.fullmatch(expression, value, re.DOTALL) is not None


def _overlap(one: str, other: str) -> bool:
    """Whether some name can match both patterns. Too often yes where both have a wildcard in the middle."""
    if _matches(one, other) or _matches(other, one):
        return True
    if "*" in one and "*" in other:
        heads = one.split("*")[0], other.split("*")[0]
        return heads[0].startswith(heads[1]) or heads[1].startswith(heads[0])
    return False


def _covers(kind: str, wide: str, narrow: str) -> bool:
    if kind in ("IpAddress", "NotIpAddress"):
        return wide == narrow or lies_within(narrow, wide)
    if kind in _PATTERNS:
        return _matches(wide, narrow)
    return wide == narrow


def _within_bound(kind: str, mine: tuple[str, ...], theirs: tuple[str, ...]) -> bool:
    try:
        values, bounds = [float(one) for one in mine], [float(one) for one in theirs]
    except ValueError:
        return mine == theirs
    return max(values) <= max(bounds) if kind in _AT_MOST else min(values) >= min(bounds)
