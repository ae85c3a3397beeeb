"""`make test-review`: plants every change of the table, or those whose names are given, and counts."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.review.planted import TABLE, VARIANTS
from tests.review.workshop import Outcome, outcome

AT_ONCE = 2  # each is a process with Node beside it


def main(names: list[str]) -> int:
    """The exit code: 0 where nothing was missed and nothing stopped in vain."""
    begun = time.monotonic()
    chosen = [planted for planted in TABLE if not names or planted.name in names]
    with ThreadPoolExecutor(AT_ONCE) as workers:
        outcomes = []
        for found in workers.map(lambda planted: outcome(planted, VARIANTS), chosen):
            outcomes.append(found)
            print(line(found), flush=True)
    caught = sum(not found.misses for found in outcomes)
    stops = sum(found.false_stop for found in outcomes)
    alarms = sum(bool(found.false_alarms) for found in outcomes)
    print(f"{time.monotonic() - begun:.0f} s; {alarms} said more than they should")
    print(f"planted {len(outcomes)} caught {caught} false stops {stops}")
    return int(caught < len(outcomes) or stops > 0 or alarms > 0)


def line(found: Outcome) -> str:
    """One planted change, and what was wrong with its review."""
    wrong = [f"missed: {', '.join(found.misses)}"] if found.misses else []
    wrong += [f"too much: {', '.join(found.false_alarms)}"] if found.false_alarms else []
    said = "; ".join(wrong) or found.review.level_of()
    return f"{'✗' if wrong else '✓'} {found.planted.name:<50} {said}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
