"""The page that a demo leaves behind."""

import math
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from operate import plots, report
from operate.client import Scan
from operate.deployment import Stack

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def scan_of(sequence: str) -> Scan:
    scores = np.full((len(sequence), 20), -1.0, dtype=np.float32)
    for row, residue in enumerate(sequence):
        scores[row] = np.nan if residue == "X" else scores[row]
    return Scan(sequence=sequence, letters=LETTERS, scores=scores)


def outcome(**changes: object) -> report.Outcome:
    values = {
        "species": ["Escherichia coli <K-12>"],
        "held_out": "Bacillus subtilis",
        "evaluation": {
            "loss": 2.71,
            "pretraining_loss": 2.53,
            "proteins": 4177,
            "baselines": {"uniform_20": math.log(20), "letter_frequencies": 2.9},
            "letter_frequencies_of": "training set",
        },
        "metrics": [{"step": 20, "steps": 40, "train_loss": 2.8}, {"step": 40, "steps": 40, "validation_loss": 2.75}],
        "stacks": [
            Stack(name="amplify-local-storage", status="CREATE_COMPLETE", resources=(("AWS::KMS::Key", "k-1"),))
        ],
        "package_arn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/amplify-local/1",
        "endpoint": "amplify-local",
        "embeddings_shape": (16, 128),
        "order": report.Order(real=15.0, shuffled=17.0, lower=15, proteins=16),
        "remark": "It is small.",
        "scan": scan_of("MKXA"),
        "scan_name": "CspB",
        "times": {"Start": 1.0, "Deploy": 2.0},
        "job_times": {"Train": 1.5},
        "next_commands": [("amplify scan a.fasta", "look")],
    }
    return report.Outcome(**(values | changes))  # type: ignore[arg-type]


def test_the_page_holds_the_numbers_and_needs_nothing_from_outside(tmp_path: Path) -> None:
    page = report.write(outcome(), tmp_path).read_text()
    for expected in ("2.710", "2.900", "2.996", "15.03", "AWS::KMS::Key", "amplify scan a.fasta", "4,177"):
        assert expected in page
    assert "Escherichia coli &lt;K-12&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    for picture in ("training-curve.png", "mutation-scan.png"):
        assert f'src="{picture}"' in page
        assert image.imread(tmp_path / picture).std() > 0.05  # not one colour


@pytest.mark.parametrize(("lower", "verdict"), [(16, "knows something"), (12, "knows something"), (11, "chance")])
def test_the_page_claims_no_more_than_the_perplexities_show(tmp_path: Path, lower: int, verdict: str) -> None:
    order = report.Order(real=15.0, shuffled=17.0, lower=lower, proteins=16)
    assert verdict in report.write(outcome(order=order), tmp_path).read_text()


def test_the_model_comes_last_among_what_it_is_compared_with() -> None:
    assert [name for name, _ in report.baselines(outcome().evaluation)] == [
        "a guess among 20 letters",
        "letter frequencies of the training set",
        "this model",
    ]


def test_a_long_protein_is_drawn_in_rows(tmp_path: Path) -> None:
    for name, length in (("short", 60), ("long", 200)):
        plots.mutation_heatmap(scan_of("MKTA" * (length // 4)), name=name, path=tmp_path / f"{name}.png")
    short, long = (image.imread(tmp_path / f"{name}.png").shape for name in ("short", "long"))
    assert long[0] > 2 * short[0]
    assert long[1] < 1.5 * short[1]
