"""One side's synthesis: a process of its own in the folder of that side, or what it said the last time.

Nothing is looked up and no credential is needed. A side is remembered by the hash of its tree, what was synthesised of
it, and with which tools.
"""

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from review import stand_ins
from review.assembly import Assembly, read_assembly
from review.trees import ReviewError

Json = dict[str, Any]

DELIVERY = "delivery"
"""The stage beside the environments: whom the accounts trust to deploy."""
SYNTHESISE = Path(__file__).with_name("synthesise.py")
REFUSED = 3
"""Its exit code where the project refused, with the reason on standard output."""
LONGEST_SYNTHESIS_S = 300
MOST_REMEMBERED = 40
"""Some three megabytes each."""
UNFINISHED_S = 24 * 3600


class RefusedError(ReviewError):
    """One side could not be synthesised: the message is that side's own."""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """One side, laid out."""

    folder: Path
    called: str
    """`base main`: how messages name it."""
    hash: str
    settings: Json
    """Environment → its settings, and those of `delivery`."""
    pins: Json
    """As committed."""


def settings_of(folder: Path, called: str) -> Json:
    """What environments.py of a side says. Raises RefusedError."""
    told: Json = json.loads(_answer(_start(folder, "settings"), called))
    return told


def pins_of(folder: Path) -> Json:
    """The pins as committed; a broken one is told by the synthesis."""
    found = {}
    for path in sorted((folder / "releases").glob("*.json")):
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError):
            found[path.stem] = {}
    return found


class Synthesis:
    """Started, waited for, and ended, whatever happens to the other."""

    def __init__(self, tree: Tree, wanted: Sequence[str], unserved: Sequence[str], cache: Path) -> None:
        """`unserved`: environments without a release, which get a stand-in."""
        self._tree, self._wanted = tree, wanted
        self._unserved = [name for name in unserved if name in tree.settings]
        told = json.dumps([tree.hash, sorted(wanted), sorted(self._unserved), _tools()])
        self._result = cache / f"{tree.hash[:16]}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        self._cache = cache
        self._process: subprocess.Popen[str] | None = None
        self._scratch: Path | None = None

    def start(self) -> None:
        if self._result.exists() or not self._wanted:
            return
        releases = self._tree.folder / "releases"
        for file in list(releases.glob("*.json")) if releases.is_dir() else []:
            if file.stem.split(".")[0] not in self._wanted:
                file.unlink()  # of an environment that is not synthesised: app.py would call it a stranger
        releases.mkdir(exist_ok=True)
        for name in self._unserved:
            if name != DELIVERY:  # synthesise.py's own
                pin = stand_ins.stand_in(self._tree.settings[name], stand_ins.pin_schema(self._tree.folder))
                (releases / f"{name}.json").write_text(json.dumps(pin), encoding="utf-8")
        self._cache.mkdir(parents=True, exist_ok=True)
        self._scratch = Path(tempfile.mkdtemp(prefix="synth-", dir=self._cache))
        self._process = _start(self._tree.folder, "synth", str(self._scratch), ",".join(self._wanted))

    def result(self) -> Assembly:
        """Raises RefusedError."""
        if self._process is not None and self._scratch is not None:
            _answer(self._process, self._tree.called)
            facts = self._scratch / "facts.json"
            told = json.loads(facts.read_text(encoding="utf-8"))
            facts.write_text(json.dumps(told | {"pins": self._tree.pins, "stand_ins": self._unserved}), "utf-8")
            if self._result.exists():  # the other side is the same tree
                shutil.rmtree(self._scratch)
            else:
                self._scratch.rename(self._result)
                self._forget()
        if not self._wanted:
            return Assembly(stacks={}, assets={}, settings=self._tree.settings, pins=self._tree.pins)
        return read_assembly(self._result)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _forget(self) -> None:
        """What was remembered longest ago, and what a killed review left. Of one that runs now nothing is that old."""
        remembered = sorted(self._cache.glob("*-*/facts.json"), key=_age, reverse=True)
        unfinished = [one for one in self._cache.glob("synth-*") if _age(one) > UNFINISHED_S]
        for folder in (*(facts.parent for facts in remembered[:-MOST_REMEMBERED]), *unfinished):
            shutil.rmtree(folder, ignore_errors=True)


def _age(path: Path) -> float:
    """Seconds; none of what another review has taken away meanwhile."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _start(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """The side's own app.py, with nothing of the AWS that the person at the keyboard uses."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_", "PYTHON"))}
    environ = kept | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CDK_VALIDATION": "false",  # CloudFormation's own rules: cfn-lint is stricter, and runs on what changed
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
    }
    return subprocess.Popen(
        [sys.executable, str(SYNTHESISE), *arguments],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _answer(process: "subprocess.Popen[str]", called: str) -> str:
    try:
        out, errors = process.communicate(timeout=LONGEST_SYNTHESIS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise RefusedError(f"{called} was not synthesised in {LONGEST_SYNTHESIS_S} s") from None
    if process.returncode:
        said = out if process.returncode == REFUSED else errors.strip().rpartition("\n")[2]
        raise RefusedError(f"{called} cannot be synthesised: {said.strip() or 'it said nothing'}")
    return out


def _tools() -> list[str]:
    """What a synthesis depends on beside the tree."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("aws-cdk-lib", "constructs", "cdk-nag")]
    ours = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in (SYNTHESISE, stand_ins.__file__)]
    return [*versions, sys.version, *ours]
