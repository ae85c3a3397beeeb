"""The report of a demo: one page, `index.html`, with its two pictures beside it. No external assets, no scripts."""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operate import plots
from operate.client import Scan
from operate.deployment import Stack

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.2rem; }
table { border-collapse: collapse; } th, td { text-align: left; padding: .2rem 1.2rem .2rem 0; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tr { border-bottom: 1px solid #8884; } code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { background: #8881; padding: .8rem; overflow-x: auto; } img { max-width: 100%; background: white; }
.lead { font-size: 1.1rem; } summary { cursor: pointer; }
"""


BY_CHANCE = 0.05


@dataclass(frozen=True, kw_only=True)
class Order:
    """Whether a model knows more of proteins than what they are made of: mean perplexity as they are, and shuffled."""

    real: float
    shuffled: float
    lower: int
    """Proteins whose own perplexity is below that of their residues in other orders."""
    proteins: int

    @property
    def chance(self) -> float:
        """How likely so many, or more, would be lower if the order meant nothing: a one-sided sign test."""
        ways = sum(math.comb(self.proteins, number) for number in range(self.lower, self.proteins + 1))
        return ways / 2**self.proteins


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything that a demo found out."""

    species: Sequence[str]
    held_out: str
    evaluation: Mapping[str, Any]
    metrics: Sequence[Mapping[str, float]]
    stacks: Sequence[Stack]
    package_arn: str
    endpoint: str
    embeddings_shape: tuple[int, ...]
    order: Order
    remark: str
    """A sentence on what to think of the model."""
    scan: Scan
    scan_name: str
    times: Mapping[str, float]
    """Seconds of each step of the demo."""
    job_times: Mapping[str, float]
    """Seconds of each step of the pipeline."""
    next_commands: Sequence[tuple[str, str]]
    """A command, and what it is for."""


def baselines(evaluation: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Name and held-out loss of what the model is compared with, worst first, the model last."""
    found = baselines_by_name(evaluation).items()
    return [*sorted(found, key=lambda one: -one[1]), ("this model", float(evaluation["loss"]))]


def baselines_by_name(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """What the model is compared with, in words: its held-out loss."""
    names = {
        "uniform_20": "a guess among 20 letters",
        "letter_frequencies": f"letter frequencies of the {evaluation.get('letter_frequencies_of', 'training set')}",
    }
    return {names.get(name, name): float(loss) for name, loss in evaluation["baselines"].items()}


def write(outcome: Outcome, folder: Path) -> Path:
    """Write the page and its pictures; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    plots.training_curve(
        outcome.metrics,
        held_out_loss=outcome.evaluation["loss"],
        held_out_pretraining_loss=outcome.evaluation["pretraining_loss"],
        baselines=baselines_by_name(outcome.evaluation),
        path=folder / "training-curve.png",
    )
    plots.mutation_heatmap(outcome.scan, name=outcome.scan_name, path=folder / "mutation-scan.png")
    page = folder / "index.html"
    page.write_text(_page(outcome), encoding="utf-8")
    return page


def _page(outcome: Outcome) -> str:
    body = "\n".join(
        (
            _headline(outcome),
            "<h2>Has it learnt anything?</h2>",
            _table(
                ("on the held-out species", "loss, nats a residue", "perplexity"),
                [(name, f"{loss:.3f}", f"{math.exp(loss):.2f}") for name, loss in baselines(outcome.evaluation)],
            ),
            _explanation(outcome),
            '<p><img src="training-curve.png" alt="Loss against training step, with the baselines as lines"></p>',
            "<h2>Every single mutation of one protein</h2>",
            f"<p>{_text(outcome.scan_name)}, a protein of the held-out species: each column a position, each row a "
            "substitution, asked of the endpoint in one request (<code>score_variants</code>, masked marginals).</p>",
            '<p><img src="mutation-scan.png" alt="Heat-map of the scores of all single substitutions"></p>',
            "<h2>What was deployed</h2>",
            _stacks(outcome.stacks),
            "<h2>Where the time went</h2>",
            _times(outcome),
            "<h2>Next</h2>",
            "<pre>"
            + "\n".join(f"{_text(command):<72}  # {_text(why)}" for command, why in outcome.next_commands)
            + "</pre>",
        )
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>AMPLIFY on SageMaker: demo</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )


def _headline(outcome: Outcome) -> str:
    return (
        "<h1>From proteins to a served model</h1>"
        f'<p class="lead">Trained on {len(outcome.species)} bacterial proteomes, scored on '
        f"{outcome.evaluation['proteins']:,} proteins of <i>{_text(outcome.held_out)}</i>, which it never saw; "
        f"registered, approved, and answering as endpoint <code>{_text(outcome.endpoint)}</code>, "
        "all on this machine.</p>"
        f"<p>Model package <code>{_text(outcome.package_arn)}</code></p>"
    )


def _explanation(outcome: Outcome) -> str:
    return (
        f"<p>The species for training: {_text(', '.join(outcome.species))}. "
        f"<i>{_text(outcome.held_out)}</i> is of another phylum, so this measures what carries over, not memory of "
        "close relatives. A model that does not beat the letter frequencies is not registered.</p>"
        "<p>Every residue that the model is asked for is hidden here. Pretraining leaves a fifth of them to be seen, "
        f"and so its loss is lower: {outcome.evaluation['pretraining_loss']:.3f} on the same proteins.</p>"
        f"<p>Asked of the endpoint: embeddings of {outcome.embeddings_shape[0]} held-out proteins "
        f"({outcome.embeddings_shape[1]} numbers each), and their perplexity: {_text(shuffling(outcome.order))} "
        f"({_text(outcome.remark)})</p>"
    )


def shuffling(order: Order) -> str:
    """What the perplexities of real and shuffled proteins say, in a sentence that is true of them."""
    verdict = "the model knows something of their order" if order.chance < BY_CHANCE else "that may be chance"
    return (
        f"{order.real:.2f}, and {order.shuffled:.2f} with the same residues shuffled; "
        f"lower as it is in {order.lower} of {order.proteins}: {verdict}."
    )


def _stacks(stacks: Sequence[Stack]) -> str:
    def details(stack: Stack) -> str:
        rows = _table(("type", "physical id"), [(kind, name) for kind, name in stack.resources])
        return f"<details><summary>{len(stack.resources)} resources</summary>{rows}</details>"

    rows = "".join(
        f"<tr><td>{_text(stack.name)}</td><td>{_text(stack.status)}</td><td>{details(stack)}</td></tr>"
        for stack in stacks
    )
    return f"<table><tr><th>stack</th><th>status</th><th></th></tr>{rows}</table>"


def _times(outcome: Outcome) -> str:
    rows = [(name, f"{seconds:.1f}") for name, seconds in outcome.times.items()]
    jobs = [(f"of it, pipeline step {name}", f"{seconds:.1f}") for name, seconds in outcome.job_times.items()]
    total = [("all", f"{sum(outcome.times.values()):.1f}")]
    return _table(("step", "seconds"), [*rows, *total, *jobs])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}{_numeric(value)}>{_text(value)}</{tag}>" for value in row)

    lines = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{cells('th', header)}</tr>{lines}</table>"


def _numeric(value: str) -> str:
    return ' class="n"' if value.replace(".", "").replace(",", "").isdigit() else ""


def _text(value: str) -> str:
    return html.escape(value)
