"""Who judges: the base's own review, where a change is of the review. Else whoever changes a rule is judged by it."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from review.paths import JUDGES, is_among
from review.trees import Side, blobs, blobs_on_disk, laid_out

Judge = Literal["base", "head", "neither"]

ROOT = Path(__file__).resolve().parent.parent
JUDGE = "AMPLIFY_REVIEW_JUDGE"
"""`own` in a review that another one started: a base from before knows no option that would say it."""
ANSWERS = (0, 1, 3)


def judge_of(repository: Path, base: Side, head: Side) -> Judge:
    """Whose review this is that runs: told by its files, not by whoever started it."""
    running = blobs_on_disk(repository, ROOT, JUDGES)
    if running == blobs(repository, base, JUDGES):
        return "base"
    return "head" if running == blobs(repository, head, JUDGES) else "neither"


def review_by_base(
    repository: Path, base: Side, arguments: list[str], node_modules: Path, say: Callable[[str], None]
) -> int | None:
    """The exit code of the base's own review with these arguments; None where it has none, or it does not come to an
    end, and then says why."""
    with laid_out(repository, base) as folder:
        if not (folder / "review" / "__main__.py").is_file():
            say("The base has no review of its own.")
            return None
        (folder / "node_modules").symlink_to(node_modules)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [sys.executable, "-m", "review", *arguments],
            cwd=folder,
            env=kept | {JUDGE: "own"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in ANSWERS or not done.stdout:
            say(f"The base's own review did not come to an end: {done.stderr.strip().rpartition(chr(10))[2]}")
            return None
        for line in done.stdout.splitlines():
            say(line)
        return done.returncode


def judges_change(changed: Sequence[str]) -> bool:
    return any(is_among(path, JUDGES) for path in changed)
