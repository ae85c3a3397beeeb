"""Many values of a metric as few: those that are close to each other as their mean, as often as there were."""

import math
from collections import Counter, defaultdict

FACTORS = (1.001, 1.02, 1.1, 1.3, 2.0)  # how far apart values of one bin may be; CloudWatch's own bins are 1.1 wide


def merged(values: Counter[float], most: int) -> Counter[float]:
    """At most `most` values, or as few as bins of the widest kind make. Number and sum stay the same."""
    found = values
    for factor in FACTORS:
        if len(found) <= most:
            break
        found = _binned(values, math.log(factor))
    return found


def _binned(values: Counter[float], width: float) -> Counter[float]:
    bins: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for value, number in values.items():
        # Around zero a bin of its own: latencies in microseconds, shares in percent are not told apart there.
        bins[round(math.copysign(math.log(abs(value)) / width, value)) if abs(value) > 1 else 0].append((value, number))
    means: Counter[float] = Counter()
    for each in bins.values():
        number = sum(count for _, count in each)
        means[sum(value * count for value, count in each) / number] += number
    return means
