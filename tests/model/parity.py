"""Hold our code against the published weights themselves: `make parity`, where the Hugging Face Hub can be reached.

    PYTHONPATH=model_code:. python tests/model/parity.py [--proteins proteins.fasta]

Loads AMPLIFY 120M and 350M from the Hub (or from a filled cache), and checks

- the number of parameters, and that every tensor is in its place (a refusal says which is not);
- the pseudo-perplexities of the authors' notebook examples/pseudo_ppl.ipynb, on the proteins named there, fetched from
  UniProt. The authors cut proteins longer than 512 tokens to a random window, so only shorter ones can be compared;
- with `--proteins`, the masked-language-modelling loss of 120M on natural proteins, 2.4 ± 0.1 nats per residue.

A table for people, one JSON object on the last line. Ends with 1 where a number is off, with 0 where all hold or where
nothing could be fetched; that is said.
"""

import argparse
import json
import math
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import torch
from amplify_lm.checkpoint import Checkpoint, CheckpointError, build_model, read_source
from amplify_lm.model import Amplify
from amplify_lm.tokenizer import MASK, encode

MODELS = {
    "120M": ("hf:chandar-lab/AMPLIFY_120M@d918a9e8", 118_276_507),
    "350M": ("hf:chandar-lab/AMPLIFY_350M@main", 354_008_667),
}
# UniProt accession → pseudo-perplexity in the authors' notebook, computed in half precision with the 350M.
PUBLISHED = {
    "Q9NVV2": 17.4057,
    "O00628": 2.05095,
    "A0A8M9P7W8": 8.21995,
    "A0A5G2R2Q0": 2.13619,
    "Q5SIM6": 3.64562,
    "F5H0U3": 2.58623,
}
PUBLISHED_BY = "350M"
TOLERANCE = 0.02
LONGEST = 512  # tokens, the notebook's limit
NATURAL_LOSS, NATURAL_TOLERANCE = 2.4, 0.1
UNIPROT = "https://rest.uniprot.org/uniprotkb/{}.fasta"
ROWS_AT_ONCE = 32


@torch.inference_mode()
def pseudo_perplexity(model: Amplify, protein: str) -> float:
    """exp of the mean loss of each token when it alone is masked; `<bos>` and `<eos>` count, as in the notebook."""
    tokens = torch.from_numpy(encode(protein)).long()
    losses = []
    for positions in torch.arange(len(tokens)).split(ROWS_AT_ONCE):
        rows = tokens.repeat(len(positions), 1)
        at = torch.arange(len(positions))
        rows[at, positions] = MASK
        logits = model.decode(model.encode(rows).rows[at, positions])
        losses.append(torch.nn.functional.cross_entropy(logits, tokens[positions], reduction="none"))
    return math.exp(torch.cat(losses).mean().item())


@torch.inference_mode()
def masked_loss(model: Amplify, proteins: list[str], seed: int = 0) -> float:
    """Mean loss of 15 % of the residues, all replaced by `<mask>`, in the first 512 tokens of each protein."""
    generator = torch.Generator().manual_seed(seed)
    total, count = 0.0, 0
    for protein in proteins:
        tokens = torch.from_numpy(encode(protein[: LONGEST - 2])).long()
        chosen = torch.rand(len(tokens), generator=generator) < 0.15
        chosen[[0, -1]] = False
        if not chosen.any():
            continue
        logits = model(tokens.masked_fill(chosen, MASK)[None]).logits[0, chosen]
        total += torch.nn.functional.cross_entropy(logits, tokens[chosen], reduction="sum").item()
        count += int(chosen.sum())
    return total / count


def read_fasta(text: str) -> list[str]:
    records = text.split(">")[1:]
    return ["".join(record.splitlines()[1:]).upper() for record in records]


def fetch_protein(accession: str) -> str | None:
    try:
        with urllib.request.urlopen(UNIPROT.format(accession), timeout=20) as answer:
            proteins = read_fasta(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return None
    return proteins[0] if proteins else None  # UniProt keeps withdrawn entries as empty files


def check(name: str, found: float, wanted: float, tolerance: float) -> dict[str, Any]:
    holds = abs(found - wanted) <= tolerance
    print(f"  {name:<34} {found:>16,.5g} {wanted:>16,.5g}   {'ok' if holds else 'OFF'}")
    return {"check": name, "found": found, "wanted": wanted, "holds": holds}


def check_model(size: str, checkpoint: Checkpoint, parameters: int, natural: list[str]) -> list[dict[str, Any]]:
    print(f"{size}: {checkpoint.source}\n  {'':<34} {'found':>16} {'published':>16}")
    model = build_model(checkpoint)
    checks = [check(f"{size} parameters", model.num_parameters, parameters, 0)]
    if size == "120M" and natural:
        checks.append(check("120M masked loss", masked_loss(model, natural), NATURAL_LOSS, NATURAL_TOLERANCE))
    for accession, published in PUBLISHED.items() if size == PUBLISHED_BY else ():
        protein = fetch_protein(accession)
        if protein is None or len(protein) + 2 > LONGEST:
            why = "not to be had from UniProt" if protein is None else f"{len(protein)} residues: the authors cut it"
            print(f"  {accession:<34} not compared: {why}")
            continue
        found = pseudo_perplexity(model, protein)
        checks.append(check(f"{accession} pseudo-perplexity", found, published, TOLERANCE * published))
    return checks


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--proteins", type=Path, help="FASTA file of natural proteins, for the masked loss")
    arguments = parser.parse_args()
    natural = read_fasta(arguments.proteins.read_text()) if arguments.proteins else []
    checks: list[dict[str, Any]] = []
    not_run: dict[str, str] = {}
    for size, (source, parameters) in MODELS.items():
        try:
            checkpoint = read_source(source)
        except CheckpointError as error:
            print(f"{size}: NOT RUN, {error}")
            not_run[size] = str(error)
            continue
        checks += check_model(size, checkpoint, parameters, natural)
    print(json.dumps({"parity": checks, "not_run": not_run}))
    return 0 if all(one["holds"] for one in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
