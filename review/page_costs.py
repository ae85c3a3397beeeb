"""The costs on the page: sums before and after, the lines that differ, and what nobody can know."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from review.compare import Review
from review.cost_changes import differing
from review.costs import Cost, Line
from review.markdown import escaped
from stacks.prices import Price, as_of, other


def costs_section(review: Review) -> Iterator[str]:
    changed = {
        name: pair for name, pair in review.costs.items() if differing(*pair) or pair[0].by_use != pair[1].by_use
    }
    if not changed:
        return
    yield ""
    yield "## Costs in US dollars"
    yield f"On demand, prices of {as_of()}. Expected is half-way between the smallest and the largest fleet."
    yield ""
    yield "| a month | at least | expected | at most |"
    yield "|---|---|---|---|"
    alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, (before, after) in changed.items():
        alike[tuple(_pair(before.total(one), after.total(one)) for one in ("low", "expected", "most"))].append(name)
    for sums, names in alike.items():
        yield f"| **{', '.join(names)}** | {' | '.join(sums)} |"
    lines: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, pair in changed.items():
        for was, now in differing(*pair).values():
            lines[_cost_line(was, now)].append(name)
    if lines:
        yield ""
        yield "| what | | at least | expected | at most |"
        yield "|---|---|---|---|---|"
        for (what, *cells), names in lines.items():
            yield f"| {escaped(what)} | {', '.join(names)} | {' | '.join(cells)} |"
    yield ""
    notes = dict.fromkeys(now.note for pair in changed.values() for _, now in differing(*pair).values() if now)
    yield from (f"- {escaped(note)}" for note in notes if note)
    yield from _by_use(changed)


def _cost_line(was: Line | None, now: Line | None) -> tuple[str, ...]:
    line = now or was
    assert line is not None
    what = re.sub(r"\bamplify-[a-z][a-z0-9]*\b", "pipeline", line.what)
    if was and now and was.what != now.what:
        what = f"{re.sub(r'^amplify-[a-z0-9-]+ · ', '', was.what)} → {re.sub(r'^amplify-[a-z0-9-]+ · ', '', now.what)}"
    what += " (a run)" if line.per == "run" else ""
    return what, *[
        _pair(getattr(was, member) if was else 0.0, getattr(now, member) if now else 0.0)
        for member in ("low", "expected", "most")
    ]


def _pair(was: float | None, now: float | None) -> str:
    before, after = ("unknown" if one is None else f"{one:,.0f}" for one in (was, now))
    return before if before == after else f"{before} → **{after}**"


def _by_use(changed: Mapping[str, tuple[Cost, Cost]]) -> Iterator[str]:
    counted: dict[str, list[str]] = defaultdict(list)
    for name, (before, after) in changed.items():
        for what in dict.fromkeys([*before.by_use, *after.by_use]):
            if (was := before.by_use.get(what, 0)) != (now := after.by_use.get(what, 0)):
                counted[f"{what}: {was} → {now}"].append(name)
    if counted:
        yield "Of what is paid by use there are more or fewer:"
        yield ""
    for what, names in counted.items():
        yield f"- {what} ({', '.join(names)})"
    yield ""
    unit = []
    for row, what in (("s3_gb_month", "a gigabyte in S3 and month"), ("logs_gb", "a gigabyte of logs")):
        price = other(row, "us-east-1")  # type: ignore[arg-type]
        if isinstance(price, Price):
            unit.append(f"${price.usd:g} {what}")
    kinds = "storage, logs, traffic, requests, builds"
    yield f"Paid by use and not in the sums, because nobody knows how much: {kinds} ({', '.join(unit)} in us-east-1)."
