"""The sums behind `make parity`, on a model small enough to do them by hand."""

import math

import pytest
import torch
from amplify_lm.tokenizer import MASK, encode

from tests.model import parity
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
    model = cases.model(cases.CASES["published"])
    with torch.no_grad():
        model.decoder.weight.zero_()
        model.decoder.bias.zero_()
    assert parity.masked_loss(model, ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"] * 3) == pytest.approx(math.log(27), abs=1e-5)


def test_fasta_of_several_lines_is_read() -> None:
    assert parity.read_fasta(">a one\nMKT\nay\n>b\nM\n") == ["MKTAY", "M"]
