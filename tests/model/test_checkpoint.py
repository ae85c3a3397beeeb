"""Checkpoints on this machine: every layout loads as the same model, and every broken one is refused by name."""

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from amplify_lm.checkpoint import CheckpointError, from_published, load_model, read_source, save_model, to_published
from amplify_lm.model import Amplify
from safetensors.torch import load_file, save_file
from torch import nn

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


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file)


# ---- what is read --------------------------------------------------------------------------------------------------


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


# ---- what is refused -----------------------------------------------------------------------------------------------


def refusal(source: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        load_model(source)
    assert str(source) in str(error.value)
    return str(error.value)


def test_missing_and_extra_tensors_are_listed(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path)

    def change(state: dict[str, torch.Tensor]) -> None:
        del state["transformer_encoder.1.wo.weight"], state["decoder.bias"]
        state["lm_head.weight"] = torch.zeros(2)

    rewrite(tmp_path, change)
    message = refusal(tmp_path)
    assert "missing transformer_encoder.1.wo.weight, decoder.bias" in message
    assert "not part of AMPLIFY: lm_head.weight" in message


def test_a_wrong_shape_is_told_with_the_right_one(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path)
    rewrite(tmp_path, lambda state: state.update({"encoder.weight": torch.zeros(32, 16)}))
    assert "encoder.weight is [32, 16], wanted [27, 16]" in refusal(tmp_path)


def test_nan_and_infinite_weights_are_named(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path)
    rewrite(tmp_path, lambda state: state["decoder.weight"][3].fill_(float("nan")))
    rewrite(tmp_path, lambda state: state["encoder.weight"][3].fill_(float("-inf")))
    assert "NaN or infinite weights in decoder.weight, encoder.weight" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 32}, "vocab_size 32: not an AMPLIFY checkpoint of the published tokenizer"),
        ({"model_type": "esm"}, "model_type 'esm': not an AMPLIFY checkpoint"),
        ({"mask_token_id": 32}, "mask_token_id is 32: wanted 2, the published tokenizer's"),
        ({"num_hidden_layers": 3}, "missing transformer_encoder.2.attention_norm.weight"),
        ({"num_hidden_layers": 1}, "not part of AMPLIFY: transformer_encoder.1.attention_norm.weight"),
        ({"rms_norm": False}, "missing transformer_encoder.0.attention_norm.bias"),
        ({"hidden_act": "ReLU"}, "missing transformer_encoder.0.ffn.0.weight"),
        ({"hidden_size": 32}, "encoder.weight is [27, 16], wanted [27, 32]"),
    ],
)
def test_a_configuration_of_something_else_is_refused(
    tmp_path: Path, model: Amplify, changes: dict[str, object], message: str
) -> None:
    save_model(model, tmp_path)
    values = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert message in refusal(tmp_path)


def test_another_tokenizer_is_refused_with_the_tokens_that_differ(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["L"], vocabulary["A"] = vocabulary["A"], vocabulary["L"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert "27 tokens, wanted 27; different: 'A', 'L'" in refusal(tmp_path)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("file", ["model.safetensors", "model.pt"])
def test_a_file_cut_short_is_refused(tmp_path: Path, model: Amplify, file: str, kept: float) -> None:
    checkpoints.write_mila(tmp_path, model, file)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: int(kept * len(content))])
    assert f"{file} is truncated or corrupt" in refusal(tmp_path)


@pytest.mark.parametrize("file", ["model.safetensors", "model.pt"])
def test_a_page_saved_in_place_of_the_weights_is_refused(tmp_path: Path, model: Amplify, file: str) -> None:
    checkpoints.write_mila(tmp_path, model, file)
    (tmp_path / file).write_text("<!DOCTYPE html><title>Sign in</title>" + " " * 500)
    assert f"{file} is truncated or corrupt" in refusal(tmp_path)


class Malice:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_a_pickle_that_carries_code_is_refused_and_its_code_never_runs(tmp_path: Path, model: Amplify) -> None:
    checkpoints.write_mila(tmp_path, model, "model.pt")
    state = checkpoints.published_state(model) | {"decoder.bias": Malice(tmp_path / "owned")}
    torch.save(state, tmp_path / "model.pt")
    assert "model.pt holds more than weights: loading it would run posix.mkdir" in refusal(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_a_whole_pickled_model_is_refused_as_code(tmp_path: Path, model: Amplify) -> None:
    checkpoints.write_mila(tmp_path, model, "model.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    assert "model.pt holds more than weights" in refusal(tmp_path)


def test_a_pickle_of_other_things_is_refused(tmp_path: Path, model: Amplify) -> None:
    checkpoints.write_mila(tmp_path, model, "model.pt")
    torch.save({"step": 3, "encoder.weight": torch.zeros(2)}, tmp_path / "model.pt")
    assert "model.pt holds step beside tensors" in refusal(tmp_path)
    torch.save([1, 2], tmp_path / "model.pt")
    assert "model.pt holds list: wanted a state dict" in refusal(tmp_path)


def test_two_layouts_in_one_folder_are_not_guessed_between(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path)
    checkpoints.write_mila(tmp_path, model)
    assert "both config.json and config.yaml" in refusal(tmp_path)


def test_a_shard_that_is_missing_or_holds_something_else_is_named(tmp_path: Path, model: Amplify) -> None:
    checkpoints.write_sharded(tmp_path, model)
    save_file({"encoder.weight": model.encoder.weight.detach()}, tmp_path / "model-00002-of-00002.safetensors")
    assert "model-00002-of-00002.safetensors does not hold the tensors" in refusal(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    assert "missing shards: model-00002-of-00002.safetensors" in refusal(tmp_path)


def test_a_shard_outside_the_folder_is_refused(tmp_path: Path, model: Amplify) -> None:
    checkpoints.write_sharded(tmp_path, model)
    index = {"weight_map": {"encoder.weight": "../../secret.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "names '../../secret.safetensors'" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", "[1]", "config.json holds no JSON object"),
        ("config.json", "\udcff", "config.json is not JSON"),
        ("config.yaml", "a: [", "config.yaml is not YAML"),
        ("config.yaml", "model: 3", "wanted the sections model and tokenizer"),
        ("config.yaml", "{model: {hidden_size: 16}, tokenizer: {}}", "lacks num_hidden_layers"),
    ],
)
def test_a_broken_configuration_is_refused(
    tmp_path: Path, model: Amplify, file: str, content: str, message: str
) -> None:
    checkpoints.write_mila(tmp_path, model)
    (tmp_path / "config.yaml").unlink()
    (tmp_path / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    assert message in refusal(tmp_path)


def test_a_folder_that_is_no_checkpoint_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    assert "no config.json and no config.yaml: not a checkpoint (it holds readme.txt)" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert "no weights: wanted one of model.safetensors" in refusal(tmp_path)
    assert "no such folder or file" in refusal(tmp_path / "elsewhere")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_bytes(b"\x1f\x8b but not really")
    assert "not a readable model.tar.gz" in refusal(tmp_path / "model.tar.gz")


def test_an_archive_that_reaches_outside_is_refused(tmp_path: Path, model: Amplify) -> None:
    save_model(model, tmp_path / "model")
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "model" / "config.json", "../escaped.json")
    assert "not a readable model.tar.gz" in refusal(tmp_path / "model.tar.gz")
    assert not (tmp_path / "escaped.json").exists()
