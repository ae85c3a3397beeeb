"""Holds one container's process: `python -m local_aws.supervisor <record> <folder> <command...>`.

It stands between the server and the command so that nothing outlives either of them:

* its standard input is a pipe from the server. The end of that pipe means that the server is gone, even by `kill -9`,
  and everything is killed at once: nobody is left who could take the results. The line `stop 30` means what
  `docker stop` does: SIGTERM to the command, SIGKILL after 30 seconds; `stop 0` is SIGKILL and nothing before it.
* when the command ends, what it left running is killed, as in a container whose first process ended. On Linux orphans
  come to the supervisor, also those that began a session of their own (torchrun's workers do); elsewhere the command's
  group is killed.
* should the supervisor itself be killed, Linux kills the command with it; and `record`, which holds both processes'
  ids and start times, tells the next server what to look for.

Ends with the command's exit code, 128 + the signal's number where a signal ended it, and 127 where it could not start.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from local_aws.processes import Process, descendants, kill

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
LINUX = sys.platform == "linux"
LIBC = ctypes.CDLL(None) if LINUX else None


def main(arguments: list[str]) -> int:
    record, folder, *command = arguments
    if LIBC is not None:
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler must exist for the wake-up to be written
    told_to_end: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told_to_end.append(number))
    try:
        # The preexec function is safe: this process has one thread.
        child = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_supervisor
        )
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return 127
    _write_record(Path(record), child.pid)
    try:
        code = _hold(child, wake_reader, told_to_end)
    finally:
        _kill_all(child)
        with contextlib.suppress(ChildProcessError):  # until no orphan is left to be buried
            while os.waitpid(-1, 0):
                pass
        Path(record).unlink(missing_ok=True)
    return code if code >= 0 else 128 - code


def _die_with_supervisor() -> None:
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _write_record(path: Path, child: int) -> None:
    """Whole or not at all: a server may be reading."""
    processes = [asdict(Process.of(os.getpid()))]
    with contextlib.suppress(ProcessLookupError):  # it may have ended already
        processes.append(asdict(Process.of(child)))
    new = path.with_suffix(".new")
    new.write_text(json.dumps(processes))
    new.replace(path)


def _hold(child: subprocess.Popen[bytes], wake: int, told_to_end: list[int]) -> int:
    """Wait for the end of the command, or bring it about as the server says. Returns its code, negative for signals."""
    deadline: float | None = None
    while (code := child.poll()) is None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([0, wake], [], [], left)
        if wake in ready:
            os.read(wake, 4096)
        if told_to_end:
            return _end(child)
        if 0 in ready:
            order = os.read(0, 4096).decode()
            if not order:
                return _end(child)
            graces = [float(line.split()[1]) for line in order.splitlines()]
            if deadline is None and min(graces) > 0:
                child.terminate()
            ends = [time.monotonic() + grace for grace in graces]
            deadline = min(ends if deadline is None else [deadline, *ends])  # whoever is in a hurry may say so later
        elif deadline is not None and time.monotonic() >= deadline:
            return _end(child)
    return code


def _end(child: subprocess.Popen[bytes]) -> int:
    _kill_all(child)
    return child.wait()


def _kill_all(child: subprocess.Popen[bytes]) -> None:
    """The command, its group, and all that came from it. Again until nothing new appears: a dying one may yet fork."""
    while True:
        below = descendants(os.getpid() if LINUX else child.pid)
        if not LINUX:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        child.poll()
        running = [process for process in below if process.runs()]
        kill(running)
        if not running:
            return
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
