"""The page: for a person with one minute. Most dangerous first, each thing once however many environments it is in."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from review.changes import ANSWERS, BY_DESIGN, HOLDS_DATA, Change
from review.compare import Review
from review.markdown import code, escaped
from review.page_costs import costs_section
from review.remarks import Remark
from review.rules import AREAS, LEVELS, Area, Level, area, level
from review.synthesis import DELIVERY
from review.words import short

MARKS: dict[Level, str] = {"ok": "🟢 ok", "look": "🟡 look", "stop": "🔴 stop"}
MOST_NAMES = 8


LONGEST = 60_000
"""GitHub takes 65,536 characters for a comment, and review-comment.yml adds some."""


def page(review: Review) -> str:
    """The review as Markdown; without what can be folded open, where it would be too long for a comment."""
    whole = "\n".join(_lines(review)).rstrip() + "\n"
    if len(whole) > LONGEST:
        whole = re.sub(r"(?m)^  <details>.*?^  </details>\n", "", whole, flags=re.DOTALL)
    if len(whole) > LONGEST:
        whole = whole[:LONGEST].rsplit("\n", 1)[0]
        whole += "\n\n</details>" * (whole.count("<details>") - whole.count("</details>"))
        whole += "\n\nIt goes on in review.json.\n"
    return whole


def _lines(review: Review) -> Iterator[str]:
    verdict = review.level_of()
    yield f"# Infrastructure review: {MARKS[verdict]}"
    if review.refusal:
        first, *faults = review.refusal.splitlines()
        yield f"{_between(review)}: there is nothing to compare. {escaped(first)}"
        yield from (f"- {escaped(fault.strip())}" for fault in faults)
        return
    if review.is_empty:
        yield f"{_between(review)}: nothing that is deployed changes."
        compared = ", ".join(review.environments)
        yield (
            f"Compared: every template of {compared}."
            if compared
            else "No file that a template is made of has changed."
        )
        return
    yield f"{_between(review)} · {_touched(review)}"
    yield ""
    yield from _table(review)
    for which in AREAS:
        yield from _section(review, which)
    yield from _promotions(review)
    yield from costs_section(review)
    yield from _changes(review)
    yield from _settings(review)
    yield from _also(review)


def _between(review: Review) -> str:
    return f"`{code(review.base)}` → `{code(review.head)}`"


def _touched(review: Review) -> str:
    if not review.environments:
        return "no template changes, but what stands beside them"
    said = f"environments: {', '.join(review.environments)}"
    if unserved := [name for name in review.environments if name in review.stand_ins and name != DELIVERY]:
        said += f" · no release is pinned in {', '.join(unserved)}: their endpoints are those of a stand-in model"
    if DELIVERY in review.stand_ins:
        said += f" · nobody is trusted to deploy yet: {DELIVERY} is that of a stand-in repository"
    return said


# ---- verdict ---------------------------------------------------------------------------------------------------------


def _table(review: Review) -> Iterator[str]:
    yield "| | verdict | most of all |"
    yield "|---|---|---|"
    for which in AREAS:
        weight = review.level_of(which)
        groups = [group for group in _grouped(review, which) if group[0] != "ok"]
        if not groups:
            yield f"| {which} | {MARKS['ok']} | |"
            continue
        first = f"{escaped(_cut(groups[0][2]))} ({_where(review, groups[0][1])})"
        more = f"; [{len(groups) - 1} more](#{which})" if len(groups) > 1 else ""
        yield f"| [{which}](#{which}) | {MARKS[weight]} | {first}{more} |"


def _cut(text: str) -> str:
    return text if len(text) <= 180 else text[:177] + "…"


def _section(review: Review, which: Area) -> Iterator[str]:
    groups = [group for group in _grouped(review, which) if group[0] != "ok"]
    if not groups:
        return
    yield ""
    yield f"## {which.capitalize()}"
    yield f"{AREAS[which]}."
    yield ""
    for weight, environments, what, stack, details in groups:
        yield f"- {MARKS[weight].split()[0]} **{_where(review, environments, stack)}**: {escaped(what)}"
        if details:
            yield f"  <details><summary>all {len(details)}</summary>"
            yield ""
            yield from (f"  - {escaped(detail)}" for detail in details)
            yield ""
            yield "  </details>"


def _where(review: Review, environments: Sequence[str], stack: str = "") -> str:
    everywhere = len(environments) == len(review.environments) > 1
    return escaped("all" if everywhere else ", ".join(environments)) + escaped(f" · {stack}" if stack else "")


def _grouped(review: Review, which: Area) -> list[tuple[Level, list[str], str, str, tuple[str, ...]]]:
    """Remarks of an area, the same one of several environments as one, the heaviest first."""
    together: dict[tuple[str, str], list[Remark]] = defaultdict(list)  # what and where → the remarks
    for remark in review.remarks:
        if area(remark.rule) == which:
            together[_anonymous(remark), remark.stack].append(remark)
    groups = []
    for (what, stack), same in together.items():
        weight = max((level(one.rule, one.environment) for one in same), key=LEVELS.index)
        environments = [name for name in review.environments if any(one.environment == name for one in same)]
        one = same[0]
        said, details = (
            (one.what, one.details)
            if len(environments) == 1
            else (what, tuple(_nameless(text, one.environment) for text in one.details))
        )
        groups.append((weight, environments or ["all"], said, stack, details))
    return sorted(groups, key=lambda group: (-LEVELS.index(group[0]), -_worth(group[2]), group[3], group[2]))


def _worth(what: str) -> float:
    """Of sentences with money, the dearest first."""
    return max((float(found.replace(",", "")) for found in re.findall(r"\$([\d,]+)", what)), default=0.0)


def _anonymous(remark: Remark) -> str:
    """The sentence without what differs between environments only by name."""
    return _nameless(remark.what, remark.environment)


def _nameless(text: str, environment: str) -> str:
    if not environment:
        return text
    text = re.sub(rf"\bamplify-{re.escape(environment)}\b", "amplify-<env>", text)
    return re.sub(r"\b\d{12}\b", "<account>", text)


# ---- the parts below -------------------------------------------------------------------------------------------------


def _promotions(review: Review) -> Iterator[str]:
    for promotion in review.promotions:
        yield ""
        yield f"### Model of {escaped(promotion.pin)}"
        yield "| | before | after |"
        yield "|---|---|---|"
        for row in promotion.rows:
            yield f"| {' | '.join(escaped(cell) for cell in row)} |"


def _changes(review: Review) -> Iterator[str]:
    per_stack: dict[str, list[str]] = defaultdict(list)
    touched = [f"{one.environment}/{one.stack}" for one in review.changes]
    for id_ in dict.fromkeys([*touched, *review.renamed, *review.new_stacks, *review.texts]):
        lines = tuple(_of_stack(review, id_))
        if lines:
            per_stack["\n".join([id_.split("/")[1], *lines])].append(id_.split("/")[0])
    for names in per_stack.values():
        names.sort(key=[*review.environments].index)
    if not per_stack and not review.code:
        return
    yield ""
    yield "## Changes by stack"
    for text, found_in in per_stack.items():
        stack, *said = text.split("\n")
        yield ""
        yield f"**{_where(review, found_in, stack)}**"
        yield from said
    if review.code:
        shipped: dict[str, list[str]] = defaultdict(list)
        for asset in review.code:
            environment, _, name = asset.partition(": ")
            shipped[name].append(environment)
        yield ""
        for name, found_in in shipped.items():
            yield f"**{_where(review, found_in)}**: {escaped(name)} ships with new code: see its own diff."


def _of_stack(review: Review, id_: str) -> Iterator[str]:
    if id_ in review.new_stacks:
        yield f"- new stack, {review.new_stacks[id_]} resources"
    mine = [one for one in review.changes if f"{one.environment}/{one.stack}" == id_]
    precious = [one for one in mine if one.type in HOLDS_DATA | ANSWERS]
    lost = ("destroyed", "orphaned", "replaced")
    for one in precious:
        if one.fate in lost:
            yield f"- 🔴 {one.fate}: {escaped(one.name)}{_because(one)}"
    for fate in ("destroyed", "orphaned", "replaced"):
        some = [one for one in mine if one.fate == fate and one not in precious and one.type not in BY_DESIGN]
        if some:
            word = {"destroyed": "removed", "orphaned": "removed, and left in the account", "replaced": "replaced"}[
                fate
            ]
            yield f"- 🟠 {word}: {_names(some)}"
    if some := [one for one in mine if one.fate in lost and one.type in BY_DESIGN]:
        yield f"- ⚪ made anew, as these always are: {_names(some)}"
    if pairs := review.renamed.get(id_):
        shown = [f"{short(was)} → {short(now)}" for was, now in pairs[:MOST_NAMES]]
        more = f" and {len(pairs) - MOST_NAMES} more" if len(pairs) > MOST_NAMES else ""
        yield f"- moved, otherwise the same (CloudFormation makes each anew): {escaped(', '.join(shown))}{more}"
    if some := [one for one in mine if one.fate == "updated"]:
        shown = [f"{escaped(one.name)}{_because(one)}" for one in some[:MOST_NAMES]]
        yield f"- updated in place: {', '.join(shown)}{_rest(some)}"
    if some := [one for one in mine if one.fate == "added"]:
        yield f"- added: {_names(some)}"
    if texts := review.texts.get(id_):
        yield f"- of the stack itself: {escaped(', '.join(texts))}"


def _because(change: Change) -> str:
    return f" [{escaped(', '.join(change.properties[:4]))}]" if change.properties else ""


def _names(changes: Sequence[Change]) -> str:
    return escaped(", ".join(one.name for one in changes[:MOST_NAMES])) + _rest(changes)


def _rest(changes: Sequence[Change]) -> str:
    return f" and {len(changes) - MOST_NAMES} more" if len(changes) > MOST_NAMES else ""


def _settings(review: Review) -> Iterator[str]:
    if not review.settings:
        return
    yield ""
    yield "## Settings"
    together: dict[str, list[str]] = defaultdict(list)
    for environment, path, was, now in review.settings:
        together[f"{path}: {was} → {now}"].append(environment)
    for said, environments in together.items():
        yield f"- **{_where(review, environments)}**: {escaped(said)}"


def _also(review: Review) -> Iterator[str]:
    """What nobody has to act on."""
    groups = [group for which in AREAS for group in _grouped(review, which) if group[0] == "ok"]
    if not groups:
        return
    yield ""
    yield f"<details><summary>{len(groups)} smaller things</summary>"
    yield ""
    for _, environments, what, stack, _ in groups:
        yield f"- **{_where(review, environments, stack)}**: {escaped(what)}"
    yield ""
    yield "</details>"
