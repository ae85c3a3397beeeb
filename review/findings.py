"""Policy: what cdk-nag, our own pack and cfn-lint find in head and not in base; and reasons that are new."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from review.assembly import Assembly, PackFinding, Stack
from review.remarks import Remark
from review.words import and_so, short

UNWANTED = ("W3005", "W3010")  # as tests/stacks/test_lint.py, with the reasons there
_GENERATED = re.compile(
    r"(?<!sha256:)\b[0-9a-f]{64}\b|(?:[\w-]+:)?ExportsOutput(?:FnGetAtt|Ref)(\w+?)[0-9A-F]{8}(?:Arn[0-9A-F]{8})?(?=\W|$)"
)


def finding_remarks(
    base: Assembly, head: Assembly, compared: Sequence[str], changed: Sequence[Stack]
) -> Iterator[Remark]:
    """Of the environments that are compared. `changed` are head's stacks whose templates differ: these are linted."""
    old, new = ({_about(one): one for one in side.findings} for side in (base, head))
    rows = [row for row in head.reasons if row not in base.reasons] if base.reasons else []
    fresh = {row[2] for row in rows}
    grouped: dict[tuple[str, str, str, str, str, str], list[PackFinding]] = defaultdict(list)
    for about in sorted(new.keys() - old.keys()):
        finding = new[about]
        environment, stack = [*finding.path.split("/"), ""][:2]
        rule = "policy.unexplained" if finding.severity == "error" else "policy.warning"
        if finding.reason:
            rule = "policy.new_reason" if finding.reason in fresh else "policy.explained"
        grouped[rule, environment, stack, finding.rule.split("[")[0], finding.reason, _place(finding)].append(finding)
    for (rule, environment, stack, name, reason, place), some in grouped.items():
        details = tuple(dict.fromkeys(f"{_readable(one.rule)} at {_place(one)}" for one in some))
        why = f"“{reason}”" if reason else _first(some[0])
        if rule == "policy.unexplained":
            why = f"no reason is given. {why}"
        what = f"{name} at {place}, {len(details)} times: {why}" if len(details) > 1 else f"{details[0]}: {why}"
        many = details if len(details) > 1 else ()
        yield Remark(rule=rule, environment=environment, stack=stack, what=what, details=many)
    yield from _new_reasons(base, rows)
    yield from _lint(base, changed)
    for environment, count in _resolved(old, new):
        if environment not in compared:
            continue
        yield Remark(
            rule="policy.resolved",
            environment=environment,
            stack="",
            what=f"{count} finding{'s are' if count > 1 else ' is'} gone",
        )


def _new_reasons(base: Assembly, rows: Sequence[tuple[str, str, str]]) -> Iterator[Remark]:
    """Each reason once, with all that it is to excuse."""
    for where, finding, why in rows:
        if said := _excuses_anything(where, finding):
            what = f"a new reason excuses {said}, with the patterns {where} and {finding}: “{why}”"
            yield Remark(rule="policy.any_finding", environment="", stack="", what=what)
    known = {(where, finding) for where, finding, _ in base.reasons}
    excused: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for where, finding, why in rows:
        excused[why].append((where, finding))
    for why, about in excused.items():
        is_new = not set(about) <= known
        many = f"{len(about)} kinds of findings" if len(about) > 1 else f"{about[0][1]} at {about[0][0]}"
        what = f"{'a new reason' if is_new else 'a reason is worded anew'}, for {many}: “{why}”"
        details = tuple(f"{finding} at {where}" for where, finding in about) if len(about) > 1 else ()
        yield Remark(rule="policy.new_reason", environment="", stack="", what=what, details=details)


_NOWHERE = ("zq", "zq/Zq", "zq/Zq/Zq")
_NEVER = ("AwsSolutions-Zq9", "Resource::zq", "Action::zq:Zq", "zq", "zq*")
"""Places and findings that are nowhere: a pattern that fits them fits everything."""


def _excuses_anything(where: str, finding: str) -> str | None:
    """What a reason excuses if its patterns fit whatever comes; None where they name something."""

    def fits(pattern: str, some: Sequence[str]) -> bool:
        try:
            return any(re.fullmatch(pattern, one) for one in some)
        except re.error:
            return True

    return "findings anywhere" if fits(where, _NOWHERE) else "any finding" if fits(finding, _NEVER) else None


def _about(finding: PackFinding) -> tuple[str, str, str]:
    return finding.pack, _GENERATED.sub(lambda found: found[1] or "<asset>", finding.rule), finding.path


def _readable(rule: str) -> str:
    return short(_GENERATED.sub(lambda found: f"<{short(found[1])}>" if found[1] else "<asset>", rule))


def _place(finding: PackFinding) -> str:
    path = "/".join(finding.path.split("/")[2:]).removesuffix("/Resource").removesuffix("/DefaultPolicy")
    return path or "the stack"


def _first(finding: PackFinding) -> str:
    """What the rule is about. That of wildcards explains how to be silent about them."""
    if "IAM5" in finding.rule:
        return "A wildcard in a permission wants one"
    sentence = finding.description.split(". ")[0].strip().rstrip(".")
    return sentence if len(sentence) <= 160 else sentence[:157] + "…"


def _resolved(
    old: dict[tuple[str, str, str], PackFinding], new: dict[tuple[str, str, str], PackFinding]
) -> Iterator[tuple[str, int]]:
    count: dict[str, int] = defaultdict(int)
    for about in old.keys() - new.keys():
        count[about[2].split("/")[0]] += 1
    yield from sorted(count.items())


def _lint(base: Assembly, changed: Sequence[Stack]) -> Iterator[Remark]:
    if not changed:
        return
    from cfnlint.api import lint  # a second, and only where something changed
    from cfnlint.config import ManualArgs

    known: dict[str, set[tuple[str, str]]] = {}

    def findings(stack: Stack | None) -> set[tuple[str, str]]:
        if stack is None:
            return set()
        text = _nameless(stack)
        if text not in known:  # prod's template is often staging's, but for names
            config = ManualArgs(regions=[stack.region], ignore_checks=[*UNWANTED])
            known[text] = {(str(one.rule.id), f"{one.rule.id} {one.message}") for one in lint(text, config=config)}
        return known[text]

    for stack in changed:
        found = findings(stack)
        if not found:
            continue
        more = found - findings(base.stacks.get(stack.id))
        for kind, rule in (("E", "policy.error"), ("W", "policy.warning")):
            if texts := sorted(text for id_, text in more if id_.startswith(kind)):
                what = f"cfn-lint: {and_so(texts, 4)}"
                yield Remark(rule=rule, environment=stack.environment, stack=stack.short_name, what=what)


def _nameless(stack: Stack) -> str:
    """The template with one name and one account for all environments."""
    text = json.dumps(stack.raw, sort_keys=True).replace(stack.account, "123456789012")
    return re.sub(rf"(?<![a-z]){re.escape(stack.environment)}(?![a-z])", "name", text)
