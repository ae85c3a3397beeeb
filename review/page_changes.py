"""The page's last part: what happens to the resources of each stack, and which settings are others."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from review.changes import ANSWERS, BY_DESIGN, HOLDS_DATA, Change
from review.compare import Review
from review.markdown import escaped
from review.page_groups import where
from review.words import and_so, short

MOST_NAMES = 8


def changes_section(review: Review) -> Iterator[str]:
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
        yield f"**{where(review, found_in, stack)}**"
        yield from said
    if review.code:
        shipped: dict[str, list[str]] = defaultdict(list)
        for asset in review.code:
            environment, _, name = asset.partition(": ")
            shipped[name].append(environment)
        yield ""
        for name, found_in in shipped.items():
            yield f"**{where(review, found_in)}**: {escaped(name)} ships with new code: see its own diff."


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
    alike: dict[tuple[str, tuple[str, ...]], list[Change]] = defaultdict(list)
    for one in mine:
        if one.fate == "updated":
            alike[one.type, one.properties].append(one)
    if alike:
        shown = [_alike(some) for some in alike.values()]
        more = f" and {len(shown) - MOST_NAMES} kinds more" if len(shown) > MOST_NAMES else ""
        yield f"- updated in place: {'; '.join(shown[:MOST_NAMES])}{more}"
    if some := [one for one in mine if one.fate == "added"]:
        yield f"- added: {_names(some)}"
    if texts := review.texts.get(id_):
        yield f"- of the stack itself: {escaped(', '.join(texts))}"


def _alike(some: Sequence[Change]) -> str:
    """Of one type, with the same properties changed."""
    names = and_so([short(one.id) for one in some], MOST_NAMES)
    kind = some[0].type.removeprefix("AWS::")
    return escaped(f"{names} ({kind})") + _because(some[0])


def _because(change: Change) -> str:
    return f" [{escaped(', '.join(change.properties[:4]))}]" if change.properties else ""


def _names(changes: Sequence[Change]) -> str:
    return escaped(", ".join(one.name for one in changes[:MOST_NAMES])) + _rest(changes)


def _rest(changes: Sequence[Change]) -> str:
    return f" and {len(changes) - MOST_NAMES} more" if len(changes) > MOST_NAMES else ""


def settings_section(review: Review) -> Iterator[str]:
    if not review.settings:
        return
    yield ""
    yield "## Settings"
    together: dict[str, list[str]] = defaultdict(list)
    for environment, path, was, now in review.settings:
        together[f"{path}: {was} → {now}"].append(environment)
    for said, environments in together.items():
        yield f"- **{where(review, environments)}**: {escaped(said)}"
