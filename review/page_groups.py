"""Remarks as the page shows them: the same of several environments once, what one may do in one place, the heaviest
first.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from review.compare import Review
from review.markdown import escaped
from review.remarks import Remark
from review.rules import LEVELS, Area, Level, area, level

MARKS: dict[Level, str] = {"ok": "🟢 ok", "look": "🟡 look", "stop": "🔴 stop"}
_MAY = re.compile(r"(.{1,100}? may) (?!no longer)(.+)")
_FRESH = "a new reason, for "
_REASON = re.compile(r"(.+): (“[^”]+”)")


@dataclass(frozen=True, kw_only=True)
class Group:
    """One thing to say, of some environments."""

    weight: Level
    environments: tuple[str, ...]
    """None: of the change as a whole."""
    stack: str
    what: str
    details: tuple[str, ...]


def grouped(review: Review, which: Area) -> list[Group]:
    """Remarks of an area."""
    together: dict[tuple[str, str], list[Remark]] = defaultdict(list)  # what and where → the remarks
    for remark in review.remarks:
        if area(remark.rule) == which:
            together[_without_names(review, remark.what, remark.environment), remark.stack].append(remark)
    groups = []
    for (what, stack), same in together.items():
        one = same[0]
        there = {each.environment for each in same if each.environment}
        several = len(there) > 1
        said = _without_names if several else _briefly
        groups.append(
            Group(
                weight=max((level(each.rule, each.environment) for each in same), key=LEVELS.index),
                environments=tuple(
                    name for name in dict.fromkeys([*review.environments, *sorted(there)]) if name in there
                ),
                stack=stack,
                what=what if several else _briefly(review, one.what, one.environment),
                details=tuple(said(review, text, one.environment) for text in one.details),
            )
        )
    return sorted(groups, key=lambda group: (-LEVELS.index(group.weight), -_worth(group.what), group.stack, group.what))


def where(review: Review, environments: Sequence[str], stack: str = "") -> str:
    """Environments, or that it is all of them, and the stack."""
    everywhere = len(environments) == len(review.environments) > 1
    return escaped("all" if everywhere else ", ".join(environments)) + escaped(f" · {stack}" if stack else "")


def bullets(review: Review, groups: Sequence[Group]) -> Iterator[str]:
    """A list of them: what the same may do, and what the same reason excuses, below one head."""
    clusters: dict[tuple[object, ...], list[tuple[Group, str]]] = defaultdict(list)
    for group in groups:
        if found := _REASON.fullmatch(group.what):
            clusters[group.weight, found[2]].append((group, found[1]))
        elif found := _MAY.fullmatch(group.what):
            clusters[group.weight, group.environments, group.stack, found[1]].append((group, found[2]))
        else:
            clusters[(group,)].append((group, group.what))
    for key, members in clusters.items():
        group = members[0][0]
        mark, place = MARKS[group.weight].split()[0], _place(review, group)
        if len(members) == 1:
            yield f"- {mark} {place}{escaped(group.what)}"
            yield from _details(group, "  ")
            continue
        of_reason = len(key) == 2
        fresh = "a new reason" if any(rest.startswith(_FRESH) for _, rest in members) else "reason"
        said = f"{fresh}: {key[-1]}" if of_reason else str(key[-1])
        yield f"- {mark} {'' if of_reason else place}{escaped(said)}"
        for member, rest in members:
            yield f"  - {_place(review, member) if of_reason else ''}{escaped(rest.removeprefix(_FRESH))}"
            yield from _details(member, "    ")


def has_short_arns(review: Review) -> bool:
    """Whether the page writes any."""
    texts = ((text, one.environment) for one in review.remarks for text in (one.what, *one.details))
    return any(_with_short_arns(review, text, environment) != text for text, environment in texts)


def _place(review: Review, group: Group) -> str:
    return f"**{where(review, group.environments, group.stack)}**: " if group.environments or group.stack else ""


def _details(group: Group, indent: str) -> Iterator[str]:
    if len(group.details) == 1:
        yield f"{indent}- {escaped(group.details[0])}"
    elif group.details:
        yield f"{indent}<details><summary>all {len(group.details)}</summary>"
        yield ""
        yield from (f"{indent}- {escaped(detail)}" for detail in group.details)
        yield ""
        yield f"{indent}</details>"


def _worth(what: str) -> float:
    """Of sentences with money, the dearest first."""
    return max((float(found.replace(",", "")) for found in re.findall(r"\$([\d,]+)", what)), default=0.0)


def _briefly(review: Review, text: str, environment: str) -> str:
    """In fewer words, where it is about the environment's own account."""
    account = re.escape(review.places.get(environment, ("?",))[0])
    ours = rf"\baws:PrincipalAccount is (?:{account}|<accountid>)(?=; |, | on |$)"
    return _with_short_arns(review, re.sub(ours, "the caller is of this account", text), environment)


def _with_short_arns(review: Review, text: str, environment: str) -> str:
    """ARNs of the environment's own account and region without these: what is left with an account is another's."""
    if environment not in review.places:
        return text
    account, region = (re.escape(one) for one in review.places[environment])
    own = rf"\barn:(?:aws|<partition>):([\w-]+):(?:{region}|<region>)?:(?:{account}|<accountid>):(?!root\b)"
    return re.sub(own, r"\1:", text)


def _without_names(review: Review, text: str, environment: str) -> str:
    """The same without what differs between environments only by name."""
    if not environment:
        return text
    text = re.sub(rf"\bamplify-{re.escape(environment)}\b", "amplify-<env>", _briefly(review, text, environment))
    account = review.places.get(environment, ("",))[0]
    return re.sub(rf"(?<!\d){account}(?!\d)", "<account>", text) if account.isdigit() else text
