"""Training that begins with weights of each kind of source: it goes on where the checkpoint ended, and serves them.

By the container's own verbs: a first run trains a tiny model; its weights are laid out as the Mila group's trainer
leaves them, as a Hugging Face folder and as a download in the Hub's cache; `prepare` makes each ours, `train` begins.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import inference
import pytest
import torch
from amplify_lm.checkpoint import load_model

from tests.model import checkpoints, s3_server

MODEL_CODE = Path(__file__).parents[2] / "model_code"
ONE_STEP_STANDING_STILL = {"steps": 1, "validate_every": 1, "learning_rate": 1e-8}
SOURCES = ("Mila run in S3", "Hugging Face folder in S3", "Hugging Face cache")


def run_verb(folder: Path, *arguments: str, **environment: str) -> None:
    """One verb of the container, as SageMaker starts it."""
    settings = {"SAGEMAKER_BASE_DIR": str(folder), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, str(MODEL_CODE / "launch.py"), *arguments]
    result = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr


def prepare(folder: Path, init: str, **environment: str) -> None:
    proteins = folder / "processing" / "input" / "proteins"
    proteins.mkdir(parents=True)
    chance = random.Random(0)
    records = ("".join(chance.choice(["LAG", "VSE", "RTID"]) for _ in range(chance.randint(5, 40))) for _ in range(150))
    (proteins / "a.fasta").write_text("".join(f">{i}\n{record}\n" for i, record in enumerate(records)))
    run_verb(folder, "prepare", "--recipe", "tiny", "--init", init, "--overrides", "{}", **environment)


def train(folder: Path, prepared: Path, **overrides: object) -> list[dict[str, float]]:
    """Train on what `prepare` wrote; returns the curve."""
    for place in ("input/config", "input/data"):
        (folder / place).mkdir(parents=True)
    output = prepared / "processing" / "output"
    (folder / "input" / "data" / "train").symlink_to(output / "dataset")
    (folder / "input" / "data" / "init").symlink_to(output / "init")
    hyperparameters = {"recipe": "tiny", "overrides": json.dumps(overrides)}
    (folder / "input" / "config" / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    run_verb(folder, "train")
    return json.loads((folder / "model" / "metrics.json").read_text())["curve"]


def validation_losses(curve: list[dict[str, float]]) -> list[float]:
    return [point["validation_loss"] for point in curve if "validation_loss" in point]


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A trained model's folder, and the validation loss with which its training ended."""
    folder = tmp_path_factory.mktemp("first")
    prepare(folder / "prepared", "scratch")
    losses = validation_losses(train(folder / "trained", folder / "prepared"))
    assert losses[-1] < losses[0]
    return folder / "trained" / "model", losses[-1]


@pytest.fixture(scope="module")
def s3_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with s3_server.serve(tmp_path_factory.mktemp("ministack")) as environment:
        yield environment


def lay_out(source: str, trained: Path, scratch: Path, s3: Any) -> tuple[str, dict[str, str]]:
    """Put the trained weights where the source says; returns `init` and the environment that `prepare` needs."""
    if source == "Hugging Face cache":
        (scratch / "hub").mkdir()
        for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            (scratch / "hub" / name).write_bytes((trained / name).read_bytes())
        commit = checkpoints.fill_hub_cache(scratch / "cache", "test/trained", scratch / "hub")
        return f"hf:test/trained@{commit}", {"HF_HUB_CACHE": str(scratch / "cache"), "HF_HUB_OFFLINE": "1"}
    folder = scratch / "upload"
    folder.mkdir()
    if source == "Mila run in S3":
        checkpoints.write_mila(folder, load_model(trained), "checkpoints/checkpoint_7/model.safetensors")
    else:
        checkpoints.write_sharded(folder, load_model(trained))
    bucket = source.split()[0].lower()
    s3.create_bucket(Bucket=bucket)
    for file in filter(Path.is_file, folder.rglob("*")):
        s3.upload_file(str(file), bucket, f"weights/{file.relative_to(folder).as_posix()}")
    return f"s3://{bucket}/weights/", {}


@pytest.mark.parametrize("source", SOURCES)
def test_a_run_goes_on_with_the_loss_at_which_its_checkpoint_ended(
    source: str,
    first_run: tuple[Path, float],
    s3_environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained, loss_at_the_end = first_run
    for name, value in s3_environment.items():
        monkeypatch.setenv(name, value)
    init, environment = lay_out(source, trained, tmp_path, boto3.client("s3"))
    prepare(tmp_path / "prepared", init, **environment)
    curve = train(tmp_path / "trained", tmp_path / "prepared", **ONE_STEP_STANDING_STILL)
    assert validation_losses(curve) == [pytest.approx(loss_at_the_end, abs=1e-5)]

    served = tmp_path / "prepared" / "processing" / "output" / "init"
    request = inference.input_fn(json.dumps({"task": "logits", "inputs": ["MKTAYIAK"]}))
    logits = [inference.predict_fn(request, inference.model_fn(folder)) for folder in (trained, served)]
    assert inference.output_fn(logits[0]) == inference.output_fn(logits[1])


def test_what_prepare_writes_is_the_checkpoint_bit_for_bit(first_run: tuple[Path, float], tmp_path: Path) -> None:
    trained, _ = first_run
    prepare(tmp_path, str(trained))
    ours, given = load_model(tmp_path / "processing" / "output" / "init"), load_model(trained)
    assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in given.state_dict().items())
