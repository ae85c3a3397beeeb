"""Both sides of a review, synthesised: as much of them as the change can touch."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from review.assembly import Assembly
from review.paths import PER_ENVIRONMENT, is_among, may_touch_a_template
from review.synthesis import DELIVERY, Json, Synthesis, Tree, pins_of, settings_of
from review.trees import Side, laid_out


def synthesise_both(
    repository: Path, base: Side, head: Side, changed: Sequence[str], cache: Path
) -> tuple[Assembly, Assembly, list[str]]:
    """Both assemblies, of the touched environments only, and the names of these.

    Raises RefusedError, with the side and its own message, where one cannot be synthesised.
    """
    touching = [path for path in changed if may_touch_a_template(path)]
    nothing = Assembly(stacks={}, assets={})
    if not touching:
        return nothing, nothing, []
    with ExitStack() as folders:
        before, after = (
            _tree(folders.enter_context(laid_out(repository, one)), which, one)
            for which, one in (("base", base), ("head", head))
        )
        code_is_the_same = all(is_among(path, PER_ENVIRONMENT) for path in touching)
        wanted = [*_touched(before, after)] if code_is_the_same else _environments(before, after)
        trusting, invented = _delivery(before.settings, after.settings, code_is_the_same=code_is_the_same)
        unserved = [name for name in _environments(before, after) if name not in before.pins | after.pins]
        if any(trusting):
            wanted = [*_environments(before, after), DELIVERY]  # it is about all of them
            unserved += [DELIVERY] if invented else []
        if not wanted:
            return nothing, nothing, []
        unserved = [name for name in unserved if name in wanted]
        running = [
            Synthesis(
                tree,
                [name for name in wanted if name in tree.settings and (name != DELIVERY or trusts)],
                unserved,
                cache,
            )
            for tree, trusts in zip((before, after), trusting, strict=True)
        ]
        try:
            for synthesis in running:
                synthesis.start()
            of_base, of_head = (synthesis.result() for synthesis in running)
        finally:
            for synthesis in running:
                synthesis.stop()
        return of_base, of_head, wanted


def _tree(folder: Path, which: str, side: Side) -> Tree:
    called = f"{which} {side.name}"
    return Tree(
        folder=folder, called=called, hash=side.tree, settings=settings_of(folder, called), pins=pins_of(folder)
    )


def _environments(before: Tree, after: Tree) -> list[str]:
    """All that either side has."""
    return [name for name in dict.fromkeys([*after.settings, *before.settings]) if name != DELIVERY]


def _touched(before: Tree, after: Tree) -> Iterator[str]:
    """The environments whose settings or pins differ, and those whose policies name one that moved."""
    settings = before.settings, after.settings
    known = _environments(before, after)
    touched = {name for name in known if before.settings.get(name) != after.settings.get(name)}
    elsewhere = {name for name in touched if _is_elsewhere(name, *settings)}
    touched |= {name for name in known if _exchanges_releases(name, elsewhere, *settings)}
    for name in known:
        if name in touched or any(before.pins.get(stem) != after.pins.get(stem) for stem in (name, f"{name}.shadow")):
            yield name


def _is_elsewhere(name: str, *sides: Json) -> bool:
    """Whether what others say of it in their policies is something else now."""
    before, after = ([(side.get(name) or {}).get(key) for key in ("account", "region", "promotion")] for side in sides)
    return before != after


def _exchanges_releases(name: str, touched: set[str], *sides: Json) -> bool:
    """Whether its policies name one of these: whom releases come from, or go to."""
    for settings in sides:
        sources = {one: (its.get("promotion") or {}).get("source") for one, its in settings.items() if its}
        if sources.get(name) in touched or any(sources.get(one) == name for one in touched):
            return True
    return False


def _delivery(before: Json, after: Json, *, code_is_the_same: bool) -> tuple[tuple[bool, bool], bool]:
    """Which sides' stage of trust is to be compared, and whether both only have that of a stand-in.

    Where nobody trusts a repository yet, a change of the code is reviewed for one that nobody has.
    """
    trusts = bool(before.get(DELIVERY)), bool(after.get(DELIVERY))
    if any(trusts):
        return ((False, False) if code_is_the_same and before == after else trusts), False
    reads = all(DELIVERY in one for one in (before, after)) and not code_is_the_same
    return (reads, reads), reads
