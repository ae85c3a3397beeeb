"""Changes of the real source tree, each synthesised for real: a copy of what is deployed, edited, and compared.

A planted change is synthesised by the same program that a review uses (review/synthesise.py), in a process of its own
and for one environment only; git is left out, so that a run of all takes minutes. test_review.py goes the whole way.
"""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from review.assembly import Assembly, read_assembly
from review.compare import Review, compare
from review.remarks import Remark
from review.rules import AREAS, LEVELS, Area, Level
from review.synthesis import REFUSED, SYNTHESISE

ROOT = Path(__file__).parents[2]
DEPLOYED = ("app.py", "cdk.json", "environments.py", "stacks", "lambda_code", "model_code", "operate")
ACCEPTED = ("tests/stacks", "tests/conftest.py")
"""Where the reasons for findings are."""

Edit = tuple[str, str, str]
"""File, what stands there (exactly once), what shall stand there."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """One change and what a review must say of it."""

    name: str
    edits: tuple[Edit, ...]
    environment: str = "prod"
    expect: Mapping[Area, Level] = field(default_factory=dict)
    """Areas that are not ok. Every other one must be."""
    says: str = ""
    """What stands in a remark."""
    starts_from: str = ""
    """The variant of the tree that is the base; the tree as it is, if not given."""

    @property
    def verdict(self) -> Level:
        return max(self.expect.values(), key=LEVELS.index, default="ok")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the review said."""

    planted: Planted
    review: Review

    @property
    def misses(self) -> list[str]:
        """Where it said less than it should."""
        found = [
            f"{which}: {self.review.level_of(which)}, wanted {wanted}"
            for which, wanted in self.planted.expect.items()
            if LEVELS.index(self.review.level_of(which)) < LEVELS.index(wanted)
        ]
        if self.planted.says and not any(self.planted.says in remark.what for remark in self.review.remarks):
            found.append(f"nothing says {self.planted.says!r}")
        return found

    @property
    def false_alarms(self) -> list[str]:
        """Where it said more than it should."""
        return [
            f"{which}: {self.review.level_of(which)}, wanted {wanted}"
            for which in AREAS
            if LEVELS.index(self.review.level_of(which)) > LEVELS.index(wanted := self.planted.expect.get(which, "ok"))
        ]

    @property
    def false_stop(self) -> bool:
        """Whether it stops what should not be stopped."""
        return self.review.level_of() == "stop" and self.planted.verdict != "stop"


def outcome(planted: Planted, variants: Mapping[str, tuple[Edit, ...]]) -> Outcome:
    """Plant it and review it."""
    start = variants[planted.starts_from] if planted.starts_from else ()
    base = _base(start, planted.environment)
    head = synthesised((*start, *planted.edits), planted.environment)
    return Outcome(planted=planted, review=reviewed(base, head, planted.environment))


def reviewed(base: Assembly, head: Assembly | str, environment: str) -> Review:
    """The review of two sides; of a head that was refused, what report.py says of one."""
    if isinstance(head, str):
        remark = Remark(rule="policy.refused", environment="", stack="", what=head)
        return Review(base="base", head="head", remarks=[remark], refusal=head)
    return compare(base, head, [environment], ("base", "head"), ROOT / "node_modules")


@functools.cache
def _base(edits: tuple[Edit, ...], environment: str) -> Assembly:
    side = synthesised(edits, environment)
    assert isinstance(side, Assembly), side
    return side


def synthesised(edits: tuple[Edit, ...], environment: str) -> Assembly | str:
    """The assembly of an edited tree; where it is refused, the reason."""
    with tree() as folder, tempfile.TemporaryDirectory(prefix="amplify-planted-") as out:
        for file, old, new in edits:
            edit(folder / file, old, new)
        pins = {}
        for pin in sorted((folder / "releases").glob("*.json")):
            with contextlib.suppress(json.JSONDecodeError):
                pins[pin.stem] = json.loads(pin.read_text(encoding="utf-8"))
            if pin.stem != environment:
                pin.unlink()
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_", "PYTHON"))}
        done = subprocess.run(
            [sys.executable, str(SYNTHESISE), "synth", out, environment],
            cwd=folder,
            env=environ | {"CDK_VALIDATION": "false", "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return done.stdout.strip() if done.returncode == REFUSED else done.stderr.strip().splitlines()[-1]
        return replace(read_assembly(Path(out)), pins=pins)


def edit(path: Path, old: str, new: str) -> None:
    """Exactly one place; a planted change that no longer fits must not pass for one that was found harmless."""
    text = path.read_text(encoding="utf-8")
    count = text.count(old)
    assert count == 1, f"{path.name} holds {count} times, not once: {old!r}"
    path.write_text(text.replace(old, new), encoding="utf-8")


@contextmanager
def tree() -> Iterator[Path]:
    """A copy of all that is deployed, with a release in every environment."""
    with tempfile.TemporaryDirectory(prefix="amplify-tree-") as name:
        folder = Path(name)
        skip = shutil.ignore_patterns("__pycache__", "*.pyc")
        for part in (*DEPLOYED, *ACCEPTED):
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=skip)
            else:
                (folder / part).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, folder / part)
        shutil.copytree(ROOT / "tests" / "stacks" / "releases", folder / "releases")
        yield folder
