"""Capture files as SageMaker writes them, and a job folder with a model that has a known baseline."""

import base64
import json
import math
import random
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from amplify_lm import checkpoint
from amplify_lm.container import Container
from amplify_lm.model import Amplify
from amplify_lm.settings import read_recipe
from amplify_lm.tokenizer import VOCABULARY

LETTERS = "LAGVSERTIDPKQNFYMHWC"
SHARES = dict(zip(LETTERS, [10 - 0.4 * i for i in range(20)], strict=True))


def proteins(count: int, *, seed: int, low: int = 50, high: int = 400, shares: dict[str, float] = SHARES) -> list[str]:
    """Random proteins of these letters, lengths drawn evenly."""
    chance = random.Random(seed)
    letters, weights = list(shares), list(shares.values())
    return ["".join(chance.choices(letters, weights, k=chance.randint(low, high))) for _ in range(count)]


def captured(body: str | bytes, content_type: str = "application/json", encoding: str = "JSON") -> str:
    """One line of a capture file."""
    data = body.encode() if isinstance(body, str) else body
    text = base64.b64encode(data).decode() if encoding == "BASE64" else data.decode()
    given = {"observedContentType": content_type, "mode": "INPUT", "data": text, "encoding": encoding}
    about = {"eventId": "0c8f7c2e-6f0b-4e38-8f6c-1f7c7c4d5a10", "inferenceTime": "2026-11-25T07:00:00Z"}
    return json.dumps({"captureData": {"endpointInput": given}, "eventMetadata": about, "eventVersion": "0"})


def asking(sequences: list[str], task: str = "perplexity") -> str:
    """One captured JSON request."""
    return captured(json.dumps({"task": task, "inputs": sequences}))


def baseline(sequences: list[str]) -> dict[str, Any]:
    """The parts of manifest.json that are a baseline, as `prepare` counts them."""
    lengths = np.array([len(sequence) for sequence in sequences])
    named = {"min": 0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1}
    return {
        "format": 1,
        "residues": {"train": int(lengths.sum()), "validation": 0},
        "lengths": {name: int(np.quantile(lengths, at, method="inverted_cdf")) for name, at in named.items()},
        "letter_counts": dict(Counter("".join(sequences))),
        "unknown": {},
    }


def model_that_says(shares: dict[str, float]) -> Amplify:
    """A model that gives every residue the same probabilities, wherever it stands."""
    torch.manual_seed(0)
    model = Amplify(read_recipe("tiny").model_config())
    total = sum(shares.values())
    with torch.no_grad():
        model.decoder.weight.zero_()
        says = [math.log(shares.get(token, 1e-9) / total) for token in VOCABULARY]
        model.decoder.bias.copy_(torch.tensor(says))
    return model


def entropy(shares: dict[str, float]) -> float:
    """The loss of that model on proteins of these letters, in nats."""
    total = sum(shares.values())
    return -sum(share / total * math.log(share / total) for share in shares.values())


def write_artefact(archive: Path, manifest: dict[str, Any] | None, validation_loss: float | None) -> None:
    """model.tar.gz of a model that says SHARES."""
    folder = archive.parent / "artefact"
    checkpoint.save_model(model_that_says(SHARES), folder)
    (folder / "recipe.json").write_text(json.dumps(read_recipe("tiny").to_dict()))
    if manifest is not None:
        (folder / "manifest.json").write_text(json.dumps(manifest))
    if validation_loss is not None:
        curve = [{"step": 1, "validation_loss": 9.0}, {"step": 2, "validation_loss": validation_loss}]
        (folder / "metrics.json").write_text(json.dumps({"totals": {}, "curve": curve}))
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)


def make_job(folder: Path, manifest: dict[str, Any] | None, validation_loss: float | None) -> Container:
    """The folders of a drift job."""
    inputs = folder / "processing" / "input" / "model"
    inputs.mkdir(parents=True)
    write_artefact(inputs / "model.tar.gz", manifest, validation_loss)
    return Container(folder)
