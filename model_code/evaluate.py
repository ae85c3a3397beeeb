"""Measure a trained model on proteins it has never seen, and say what the number means.

    launch.py evaluate    reads processing/input/model/model.tar.gz and processing/input/heldout/ (FASTA),
                          writes processing/output/evaluation/evaluation.json

`loss` is the mean, in nats, of -ln p(residue) over residues hidden behind `<mask>`: the same residues for every model.
Two baselines stand beside it: a guess among 20 letters, and the letter frequencies of the training set (from the
artefact's own manifest.json), which a model has to beat to have learnt anything about order. A model that was fetched
has no manifest: it has to beat the letter frequencies of the held-out proteins themselves, the best of such guesses.

`pretraining_loss` is the loss as pre-training and the literature take it, where a fifth of the residues asked for are
not hidden (a tenth is shown as it is, a tenth replaced). It is some 0.2 nats lower for any model: a letter in sight is
a hint; so it compares with published figures, and not with the baselines.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from amplify_lm import checkpoint, container, dataset, distributed, fasta, tokenizer
from amplify_lm.checkpoint_sources import unpack
from amplify_lm.container import Container
from amplify_lm.dataset import ShardWriter, Split
from amplify_lm.loss import MEASURING_SEED, measure
from amplify_lm.masking import MaskingRule

# A pass that stays in a CPU's caches is nearly twice as fast as a larger one; a GPU wants more work at once.
TOKENS_PER_PASS = {"cpu": 4096, "cuda": 65_536}
# `pretraining_loss` is for comparison only: a fifth of the proteins' pieces is enough for it.
EVERY_FOR_COMPARISON = 5


class EvaluateError(ValueError):
    """An artefact or held-out proteins that cannot be used."""


def main(box: Container) -> None:
    """Write evaluation.json for the model and the held-out proteins of this job."""
    archive = box.processing_input("model") / "model.tar.gz"
    if not archive.is_file():
        raise EvaluateError(f"{archive} is missing; the artefact of a training job is wanted")
    heldout = box.processing_input("heldout")
    with tempfile.TemporaryDirectory(prefix="evaluate-") as scratch:
        folder = Path(scratch)
        unpack(archive, folder / "model", also=("recipe.json", "manifest.json"))
        evaluation = evaluate(folder / "model", heldout, folder / "heldout")
    evaluation["artifact_sha256"] = _sha256(archive)
    path = box.processing_output("evaluation") / "evaluation.json"
    path.write_text(json.dumps(evaluation, indent=1) + "\n")
    print(f"[evaluate] {summary(evaluation)}", flush=True)


def summary(evaluation: dict[str, Any]) -> str:
    """The figures on one line."""
    letters, uniform = evaluation["baselines"]["letter_frequencies"], evaluation["baselines"]["uniform_20"]
    return (
        f"loss {evaluation['loss']:.4f} nats a residue (letter frequencies {letters:.4f}, uniform {uniform:.4f}), "
        f"perplexity {evaluation['perplexity']:.2f}, accuracy {evaluation['accuracy']:.1%}, "
        f"{evaluation['proteins']:,} proteins"
    )


def evaluate(model_folder: Path, heldout: Path, scratch: Path) -> dict[str, Any]:
    """The content of evaluation.json but for the artefact's digest.

    Raises CheckpointError for an artefact that is no model, EvaluateError where its manifest is not one of `prepare`'s
    or the held-out proteins are none, FastaError where they are not FASTA.
    """
    model = checkpoint.load_model(model_folder)
    recipe = read_json(model_folder / "recipe.json")
    trained_on = training_letters(model_folder / "manifest.json")
    residues, rejected, heldout_sha256 = write_heldout(heldout, scratch)
    split = Split(scratch)
    # The model sees proteins in pieces as long as those that it was trained on.
    windows = dataset.cut(split.lengths(np.arange(len(split))), int(recipe.get("window", model.config.max_length)))
    print(f"[evaluate] {len(split):,} held-out proteins, {residues:,} residues", flush=True)
    with distributed.processes() as here:
        model = model.to(here.device)
        tokens_per_pass = TOKENS_PER_PASS[here.device.type]
        measured = measure(model, split, windows, tokens_per_pass, here)
        some = windows.take(list(range(0, len(windows), EVERY_FOR_COMPARISON)))
        as_pretrained = measure(model, split, some, tokens_per_pass, here, rule=MaskingRule())
    if not measured.masked:
        raise EvaluateError(
            f"{len(split)} held-out proteins, but none of their residues is measured; give more of them"
        )
    if not math.isfinite(measured.loss):
        raise EvaluateError(f"the model's loss is {measured.loss}: its weights are not usable")
    guess = trained_on or dict(zip(tokenizer.VOCABULARY, measured.letters, strict=True))
    letter_frequencies = frequencies_loss(guess, measured.letters)
    return {
        "loss": measured.loss,
        "perplexity": math.exp(measured.loss),
        "accuracy": measured.accuracy,
        "pretraining_loss": as_pretrained.loss,
        "proteins": len(split),
        "residues": residues,
        "masked_residues": measured.masked,
        "rejected": rejected,
        "heldout_sha256": heldout_sha256,
        "baselines": {"uniform_20": math.log(20), "letter_frequencies": letter_frequencies},
        "letter_frequencies_of": "training set" if trained_on else "held-out proteins",
        "beats_letter_frequencies": measured.loss < letter_frequencies,
        "recipe": recipe.get("name", ""),
        "seed": MEASURING_SEED,
    }


def write_heldout(source: Path, folder: Path) -> tuple[int, int, str]:
    """The proteins of FASTA files as shards; returns their residues, how many records could not be used, and a SHA-256
    of the proteins in their order: losses can be compared where it is the same."""
    residues = rejected = 0
    digest = hashlib.sha256()
    with ShardWriter(folder) as writer:
        for path in fasta.files_below(source):
            for record in fasta.read(path, path.relative_to(source).as_posix()):
                try:
                    protein = fasta.clean(record.sequence, record.where)
                except fasta.FastaError:
                    rejected += 1
                    continue
                residues += len(protein.residues)
                digest.update(f"{protein.residues}\n".encode())
                writer.write(tokenizer.encode(protein.residues))
    if not residues:
        raise EvaluateError(f"no usable protein among the held-out ones ({rejected} records refused)")
    return residues, rejected, digest.hexdigest()


def training_letters(manifest: Path) -> dict[str, int] | None:
    """How often training saw each letter; None for a model that comes without a manifest. Raises EvaluateError."""
    if not manifest.is_file():
        return None
    counts: dict[str, int] | None = read_json(manifest).get("letter_counts")
    if not counts:
        raise EvaluateError(
            "the artefact's manifest.json has no letter_counts; the manifest that `prepare` wrote is wanted"
        )
    return counts


def frequencies_loss(letter_counts: dict[str, int], letters: list[int]) -> float:
    """The loss of guessing by frequency: counts of the training set against those of the residues asked for, by id.

    One is added to each letter's count, so that a letter which training never saw costs much but not infinitely.
    """
    counts = np.array([letter_counts.get(token, 0) + 1.0 for token in tokenizer.VOCABULARY])
    counts[: len(tokenizer.SPECIAL_TOKENS)] = 0
    asked = np.array(letters)
    seen = asked > 0
    return float(-(asked[seen] * np.log(counts[seen] / counts.sum())).sum() / asked.sum())


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of the artefact; an absent file is an empty one (imported models have no recipe)."""
    if not path.is_file():
        return {}
    values = json.loads(path.read_text())
    if not isinstance(values, dict):
        raise EvaluateError(f"{path.name} of the artefact is not a JSON object")
    return values


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(container.run(main))
