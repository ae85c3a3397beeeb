"""What a change does beside the templates: to what deploys, to what judges, and to what both are made with."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from review.judge import Judge
from review.paths import (
    APP,
    COMMANDS,
    DELIVERED_BY,
    JUDGES,
    PACKAGES,
    PRICES,
    RELEASES,
    WORKFLOWS,
    is_among,
    is_inert,
    is_without_a_place,
    takes_the_place_of,
)
from review.remarks import Remark
from review.trees import Side, content, names_below, new_links
from review.words import quoted
from review.workflows import workflow_remarks

FILES = (  # rule, where, what is said of what changed there
    (
        "policy.packages",
        PACKAGES,
        "{} changed, and both sides were synthesised with what is installed here: what other versions make of the same "
        "code is not on this page, but in tests/snapshots",
    ),
    (
        "permissions.delivery",
        DELIVERED_BY,
        "{} changed: what deploys and checks runs by it, and no template shows it; read the difference",
    ),
    (
        "policy.command",
        COMMANDS,
        "{} changed: the command that deploys and promotes, of which no template shows anything",
    ),
)

JUDGED: dict[Judge, tuple[str, str]] = {
    "base": ("policy.judge", "the base's code made this page"),
    "head": ("policy.judges_itself", "the changed code made this page about itself"),
    "neither": ("policy.judge", "code of neither side made this page"),
}


def beside_templates(
    repository: Path, base: Side, head: Side, changed: Sequence[str], judge: Judge
) -> Iterator[Remark]:
    """Of these files, which differ."""
    for rule, where, what in FILES:
        if paths := [path for path in changed if is_among(path, where)]:
            yield _remark(rule, what.format(_listed(paths)))
    if paths := [path for path in changed if is_among(path, JUDGES) and path != PRICES]:
        rule, by = JUDGED[judge]
        yield _remark(rule, f"{_listed(paths)} changed, which judges changes: {by}; read the difference")
    for path in changed:
        if (place := takes_the_place_of(path)) and content(repository, head, path) is not None:
            yield _remark("policy.takes_a_place", f"{path} is read in place of {place} by whatever runs here")
    if strange := [path for path in changed if is_without_a_place(path)]:
        what = f"{_listed(strange)}: nobody has said what such files do, and Python or a tool may run them; read them"
        yield _remark("policy.strange_file", what)
    if links := [path for path in new_links(repository, base, head) if not is_inert(path)]:
        what = f"{_listed(links)}: a link or a submodule, whose content is not in the change; what lies there is used"
        yield _remark("policy.link", what)
    if APP in changed:
        yield from _app(*(_json(content(repository, one, APP)) for one in (base, head)))
    if PRICES in changed:
        yield from _prices(judge, *(_json(content(repository, one, PRICES)) for one in (base, head)))
    if any(is_among(path, (WORKFLOWS,)) for path in changed):
        yield from workflow_remarks(*(_workflows(repository, one) for one in (base, head)))


def _app(before: Any, after: Any) -> Iterator[Remark]:
    """cdk.json says which program makes the templates, and the context says where it finds the pins."""
    old, new = (one if isinstance(one, dict) else {} for one in (before, after))
    if not isinstance(after, dict):
        yield _remark("policy.app", f"{APP} is no JSON object any more: nothing can be synthesised by it")
    parts = [(key, old.get(key), new.get(key)) for key in sorted((old.keys() | new.keys()) - {"context"})]
    contexts = [(one.get("context") or {}).get(RELEASES) for one in (old, new)]
    for key, was, now in (*parts, (f"context.{RELEASES}", *contexts)):
        if was != now:
            what = f"{APP}: {key} is {quoted(now)}, and was {quoted(was)}; this page is made of app.py and releases/"
            yield _remark("policy.app", f"{what}, whatever is deployed")


def _prices(judge: Judge, before: Any, after: Any) -> Iterator[Remark]:
    """Every row that differs: a smaller figure makes all that comes look cheap."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    differing = [
        f"{path} {quoted(old.get(path))} → {quoted(new.get(path))}"
        for path in dict.fromkeys([*old, *new])
        if old.get(path) != new.get(path)
    ]
    if differing:
        more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
        whose = {"base": "those of before", "head": "the changed ones", "neither": "neither side's"}[judge]
        what = f"prices change, and this page reckons with {whose}: {', '.join(differing[:4])}{more}"
        yield Remark(rule="cost.prices", environment="", stack="", what=what, details=tuple(differing))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _workflows(repository: Path, side: Side) -> dict[str, str]:
    return {path: content(repository, side, path) or "" for path in names_below(repository, side, WORKFLOWS)}


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except json.JSONDecodeError:
        return None


def _listed(paths: Sequence[str]) -> str:
    """Up to three by name."""
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return " and ".join(paths) if len(paths) < 3 else ", ".join(paths[:3]) + more


def _remark(rule: str, what: str) -> Remark:
    return Remark(rule=rule, environment="", stack="", what=what)
