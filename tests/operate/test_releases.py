"""Release pins as files."""

from pathlib import Path

import pytest

from operate import releases
from operate.errors import OperateError


def test_an_environment_without_a_pin_has_no_release(tmp_path: Path) -> None:
    assert releases.read(tmp_path, "local") is None


@pytest.mark.parametrize("content", ["{", "[]", '{"model_package_arn": 5}', ""])
def test_a_file_that_is_no_pin_is_refused_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "local.json").write_text(content)
    with pytest.raises(OperateError, match="is not a release pin") as caught:
        releases.read(tmp_path, "local")
    assert "amplify approve" in caught.value.todo


def test_a_pin_that_cannot_be_written_whole_leaves_the_old_one(tmp_path: Path) -> None:
    releases.write(tmp_path, "local", {"model_package_arn": "old"})
    with pytest.raises(TypeError):
        releases.write(tmp_path, "local", {"model_package_arn": object()})
    assert releases.read(tmp_path, "local") == {"model_package_arn": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["local.json"]
