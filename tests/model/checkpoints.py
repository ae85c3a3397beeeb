"""Small checkpoints in every layout that users have, for the tests that read them back."""

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import torch
import yaml
from amplify_lm.checkpoint import save_model, to_published
from amplify_lm.model import Amplify
from amplify_lm.tokenizer import VOCABULARY
from safetensors.torch import save_file


def published_state(model: Amplify) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in to_published(model.state_dict()).items()}


def hydra_config(model: Amplify, **model_section: Any) -> str:
    """A Hydra configuration as the authors' trainer writes it: 1e-05 without a dot, which YAML reads as text."""
    values = model.config.to_dict()
    tokenizer = {key: values[key] for key in ("vocab_size", "pad_token_id", "mask_token_id", "bos_token_id")}
    tokenizer |= {"vocab_path": "conf/tokenizer/amplify_vocab.txt", "max_length": values["max_length"]}
    section = {key: value for key, value in values.items() if key not in {*tokenizer, "architectures", "model_type"}}
    text = yaml.safe_dump(
        {"seed": 0, "model": {"_name_": "AMPLIFY", **section, **model_section}, "tokenizer": tokenizer, "trainer": {}}
    )
    return text.replace("1.0e-05", "1e-05")


def write_mila(
    folder: Path, model: Amplify, weights: str = "model.safetensors", state: dict[str, torch.Tensor] | None = None
) -> None:
    """A run of the authors' trainer; `state` in place of the model's own weights."""
    state = state or published_state(model)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(hydra_config(model))
    target = folder / weights
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".safetensors":
        save_file(state, target)
    else:
        torch.save(state, target)


def write_sharded(folder: Path, model: Amplify, shards: int = 2) -> None:
    save_model(model, folder)
    (folder / "model.safetensors").unlink()
    state = published_state(model)
    weight_map = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(state.items())[number::shards])
        save_file(part, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def write_archive(path: Path, folder: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)


def write_hub_tokenizer(folder: Path) -> None:
    """tokenizer.json in the form of the Hub's checkpoints, a WordPiece model of single letters."""
    special = [{"id": i, "content": token, "special": True} for i, token in enumerate(VOCABULARY[:5])]
    vocabulary = {token: i for i, token in enumerate(VOCABULARY)}
    content = {"added_tokens": special, "model": {"type": "WordPiece", "vocab": vocabulary, "unk_token": "<unk>"}}
    (folder / "tokenizer.json").write_text(json.dumps(content))


def fill_hub_cache(cache: Path, repository: str, folder: Path, *, branch: str = "main") -> str:
    """Lay a folder into a Hugging Face cache as a download would, and return its commit (40 hex digits)."""
    commit = hashlib.sha1(repository.encode()).hexdigest()
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    for place in (snapshot, root / "blobs", root / "refs"):
        place.mkdir(parents=True, exist_ok=True)
    (root / "refs" / branch).write_text(commit)
    for file in folder.iterdir():
        content = file.read_bytes()
        large = file.suffix == ".safetensors"
        blob = hashlib.sha256(content) if large else hashlib.sha1(f"blob {len(content)}\0".encode() + content)
        (root / "blobs" / blob.hexdigest()).write_bytes(content)
        (snapshot / file.name).symlink_to(Path("..") / ".." / "blobs" / blob.hexdigest())
    return commit
