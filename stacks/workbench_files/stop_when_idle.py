"""Stops this notebook instance once nobody has used it for a while. Run every few minutes, by root, on the notebook.

    python3 stop_when_idle.py <idle minutes>

Needs what the notebook has: Python's standard library (3.7 or newer) and the AWS command line. Jupyter is asked what
runs: a kernel at work is use, and so is a terminal that something was typed or printed in. Where Jupyter gives no
answer for so long, it serves nobody either.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
import urllib.request
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

JUPYTER = "https://localhost:8443/api/"
ABOUT_THIS_NOTEBOOK = Path("/opt/ml/metadata/resource-metadata.json")
UPTIME = Path("/proc/uptime")


def ask(what: str) -> list[dict[str, Any]] | None:
    """Jupyter's answer; None where it gives none. Its certificate is its own, and the way to it this machine's."""
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(JUPYTER + what, timeout=10, context=unchecked) as answer:  # noqa: S310 - https
            found: list[dict[str, Any]] = json.load(answer)
            return found
    except (OSError, ValueError) as error:
        print(f"Jupyter says nothing of its {what}: {error}")
        return None


def last_use(sessions: list[dict[str, Any]], terminals: list[dict[str, Any]], now: float) -> float:
    """Seconds since 1970 of the last thing that somebody did, 0 for never; `now` where a kernel is at work."""
    kernels = [session["kernel"] for session in sessions if session.get("kernel")]
    if any(kernel["execution_state"] == "busy" for kernel in kernels):
        return now
    return max([seconds(one["last_activity"]) for one in kernels + list(terminals)], default=0)


def seconds(text: str) -> float:
    """
    >>> seconds("2026-11-25T02:30:00.123456Z") - seconds("2026-11-25T02:29:00Z")
    60.0
    """
    whole = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")
    return whole.replace(tzinfo=timezone.utc).timestamp()  # noqa: UP017 - the notebook has Python 3.9


def is_idle(
    idle_minutes: int,
    uptime: float,
    sessions: list[dict[str, Any]] | None,
    terminals: list[dict[str, Any]] | None,
    now: float,
) -> bool:
    """Whether nothing was done for so long: since it was started, by `uptime` in seconds, or since the last use."""
    if uptime < 60 * idle_minutes:
        return False
    if sessions is None:
        return True
    return now - last_use(sessions, terminals or [], now) >= 60 * idle_minutes


def main(idle_minutes: int) -> None:
    uptime = float(UPTIME.read_text().split()[0])
    if is_idle(idle_minutes, uptime, ask("sessions"), ask("terminals"), time.time()):
        arn = json.loads(ABOUT_THIS_NOTEBOOK.read_text())["ResourceArn"]
        print(f"{arn} is idle for {idle_minutes} minutes and stops")
        region, name = arn.split(":")[3], arn.rpartition("/")[2]
        stop = ["aws", "sagemaker", "stop-notebook-instance", "--region", region, "--notebook-instance-name", name]
        subprocess.run(stop, check=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
