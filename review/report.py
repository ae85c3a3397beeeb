"""One review from git refs to files."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from review.compare import Review, compare
from review.cost_changes import differing
from review.costs import Cost
from review.page import page
from review.remarks import Remark
from review.rules import AREAS, LEVELS, Area, Level, area, level, worst
from review.sides import (
    DELIVERED_BY,
    JUDGES,
    PACKAGES,
    RefusedError,
    Side,
    changed_paths,
    is_among,
    side,
    synthesise_both,
    working_tree,
)

EXIT_OK, EXIT_FAILED, EXIT_GATE = 0, 1, 3
NODE_MODULES = Path(__file__).resolve().parent.parent / "node_modules"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to review, where to put it, and what to fail for."""

    repository: Path
    base: str
    head: str | None
    """None: the working tree."""
    out: Path
    cache: Path
    gate: Level | None = None
    areas: tuple[str, ...] = tuple(AREAS)


def run(request: Request, say: Callable[[str], None]) -> int:
    """Write the review, say the verdict, answer with the exit code. Raises ReviewError where git knows no such ref."""
    begun = time.monotonic()
    base = side(request.repository, request.base)
    head = side(request.repository, request.head) if request.head else working_tree(request.repository)
    result = review_of(request, base, head)
    request.out.mkdir(parents=True, exist_ok=True)
    (request.out / "review.md").write_text(page(result), encoding="utf-8")
    (request.out / "review.json").write_text(json.dumps(as_json(result), indent=1) + "\n", encoding="utf-8")
    say(f"{result.level_of()}: {request.out / 'review.md'} ({time.monotonic() - begun:.0f} s)")
    if result.refusal:
        say(result.refusal)
        return EXIT_FAILED
    reached = worst([result.level_of(cast(Area, which)) for which in request.areas])
    if request.gate and LEVELS.index(reached) >= LEVELS.index(request.gate):
        say(f"The gate is {request.gate}, the verdict {reached}: not passed.")
        return EXIT_GATE
    return EXIT_OK


def review_of(request: Request, base: Side, head: Side) -> Review:
    """The review, or the reason why there is none."""
    names = _name(base), _name(head)
    try:
        before, after, environments = synthesise_both(request.repository, base, head, request.cache)
    except RefusedError as error:
        remark = Remark(rule="policy.refused", environment="", stack="", what=str(error))
        return Review(base=names[0], head=names[1], remarks=[remark], refusal=str(error))
    result = compare(before, after, environments, names, NODE_MODULES)
    changed = changed_paths(request.repository, base, head)
    remarks = [
        Remark(rule=rule, environment="", stack="", what=what.format(_listed(paths)))
        for rule, where, what in BESIDE_TEMPLATES
        if (paths := [path for path in changed if is_among(path, where)])
    ]
    return replace(result, remarks=[*result.remarks, *remarks])


BESIDE_TEMPLATES = (  # rule, where, what is said of what changed there
    (
        "policy.packages",
        PACKAGES,
        "{} changed, and both sides were synthesised with what is installed here: what other versions make of the same "
        "code is not on this page, but in tests/snapshots",
    ),
    (
        "permissions.delivery",
        DELIVERED_BY,
        "{} changed: what runs there has the rights to deploy, and no template shows it; read the difference",
    ),
    (
        "policy.judge",
        JUDGES,
        "{} changed, by which this page is made: read the difference, and do not take its word for it",
    ),
)


def _listed(paths: list[str]) -> str:
    """Up to three by name."""
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return " and ".join(paths) if len(paths) < 3 else ", ".join(paths[:3]) + more


def _name(one: Side) -> str:
    if one.commit is None:
        return one.name
    return one.commit[:8] if one.commit.startswith(one.name) else f"{one.name} {one.commit[:8]}"


def as_json(review: Review) -> dict[str, Any]:
    """Everything, for machines. `format` changes when a member changes its meaning."""
    return {
        "format": 1,
        "base": review.base,
        "head": review.head,
        "verdict": review.level_of(),
        "areas": {which: review.level_of(which) for which in AREAS},
        "refusal": review.refusal,
        "environments": list(review.environments),
        "stand_ins": list(review.stand_ins),
        "remarks": [
            {"area": area(one.rule), "level": level(one.rule, one.environment), **asdict(one)} for one in review.remarks
        ],
        "changes": [asdict(one) for one in review.changes],
        "renamed": {stack: [list(pair) for pair in pairs] for stack, pairs in review.renamed.items()},
        "new_stacks": dict(review.new_stacks),
        "costs": {
            name: {"before": _cost(was), "after": _cost(now), "differing": sorted(differing(was, now))}
            for name, (was, now) in review.costs.items()
        },
        "settings": [
            dict(zip(("environment", "setting", "before", "after"), row, strict=True)) for row in review.settings
        ],
        "code": list(review.code),
        "promotions": [asdict(one) for one in review.promotions],
    }


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "month": {"low": cost.total("low"), "expected": cost.total("expected"), "most": cost.total("most")},
        "unknown": cost.unknown,
        "lines": {name: asdict(line) for name, line in cost.lines.items()},
        "by_use": dict(cost.by_use),
    }
