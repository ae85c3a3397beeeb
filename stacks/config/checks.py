"""The checks that settings share: each yields what is wrong, the value given and the value wanted."""

import re
from collections.abc import Callable, Iterable

from stacks.instance_types import has_gpu


class SettingsError(ValueError):
    """One or more settings cannot work. The message lists every fault: value given, value wanted."""


def raise_if_any(where: str, faults: list[str]) -> None:
    if faults:
        raise SettingsError(f"{where}: " + "; ".join(faults))


def not_matching(field: str, value: str, pattern: str, wanted: str) -> Iterable[str]:
    if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
        yield f"{field} is {value!r}: give {wanted}"


def not_one_of(field: str, value: object, wanted: tuple[str, ...]) -> Iterable[str]:
    if value not in wanted:
        yield f"{field} is {value!r}: give {' or '.join(wanted)}"


def not_a(field: str, value: object, *kinds: type) -> Iterable[str]:
    if not isinstance(value, kinds):
        yield f"{field} is {value!r}: give {' or '.join(kind.__name__ for kind in kinds)}"


def out_of_range(field: str, value: int, low: int, high: int) -> Iterable[str]:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        yield f"{field} is {value!r}: give a whole number from {low} to {high}"


def unknown_instance_type(field: str, value: str, check: Callable[[str], object] = has_gpu) -> Iterable[str]:
    try:
        check(value)
    except ValueError as fault:
        yield f"{field}: {fault}"
