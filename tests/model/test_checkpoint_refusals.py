"""Checkpoints that are not to be used: each is refused by name, with what is wrong and what is wanted."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from amplify_lm.checkpoint import CheckpointError, load_model, save_model
from amplify_lm.model import Amplify
from safetensors.torch import load_file, save_file
from torch import nn

from tests.model import checkpoints
from tests.model import reference_cases as cases

MODEL_CODE = {"PYTHONPATH": str(Path(__file__).parents[2] / "model_code")}


@pytest.fixture(scope="module")
def model() -> Amplify:
    return cases.model(cases.CASES["published"])


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file)


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


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "complex64", "float8_e4m3fn"])
@pytest.mark.parametrize("file", ["model.safetensors", "model.pt"])
def test_numbers_that_are_no_weights_are_named_with_the_types_wanted(
    tmp_path: Path, model: Amplify, file: str, dtype: str
) -> None:
    state = checkpoints.published_state(model)
    state["decoder.weight"] = state["decoder.weight"].to(getattr(torch, dtype))
    checkpoints.write_mila(tmp_path, model, file, state)
    message = refusal(tmp_path)
    assert f"wrong type: decoder.weight is torch.{dtype}; wanted torch.float32, torch.bfloat16" in message


KINDS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "torch.sparse_coo": lambda tensor: tensor.to_sparse(),
    "torch.sparse_csr": lambda tensor: tensor.to_sparse_csr(),
    "torch.qint8": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
    "without numbers": lambda tensor: tensor.to("meta"),
    "nested": lambda tensor: torch.nested.nested_tensor([tensor[0], tensor[1, :3]]),
}


@pytest.mark.filterwarnings("ignore")  # torch says of most of these that they are not finished, or about to go
@pytest.mark.parametrize("kind", list(KINDS))
def test_what_is_no_plain_array_is_refused(tmp_path: Path, model: Amplify, kind: str) -> None:
    state = checkpoints.published_state(model)
    state["decoder.weight"] = KINDS[kind](state["decoder.weight"])
    checkpoints.write_mila(tmp_path, model, "model.pt", state)
    assert f"wrong type: decoder.weight is {kind}; wanted torch.float32" in refusal(tmp_path)


@pytest.mark.parametrize(("dtype", "value"), [(torch.float32, 1e300), (torch.float16, 1e30)])
def test_weights_too_large_for_the_precision_asked_for_are_refused(
    tmp_path: Path, model: Amplify, dtype: torch.dtype, value: float
) -> None:
    save_model(model, tmp_path)
    large = torch.full((27, 16), value, dtype=torch.float64)
    rewrite(tmp_path, lambda state: state.update({"decoder.weight": large}))
    with pytest.raises(CheckpointError, match=rf"{tmp_path}: too large for {dtype}: decoder.weight"):
        load_model(tmp_path, dtype=dtype)
    assert load_model(tmp_path, dtype=torch.float64).decoder.weight.max() == value


def test_a_model_that_is_not_finite_is_not_saved(tmp_path: Path, model: Amplify) -> None:
    broken = cases.model(model.config)
    with torch.no_grad():
        broken.decoder.bias[3] = float("nan")
    with pytest.raises(CheckpointError, match=r"NaN or infinite weights in decoder\.bias"):
        save_model(broken, tmp_path / "new")
    assert not (tmp_path / "new").exists()


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


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"model": {"vocab": "abc"}, "added_tokens": []}',
        '{"model": {"vocab": {"L": 5}}, "added_tokens": [{"content": [1], "id": 1}]}',
        '{"model": {"vocab": {"L": 5}}, "added_tokens": [{"content": 1, "id": 1}]}',
    ],
)
def test_a_tokenizer_of_anything_is_refused(tmp_path: Path, model: Amplify, content: str) -> None:
    save_model(model, tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    assert "tokenizer.json is not " in refusal(tmp_path)


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
    torch.save({1: torch.zeros(1)}, tmp_path / "model.pt")
    assert "model.pt holds 1 beside tensors" in refusal(tmp_path)
    within_itself: dict[str, Any] = {}
    within_itself["model"] = within_itself
    torch.save(within_itself, tmp_path / "model.pt")
    assert "model.pt holds model beside tensors" in refusal(tmp_path)


@pytest.mark.parametrize("names", [("state_dict", "model"), ("model", "ema")])
def test_a_pickle_of_two_models_is_not_guessed_between(tmp_path: Path, model: Amplify, names: tuple[str, str]) -> None:
    checkpoints.write_mila(tmp_path, model, "model.pt")
    torch.save({name: checkpoints.published_state(model) for name in names}, tmp_path / "model.pt")
    assert f"model.pt holds {names[0]} and {names[1]}: save the one state dict that is meant" in refusal(tmp_path)


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


# Ten lists of ten of ten …: a few hundred bytes that take gigabytes to write out.
MANY_OF_MANY = (
    "a0: &a0 [1]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    + "model: {hidden_size: *a11, num_hidden_layers: 1, num_attention_heads: 1, intermediate_size: 1}\ntokenizer: {}"
)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", "[1]", "config.json holds no JSON object"),
        ("config.json", "\udcff", "config.json is not JSON"),
        ("config.json", "[" * 100_000, "config.json is not JSON"),
        ("config.json", '{"hidden_size": ' + "1" * 5000 + "}", "config.json is not JSON"),
        ("config.yaml", "a: [", "config.yaml is not YAML"),
        ("config.yaml", "[" * 20_000, "config.yaml is not YAML: RecursionError"),
        ("config.yaml", "model: {hidden_size: 2024-13-45}", "config.yaml is not YAML: ValueError"),
        ("config.yaml", "model: {hidden_size: " + "1" * 5000 + "}", "config.yaml is not YAML: ValueError"),
        ("config.yaml", "model: !!timestamp x", "config.yaml is not YAML"),
        ("config.yaml", "model: !!float x", "config.yaml is not YAML"),
        ("config.yaml", "model: !!int ''", "config.yaml is not YAML"),
        ("config.yaml", "model: !!bool x", "config.yaml is not YAML"),
        ("config.yaml", MANY_OF_MANY, "hidden_size is [[[[[[[...], "),
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


NOBODY = 65534
AS_NOBODY = f"""
import os, sys
from amplify_lm.checkpoint import CheckpointError, load_model
if os.geteuid() == 0:
    os.setuid({NOBODY})
try:
    load_model(sys.argv[1])
except CheckpointError as error:
    print(error)
"""


@pytest.mark.parametrize("file", ["config.yaml", "model.safetensors", "model.pt"])
def test_what_may_not_be_read_is_told_as_that(model: Amplify, file: str) -> None:
    # Not below tmp_path, whose parents are closed to others; and by another user, for to root everything is open.
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        checkpoints.write_mila(folder, model, "model.pt" if file == "model.pt" else "model.safetensors")
        (folder / file).chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, scratch], capture_output=True, text=True, env=MODEL_CODE
        )
    assert f"{scratch}: cannot be read: " in done.stdout, done.stderr
    assert "Permission denied" in done.stdout
