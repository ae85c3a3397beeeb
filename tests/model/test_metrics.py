"""Metric lines: what a run prints, machines read back."""

import math
import re

import pytest
from amplify_lm.metrics import metric_line, parse_metric_line, perplexity

SAGEMAKER_PATTERN = re.compile(r"train_loss=([0-9.eE+-]+)")


def test_a_line_is_read_back_as_it_was_written() -> None:
    values = {"step": 120, "steps": 800, "train_loss": 2.7512, "learning_rate": 4e-05}
    assert metric_line(values) == "[metric] step=120 steps=800 train_loss=2.7512 learning_rate=4e-05"
    assert parse_metric_line(metric_line(values)) == values


@pytest.mark.parametrize("value", [2.7512345678, 1e-9, 12345678.9, 0.0])
def test_every_number_has_the_form_that_a_metric_definition_matches(value: float) -> None:
    match = SAGEMAKER_PATTERN.search(metric_line({"train_loss": value}))
    assert match is not None
    assert float(match[1]) == pytest.approx(value, rel=1e-5)


def test_other_lines_are_no_metric_lines() -> None:
    assert parse_metric_line("[train] finished: /opt/ml/model") is None
    assert parse_metric_line("") is None


def test_a_run_that_goes_astray_still_has_a_metric_line() -> None:
    assert perplexity(0.0) == 1
    assert perplexity(math.log(20)) == pytest.approx(20)
    assert perplexity(5_000.0) == math.inf
