"""Damaged checkpoints: whatever happens to the bytes, loading ends in a model or in a CheckpointError, nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from amplify_lm.checkpoint import CheckpointError, load_model, save_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.model import checkpoints
from tests.model import reference_cases as cases

FUZZ = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
LAYOUTS: dict[str, Callable[[Path], None]] = {
    "ours": lambda folder: save_model(cases.model(cases.CASES["published"]), folder),
    "sharded": lambda folder: checkpoints.write_sharded(folder, cases.model(cases.CASES["published"])),
    "mila": lambda folder: checkpoints.write_mila(folder, cases.model(cases.CASES["published"]), "model.pt"),
}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


@pytest.fixture(scope="module", params=list(LAYOUTS))
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    LAYOUTS[request.param](folder)
    return folder


def loads_or_refuses(source: Path) -> None:
    try:
        model = load_model(source)
    except CheckpointError:
        return
    assert all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def damaged_copy(sound: Path, scratch: Path) -> Path:
    folder = scratch / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    return folder


@FUZZ
@given(data=st.data())
def test_bytes_overwritten_cut_or_put_in(sound: Path, tmp_path: Path, data: Any) -> None:
    folder = damaged_copy(sound, tmp_path)
    victim = folder / data.draw(st.sampled_from(sorted(path.name for path in folder.iterdir())))
    content = bytearray(victim.read_bytes())
    # The first hundreds of bytes are headers and names, where damage is worst.
    start = data.draw(st.integers(0, min(len(content), 600)) | st.integers(0, len(content)))
    length = data.draw(st.integers(0, 12) | st.just(len(content)))
    content[start : start + length] = data.draw(st.binary(max_size=12))
    victim.write_bytes(content)
    loads_or_refuses(folder)


@FUZZ
@given(data=st.data())
def test_values_of_its_json_replaced(sound: Path, tmp_path: Path, data: Any) -> None:
    folder = damaged_copy(sound, tmp_path)
    files = sorted(folder.glob("*.json"))
    if not files:
        (folder / "config.json").write_text(json.dumps(cases.CASES["published"].to_dict()))
        (folder / "config.yaml").unlink()
        files = [folder / "config.json"]
    victim = data.draw(st.sampled_from(files))
    content = json.loads(victim.read_text())
    content[data.draw(st.sampled_from(sorted(content)))] = data.draw(JSON_VALUES)
    victim.write_text(json.dumps(content))
    loads_or_refuses(folder)


@FUZZ
@given(data=st.data())
def test_an_archive_damaged_or_cut(sound: Path, tmp_path: Path, data: Any) -> None:
    archive = tmp_path / "model.tar.gz"
    checkpoints.write_archive(archive, sound)
    content = bytearray(archive.read_bytes())
    start = data.draw(st.integers(0, 40) | st.integers(0, len(content)))
    content[start : start + data.draw(st.integers(0, 12))] = data.draw(st.binary(max_size=12))
    archive.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    loads_or_refuses(archive)


@FUZZ
@given(text=st.text(alphabet="{}[]:,-!&*|>'\"% \n\tabe1.0~#?@`", max_size=60), value=JSON_VALUES)
def test_a_hydra_configuration_of_anything(tmp_path: Path, text: str, value: Any) -> None:
    folder = tmp_path / "mila"
    folder.mkdir(exist_ok=True)
    LAYOUTS["mila"](folder)
    for content in (text, json.dumps({"model": value, "tokenizer": {}}), json.dumps({"model": {"hidden_size": value}})):
        (folder / "config.yaml").write_text(content)
        loads_or_refuses(folder)
