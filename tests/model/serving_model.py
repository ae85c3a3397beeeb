"""The model that the serving tests ask: tiny, from a seed, with weights that make every part tell in the output."""

import tarfile
from pathlib import Path
from typing import Any

import torch
from amplify_lm.checkpoint import save_model
from amplify_lm.config import ModelConfig
from amplify_lm.model import Amplify
from amplify_lm.predict import Predictor
from amplify_lm.settings import read_recipe
from amplify_lm.tasks import Output, read_protein, read_task

from tests.model import reference_cases

CONFIG = ModelConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=40)
PROTEIN = "MKTAYIAKQRQISFVKSHFSRQ"


def tiny_model() -> Amplify:
    """16 wide, 3 blocks, the published length of 2048 tokens."""
    return reference_cases.model(CONFIG)


def put_model(base: Path, artefact: Path | None) -> None:
    """Lay a model where the server looks for it: an artefact's, or one of the demo's shape with random weights."""
    if artefact is None:
        torch.manual_seed(0)
        save_model(Amplify(read_recipe("demo").model_config()), base / "model")
    elif artefact.is_dir():
        (base / "model").symlink_to(artefact.resolve())
    else:
        with tarfile.open(artefact) as tar:
            tar.extractall(base / "model", filter="data")


def ask(predictor: Predictor, task: str, sequence: str, **parameters: Any) -> Output:
    """One answer, with no server about it; the plan is held to what it said of its work."""
    question = read_task(task, parameters)
    protein = read_protein(sequence, "here", masks=question.masks, max_residues=predictor.max_residues)
    plan = question.plan(protein, predictor)
    passes = list(plan.work.passes)
    assert len(passes) == plan.work.num_passes
    assert sum(len(one.ids) for one in passes) == plan.work.tokens
    results = list(predictor.run_all(passes))
    assert sum(result.size for result in results) == plan.work.numbers
    return plan.finish(results)
