"""Permissions before and after, by meaning: only what was not allowed before is a broadening, however it is written."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from review.assembly import Stack
from review.dangers import (
    PRIVILEGED,
    accounts_in,
    asks_nothing,
    danger,
    has_an_administrator,
    locks_out,
    names_a_subject,
)
from review.documents import unreadable
from review.holders import Holder, holders
from review.remarks import Remark
from review.statements import ANYBODY, Clause, Grant, not_within
from review.words import and_so, short

MOST_ACTIONS = 5
ADMINISTRATOR = re.compile(r"policy/(AdministratorAccess|PowerUserAccess|IAMFullAccess|\w*FullAccess)$")


def permission_remarks(
    environment: str, before: Iterable[Stack], after: Iterable[Stack], ours: frozenset[str] = frozenset()
) -> Iterator[Remark]:
    """What one environment's identities and doors allow that they did not, and what they no longer do.

    `ours` are the accounts that base names.
    """
    stacks, stacks_now = [*before], [*after]
    old, new = holders(stacks), holders(stacks_now)
    for key, holder in new.items():
        was = old.get(key) or Holder(
            kind=holder.kind, name=holder.name, stack=holder.stack, account=holder.account, is_there=False
        )
        for rule, what, details in _broadened(was, holder, ours):
            yield Remark(rule=rule, environment=environment, stack=holder.stack, what=what, details=details)
        for rule, what in _narrowed(was, holder):
            yield Remark(rule=rule, environment=environment, stack=holder.stack, what=what)
    for key, was in old.items():
        if key not in new and was.denies:
            for rule, what in _denials_lost(was, []):
                yield Remark(rule=rule, environment=environment, stack=was.stack, what=what)
        if key not in new and was.kind == "vpc endpoint":
            continue
        if key not in new and was.allows and was.kind != "trust":
            what = f"{_subject(was)} is gone with its permissions"
            yield Remark(rule="permissions.narrowed", environment=environment, stack=was.stack, what=what)
    yield from _unreadable(environment, stacks, stacks_now)


def _narrowed(was: Holder, now: Holder) -> Iterator[tuple[str, str]]:
    if was.is_there and (fewer := not_within(was.allows, now.allows)):
        yield "permissions.narrowed", f"{_subject(now)} {_may_no_longer(fewer)}"
    if now.is_key and not has_an_administrator(now) and (has_an_administrator(was) or not was.is_there):
        yield "data.key_orphaned", f"nobody may change {_subject(now)} any more: no one can ever mend it"
    more: dict[str, list[str]] = defaultdict(list)
    for grant in not_within(now.denies, was.denies):
        if locks_out(grant):
            yield "exposure.locked_out", f"{_subject(now)} denies everybody {grant.action}: its owner too"
        elif was.is_there:
            more[_on(grant) + _under(grant.condition)].append(str(grant.action))
    for about, actions in more.items():
        yield _rule(now, "denied"), f"{_subject(now)} now denies {and_so(sorted(set(actions)))} {about}"


def _unreadable(environment: str, before: Iterable[Stack], after: Iterable[Stack]) -> Iterator[Remark]:
    """What decides over permissions and cannot be judged here. Said of each resource that is new or another."""
    known = {(stack.short_name, id_): one.get("Properties") for stack in before for id_, one in stack.resources.items()}
    for stack in after:
        parameters = {name for name in stack.raw.get("Parameters", {}) if name != "BootstrapVersion"}
        for id_, resource in stack.resources.items():
            properties = resource.get("Properties", {})
            if known.get((stack.short_name, id_)) != properties:
                for fault in dict.fromkeys(unreadable(properties, parameters)):
                    what = f"{short(id_)}: what it allows cannot be told, by {fault[:300]}"
                    yield Remark(
                        rule="permissions.unreadable", environment=environment, stack=stack.short_name, what=what
                    )


def _broadened(was: Holder, now: Holder, ours: frozenset[str]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    actions_of: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for grant in not_within(now.allows, was.allows):
        rule, about = _weigh(grant, was, now, ours)
        actions_of[rule, _who(grant, was, now), about].add(str(grant.action))
    places: dict[tuple[str, str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (rule, who, about), found in actions_of.items():
        places[rule, who, tuple(sorted(found))].append(about)
    sentences: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (rule, who, actions), abouts in places.items():
        verb = f"become {now.name}" if now.kind == "trust" else and_so([*actions], 8)
        sentences[rule, who].append(f"{verb} {'; '.join(abouts)}".replace(" ,", ",").strip())
    for (rule, who), said in sentences.items():
        if rule == "permissions.new_identity" and len(said) > 1:
            yield rule, f"{who} may do {_summed(now)}", tuple(said)
        else:
            yield from ((rule, f"{who} may {one}", ()) for one in said)
    yield from ((rule, what, ()) for rule, what in _attached(was, now))


def _summed(holder: Holder) -> str:
    actions = sorted({str(grant.action) for grant in holder.allows})
    if len(actions) <= MOST_ACTIONS:
        return ", ".join(actions)
    return f"{len(actions)} things with {', '.join(sorted({action.split(':')[0] for action in actions}))}"


def _attached(was: Holder, now: Holder) -> Iterator[tuple[str, str]]:
    yield from _denials_lost(was, now.denies)
    for arn in sorted(now.managed - was.managed):
        broad = ADMINISTRATOR.search(arn)
        if was.is_there or broad:
            rule = "permissions.administrator" if broad else "permissions.managed_policy"
            yield rule, f"{now.name} is given {short(arn)}"
    if was.boundary and now.boundary != was.boundary:
        lost = f"{now.name} loses its permissions boundary {short(was.boundary)}"
        yield "permissions.boundary_lost", lost + (f", and gets {short(now.boundary)}" if now.boundary else "")
    for given in sorted(now.held_by - was.held_by):
        yield "permissions.given_to_more", f"what {now.name} may do is given to {short(given)} as well"


def _denials_lost(was: Holder, denies: Iterable[Grant]) -> Iterator[tuple[str, str]]:
    lost: dict[str, list[str]] = defaultdict(list)
    for grant in not_within(was.denies, denies):
        lost[_on(grant) + _under(grant.condition)].append(str(grant.action))
    for about, actions in lost.items():
        yield _rule(was, "deny_lost"), f"{_subject(was)} no longer denies {and_so(sorted(set(actions)))} {about}"


def _weigh(grant: Grant, was: Holder, now: Holder, ours: frozenset[str]) -> tuple[str, str]:
    """The rule, and what there is to say beside who and which actions."""
    about = _on(grant) + _under(grant.condition)
    bound = [one for one in was.allows if grant.within(one, whatever_condition=True)]
    if bound:
        lost = min((_lost(grant, one) for one in bound), key=len)
        dropped = [clause for clause in lost if _is_gone(clause, grant)]
        said = "; ".join(str(clause) for clause in dropped or lost)
        if dropped:
            return _rule(now, "condition_lost"), f"{_on(grant)}, no longer only where {short(said)}"
        return _weakened(grant, lost, now), f"{_on(grant)}{_under(grant.condition)}; it was only where {short(said)}"
    if (rule := danger(grant, now, ours)) is not None:
        return rule, about + _was(grant, was)
    if now.kind == "trust":
        if not was.is_there and str(grant.principal).startswith("Service:"):
            return "trust.of_new_role", "" if not grant.condition else _under(grant.condition).strip()
        return "trust.new_principal", "" if not grant.condition else _under(grant.condition).strip()
    if not was.is_there:
        return ("permissions.new_identity" if now.kind == "identity" else "exposure.new_policy"), about
    if PRIVILEGED.match(str(grant.action)):
        return "permissions.privileged", about + _was(grant, was)
    if now.kind == "identity":
        return "permissions.new", about + _was(grant, was)
    return "exposure.new_grant", about + _was(grant, was)


def _lost(grant: Grant, before: Grant) -> list[Clause]:
    return [clause for clause in before.condition if not any(mine.implies(clause) for mine in grant.condition)]


def _is_gone(clause: Clause, grant: Grant) -> bool:
    """Nothing is asked of this key any more, or so little that everything passes."""
    return all(asks_nothing(one) for one in grant.condition if one.key.lower() == clause.key.lower())


def _weakened(grant: Grant, lost: list[Clause], now: Holder) -> str:
    if accounts_in(grant.condition) - accounts_in(lost) - {now.account}:
        return _rule(now, "other_account")
    if str(grant.principal).startswith("Federated:"):
        return "trust.more_of_a_provider" if any(map(names_a_subject, grant.condition)) else "trust.anybody"
    return _rule(now, "condition_weakened")


def _rule(holder: Holder, what: str) -> str:
    if holder.kind == "identity":
        return f"permissions.{what}"
    return f"{'trust' if holder.kind == 'trust' else 'exposure'}.{what}"


def _subject(holder: Holder) -> str:
    match holder.kind:
        case "identity":
            return holder.name
        case "trust":
            return f"the trust of {holder.name}"
        case "resource":
            return f"the policy of {holder.name}"
        case "vpc endpoint":
            return f"the policy of VPC endpoint {holder.name}"


def _who(grant: Grant, was: Holder, holder: Holder) -> str:
    if holder.kind == "identity":
        return holder.name if was.is_there else f"{holder.name}, which is new,"
    principal = str(grant.principal)
    who = "anybody" if principal in (ANYBODY, "*") else short(principal.split(":", 1)[-1])
    if holder.kind == "vpc endpoint":
        return f"through VPC endpoint {holder.name}, {who}"
    return who


def _on(grant: Grant) -> str:
    resource = str(grant.resource)
    if resource == "this role":
        return ""
    return f"on {'everything' if resource == '*' else short(resource)}"


def _was(grant: Grant, was: Holder) -> str:
    """The resources of the same action before."""
    alike = [one for one in was.allows if (one.action, one.principal) == (grant.action, grant.principal)]
    same = sorted({short(str(one.resource)) for one in alike})
    return f" (was on {and_so(same, 3)})" if same and grant.resource.text != "this role" else ""


def _under(condition: Iterable[Clause]) -> str:
    said = "; ".join(short(str(clause)) for clause in condition)
    return f", where {said}" if said else ""


def _may_no_longer(fewer: list[Grant]) -> str:
    actions = sorted({str(grant.action) for grant in fewer})
    places = sorted({_on(grant) + _under(grant.condition) for grant in fewer})
    return f"may no longer {and_so(actions, 4)} {and_so(places, 2)}".rstrip()
