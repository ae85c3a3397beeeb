"""Which files are the checkpoint, in folders and archives: never a guess where two may be meant."""

import tarfile
from pathlib import Path

import pytest
import torch
from amplify_lm.checkpoint import CheckpointError, load_model, save_model
from amplify_lm.checkpoint_sources import unpack
from amplify_lm.model import Amplify

from tests.model import checkpoints
from tests.model import reference_cases as cases


@pytest.fixture(scope="module")
def model() -> Amplify:
    return cases.model(cases.CASES["published"])


def refusal(source: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load_model(source)
    assert str(source) in str(error.value)
    return str(error.value)


def test_two_layouts_in_one_folder_are_not_guessed_between(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path)
    checkpoints.write_mila(tmp_path, model)
    assert "both config.json and config.yaml" in refusal(tmp_path)


TWO_WEIGHTS = [
    ("model.pt", "pytorch_model.bin"),
    ("model.safetensors", "pytorch_model.pt"),
    ("model.pt", "checkpoints/checkpoint_3/model.safetensors"),
    ("checkpoint_5/model.safetensors", "checkpoints/checkpoint_3/model.safetensors"),
    ("checkpoints/checkpoint_3/model.safetensors", "checkpoints/checkpoint_3/pytorch_model.bin"),
]


@pytest.mark.parametrize("files", TWO_WEIGHTS)
def test_two_files_of_weights_are_not_guessed_between(tmp_path: Path, model: Amplify, files: tuple[str, str]) -> None:
    for file in files:
        checkpoints.write_mila(tmp_path, model, file)
    assert f"{files[0]} and {files[1]}: remove all but the weights that are meant" in refusal(tmp_path)


def test_shards_beside_a_single_file_are_not_guessed_between(tmp_path: Path, model: Amplify) -> None:
    checkpoints.write_sharded(tmp_path, model)
    save_model(model, tmp_path / "single")
    (tmp_path / "single" / "model.safetensors").rename(tmp_path / "model.safetensors")
    assert "model.safetensors and model.safetensors.index.json: remove all but" in refusal(tmp_path)


def test_the_authors_script_leaves_one_model_in_two_forms(tmp_path: Path, model: Amplify) -> None:
    for file in ("model.safetensors", "model.pt"):
        checkpoints.write_mila(tmp_path, model, file)
    assert torch.equal(load_model(tmp_path).decoder.weight, model.decoder.weight)


def test_a_configuration_kept_twice_must_say_the_same(tmp_path: Path, model: Amplify) -> None:
    checkpoints.write_mila(tmp_path, model)
    copy = tmp_path / ".hydra" / "config.yaml"
    copy.parent.mkdir()
    copy.write_text("# as composed\n" + (tmp_path / "config.yaml").read_text())
    assert load_model(tmp_path).config == model.config
    copy.write_text(copy.read_text().replace("1e-05", "1e-03"))
    assert "config.yaml and .hydra/config.yaml differ" in refusal(tmp_path)


def test_saving_over_a_checkpoint_of_another_layout_is_refused_and_leaves_it_whole(
    tmp_path: Path, model: Amplify
) -> None:
    checkpoints.write_mila(tmp_path, model, "model.pt")
    with pytest.raises(CheckpointError, match=r"holds another checkpoint, config\.yaml, model\.pt"):
        save_model(model, tmp_path)
    assert torch.equal(load_model(tmp_path).decoder.weight, model.decoder.weight)


def test_saving_again_replaces_every_file_at_once(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path)
    kept = {path.name: path.open("rb") for path in tmp_path.iterdir()}
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    save_model(Amplify(cases.CASES["three_heads_of_16"]), tmp_path)
    for name, file in kept.items():  # who had a file open reads the old one to its end
        with file:
            assert file.read() == contents[name]
    assert (tmp_path / "config.json").read_bytes() != contents["config.json"]


def test_a_folder_that_is_no_checkpoint_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    assert "no config.json and no config.yaml: not a checkpoint (it holds readme.txt)" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "no weights: wanted one of model.safetensors" in refusal(tmp_path)
    assert "no such folder or file" in refusal(tmp_path / "elsewhere")


def test_a_source_left_empty_is_not_this_folder() -> None:
    with pytest.raises(CheckpointError, match="no source: wanted a folder"):
        load_model("")


def test_a_place_beside_the_checkpoint_is_refused_with_a_hint(tmp_path: Path, model: Amplify) -> None:
    checkpoints.write_mila(tmp_path / "run", model, "checkpoints/checkpoint_3/model.safetensors")
    assert "weights alone: name the folder of the run" in refusal(tmp_path / "run" / "checkpoints" / "checkpoint_3")
    assert "run/config.yaml lies deeper: name its folder" in refusal(tmp_path)
    (tmp_path / "job").mkdir()
    checkpoints.write_archive(tmp_path / "job" / "model.tar.gz", tmp_path / "run")
    assert "it holds model.tar.gz: name that" in refusal(tmp_path / "job")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(b"\x1f\x8b but not really")
    assert "not a readable model.tar.gz" in refusal(tmp_path / "model.tar.gz")


def test_an_archive_that_reaches_outside_is_refused(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path / "model")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "model" / "config.json", "../escaped.json")
    assert "not a model.tar.gz: ../escaped.json would lie outside of its folder" in refusal(tmp_path / "model.tar.gz")
    assert not (tmp_path / "escaped.json").exists()


def add_link(tar: tarfile.TarFile, name: str, to: str, kind: bytes) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = kind, to
    tar.addfile(link)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("to", ["nothing", "model.safetensors", "/etc/passwd", "../../etc/passwd"])
def test_an_archive_whose_weights_are_a_link_to_nothing_in_it_is_refused(
    tmp_path: Path, model: Amplify, to: str, kind: bytes
) -> None:
    save_model(model, tmp_path / "model")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "model" / "config.json", "config.json")
        add_link(tar, "model.safetensors", to, kind)
    assert "not a readable model.tar.gz" in refusal(tmp_path / "model.tar.gz")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_an_archive_with_links_within_it_loads(tmp_path: Path, model: Amplify, kind: bytes) -> None:
    save_model(model, tmp_path / "model")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "model" / "config.json", "./config.json")
        tar.add(tmp_path / "model" / "model.safetensors", "blobs/weights")
        add_link(tar, "model.safetensors", "blobs/weights", kind)
    assert torch.equal(load_model(tmp_path / "model.tar.gz").decoder.weight, model.decoder.weight)


def test_of_an_archive_only_the_checkpoint_reaches_the_disk(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path / "model")
    (tmp_path / "model" / "recipe.json").write_text("{}")
    (tmp_path / "model" / "optimizer.bin").write_bytes(bytes(10_000_000))  # zeros: next to nothing in the archive
    checkpoints.write_archive(tmp_path / "model.tar.gz", tmp_path / "model")
    unpack(tmp_path / "model.tar.gz", tmp_path / "out", also=("recipe.json", "manifest.json"))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "recipe.json"}
