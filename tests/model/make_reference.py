"""Make tests/model/data/reference_*.npz again: what the authors' own code computes in the cases of reference_cases.py.

Needs a checkout of github.com/chandar-lab/AMPLIFY (commit 2fd2c089 made the present files) and an interpreter with
torch, safetensors, numpy, PyYAML, xformers (any build: on the CPU it runs in plain PyTorch) and transformers 4.48:

    PYTHONPATH=model_code:. python tests/model/make_reference.py <checkout>

The weights reach the authors' code by way of `save_model`, so each run also shows that it reads what we write: their
`AMPLIFY.from_pretrained` for the Hugging Face layout, their `AMPLIFY.load` for a Hydra configuration beside it.
"""

import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from amplify_lm.checkpoint import save_model
from amplify_lm.config import ModelConfig

from tests.model import reference_cases as cases

DATA = Path(__file__).parent / "data"


def authors_class(checkout: Path) -> Any:
    """Their AMPLIFY class, without running the package's `__init__`, which imports its training code and needs."""
    package = types.ModuleType("amplify")
    package.__path__ = [str(checkout / "src" / "amplify")]
    sys.modules["amplify"] = package
    from amplify.model.amplify import AMPLIFY  # type: ignore[import-not-found]

    return AMPLIFY


def load_both_ways(authors: Any, config: ModelConfig, vocabulary: Path) -> Any:
    """Their model of our saved files; fails where their two loaders disagree."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_model(cases.model(config), folder)
        hugging_face = authors.from_pretrained(folder)
        published = config.to_dict()
        tokenizer_keys = {"vocab_size", "max_length", "other_special_token_ids"} | {
            k for k in published if "token_id" in k
        }
        del published["architectures"], published["model_type"]
        hydra = {
            "model": {key: value for key, value in published.items() if key not in tokenizer_keys},
            "tokenizer": {key: published[key] for key in tokenizer_keys} | {"vocab_path": str(vocabulary)},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(hydra))
        mila, _ = authors.load(str(folder / "model.safetensors"), str(folder / "config.yaml"))
    for (name, left), (_, right) in zip(hugging_face.state_dict().items(), mila.state_dict().items(), strict=True):
        assert torch.equal(left, right), name
    return mila.eval()


def run(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Everything the authors' code says about the batch; hidden states and maps stacked over the blocks."""
    input_ids, mask, labels = cases.batch()
    additive = torch.where(mask == 1, 0.0, float("-inf"))
    output = model(input_ids, additive, output_hidden_states=True, output_attentions=True)
    loss = torch.nn.functional.cross_entropy(output.logits.flatten(0, 1), labels.flatten(), ignore_index=cases.IGNORED)
    loss.backward()
    gradients = {f"gradient/{name}": p.grad.numpy() for name, p in model.named_parameters()}
    return {
        "logits": output.logits.detach().numpy(),
        "hidden_states": torch.stack(list(output.hidden_states)).detach().numpy(),
        "attentions": torch.stack(list(output.attentions)).detach().numpy(),
        "loss": loss.detach().numpy(),
        **gradients,
    }


def main() -> None:
    checkout = Path(sys.argv[1])
    authors = authors_class(checkout)
    vocabulary = checkout / "conf" / "tokenizer" / "amplify_vocab.txt"
    DATA.mkdir(exist_ok=True)
    for name, config in cases.CASES.items():
        results = run(load_both_ways(authors, config, vocabulary))
        np.savez_compressed(DATA / f"reference_{name}.npz", digest=cases.digest(cases.weights(config)), **results)
    large = load_both_ways(authors, cases.LARGE_CONFIG, vocabulary)
    with torch.no_grad():
        logits = large(cases.batch()[0][:1]).logits.numpy()
    digest = cases.digest(cases.weights(cases.LARGE_CONFIG))
    np.savez_compressed(DATA / f"reference_{cases.LARGE_CASE}.npz", digest=digest, logits=logits)


if __name__ == "__main__":
    main()
