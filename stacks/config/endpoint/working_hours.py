"""The hours in which an endpoint is wanted; outside of them it shrinks or goes, and is not paid for."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from zoneinfo import available_timezones

from stacks.config.checks import not_matching
from stacks.config.settings import Settings

_DAY = "(MON|TUE|WED|THU|FRI|SAT|SUN)"


@dataclass(frozen=True, kw_only=True)
class WorkingHours(Settings):
    """From `start` to `end` of the same day, on some days of the week."""

    start: str = "07:00"
    """Hour and minute, in the time zone."""

    end: str = "20:00"
    """Hour and minute of the same day."""

    days: str = "MON-FRI"
    """Days as cron expressions have them: MON-FRI, or MON,WED,FRI."""

    time_zone: str = "UTC"
    """A name of the IANA time-zone database such as Europe/Berlin. Summer time is kept."""

    @property
    def opening(self) -> str:
        """The cron expression of the start, for EventBridge Scheduler and Application Auto Scaling alike."""
        return self._cron(self.start)

    @property
    def closing(self) -> str:
        """The cron expression of the end."""
        return self._cron(self.end)

    def _cron(self, time: str) -> str:
        hour, minute = time.split(":")
        return f"cron({int(minute)} {int(hour)} ? * {self.days} *)"

    def _faults(self) -> Iterable[str]:
        clock = r"([01]\d|2[0-3]):[0-5]\d"
        for field, value in (("start", self.start), ("end", self.end)):
            yield from not_matching(field, value, clock, "an hour and minute such as 07:00")
        if re.fullmatch(clock, str(self.start)) and re.fullmatch(clock, str(self.end)) and self.start >= self.end:
            yield f"start is {self.start} and end is {self.end}: give an end later on the same day"
        yield from not_matching("days", self.days, f"{_DAY}(-{_DAY}|(,{_DAY})*)", "days such as MON-FRI or MON,WED,FRI")
        wanted = "UTC or a name of the IANA database such as Europe/Berlin"
        known = available_timezones()  # none, on a machine without the database: then the form has to do
        if known and isinstance(self.time_zone, str) and self.time_zone not in known:
            yield f"time_zone is {self.time_zone!r}: give {wanted}"
        else:
            zone = r"UTC|[A-Z][A-Za-z_]+(/[A-Z][A-Za-z0-9_+-]+){1,2}"
            yield from not_matching("time_zone", self.time_zone, zone, wanted)
