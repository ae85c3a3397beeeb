"""What the server says about itself: Prometheus text for `/metrics`, and one JSON line for each event on stdout.

Neither ever holds a sequence, a name of a protein or an error message that quotes one: they are people's secrets.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping

BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0)


def log(event: str, **values: object) -> None:
    """One line of JSON on stdout, which SageMaker hands to CloudWatch Logs."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(json.dumps({"time": stamp, "event": event, **values}), flush=True)


class Telemetry:
    """Counts of requests and their times, by task."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: Counter[tuple[str, float]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._waited_s = 0.0

    def request(self, task: str, status: int, seconds: float, waited_s: float) -> None:
        """Count one answered request; `waited_s` is its time in the queue."""
        self._requests[task, status] += 1
        self._seconds[task] += seconds  # type: ignore[assignment]  # a Counter adds floats as well
        self._waited_s += waited_s
        for bound in BUCKETS_S:
            self._buckets[task, bound] += seconds <= bound

    def prometheus(self, more: Mapping[str, float]) -> str:
        """Prometheus' text format, version 0.0.4. Names of `more` that end in `_total` are counters, others gauges."""
        lines = ["# TYPE amplify_requests_total counter"]
        for (task, status), count in sorted(self._requests.items()):
            lines.append(f'amplify_requests_total{{task="{task}",status="{status}"}} {count}')
        lines.append("# TYPE amplify_request_seconds histogram")
        for task, seconds in sorted(self._seconds.items()):
            count = sum(n for (name, _), n in self._requests.items() if name == task)
            for bound in BUCKETS_S:
                lines.append(
                    f'amplify_request_seconds_bucket{{task="{task}",le="{bound}"}} {self._buckets[task, bound]}'
                )
            lines.append(f'amplify_request_seconds_bucket{{task="{task}",le="+Inf"}} {count}')
            lines.append(f'amplify_request_seconds_sum{{task="{task}"}} {seconds}')
            lines.append(f'amplify_request_seconds_count{{task="{task}"}} {count}')
        for name, value in {"queue_wait_seconds_total": self._waited_s, **more}.items():
            lines.append(f"# TYPE amplify_{name} {'counter' if name.endswith('_total') else 'gauge'}")
            lines.append(f"amplify_{name} {value}")
        return "\n".join(lines) + "\n"
