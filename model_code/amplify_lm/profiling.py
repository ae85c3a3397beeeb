"""A few steps of training under torch's profiler, on request (recipe setting `profile_steps`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

STEPS_BEFORE = 10  # compilation and first allocations are over then
WARM_UP = 2  # the profiler's own first steps


class Profiler:
    """Records `steps` steps, from the tenth of this process on, and writes them as a trace that Perfetto and Chrome
    (`chrome://tracing`) open. Does nothing where `steps` is 0."""

    def __init__(self, steps: int, output: Path, tell: Callable[[str], None]) -> None:
        self._output, self._tell, self._steps = output, tell, steps
        self._profile: profile | None = None
        if steps:
            activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
            plan = schedule(wait=STEPS_BEFORE - WARM_UP, warmup=WARM_UP, active=steps, repeat=1)
            self._profile = profile(activities=activities, schedule=plan, on_trace_ready=self._write)
            self._profile.start()

    def step(self) -> None:
        """Call at the end of each step."""
        if self._profile is not None:
            self._profile.step()

    def stop(self) -> None:
        """Write what there is, where the run ends before the last step to record."""
        if self._profile is not None:
            self._profile.stop()
            self._profile = None

    def _write(self, recorded: profile) -> None:
        folder = self._output / "profile"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "trace.json.gz"
        recorded.export_chrome_trace(str(path))
        self._tell(f"[train] profile of {self._steps} steps: {path}")
