"""Checkpoints on this machine: every layout loads as the same model."""

from pathlib import Path

import pytest
import torch
from amplify_lm.checkpoint import from_published, load_model, read_source, save_model, to_published
from amplify_lm.model import Amplify
from safetensors.torch import load_file

from tests.model import checkpoints
from tests.model import reference_cases as cases


@pytest.fixture(scope="module")
def model() -> Amplify:
    return cases.model(cases.CASES["published"])


def assert_same_model(loaded: Amplify, model: Amplify) -> None:
    assert loaded.config == model.config
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


@pytest.mark.parametrize("case", list(cases.CASES))
def test_a_saved_model_of_any_configuration_loads_the_same(tmp_path: Path, case: str) -> None:
    model = cases.model(cases.CASES[case])
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert_same_model(loaded, model)
    assert not loaded.training
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_the_files_hold_the_published_names(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path)
    files = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in tmp_path.iterdir()} == files
    names = load_file(tmp_path / "model.safetensors").keys()
    block = {"q", "k", "v", "wo", "attention_norm", "ffn_norm", "ffn.w12", "ffn.w3"}
    assert names == {"encoder.weight", "layer_norm_2.weight", "decoder.weight", "decoder.bias"} | {
        f"transformer_encoder.{layer}.{part}.weight" for layer in range(2) for part in block
    }


def test_fusing_and_splitting_undo_each_other(model: Amplify) -> None:
    published = to_published(model.state_dict())
    assert to_published(from_published(published)).keys() == published.keys()
    for name, tensor in from_published(published).items():
        assert torch.equal(tensor, model.state_dict()[name])


@pytest.mark.parametrize(
    "weights",
    [
        "model.safetensors",
        "model.pt",
        "pytorch_model.pt",
        "checkpoints/checkpoint_0/model.safetensors",
        "checkpoints/checkpoint_3/pytorch_model.bin",
        "checkpoint_12/model.safetensors",
    ],
)
def test_a_mila_checkpoint_loads_from_wherever_the_authors_trainer_puts_it(
    tmp_path: Path, model: Amplify, weights: str
) -> None:
    checkpoints.write_mila(tmp_path, model, weights)
    assert_same_model(load_model(tmp_path), model)
    assert read_source(tmp_path).layout == "Mila"


def test_the_last_of_accelerates_checkpoints_is_taken_by_number(tmp_path: Path, model: Amplify) -> None:
    for number in (2, 9, 10):
        checkpoints.write_mila(tmp_path, Amplify(model.config), f"checkpoints/checkpoint_{number}/model.safetensors")
    checkpoints.write_mila(tmp_path, model, "checkpoints/checkpoint_10/model.safetensors")
    assert_same_model(load_model(tmp_path), model)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
def test_wrappers_of_parallel_and_compiled_training_are_taken_off(tmp_path: Path, model: Amplify, prefix: str) -> None:
    checkpoints.write_mila(tmp_path, model)
    (tmp_path / "model.safetensors").unlink()
    wrapped = {prefix + name: tensor for name, tensor in checkpoints.published_state(model).items()}
    torch.save({"state_dict": wrapped, "step": 7}, tmp_path / "model.pt")
    assert_same_model(load_model(tmp_path), model)


def test_shards_load_as_one(tmp_path: Path, model: Amplify) -> None:
    checkpoints.write_sharded(tmp_path, model, shards=3)
    assert_same_model(load_model(tmp_path), model)


def test_the_hubs_own_tokenizer_file_is_known_as_ours(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path)
    checkpoints.write_hub_tokenizer(tmp_path)
    assert_same_model(load_model(tmp_path), model)


def test_an_archive_loads_like_its_folder(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path / "model")
    checkpoints.write_archive(tmp_path / "model.tar.gz", tmp_path / "model")
    assert_same_model(load_model(tmp_path / "model.tar.gz"), model)


def test_weights_take_the_precision_asked_for(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path)
    loaded = load_model(tmp_path, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    assert torch.equal(loaded.decoder.weight, model.decoder.weight.to(torch.bfloat16))


def test_half_precision_weights_load_as_the_same_numbers_in_float32(tmp_path: Path, model: Amplify) -> None:
    save_model(cases.model(model.config).to(torch.bfloat16), tmp_path)
    assert torch.equal(load_model(tmp_path).decoder.weight, model.decoder.weight.to(torch.bfloat16).float())
