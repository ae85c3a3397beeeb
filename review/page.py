"""The page: for a person with one minute. Most dangerous first, each thing once however many environments it is in."""

import re
from collections.abc import Iterator

from review.compare import Review
from review.judge import Judge
from review.markdown import code, escaped
from review.page_changes import changes_section, settings_section
from review.page_costs import costs_section
from review.page_groups import MARKS, bullets, grouped, has_short_arns, where
from review.rules import AREAS, Area
from review.synthesis import DELIVERY

JUDGES: dict[Judge, str] = {
    "base": "judged by the base's review",
    "head": "**judged by its own review, which it changes**",
    "neither": "judged by a review of neither side",
}
LONGEST = 60_000
"""GitHub takes 65,536 characters for a comment, and review-comment.yml adds some."""


def page(review: Review) -> str:
    """The review as Markdown; without what can be folded open, where it would be too long for a comment."""
    whole = "\n".join(_lines(review)).rstrip() + "\n"
    if len(whole) > LONGEST:
        whole = re.sub(r"(?m)^ +<details>.*?^ +</details>\n", "", whole, flags=re.DOTALL)
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
    if has_short_arns(review):
        yield ""
        yield "`service:thing` is an ARN of the environment's own account and region; another's is written in full."
    for which in AREAS:
        yield from _section(review, which)
    yield from _promotions(review)
    yield from costs_section(review)
    yield from changes_section(review)
    yield from settings_section(review)
    yield from _also(review)


def _between(review: Review) -> str:
    return f"`{code(review.base)}` → `{code(review.head)}`, {JUDGES[review.judge]}"


def _touched(review: Review) -> str:
    if not review.environments:
        return "no template changes, but what stands beside them"
    said = f"environments: {', '.join(review.environments)}"
    if unserved := [name for name in review.environments if name in review.stand_ins and name != DELIVERY]:
        some = f" in {', '.join(unserved)}" if {*unserved} < {*review.environments} - {DELIVERY} else ""
        said += f" · no release is pinned{some}: endpoints are those of a stand-in model"
    if DELIVERY in review.stand_ins:
        said += f" · nobody is trusted to deploy yet: {DELIVERY} is that of a stand-in repository"
    return said


# ---- verdict ---------------------------------------------------------------------------------------------------------


def _table(review: Review) -> Iterator[str]:
    yield "| | verdict | most of all |"
    yield "|---|---|---|"
    for which in AREAS:
        groups = [group for group in grouped(review, which) if group.weight != "ok"]
        if not groups:
            yield f"| {which} | {MARKS['ok']} | |"
            continue
        place = where(review, groups[0].environments, groups[0].stack)
        first = escaped(_cut(groups[0].what)) + (f" ({place})" if place else "")
        more = f"; [{len(groups) - 1} more](#{which})" if len(groups) > 1 else ""
        yield f"| [{which}](#{which}) | {MARKS[review.level_of(which)]} | {first}{more} |"


def _cut(text: str) -> str:
    return text if len(text) <= 180 else text[:177] + "…"


def _section(review: Review, which: Area) -> Iterator[str]:
    groups = [group for group in grouped(review, which) if group.weight != "ok"]
    if not groups:
        return
    yield ""
    yield f"## {which.capitalize()}"
    yield f"{AREAS[which]}."
    yield ""
    yield from bullets(review, groups)


def _promotions(review: Review) -> Iterator[str]:
    for promotion in review.promotions:
        yield ""
        yield f"### Model of {escaped(promotion.pin)}"
        yield "| | before | after |"
        yield "|---|---|---|"
        for row in promotion.rows:
            yield f"| {' | '.join(escaped(cell) for cell in row)} |"


def _also(review: Review) -> Iterator[str]:
    """What nobody has to act on."""
    groups = [group for which in AREAS for group in grouped(review, which) if group.weight == "ok"]
    if not groups:
        return
    yield ""
    yield f"<details><summary>{len(groups)} smaller thing{'s' if len(groups) > 1 else ''}</summary>"
    yield ""
    for group in groups:
        place = where(review, group.environments, group.stack)
        yield f"- **{place}**: {escaped(group.what)}" if place else f"- {escaped(group.what)}"
    yield ""
    yield "</details>"
