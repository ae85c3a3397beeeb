"""The bundle is the same bytes wherever and whenever it is made, and holds only what people wrote."""

import hashlib
import io
import os
import zipfile
from pathlib import Path

import pytest

from stacks.bundle import archive


def code(folder: Path) -> Path:
    (folder / "amplify_lm").mkdir(parents=True)
    (folder / "launch.py").write_text("print('launch')\n")
    (folder / "amplify_lm" / "model.py").write_text("print('model')\n")
    return folder


def names(bundle: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(bundle)).namelist()


def test_the_same_files_give_the_same_bytes_whatever_their_dates_modes_and_order(tmp_path: Path) -> None:
    one, two = code(tmp_path / "one"), tmp_path / "two"
    (two / "amplify_lm").mkdir(parents=True)
    (two / "amplify_lm" / "model.py").write_text("print('model')\n")
    (two / "launch.py").write_text("print('launch')\n")
    os.utime(two / "launch.py", (0, 0))
    (two / "launch.py").chmod(0o700)
    assert archive(one) == archive(two)


def test_the_bytes_do_not_depend_on_this_machine(tmp_path: Path) -> None:
    digest = hashlib.sha256(archive(code(tmp_path / "code"))).hexdigest()
    assert digest == "cd4e1f0b6763da5f5a9e05f3493a682b3f6ab5103ae7df1db3a3175870445b26"


def test_a_changed_byte_or_name_changes_the_bundle(tmp_path: Path) -> None:
    folder = code(tmp_path / "code")
    before = archive(folder)
    (folder / "launch.py").write_text("print('Launch')\n")
    changed = archive(folder)
    (folder / "launch.py").rename(folder / "start.py")
    assert len({before, changed, archive(folder)}) == 3


def test_caches_hidden_files_and_compiled_code_stay_behind(tmp_path: Path) -> None:
    folder = code(tmp_path / "code")
    for path in (
        "__pycache__/launch.cpython-311.pyc",
        ".mypy_cache/x.json",
        ".DS_Store",
        "a.egg-info/PKG-INFO",
        "b.pyc",
    ):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text("x")
    assert names(archive(folder)) == ["amplify_lm/model.py", "launch.py"]


def test_a_link_is_refused_because_its_target_does_not_travel(tmp_path: Path) -> None:
    folder = code(tmp_path / "code")
    (folder / "secrets.txt").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match=r"secrets\.txt is a link"):
        archive(folder)


@pytest.mark.parametrize("make", [False, True])
def test_a_folder_without_code_is_refused(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "empty"
    if make:
        folder.mkdir()
    with pytest.raises(ValueError, match="holds no file to ship"):
        archive(folder)
