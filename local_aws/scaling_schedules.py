"""Schedules of scaling: `at(…)` once, `rate(…)` again and again, `cron(…)` by the clock of a time zone."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from local_aws.ministack_hooks.services import next_of_cron

RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")


def next_time(expression: str, zone: str, *, after: float) -> float | None:
    """When a schedule comes next after a moment, in seconds since 1970; None where it does not.

    Raises ValueError where it is no schedule, or the zone is none.
    """
    try:
        local = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"Timezone is {zone!r}: give one such as Europe/Berlin") from error
    if match := AT.fullmatch(expression):
        at = datetime.fromisoformat(match[1]).replace(tzinfo=local).timestamp()
        return at if at > after else None
    if match := RATE.fullmatch(expression):
        every = timedelta(**{f"{match[2]}s": int(match[1])}).total_seconds()
        if every <= 0:
            raise ValueError(f"{expression!r} is no schedule: give a number above 0")
        return after + every
    if not expression.startswith("cron("):
        raise ValueError(f"{expression!r} is no schedule: give at(…), rate(…) or cron(…)")
    found = next_of_cron(expression, datetime.fromtimestamp(after, UTC).astimezone(local))
    return None if found is None else found.timestamp()
