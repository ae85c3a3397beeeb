"""The two sides of a review: a git tree each, laid out in a temporary folder and synthesised there, once per tree.

Nothing is looked up and no credential is needed. A side is remembered by the hash of its tree, what was synthesised of
it, and with which tools.
"""

import hashlib
import importlib.metadata
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from review.assembly import Assembly, read_assembly
from review.stand_ins import pin_schema, stand_in

Json = dict[str, Any]

DEPLOYED = ("app.py", "cdk.json", "environments.py", "stacks", "lambda_code", "model_code", "operate", "releases")
"""All that a template, an asset or a pin is made of. A change elsewhere deploys nothing."""
PER_ENVIRONMENT = ("environments.py", "releases")
"""Of these, what one environment alone can be touched by."""
JUDGED_BY = ("tests/stacks/test_nag.py",)
"""Where the reasons of accepted findings are: a new reason is read in a review too."""
PACKAGES = ("requirements.txt", "constraints.txt")
"""What synthesises. Both sides are made with what is installed here, so a change of these shows in no template."""
DELIVERED_BY = (".github/workflows", "Makefile", "package.json", "package-lock.json")
"""What runs with the rights to deploy, and is in no template."""
JUDGES = ("review",)
"""What the page itself is made by."""
DELIVERY = "delivery"
"""The stage beside the environments: whom the accounts trust to deploy."""
SYNTHESISE = Path(__file__).with_name("synthesise.py")
REFUSED = 3
"""Its exit code where the project refused, with the reason on standard output."""
LONGEST_SYNTHESIS_S = 300


class ReviewError(Exception):
    """There is no review, and why."""


