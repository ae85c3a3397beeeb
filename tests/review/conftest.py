"""What several files here begin with."""

import shutil
from pathlib import Path

import pytest

from tests.review.histories import commit, git
from tests.review.workshop import tree


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of its own with everything that is deployed, and no release anywhere."""
    folder = tmp_path_factory.mktemp("repository")
    with tree() as source:
        shutil.copytree(source, folder, dirs_exist_ok=True)
    for pin in (folder / "releases").glob("*.json"):
        pin.unlink()
    (folder / "releases" / "README.md").write_text("pins\n")
    (folder / ".gitignore").write_text("__pycache__/\n")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, "base")
    return folder
