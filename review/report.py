"""One review from git refs to files."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from review.beside import beside_templates
from review.compare import Review, compare
from review.cost_changes import differing
from review.costs import Cost
from review.judge import judge_of, judges_change, review_by_base
from review.page import page
from review.remarks import Remark
from review.rules import AREAS, LEVELS, Area, Level, area, level, worst
from review.sides import synthesise_both
from review.synthesis import RefusedError
from review.trees import Side, changed_paths, parted, side, working_tree

TWO_HISTORIES = Remark(
    rule="policy.two_histories",
    environment="",
    stack="",
    what="git knows of no commit that both sides come from (a shallow clone?): what came to the base meanwhile looks "
    "undone on this page",
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
    judge: Literal["base", "own"] = "base"
    """Whose code judges a change of the review itself. What the base has started is `own`."""

    def as_arguments(self) -> list[str]:
        """The command line that says the same, in words that older versions know."""
        named = {
            "--repository": str(self.repository),
            "--base": self.base,
            "--out": str(self.out),
            "--cache": str(self.cache),
            "--gate": self.gate or "never",
            "--areas": ",".join(self.areas),
        }
        given = [part for pair in named.items() for part in pair]
        return given if self.head is None else [*given, "--head", self.head]


def run(request: Request, say: Callable[[str], None]) -> int:
    """Write the review, say the verdict, answer with the exit code. Raises ReviewError where git knows no such ref."""
    begun = time.monotonic()
    base = side(request.repository, request.base)
    head = side(request.repository, request.head) if request.head else working_tree(request.repository)
    if (parting := parted(request.repository, base, head)) is not None:
        base = parting
    changed = changed_paths(request.repository, base, head)
    if request.judge == "base" and judges_change(changed):
        code = review_by_base(request.repository, base, request.as_arguments(), NODE_MODULES, say)
        if code is not None:
            return code
        say("So the changed one judges itself, which the page says.")
    result = review_of(request, base, head, changed)
    if parting is None:
        result = replace(result, remarks=[*result.remarks, TWO_HISTORIES])
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


def review_of(request: Request, base: Side, head: Side, changed: Sequence[str]) -> Review:
    """The review, or the reason why there is none."""
    names = _name(base), _name(head)
    repository = request.repository
    judge = judge_of(repository, base, head)
    try:
        before, after, environments = synthesise_both(repository, base, head, changed, request.cache)
    except RefusedError as error:
        remark = Remark(rule="policy.refused", environment="", stack="", what=str(error))
        return Review(base=names[0], head=names[1], remarks=[remark], refusal=str(error), judge=judge)
    result = compare(before, after, environments, names, NODE_MODULES)
    beside = beside_templates(repository, base, head, changed, judge)
    return replace(result, remarks=[*result.remarks, *beside], judge=judge)


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
        "judge": review.judge,
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
        "texts": {stack: list(parts) for stack, parts in review.texts.items()},
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
