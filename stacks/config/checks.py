"""The checks that settings share: each yields what is wrong, the value given and the value wanted."""

import re
from collections.abc import Callable, Iterable, Sequence

from stacks.instance_types import has_gpu


class SettingsError(ValueError):
    """Settings that cannot work. The message has a line for every fault: its place, the value given, the one wanted."""


def raise_if_any(where: str, faults: Sequence[str]) -> None:
    if faults:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise SettingsError("\n  ".join([f"{where} has {count}:", *faults]))


def not_matching(field: str, value: object, pattern: str, wanted: str) -> Iterable[str]:
    if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
        yield f"{field} is {value!r}: give {wanted}"


def not_one_of(field: str, value: object, wanted: tuple[str, ...]) -> Iterable[str]:
    if value not in wanted:
        yield f"{field} is {value!r}: give {' or '.join(wanted)}"


def out_of_range(field: str, value: object, low: int, high: int) -> Iterable[str]:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        yield f"{field} is {value!r}: give a whole number from {low} to {high}"


def unknown_instance_type(field: str, value: object, check: Callable[[str], object] = has_gpu) -> Iterable[str]:
    if not isinstance(value, str):
        yield f"{field} is {value!r}: give an instance type such as ml.g5.xlarge"
        return
    try:
        check(value)
    except ValueError as fault:
        yield f"{field}: {fault}"


def not_a_schedule(field: str, value: object) -> Iterable[str]:
    """The recurring expressions of EventBridge Scheduler.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
    """
    wanted = "give rate(<number> minutes | hours | days) or cron(<minute> <hour> <day> <month> <day of week> <year>)"
    found = re.fullmatch(r"(rate|cron)\((.*)\)", value) if isinstance(value, str) else None
    if found is None:
        yield f"{field} is {value!r}: {wanted}"
    elif found[1] == "rate":
        if re.fullmatch(r"[1-9]\d* (minute|hour|day)s?", found[2]) is None:
            yield f"{field} is {value!r}: {wanted}"
    else:
        yield from _not_cron(field, value, found[2].split(" "))


_CRON_FIELD = r"(\*|{value}(-{value})?)(/[1-9]\d*)?(,(\*|{value}(-{value})?)(/[1-9]\d*)?)*"
_CRON_VALUES = {  # field → one value of it, and whether `?` may stand for "any"
    "minute": (r"[0-5]?\d", False),
    "hour": (r"([01]?\d|2[0-3])", False),
    "day": (r"(L|(0?[1-9]|[12]\d|3[01])W?)", True),
    "month": (r"(0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)", False),
    "day of week": (r"([1-7]|SUN|MON|TUE|WED|THU|FRI|SAT)(L|#[1-5])?", True),
    "year": (r"(20|21)\d\d", False),
}


def _not_cron(field: str, value: object, given: list[str]) -> Iterable[str]:
    if len(given) != len(_CRON_VALUES):
        yield f"{field} is {value!r}: give the six fields of cron, {', '.join(_CRON_VALUES)}; these are {len(given)}"
        return
    for (name, (one, optional)), text in zip(_CRON_VALUES.items(), given, strict=True):
        pattern = _CRON_FIELD.format(value=one)
        if not (optional and text == "?") and re.fullmatch(pattern, text) is None:
            yield f"{field} is {value!r}: {text!r} is no {name} of a cron expression"
        elif text.count("#") > 1:
            yield f"{field} is {value!r}: {text!r} names two days by #; give one"
        elif backwards := [one for one in re.findall(r"(\d+)-(\d+)", text) if int(one[0]) > int(one[1])]:
            yield f"{field} is {value!r}: {'-'.join(backwards[0])} runs backwards; give the smaller {name} first"
    if [given[2], given[4]].count("?") != 1:
        yield f"{field} is {value!r}: give ? for one of day and day of week, and the other one a value"
