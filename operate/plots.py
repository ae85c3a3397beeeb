"""The pictures of a report: training curve and mutation heat-map. Readable for the colour-blind and in print.

Colours are Okabe and Ito's; what matters differs in shape or place too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no display is needed, and none is asked for

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from operate.client import Scan

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#666666"
RESIDUE_ORDER = "GAVLIMPFWYSTCNQDEKRH"  # neighbours are alike: small, aliphatic, aromatic, polar, acidic, basic
RESIDUES_A_ROW = 80
DPI = 130


def training_curve(
    metrics: Sequence[Mapping[str, float]],
    *,
    held_out_loss: float,
    held_out_pretraining_loss: float,
    baselines: Mapping[str, float],
    path: Path,
) -> None:
    """Loss in nats a residue by step, with the held-out result and what it has to beat.

    Two measures: validation and baselines have every asked residue hidden; training leaves a fifth of them to be seen,
    as BERT does, so its curve lies lower, and the held-out result in its measure stands beside it.
    """
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    _line(axes, metrics, "train_loss", color=BLUE, label="training (a fifth of the residues asked for can be seen)")
    _line(axes, metrics, "validation_loss", color=ORANGE, marker="o", label="validation (same species)")
    last = max((one["step"] for one in metrics), default=0)
    for loss, face, label in (
        (held_out_loss, GREEN, "held-out species"),
        (held_out_pretraining_loss, "white", "held-out species, measured as training is"),
    ):
        star: dict[str, Any] = {
            "marker": "*",
            "markersize": 14,
            "markerfacecolor": face,
            "linestyle": "none",
            "color": GREEN,
        }
        axes.plot([last], [loss], label=label, **star)
    for (name, value), style in zip(baselines.items(), ("--", ":", "-."), strict=False):
        axes.axhline(value, color=GREY, linestyle=style, linewidth=1)
        # Near the end, where the curve is far below; at its beginning it crosses them.
        axes.text(0.97 * last, value, f"{name}, {value:.3f}", va="bottom", ha="right", color=GREY, fontsize=9)
    axes.set(xlabel="step", ylabel="loss, nats a residue (lower is better)", xlim=(0, None))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside upper left", ncols=2)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def mutation_heatmap(scan: Scan, *, name: str, path: Path) -> None:
    """Every substitution's score, in rows of 80 positions; a dot is the residue that stands there."""
    order = [scan.letters.index(letter) for letter in RESIDUE_ORDER]
    table = scan.scores[:, order].T  # [20, L]
    limit = max(1e-3, float(np.nanquantile(np.abs(table), 0.99)))
    starts = range(0, len(scan.sequence), RESIDUES_A_ROW)
    width = min(len(scan.sequence), RESIDUES_A_ROW)
    figure, rows = plt.subplots(
        len(starts), 1, figsize=(2.5 + 0.16 * width, 0.9 + 3.7 * len(starts)), squeeze=False, layout="constrained"
    )
    for axes, start in zip(rows[:, 0], starts, strict=True):
        part = table[:, start : start + RESIDUES_A_ROW]
        image = axes.pcolormesh(part, cmap="PuOr", vmin=-limit, vmax=limit)
        _mark_wild_type(axes, scan.sequence[start : start + RESIDUES_A_ROW], start, width)
    figure.colorbar(image, ax=rows[:, 0], label="log-likelihood ratio, nats", shrink=0.8, pad=0.02)
    figure.suptitle(
        f"{name}: {len(scan.sequence) * 19:,} single substitutions. "
        "Violet: likelier than the wild type (dot); orange: less likely.",
        fontsize=10,
    )
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _line(axes: Axes, metrics: Sequence[Mapping[str, float]], key: str, **style: str) -> None:
    points = [(one["step"], one[key]) for one in metrics if key in one]
    if points:
        axes.plot(*zip(*points, strict=True), **style)  # type: ignore[arg-type]


def _mark_wild_type(axes: Axes, residues: str, start: int, width: int) -> None:
    for column, residue in enumerate(residues):
        if residue in RESIDUE_ORDER:
            axes.plot(column + 0.5, RESIDUE_ORDER.index(residue) + 0.5, marker="o", markersize=3, color="black")
    axes.set_yticks(np.arange(20) + 0.5, list(RESIDUE_ORDER), fontsize=7, family="monospace")
    axes.set_xticks(np.arange(len(residues)) + 0.5, list(residues), fontsize=7, family="monospace")
    axes.tick_params(length=0)
    axes.set(xlim=(0, width), ylim=(20, 0), ylabel="substituted by")
    numbers = [column for column in range(len(residues)) if (start + column + 1) % 10 == 0]
    above = axes.secondary_xaxis("top")
    above.set_xticks([column + 0.5 for column in numbers], [str(start + column + 1) for column in numbers], fontsize=7)
    above.tick_params(length=2)
    axes.spines[:].set_visible(False)
