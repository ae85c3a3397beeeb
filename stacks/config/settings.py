"""What all settings are: values that know their own faults, and those of the parts that they hold.

Making one raises nothing, so that a person who writes several wrong values hears of all of them: faults wait in the
object, and whoever holds it puts its place before them, `cidr is …` → `network.cidr is …`. The door is `checked`
(stacks/config/together.py), through which environments.py goes; a stage asks `check()` again.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import MISSING, fields
from functools import cached_property
from typing import Any, Self, get_type_hints

from stacks.config.checks import raise_if_any
from stacks.config.types import brief, fits, shown, wanted

Rule = tuple[tuple[str, ...], Iterable[str]]
"""The fields that a rule reads, and what it finds wrong. A generator: nothing is read before it is asked."""


class _LeftOut:
    """Stands where a value has to be given and was not."""

    def __repr__(self) -> str:
        return "missing"


LEFT_OUT = _LeftOut()


class _Tolerant(type):
    """Makes settings of whatever is given: a field left out, and one that does not exist, are faults like others."""

    def __call__(cls, *by_position: Any, **given: Any) -> Any:
        known = fields(cls)  # type: ignore[arg-type]
        names = sorted(field.name for field in known)
        needed = {field.name: LEFT_OUT for field in known if field.default is field.default_factory is MISSING}
        made = super().__call__(**needed | {name: value for name, value in given.items() if name in names})
        strangers = [cls._stranger(name, names) for name in given if name not in names]  # type: ignore[attr-defined]
        for value in by_position:
            strangers.append(f"a value without a name is {brief(value)}: give it as one of {', '.join(names)}")
        object.__setattr__(made, "_strangers", tuple(strangers))
        return made


class Settings(metaclass=_Tolerant):
    """The base of every part of an environment: a frozen dataclass whose fields are given by name."""

    _strangers: tuple[str, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """All that is wrong here and in the parts, each fault beginning with its place: `network.cidr is …`."""
        return self._examined[0]

    @property
    def unsound(self) -> frozenset[str]:
        """The fields whose values are wrong by themselves, or hold such ones. Others may still not fit each other."""
        return self._examined[1]

    @cached_property
    def _examined(self) -> tuple[tuple[str, ...], frozenset[str]]:
        found = [*self._faults()]
        unsound = {_place(fault) for fault in found}
        hints = get_type_hints(type(self))
        for field in fields(self):  # type: ignore[arg-type]
            name, value, hint = field.name, getattr(self, field.name), hints[field.name]
            if name in unsound:
                continue
            if not fits(value, hint):
                found.append(f"{name} {shown(value, hint)}: give {wanted(hint)}")
                unsound.add(name)
            elif isinstance(value, Settings):
                found += [f"{name}.{fault}" for fault in value.faults]
                unsound |= {name} if value.unsound else set()
        for read, rule in self._rules():
            if unsound.isdisjoint(read):
                told = [*rule]
                found += told
                unsound |= {_place(fault) for fault in told} if len(read) == 1 else set()
        return (*self._strangers, *found), frozenset(unsound)

    def check(self) -> Self:
        """Itself. Raises SettingsError with all that is wrong in it and its parts."""
        raise_if_any(type(self).__name__, self.faults)
        return self

    def _faults(self) -> Iterable[str]:
        """What is wrong with single values, beyond their types. Values can be anything here, LEFT_OUT too."""
        return ()

    def _rules(self) -> Iterable[Rule]:
        """What has to hold between values, or is asked of a value of the right type only. A rule is asked where all
        fields that it reads are sound."""
        return ()

    @classmethod
    def _stranger(cls, name: str, known: list[str]) -> str:
        """The fault of a name that is no field."""
        near = difflib.get_close_matches(name, known, n=1) or [f"some of {', '.join(known)}"]
        return f"{name} is no setting of {cls.__name__}: give {near[0]}"


def _place(fault: str) -> str:
    """The field that a fault is about."""
    found = re.match(r"\w+", fault)
    return found[0] if found else ""
