"""Which commit the code in an image is of: told from the bytes, not from what somebody said.

An image is tagged with the SHA-256 of its code bundle, and the same files make the same bundle (stacks/bundle.py). So
the commit is the one whose `model_code/` makes it.
"""

import hashlib
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path

from stacks.bundle import archive

CODE = "model_code"
MOST_COMMITS = 200  # that changed the code, newest first: a release of older code has to be looked for by hand


def code_commit(repository: Path, code_bundle: str) -> str | None:
    """The last commit that changed `model_code/` to what makes this bundle; None where there is none in the history of
    the branch that is checked out, or no git."""
    changed = ["log", "--format=%H", f"--max-count={MOST_COMMITS}", "--", CODE]
    for commit in (_git(repository, *changed) or b"").decode().split():
        if _bundle_of(repository, commit) == code_bundle:
            return commit
    return None


def _bundle_of(repository: Path, commit: str) -> str | None:
    files = _git(repository, "archive", "--format=tar", commit, CODE)
    if files is None:
        return None
    with tempfile.TemporaryDirectory(prefix="amplify-commit-") as folder:
        with tarfile.open(fileobj=io.BytesIO(files)) as tar:
            tar.extractall(folder, filter="data")
        try:
            return hashlib.sha256(archive(Path(folder) / CODE)).hexdigest()
        except ValueError:  # a link, or no file: no image was ever built of that
            return None


def _git(repository: Path, *arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
