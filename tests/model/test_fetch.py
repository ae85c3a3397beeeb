"""A model from elsewhere becomes the artefact that a training job would have made of it."""

import hashlib
import json
import tarfile
from pathlib import Path

import fetch
import pytest
import torch
from amplify_lm.checkpoint import CheckpointError, load_model, save_model
from amplify_lm.config import ModelConfig
from amplify_lm.container import Container
from amplify_lm.model import Amplify
from amplify_lm.settings import SettingsError

from tests.model import checkpoints


@pytest.fixture(scope="module")
def model() -> Amplify:
    torch.manual_seed(0)
    return Amplify(
        ModelConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_length=64)
    )


def fetched(folder: Path, init: str) -> Path:
    fetch.main(Container(folder), ["--init", init])
    return folder / "processing" / "output" / "model" / "model.tar.gz"


def test_every_layout_gives_the_same_weights(
    tmp_path: Path, model: Amplify, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mila, sharded, ours = (tmp_path / name for name in ("mila", "sharded", "ours"))
    mila.mkdir()
    checkpoints.write_mila(mila, model)
    checkpoints.write_sharded(sharded, model)
    save_model(model, ours)
    commit = checkpoints.fill_hub_cache(tmp_path / "cache", "lab/model", ours)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for number, init in enumerate((str(mila), str(sharded), str(ours), "hf:lab/model", f"hf:lab/model@{commit}")):
        archive = fetched(tmp_path / str(number), init)
        state = load_model(archive).state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
        with tarfile.open(archive) as tar:
            said = json.load(tar.extractfile("init.json"))  # type: ignore[arg-type]
        assert said == {"init": init, "resolved": f"hf:lab/model@{commit}" if init.startswith("hf:") else init}
    assert f"{model.num_parameters:,} parameters" in capsys.readouterr().out


def test_the_same_source_gives_the_same_bytes(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path / "ours")
    archives = [fetched(tmp_path / name, str(tmp_path / "ours")) for name in ("first", "second")]
    assert len({hashlib.sha256(archive.read_bytes()).digest() for archive in archives}) == 1


def test_what_is_no_model_is_refused_and_leaves_no_archive(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut"):
        fetched(tmp_path, str(tmp_path / "cut"))
    with pytest.raises(SettingsError, match="'scratch', which is no model"):
        fetched(tmp_path, "scratch")
    with pytest.raises(SettingsError, match="--init"):
        fetch.main(Container(tmp_path), [])
    assert not list(tmp_path.rglob("model.tar.gz"))
