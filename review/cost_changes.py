"""What gets dearer between two costs of one environment, and which lines of them differ."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from review.costs import Cost, Line
from review.remarks import Remark
from review.rules import COST_LOOK, COST_STOP, Bound

_MUCH = tuple(f"{rule}_much" for rule in COST_STOP)


def cost_remarks(environment: str, before: Cost, after: Cost, ceilings: tuple[Any, Any]) -> Iterator[Remark]:
    """What gets dearer by more than the bounds of review/rules.py, what has no price, and the ceiling."""

    def remark(rule: str, what: str) -> Remark:
        return Remark(rule=rule, environment=environment, stack="", what=what)

    was, now = before.total("most"), after.total("most")
    for member, said in (("most", "at most"), ("expected", "expected")):
        pair = before.total(member), after.total(member)  # type: ignore[arg-type]
        if rule := _weigh("cost.month", *pair):
            within = isinstance(ceilings[0], int | float) and now <= ceilings[0]  # what a person has agreed to
            yield remark("cost.month" if within else rule, f"a month {said} ${pair[0]:,.0f} → ${pair[1]:,.0f}")
            break
    for key, line in after.lines.items():
        old = before.lines.get(key)
        if (
            line.most is None
            and line.note != "by use"
            and (old is None or old.most is not None or old.what != line.what)
        ):
            yield remark("cost.unknown", f"{line.what}: the price is unknown ({line.note})")
        if line.per == "run" and line.most is not None:
            yield from _run(line, old, remark)
    yield from _ceiling(ceilings, now, was, remark)


def _run(line: Line, old: Line | None, remark: Any) -> Iterator[Remark]:
    said = []
    for member in ("expected", "most"):
        was, now = getattr(old, member) if old else 0.0, getattr(line, member)
        if was is not None and (rule := _weigh("cost.run", was, now)):
            said.append((rule in _MUCH, rule, f"a run of {line.what}: ${was:,.0f} → ${now:,.0f} at most"))
    if said:
        _, rule, what = max(said)
        yield remark(rule, what)


def _weigh(rule: str, was: float, now: float) -> str | None:
    def passes(bound: Bound) -> bool:
        return now - was >= bound.usd and now >= was * bound.times

    return f"{rule}_much" if passes(COST_STOP[rule]) else rule if passes(COST_LOOK[rule]) else None


def _ceiling(ceilings: tuple[Any, Any], now: float, was: float, remark: Any) -> Iterator[Remark]:
    old, new = ceilings
    if isinstance(new, int | float) and now > new and (not isinstance(old, int | float) or was <= old):
        yield remark("cost.over_ceiling", f"what stands there can cost ${now:,.0f} a month; the ceiling is ${new:,.0f}")
    if isinstance(old, int | float) and (new is None or (isinstance(new, int | float) and new > old)):
        yield remark(
            "cost.ceiling_raised",
            f"the ceiling is {f'raised, ${old:,.0f} → ${new:,.0f}' if new else f'gone; it was ${old:,.0f}'}",
        )


def differing(before: Cost, after: Cost) -> dict[str, tuple[Line | None, Line | None]]:
    """The lines that are not the same on both sides."""
    found: dict[str, tuple[Line | None, Line | None]] = defaultdict(lambda: (None, None))
    for key in (*before.lines, *after.lines):
        pair = before.lines.get(key), after.lines.get(key)
        if pair[0] != pair[1]:
            found[key] = pair
    return dict(found)
