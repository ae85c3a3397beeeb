"""The whole review: two assemblies in, everything there is to say out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from review.assembly import Assembly, Json, Stack
from review.changes import Change, change_remarks, fixed_name, renamed_constructs, resource_changes, with_base_ids
from review.cost_changes import cost_remarks
from review.costs import Cost, cost_of
from review.findings import finding_remarks
from review.judge import Judge
from review.leftovers import leftover_remarks
from review.network import network_remarks
from review.permissions import permission_remarks
from review.pipelines import pipeline_remarks
from review.promotions import Promotion, promotion_remarks, promotions, served_remarks, way_remarks
from review.protection import protection_remarks
from review.remarks import Remark
from review.rules import ON_A_LAPTOP, Area, Level, area, level, worst
from review.strangers import Known, stranger_remarks
from review.words import quoted


@dataclass(frozen=True, kw_only=True)
class Review:
    """All that is said of one change."""

    base: str
    head: str
    environments: Sequence[str] = ()
    """Those that were synthesised: the touched ones."""
    remarks: Sequence[Remark] = ()
    changes: Sequence[Change] = ()
    renamed: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    """Stack id → logical ids, before and after, of things that are the same but for these."""
    new_stacks: Mapping[str, int] = field(default_factory=dict)
    """Stack id → how many resources it holds."""
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Stack id → parts of its template, beside the resources, that differ: Description, Outputs."""
    costs: Mapping[str, tuple[Cost, Cost]] = field(default_factory=dict)
    settings: Sequence[tuple[str, str, str, str]] = ()
    """Environment, setting, before, after."""
    code: Sequence[str] = ()
    """Assets whose content differs."""
    promotions: Sequence[Promotion] = ()
    stand_ins: Sequence[str] = ()
    refusal: str | None = None
    """Why there is no comparison."""
    places: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Environment → its own account and region."""
    judge: Judge = "base"
    """Whose code says all this."""

    def level_of(self, which: Area | None = None) -> Level:
        """The verdict, of one area or of all."""
        levels = [level(one.rule, one.environment) for one in self.remarks if which in (None, area(one.rule))]
        return worst(levels)

    @property
    def is_empty(self) -> bool:
        """Whether nothing that is deployed differs."""
        said = (self.remarks, self.changes, self.renamed, self.new_stacks, self.texts, self.settings, self.code)
        return not any(said)


def compare(
    base: Assembly, head: Assembly, environments: Sequence[str], names: tuple[str, str], node_modules: Path
) -> Review:
    """The review of head against base, of these environments."""
    ids = [*dict.fromkeys([*base.stacks, *head.stacks])]
    # And whatever else app.py makes, beside the environments that it was asked for.
    made = [id_.split("/")[0] for id_ in ids]
    environments = [*dict.fromkeys([*environments, *made])]
    renamed: dict[str, Sequence[tuple[str, str]]] = {}
    after: dict[str, Stack] = {}
    remade: list[Change] = []
    for id_, stack in head.stacks.items():
        old = base.stacks.get(id_)
        new_ids = renamed_constructs(old, stack) if old else {}
        after[id_] = with_base_ids(stack, new_ids)
        if new_ids and old:
            renamed[id_] = [(was, now) for now, was in new_ids.items()]
            remade += [_renamed(old, stack, was, now) for now, was in new_ids.items()]
    for id_ in after:  # exports carry logical ids to other stacks of the environment
        mapping = {
            now: was
            for other, pairs in renamed.items()
            if other != id_ and _same_environment(other, id_)
            for was, now in pairs
        }
        after[id_] = with_base_ids(after[id_], mapping)
    pairs = [(base.stacks.get(id_), after.get(id_)) for id_ in ids]
    differing = [pair for pair in pairs if pair[0] is None or pair[1] is None or pair[0].template != pair[1].template]
    changes = resource_changes(differing, node_modules) if differing else []
    # What leaves the app stays in its account as it is: nothing of it is lost, narrowed or cheaper.
    stays = replace(base, stacks={id_: stack for id_, stack in base.stacks.items() if id_ in head.stacks})
    compared = [name for name in environments if any(stack.environment == name for stack in head.stacks.values())]
    costs = {name: (_cost(stays, name), _cost(head, name)) for name in compared if name not in ON_A_LAPTOP}
    known = Known.of(base, head)
    remarks = [
        *change_remarks([*changes, *remade]),
        *_stack_remarks(base, head),
        *(
            one
            for old, new in pairs
            if old and new
            for one in (*protection_remarks(old, new), *pipeline_remarks(old, new))
        ),
        *(
            one
            for old, new in pairs
            if new
            for one in (*stranger_remarks(old, new, known), *leftover_remarks(old, new))
        ),
        *(one for name in compared for one in _of_environment(name, stays, after, known.accounts)),
        *(one for name, pair in costs.items() for one in cost_remarks(name, *pair, _ceilings(base, head, name))),
        *finding_remarks(base, head, compared, [new for _, new in differing if new is not None]),
        *promotion_remarks(base.pins, head.pins, base.settings, head.settings),
        *served_remarks(head),
        *way_remarks(base.settings, head.settings),
    ]
    old_stacks, new_stacks = base.stacks, head.stacks
    return Review(
        base=names[0],
        head=names[1],
        environments=environments,
        remarks=sorted(set(remarks)),
        changes=[one for one in changes if f"{one.environment}/{one.stack}" in old_stacks],
        renamed=renamed,
        new_stacks={id_: len(new_stacks[id_].resources) for id_ in new_stacks if id_ not in old_stacks},
        texts={new.id: texts for old, new in pairs if old and new and (texts := _texts(old, new))},
        costs=costs,
        settings=[*_settings(base.settings, head.settings)],
        code=sorted(name for name in base.assets.keys() & head.assets.keys() if base.assets[name] != head.assets[name]),
        promotions=promotions(base.pins, head.pins),
        stand_ins=sorted(base.stand_ins | head.stand_ins),
        places={
            stack.environment: (stack.account, stack.region) for side in (head, base) for stack in side.stacks.values()
        },
    )


def _renamed(base: Stack, head: Stack, was: str, now: str) -> Change:
    resource = base.resources[was]
    return Change(
        environment=head.environment,
        stack=head.short_name,
        id=now,
        type=resource["Type"],
        fate="renamed",
        retained=resource.get("DeletionPolicy", "Delete").startswith("Retain"),
        fixed_name=fixed_name(resource, resource),
    )


def _texts(old: Stack, new: Stack) -> list[str]:
    names = sorted((old.template.keys() | new.template.keys()) - {"Resources"})
    return [name for name in names if old.template.get(name) != new.template.get(name)]


def _same_environment(one: str, other: str) -> bool:
    return one.split("/")[0] == other.split("/")[0]


def _of_environment(name: str, base: Assembly, after: Mapping[str, Stack], ours: frozenset[str]) -> Iterator[Remark]:
    old = [stack for stack in base.stacks.values() if stack.environment == name]
    new = [stack for stack in after.values() if stack.environment == name]
    yield from permission_remarks(name, old, new, ours)
    yield from network_remarks(name, old, new)


def _cost(assembly: Assembly, environment: str) -> Cost:
    return cost_of(stack for stack in assembly.stacks.values() if stack.environment == environment)


def _ceilings(base: Assembly, head: Assembly, environment: str) -> tuple[Any, Any]:
    old, new = ((side.settings.get(environment) or {}).get("monthly_ceiling_usd") for side in (base, head))
    return old, new


def _stack_remarks(base: Assembly, head: Assembly) -> Iterator[Remark]:
    yield from _left(base, head)
    for id_, stack in base.stacks.items():
        if id_ not in head.stacks:
            continue
        now = head.stacks[id_]
        for what, old, new in (("account", stack.account, now.account), ("region", stack.region, now.region)):
            if old != new:
                moved = f"the stack goes to {what} {new}; that of {old} stays there, with all its data"
                yield Remark(rule="change.elsewhere", environment=stack.environment, stack=stack.short_name, what=moved)
        if stack.name != now.name:
            moved = (
                f"the stack {stack.name} is called {now.name}: CloudFormation makes a second one, and the first stays"
            )
            yield Remark(rule="change.elsewhere", environment=stack.environment, stack=stack.short_name, what=moved)
        for name in sorted(_exports(stack) - _exports(head.stacks[id_])):
            users = [one for one in base.stacks.values() if one.id != id_ and name in json.dumps(one.template)]
            if users and name.split(":")[-1] in json.dumps(stack.template):
                still = f"export {name} goes while {', '.join(one.short_name for one in users)} may still use it"
                what = f"{still}: CloudFormation refuses then; deploy the user first"
                yield Remark(
                    rule="change.export_removed", environment=stack.environment, stack=stack.short_name, what=what
                )


def _left(base: Assembly, head: Assembly) -> Iterator[Remark]:
    """Stacks that leave the app: each alone, or all of an environment's at once."""
    left = [stack for id_, stack in base.stacks.items() if id_ not in head.stacks]
    for environment in dict.fromkeys(stack.environment for stack in left):
        some = [stack for stack in left if stack.environment == environment]
        if any(stack.environment == environment for stack in head.stacks.values()):
            said = [
                (one.short_name, f"stack {one.name} leaves the app with its {len(one.resources)} resources")
                for one in some
            ]
        else:
            resources = sum(len(stack.resources) for stack in some)
            said = [("", f"the whole environment leaves the app, {len(some)} stacks with {resources} resources")]
        for stack_name, what in said:
            what = f"{what}: the CDK deletes nothing of it, it stays as it is and costs until somebody does"
            yield Remark(rule="change.stack_removed", environment=environment, stack=stack_name, what=what)


def _exports(stack: Stack) -> set[str]:
    return {str(one["Export"]["Name"]) for one in stack.template.get("Outputs", {}).values() if "Export" in one}


def _settings(before: Mapping[str, Json], after: Mapping[str, Json]) -> Iterator[tuple[str, str, str, str]]:
    for name in dict.fromkeys([*before, *after]):
        if not before.get(name) or not after.get(name):
            if before.get(name) or after.get(name):
                yield (
                    name,
                    "all of it",
                    "there" if before.get(name) else "not there",
                    "there" if after.get(name) else "gone",
                )
            continue
        old, new = dict(_leaves(before[name])), dict(_leaves(after[name]))
        for path in dict.fromkeys([*old, *new]):
            was, now = _of_part(path, old), _of_part(path, new)
            if path in old and path in new:
                if was != now:
                    yield name, path, quoted(was), quoted(now)
            elif path.count(".") == 0 and was != now:  # a part that comes or goes; below it, the kind says enough
                yield name, path, quoted(was), quoted(now)


def _of_part(path: str, leaves: Mapping[str, Any]) -> Any:
    """The value; of a part with members, its kind."""
    return leaves.get(path, leaves.get(f"{path}.is"))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else key)
    else:
        yield path, value
