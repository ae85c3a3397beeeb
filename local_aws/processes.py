"""Processes by identity. A process id alone is reused: it names a process only together with its start time.

Standard library only: the supervisor of a container starts in a blink because of it.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PROC = Path("/proc/self/stat")  # Linux has it, and a slim image of it may lack `ps`; elsewhere `ps` is asked


@dataclass(frozen=True)
class Process:
    """One process of this machine, since it was booted. `started` is opaque: compare it only."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """The process that now has `pid`. Raises ProcessLookupError where none runs."""
        started = start_time(pid)
        if started is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(pid, started)

    def runs(self) -> bool:
        """Whether it is still alive. A zombie is not, once its last thread let go of its files and ports."""
        return start_time(self.pid) == self.started

    def signal(self, number: int) -> bool:
        """Send a signal, to it and to no later owner of its id. Returns whether there was anyone to send it to."""
        if not self.runs():
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return True


def start_time(pid: int) -> str | None:
    """When the process began, in the words of this system; None where none is alive under that id."""
    if not PROC.exists():
        return _start_time_of_ps(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    if state == "X" or (state == "Z" and not _has_threads(pid)):
        return None
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}:{fields[18]}"  # field 22 of proc(5), in ticks since that boot


def _has_threads(pid: int) -> bool:
    """Whether threads outlive the first one of a killed process, for the moment that it takes to end them."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
    return False


def _start_time_of_ps(pid: int) -> str | None:
    environment = {**os.environ, "LC_ALL": "C"}
    answer = subprocess.run(
        ["ps", "-o", "state=,lstart=", "-p", str(pid)], env=environment, capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return None if len(answer) < 2 or answer[0].startswith("Z") else answer[1].strip()


def descendants(pid: int) -> list[Process]:
    """All processes below `pid`, whatever group or session they moved to; parents before children."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    queue = [pid]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    processes = ((child, start_time(child)) for child in found)
    return [Process(child, started) for child, started in processes if started is not None]


def _parents() -> Iterator[tuple[int, int]]:
    """(process, its parent) of all processes."""
    if not PROC.exists():
        table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
        yield from ((int(pid), int(parent)) for pid, parent in map(str.split, table.splitlines()))
        return
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            yield int(folder.name), int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])


def with_variable(name: str, beginning: str) -> list[Process]:
    """All processes whose environment gives `name` a value that begins so, as far as this system lets us see."""
    wanted = f"{name}={beginning}"
    processes = ((pid, start_time(pid)) for pid, variables in _environments() if wanted in variables)
    return [Process(pid, started) for pid, started in processes if started is not None]


def _environments() -> Iterator[tuple[int, str]]:
    """(process, its environment and perhaps more, as one text)."""
    if not PROC.exists():
        table = subprocess.run(
            ["ps", "-A", "-E", "-ww", "-o", "pid=,command="], capture_output=True, check=False
        ).stdout
        for line in table.decode(errors="replace").splitlines():
            pid, _, text = line.strip().partition(" ")
            yield int(pid), text
        return
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked, or is another person's
            yield int(folder.name), (folder / "environ").read_text(errors="replace")


def kill(processes: Iterable[Process]) -> None:
    for process in processes:
        process.signal(signal.SIGKILL)


def wait_until(condition: Callable[[], bool], seconds: float, *, every: float = 0.05) -> bool:
    """Whether `condition` became true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
