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
# Pieces of JSON and YAML that lead their readers astray: depth, digits, dates, tags that want a form, circles.
SIGNS = [
    "[",
    "{",
    "]",
    "}",
    ",",
    ":",
    ": ",
    "- ",
    "? ",
    "\n",
    "\n  ",
    '"',
    "'",
    "&a ",
    "*a",
    "<<: *a",
    "!",
    "|",
    "%",
    "\0",
]
WORDS = ["model", "tokenizer", "hidden_size", "1", "-1", "1e-05", ".inf", "1:30:00.5", "2024-13-45", "0x" + "f" * 5000]
TAGS = ["timestamp", "int", "float", "bool", "null", "binary", "set", "omap", "pairs", "python/name:os"]
PIECES = st.sampled_from([*SIGNS, *WORDS, *(f"!!{tag} " for tag in TAGS)])
MANY_PIECES = st.lists(st.tuples(PIECES, st.sampled_from([1, 1, 1, 1, 3, 2000])), max_size=12).map(
    lambda pieces: "".join(piece * times for piece, times in pieces)
)
DTYPES = [torch.float64, torch.bfloat16, torch.int8, torch.int64, torch.bool, torch.complex64, torch.float8_e5m2]
TENSORS = st.sampled_from(
    [
        *(lambda tensor, dtype=dtype: tensor.to(dtype) for dtype in DTYPES),
        lambda tensor: tensor.to_sparse(),
        lambda tensor: tensor.to("meta"),
        lambda tensor: tensor[..., :1].expand(tensor.shape),
        lambda tensor: tensor.movedim(0, -1),
        lambda tensor: torch.nn.Parameter(tensor, requires_grad=tensor.is_floating_point()),
        lambda tensor: tensor * float("inf"),
        lambda tensor: [tensor],
        lambda tensor: {"weight": tensor},
        lambda tensor: None,
    ]
)
NAMES = st.sampled_from(["model", "ema", "state_dict", "module.decoder.weight", "decoder.weight", "", 1, None])
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
    content[data.draw(st.sampled_from(sorted(content)))] = data.draw(JSON_VALUES | st.just("here"))
    victim.write_text(json.dumps(content).replace('"here"', data.draw(MANY_PIECES)))
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
@given(text=st.text(alphabet="{}[]:,-!&*|>'\"% \n\tabe1.0~#?@`", max_size=60) | MANY_PIECES, value=JSON_VALUES)
def test_a_hydra_configuration_of_anything(tmp_path: Path, text: str, value: Any) -> None:
    folder = tmp_path / "mila"
    folder.mkdir(exist_ok=True)
    LAYOUTS["mila"](folder)
    sections = f"model: {{hidden_size: {text}}}\ntokenizer: {{}}"
    for content in (
        text,
        sections,
        json.dumps({"model": value, "tokenizer": {}}),
        json.dumps({"model": {"hidden_size": value}}),
    ):
        (folder / "config.yaml").write_text(content)
        loads_or_refuses(folder)


@FUZZ
@given(changes=st.lists(st.tuples(st.integers(0, 20), TENSORS), max_size=3), names=st.lists(NAMES, max_size=2))
def test_a_pickle_of_any_tensors_under_any_names(tmp_path: Path, changes: list[Any], names: list[Any]) -> None:
    model = cases.model(cases.CASES["published"])
    state: dict[Any, Any] = dict(checkpoints.published_state(model))
    for place, change in changes:
        name = list(state)[place % len(state)]
        if isinstance(state[name], torch.Tensor):
            state[name] = change(state[name])
    for name in names:
        state = {name: state} if len(names) == 1 else state | {name: dict(state)}
    checkpoints.write_mila(tmp_path / "mila", model, "model.pt", state)
    loads_or_refuses(tmp_path / "mila")