class RefusedError(ReviewError):
    """One side could not be synthesised: the message is that side's own."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """A commit, or the working tree, as git names it."""

    name: str
    """As it was asked for."""
    tree: str
    """Hash of the git tree."""
    commit: str | None
    """None: the working tree, with what is not committed."""


def side(repository: Path, ref: str) -> Side:
    """The side that a git ref names. Raises ReviewError where there is none."""
    commit = _git(
        repository, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", wrong=f"there is no commit {ref!r}"
    )
    return Side(name=ref, tree=_git(repository, "rev-parse", f"{commit}^{{tree}}"), commit=commit)


def working_tree(repository: Path) -> Side:
    """What lies on disk and git does not ignore, committed or not."""
    with tempfile.TemporaryDirectory(prefix="amplify-review-") as folder:
        environ = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _git(repository, "read-tree", "HEAD", environ=environ)
        _git(repository, "add", "--all", "--", ".", environ=environ)
        return Side(name="working tree", tree=_git(repository, "write-tree", environ=environ), commit=None)


def changed_paths(repository: Path, base: Side, head: Side) -> list[str]:
    """Files that differ; by NUL, as git quotes names that are not ASCII otherwise."""
    told = _git(repository, "diff-tree", "-r", "-z", "--name-only", "--no-renames", base.tree, head.tree)
    return [path for path in told.split("\0") if path]


def synthesise_both(repository: Path, base: Side, head: Side, cache: Path) -> tuple[Assembly, Assembly, list[str]]:
    """Both assemblies, of the touched environments only, and the names of these.

    Raises RefusedError, with the side and its own message, where one cannot be synthesised.
    """
    touched_paths = [path for path in changed_paths(repository, base, head) if is_among(path, (*DEPLOYED, *JUDGED_BY))]
    nothing = Assembly(stacks={}, assets={})
    if not touched_paths:
        return nothing, nothing, []
    with _laid_out(repository, base) as before, _laid_out(repository, head) as after:
        settings = _settings(before, base), _settings(after, head)
        pins = _pins(before), _pins(after)
        known = [name for name in dict.fromkeys([*settings[1], *settings[0]]) if name != DELIVERY]
        wanted = known
        code_is_the_same = all(is_among(path, PER_ENVIRONMENT) for path in touched_paths)
        if code_is_the_same:
            touched = {name for name in known if _differs(name, *settings)}
            elsewhere = {name for name in touched if _is_elsewhere(name, *settings)}
            touched |= {name for name in known if _exchanges_releases(name, elsewhere, *settings)}
            wanted = [name for name in known if name in touched or _pin_differs(name, *pins)]
        served = {name for of_side in pins for name in of_side}
        stand_ins = [name for name in known if name not in served]
        trusting, invented = _delivery(settings, code_is_the_same=code_is_the_same)
        if any(trusting):
            wanted = [*known, DELIVERY]  # it is about all of them
            stand_ins += [DELIVERY] if invented else []
        if not wanted:
            return nothing, nothing, []
        sides = []
        running = [
            _Synthesis(
                folder,
                one,
                [name for name in wanted if name in its and (name != DELIVERY or trusts)],
                [name for name in stand_ins if name in wanted],
                of_side,
                its,
                cache,
            )
            for folder, one, its, of_side, trusts in zip(
                (before, after), (base, head), settings, pins, trusting, strict=True
            )
        ]
        for synthesis in running:
            synthesis.start()
        try:
            sides = [synthesis.result() for synthesis in running]
        finally:
            for synthesis in running:
                synthesis.stop()
        return sides[0], sides[1], wanted


def _delivery(settings: tuple[Json, Json], *, code_is_the_same: bool) -> tuple[tuple[bool, bool], bool]:
    """Which sides' stage of trust is to be compared, and whether both only have that of a stand-in.

    Where nobody trusts a repository yet, a change of the code is reviewed for one that nobody has.
    """
    there = tuple(bool(one.get(DELIVERY)) for one in settings)
    if any(there):
        return ((False, False) if code_is_the_same and settings[0] == settings[1] else (there[0], there[1])), False
    reads = all(DELIVERY in one for one in settings) and not code_is_the_same
    return (reads, reads), reads


class _Synthesis:
    """One side, in a process of its own, or from the cache."""

    def __init__(
        self,
        tree: Path,
        side: Side,
        wanted: Sequence[str],
        stand_ins: Sequence[str],
        pins: Json,
        settings: Json,
        cache: Path,
    ) -> None:
        self._tree, self._side, self._wanted, self._pins, self._settings = tree, side, wanted, pins, settings
        self._stand_ins = [name for name in stand_ins if name in settings]
        told = json.dumps([side.tree, sorted(wanted), sorted(self._stand_ins), _tools()])
        self._result = cache / f"{side.tree[:16]}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        self._cache = cache
        self._process: subprocess.Popen[str] | None = None
        self._scratch: Path | None = None

    def start(self) -> None:
        if self._result.exists() or not self._wanted:
            return
        releases = self._tree / "releases"
        for file in list(releases.glob("*.json")) if releases.is_dir() else []:
            if file.stem.split(".")[0] not in self._wanted:
                file.unlink()  # of an environment that is not synthesised: app.py would call it a stranger
        releases.mkdir(exist_ok=True)
        for name in self._stand_ins:
            if name == DELIVERY:
                continue  # synthesise.py's own
            pin = stand_in(self._settings[name], pin_schema(self._tree))
            (releases / f"{name}.json").write_text(json.dumps(pin), encoding="utf-8")
        self._cache.mkdir(parents=True, exist_ok=True)
        self._scratch = Path(tempfile.mkdtemp(prefix="synth-", dir=self._cache))
        self._process = _start(self._tree, "synth", str(self._scratch), ",".join(self._wanted))

    def result(self) -> Assembly:
        if self._process is not None and self._scratch is not None:
            _answer(self._process, self._side)
            facts = self._scratch / "facts.json"
            told = json.loads(facts.read_text(encoding="utf-8"))
            facts.write_text(json.dumps(told | {"pins": self._pins, "stand_ins": self._stand_ins}), encoding="utf-8")
            if self._result.exists():  # the other side is the same tree
                shutil.rmtree(self._scratch)
            else:
                self._scratch.rename(self._result)
        if not self._wanted:
            return Assembly(stacks={}, assets={}, settings=self._settings, pins=self._pins)
        return read_assembly(self._result)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _settings(tree: Path, side: Side) -> Json:
    return json.loads(_answer(_start(tree, "settings"), side))


def _pins(tree: Path) -> Json:
    """The pins as committed; a broken one is told by the synthesis."""
    found = {}
    for path in sorted((tree / "releases").glob("*.json")):
        try:
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError):
            found[path.stem] = {}
    return found


def _differs(name: str, before: Json, after: Json) -> bool:
    return bool(before.get(name) != after.get(name))


def _is_elsewhere(name: str, *sides: Json) -> bool:
    """Whether what others say of it in their policies is something else now."""
    before, after = ([(side.get(name) or {}).get(key) for key in ("account", "region", "promotion")] for side in sides)
    return before != after


def _exchanges_releases(name: str, touched: set[str], *sides: Json) -> bool:
    """Whether its policies name one of these: whom releases come from, or go to."""
    for settings in sides:
        sources = {one: (its.get("promotion") or {}).get("source") for one, its in settings.items() if its}
        if sources.get(name) in touched or any(sources.get(one) == name for one in touched):
            return True
    return False


def _pin_differs(name: str, before: Json, after: Json) -> bool:
    return any(before.get(stem) != after.get(stem) for stem in (name, f"{name}.shadow"))


def _start(tree: Path, *arguments: str) -> subprocess.Popen[str]:
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
        cwd=tree,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _answer(process: subprocess.Popen[str], side: Side) -> str:
    try:
        out, errors = process.communicate(timeout=LONGEST_SYNTHESIS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise RefusedError(f"{side.name} was not synthesised in {LONGEST_SYNTHESIS_S} s") from None
    if process.returncode:
        said = out if process.returncode == REFUSED else errors.strip().rpartition("\n")[2]
        raise RefusedError(f"{side.name} cannot be synthesised: {said.strip() or 'it said nothing'}")
    return out


@contextmanager
def _laid_out(repository: Path, side: Side) -> Iterator[Path]:
    """The files of a tree in a temporary folder."""
    archive = subprocess.run(
        ["git", "-C", str(repository), "archive", side.tree], capture_output=True, check=True
    ).stdout
    with tempfile.TemporaryDirectory(prefix="amplify-review-") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="tar")
        yield Path(folder)


def is_among(path: str, parts: Sequence[str]) -> bool:
    return any(path == part or path.startswith(f"{part}/") for part in parts)


def _tools() -> list[str]:
    """What a synthesis depends on beside the tree."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("aws-cdk-lib", "constructs", "cdk-nag")]
    return [*versions, sys.version, hashlib.sha256(SYNTHESISE.read_bytes()).hexdigest()]


def _git(repository: Path, *arguments: str, environ: Mapping[str, str] | None = None, wrong: str = "") -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | (environ or {}),
    )
    if done.returncode:
        raise ReviewError(wrong or f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()
