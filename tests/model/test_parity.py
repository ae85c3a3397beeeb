"""`make parity` on models small enough to do its sums by hand: what it compares, and how it ends."""

import functools
import http.server
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from amplify_lm.checkpoint import save_model
from amplify_lm.config import ModelConfig
from amplify_lm.model import Amplify
from amplify_lm.tokenizer import MASK, encode

from tests.model import checkpoints, parity
from tests.model import reference_cases as cases


def test_pseudo_perplexity_masks_each_token_alone() -> None:
    model = cases.model(cases.CASES["published"])
    protein = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"
    tokens = torch.from_numpy(encode(protein)).long()
    losses = []
    for position in range(len(tokens)):
        masked = tokens.clone()
        masked[position] = MASK
        with torch.no_grad():
            losses.append(-model(masked[None]).logits[0, position].log_softmax(-1)[tokens[position]].item())
    assert parity.pseudo_perplexity(model, protein) == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-4)


def test_masked_loss_is_chance_for_a_model_that_knows_nothing() -> None:
    model = Amplify(ModelConfig.named("8M", num_hidden_layers=1)).eval()
    with torch.no_grad():
        model.decoder.weight.zero_()
        model.decoder.bias.zero_()
    natural = parity.read_fasta(parity.NATURAL_PROTEINS.read_text())
    assert parity.masked_loss(model, natural) == pytest.approx(math.log(27), abs=1e-5)


def test_the_natural_proteins_are_asked_for_as_bert_does() -> None:
    natural = parity.read_fasta(parity.NATURAL_PROTEINS.read_text())
    input_ids, mask, labels = parity.masked_batch(natural)
    assert mask.sum(1).tolist() == [len(protein) + 2 for protein in natural]
    asked = labels != -100
    whole = torch.where(asked, labels, input_ids)
    assert [row[row != 0].tolist() for row in whole] == [encode(protein).tolist() for protein in natural]
    assert asked.sum().item() / sum(map(len, natural)) == pytest.approx(0.15, abs=0.03)
    assert (input_ids[asked] == MASK).float().mean().item() == pytest.approx(0.8, abs=0.1)
    assert 0.02 < (input_ids[asked] == labels[asked]).float().mean().item() < 0.2


def test_fasta_of_several_lines_is_read() -> None:
    assert parity.read_fasta(">a one\nMKT\nay\n>b\nM\n") == ["MKTAY", "M"]


# ---- how it ends ---------------------------------------------------------------------------------------------------

PROTEIN = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"


@pytest.fixture
def uniprot(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and folder of a server of FASTA files."""
    (tmp_path / "uniprot").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path / "uniprot"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{{}}.fasta", tmp_path / "uniprot"
        server.shutdown()


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Amplify:
    """A model in the Hub's cache, at `lab/small`, with what is published of it; there is no network."""
    model = cases.model(cases.CASES["published"])
    save_model(model, tmp_path / "saved")
    commit = checkpoints.fill_hub_cache(tmp_path / "cache", "lab/small", tmp_path / "saved")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr(parity, "MODELS", {"350M": (f"hf:lab/small@{commit}", model.num_parameters)})
    monkeypatch.setattr(parity, "PUBLISHED", {"P1": parity.pseudo_perplexity(model, PROTEIN)})
    return model


def run(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON of the last line, and the line before it."""
    code = parity.main()
    *_, verdict, last = capsys.readouterr().out.splitlines()
    return code, json.loads(last), verdict


def test_all_that_holds_ends_with_0(
    model: Amplify, uniprot: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parity, "UNIPROT", uniprot[0])
    (uniprot[1] / "P1.fasta").write_text(f">P1\n{PROTEIN}\n")
    code, report, _ = run(capsys)
    assert (code, report["not_run"]) == (parity.ALL_HOLDS, {})
    assert [one["check"] for one in report["parity"]] == ["350M parameters", "P1 pseudo-perplexity"]


def test_a_number_that_is_off_ends_with_1_whatever_else_could_not_be_reached(
    model: Amplify, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parity, "UNIPROT", "http://127.0.0.1:9/{}")
    [(size, (source, parameters))] = parity.MODELS.items()
    monkeypatch.setattr(parity, "MODELS", {size: (source, parameters + 1), "120M": ("hf:lab/nothing@main", 1)})
    code, report, _ = run(capsys)
    assert code == parity.OFF
    assert [one["holds"] for one in report["parity"]] == [False]


def test_weights_that_we_refuse_end_with_1(model: Amplify, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next(tmp_path.rglob("snapshots/*/config.json")).resolve().write_text("{}")
    code, report, _ = run(capsys)
    assert code == parity.OFF
    assert "is not what the Hub published" in report["parity"][0]["found"]


def test_proteins_that_cannot_be_fetched_end_with_2_and_are_named(
    model: Amplify, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parity, "UNIPROT", "http://127.0.0.1:9/{}")
    code, report, verdict = run(capsys)
    assert (code, verdict) == (parity.INCOMPLETE, "INCOMPLETE: P1 not compared")
    assert "Connection refused" in report["not_run"]["P1"]


@pytest.mark.parametrize(("fasta", "why"), [("", "withdrawn"), (f">P1\n{'A' * 511}\n", "511 residues")])
def test_proteins_that_nobody_can_compare_are_named_and_no_fault(
    model: Amplify,
    uniprot: tuple[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fasta: str,
    why: str,
) -> None:
    monkeypatch.setattr(parity, "UNIPROT", uniprot[0])
    (uniprot[1] / "P1.fasta").write_text(fasta)
    code, report, _ = run(capsys)
    assert (code, report["not_run"]) == (parity.ALL_HOLDS, {})
    assert why in report["not_comparable"]["P1"]


def test_where_nothing_can_be_reached_it_says_so_and_ends_with_2(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    settings = {"PYTHONPATH": f"{root / 'model_code'}:{root}", "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(root / "tests" / "model" / "parity.py")]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    assert done.returncode == parity.INCOMPLETE, done.stderr
    *_, verdict, last = done.stdout.splitlines()
    assert verdict == "NOTHING COMPARED"
    assert json.loads(last)["not_run"].keys() == {"120M", "350M"}
