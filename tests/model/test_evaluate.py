"""Evaluation: known losses come out as known, and what cannot be measured is refused."""

import hashlib
import json
import math
import random
import tarfile
from pathlib import Path
from typing import Any

import evaluate
import pytest
import torch
from amplify_lm import checkpoint
from amplify_lm.container import Container
from amplify_lm.fasta import FastaError
from amplify_lm.model import Amplify
from amplify_lm.settings import read_recipe
from amplify_lm.tokenizer import VOCABULARY

LETTERS = "LAGVSERTIDPKQNFYMHWC"
COUNTS = {letter: 100 * (i + 1) for i, letter in enumerate(LETTERS)} | {"B": 0, "|": 0}


def fasta(count: int = 60, length: int = 150) -> str:
    chance = random.Random(0)
    return "".join(f">{i}\n{''.join(chance.choices(LETTERS, k=length))}\n" for i in range(count))


def model_that_says(probabilities: dict[str, float]) -> Amplify:
    """A model whose answer is the same everywhere: its decoder has a bias and nothing else."""
    torch.manual_seed(0)
    model = Amplify(read_recipe("tiny").model_config())
    with torch.no_grad():
        model.decoder.weight.zero_()
        model.decoder.bias.copy_(torch.tensor([math.log(probabilities.get(token, 1e-9)) for token in VOCABULARY]))
    return model


MANIFEST = {"letter_counts": COUNTS}


def make_job(
    folder: Path, model: Amplify, heldout: str, manifest: dict[str, Any] = MANIFEST, **left_out: bool
) -> Container:
    artefact = folder / "artefact"
    checkpoint.save_model(model, artefact)
    if not left_out.get("without_recipe"):
        (artefact / "recipe.json").write_text(json.dumps(read_recipe("tiny").to_dict()))
    if not left_out.get("without_manifest"):
        (artefact / "manifest.json").write_text(json.dumps(manifest))
    inputs = folder / "processing" / "input"
    (inputs / "model").mkdir(parents=True)
    (inputs / "heldout").mkdir()
    with tarfile.open(inputs / "model" / "model.tar.gz", "w:gz") as tar:
        for path in artefact.iterdir():
            tar.add(path, path.name)
    (inputs / "heldout" / "a.fasta").write_text(heldout)
    return Container(folder)


def run(box: Container) -> dict[str, Any]:
    evaluate.main(box)
    return json.loads((box.base / "processing" / "output" / "evaluation" / "evaluation.json").read_text())


def test_a_model_that_guesses_evenly_has_the_uniform_loss(tmp_path: Path) -> None:
    box = make_job(tmp_path, model_that_says(dict.fromkeys(LETTERS, 0.05)), fasta())
    result = run(box)
    assert result["loss"] == pytest.approx(math.log(20), abs=1e-5)
    assert result["baselines"]["uniform_20"] == math.log(20)
    assert result["perplexity"] == pytest.approx(20, abs=1e-3)
    assert result["proteins"] == 60
    assert result["residues"] == 60 * 150
    assert result["masked_residues"] == pytest.approx(0.15 * 60 * 150, rel=0.1)
    assert result["recipe"] == "tiny"
    archive = tmp_path / "processing" / "input" / "model" / "model.tar.gz"
    assert result["artifact_sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()


def test_a_model_that_knows_the_frequencies_meets_that_baseline_and_does_not_beat_it(tmp_path: Path) -> None:
    total = sum(COUNTS.values()) + 22
    box = make_job(tmp_path, model_that_says({k: (v + 1) / total for k, v in COUNTS.items()}), fasta())
    result = run(box)
    assert result["loss"] == pytest.approx(result["baselines"]["letter_frequencies"], abs=1e-5)


def test_a_model_below_the_baseline_beats_it(tmp_path: Path) -> None:
    box = make_job(tmp_path, model_that_says({"W": 0.97}), ">a\n" + "W" * 300 + "\n")
    result = run(box)
    assert result["beats_letter_frequencies"]
    assert result["accuracy"] == 1.0


def test_every_model_is_asked_for_the_same_residues(tmp_path: Path) -> None:
    results = [
        run(make_job(tmp_path / str(i), model_that_says({letter: 0.9}), fasta())) for i, letter in enumerate("LA")
    ]
    baselines = [result["baselines"]["letter_frequencies"] for result in results]
    assert baselines[0] == baselines[1]
    assert results[0]["masked_residues"] == results[1]["masked_residues"]


def test_unknown_residues_and_refused_records_cost_nothing(tmp_path: Path) -> None:
    even = model_that_says(dict.fromkeys(LETTERS, 0.05))
    result = run(make_job(tmp_path, even, fasta() + ">x\n" + "XUZ" * 50 + "\n>bad\nM*K\n"))
    assert result["loss"] == pytest.approx(math.log(20), abs=1e-5)
    assert (result["proteins"], result["rejected"]) == (61, 1)


@pytest.mark.parametrize(
    ("heldout", "error", "message"),
    [
        ("", evaluate.EvaluateError, "no usable protein"),
        (">a\nM*K\n", evaluate.EvaluateError, r"no usable protein among the held-out ones \(1 records refused\)"),
        (">a\nXXXX\n", evaluate.EvaluateError, "none of their residues is measured"),
        ("MKV\n", FastaError, "a.fasta: not FASTA"),
    ],
)
def test_held_out_files_without_proteins_are_refused(
    tmp_path: Path, heldout: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(make_job(tmp_path, model_that_says({}), heldout))


def test_a_model_without_a_manifest_has_to_beat_the_held_out_proteins_own_letters(tmp_path: Path) -> None:
    trained = run(make_job(tmp_path / "trained", model_that_says({}), fasta()))
    fetched = run(make_job(tmp_path / "fetched", model_that_says({}), fasta(), without_manifest=True))
    assert (trained["letter_frequencies_of"], fetched["letter_frequencies_of"]) == ("training set", "held-out proteins")
    # No guess by frequency is better than that of the letters that are asked for.
    assert fetched["baselines"]["letter_frequencies"] < trained["baselines"]["letter_frequencies"]


def test_a_manifest_that_prepare_did_not_write_is_refused(tmp_path: Path) -> None:
    box = make_job(tmp_path, model_that_says({}), fasta(), manifest={})
    with pytest.raises(evaluate.EvaluateError, match="has no letter_counts"):
        run(box)


def test_a_model_from_elsewhere_is_measured_without_a_recipe(tmp_path: Path) -> None:
    box = make_job(tmp_path, model_that_says(dict.fromkeys(LETTERS, 0.05)), fasta(), without_recipe=True)
    assert run(box)["recipe"] == ""


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    box = make_job(tmp_path, model_that_says({}), fasta())
    archive = tmp_path / "processing" / "input" / "model" / "model.tar.gz"
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(checkpoint.CheckpointError, match=r"not a readable"):
        run(box)


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    box = make_job(tmp_path, model_that_says({}), fasta())
    stray = tmp_path / "stray"
    stray.write_text("x")
    with tarfile.open(tmp_path / "processing" / "input" / "model" / "model.tar.gz", "w:gz") as tar:
        tar.add(stray, "../../escaped")
    with pytest.raises(checkpoint.CheckpointError, match="outside"):
        run(box)


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    box = make_job(tmp_path, model_that_says({}), fasta())
    (tmp_path / "processing" / "input" / "model" / "model.tar.gz").unlink()
    with pytest.raises(evaluate.EvaluateError, match=r"model\.tar\.gz is missing"):
        run(box)
