"""The two sides of a review as git has them: trees of files, and what differs between them."""

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

LINKS = ("120000", "160000")
"""Modes in a tree: a symbolic link, a submodule."""


class ReviewError(Exception):
    """There is no review, and why."""


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
    return _at(repository, ref, commit)


def working_tree(repository: Path) -> Side:
    """What lies on disk and git does not ignore, committed or not."""
    with tempfile.TemporaryDirectory(prefix="amplify-review-") as folder:
        environ = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _git(repository, "read-tree", "HEAD", environ=environ)
        _git(repository, "add", "--all", "--", ".", environ=environ)
        return Side(name="working tree", tree=_git(repository, "write-tree", environ=environ), commit=None)


def parted(repository: Path, base: Side, head: Side) -> Side | None:
    """The base as it was where head parted from it: what came to the base meanwhile, head does not undo.

    None where git knows of no such commit (a shallow clone, two histories).
    """
    assert base.commit is not None
    found = _run(repository, "merge-base", base.commit, head.commit or "HEAD")
    commit = found.stdout.strip()
    if found.returncode:
        return None
    if commit == base.commit:
        return base
    return replace(_at(repository, base.name, commit), name=f"{base.name} at")


def changed_paths(repository: Path, base: Side, head: Side) -> list[str]:
    """Files that differ; by NUL, as git quotes names that are not ASCII otherwise."""
    told = _names(repository, "diff-tree", "-r", "-z", "--name-only", "--no-renames", base.tree, head.tree)
    return [path for path in told if path]


def new_links(repository: Path, base: Side, head: Side) -> list[str]:
    """Entries of head that are no files, and differ: symbolic links and submodules, whose content no tree holds."""
    told = _names(repository, "diff-tree", "-r", "-z", "--raw", "--no-renames", base.tree, head.tree)
    pairs = zip(told[::2], told[1::2], strict=False)  # `:<mode before> <mode> <hash before> <hash> <letter>`, path
    return [path for what, path in pairs if what.split(" ")[1] in LINKS]


def content(repository: Path, side: Side, path: str) -> str | None:
    """A file of a side; None where it has none of that name."""
    found = _run(repository, "cat-file", "blob", f"{side.tree}:{path}")
    return None if found.returncode else found.stdout


def names_below(repository: Path, side: Side, folder: str) -> list[str]:
    """The paths of a side's files below a folder."""
    return [*blobs(repository, side, [f"{folder}/"])]


def blobs(repository: Path, side: Side, parts: Sequence[str]) -> dict[str, str]:
    """The files of a side at and below these paths, and git's hash of each."""
    told = [entry.partition("\t") for entry in _names(repository, "ls-tree", "-r", "-z", side.tree, "--", *parts)]
    return {path: what.split(" ")[2] for what, _, path in told if path}  # `<mode> blob <hash>`


def blobs_on_disk(repository: Path, root: Path, parts: Sequence[str]) -> dict[str, str]:
    """The same of files that lie there, but for what Python leaves beside them."""
    found = [file for part in parts for file in (root / part, *(root / part).rglob("*"))]
    files = sorted(file for file in found if file.is_file() and file.suffix != ".pyc")
    hashes = _git(repository, "hash-object", "--no-filters", "--", *[str(file) for file in files]).split()
    return {file.relative_to(root).as_posix(): hash_ for file, hash_ in zip(files, hashes, strict=True)}


@contextmanager
def laid_out(repository: Path, side: Side) -> Iterator[Path]:
    """All files of a tree in a temporary folder, as a checkout of it lays them out, by its own .gitattributes. Not by
    `git archive`, which these can tell what to leave out."""
    with (
        tempfile.TemporaryDirectory(prefix="amplify-review-") as folder,
        tempfile.TemporaryDirectory(prefix="amplify-review-index-") as index,
    ):
        directory = _git(repository, "rev-parse", "--absolute-git-dir")
        environ = {"GIT_DIR": directory, "GIT_WORK_TREE": folder, "GIT_INDEX_FILE": str(Path(index) / "index")}
        _git(Path(folder), "read-tree", side.tree, environ=environ)
        _git(Path(folder), "checkout-index", "--all", environ=environ)
        yield Path(folder)


def _at(repository: Path, name: str, commit: str) -> Side:
    return Side(name=name, tree=_git(repository, "rev-parse", f"{commit}^{{tree}}"), commit=commit)


def _git(repository: Path, *arguments: str, environ: Mapping[str, str] | None = None, wrong: str = "") -> str:
    done = _run(repository, *arguments, environ=environ)
    if done.returncode:
        raise ReviewError(wrong or f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def _names(repository: Path, *arguments: str) -> list[str]:
    """What git lists by NUL."""
    done = _run(repository, *arguments)
    if done.returncode:
        raise ReviewError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.split("\0")


def _run(
    repository: Path, *arguments: str, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["git", "-C", str(repository), *arguments],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        env=os.environ | (environ or {}),
    )
