"""How fast a worker makes batches: a table for people, one JSON object on the last line for machines.

    make bench PARTS=loader

One thread takes real proteins from a dataset in memory maps: order, windows, masks, packed tensors. Tokens a second of
the processor's time over many steps, the best of several rounds; the share of the token budget that stays empty; how
long a run that comes back needs to stand at its place again, in an epoch of as many proteins as the mix says.
Wanted: 5 M tokens/s, and 2 % at most.
"""

import contextlib
import io
import json
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from amplify_lm.dataset import Split, share_out
from amplify_lm.loss import loss_batch
from amplify_lm.masking import MaskingRule
from amplify_lm.order import Place, TrainingOrder
from amplify_lm.settings import read_recipe

from bench import corpus

STEPS, ROUNDS = 25, 4
# window, tokens of a step, tokens of a pass: the demo's, a GPU's, that of the published stage 1, and stage 2's.
SHAPES = ((256, 4096, 4096), (512, 65_536, 65_536), (512, 1 << 20, 65_536), (2048, 1 << 20, 65_536))
HUGE = 10_000.0


def measure(split: Split, window: int, per_step: int, per_pass: int) -> dict[str, float]:
    order = TrainingOrder(split, window, per_step, seed=0)
    best, filled = float("inf"), 0
    for _ in range(ROUNDS):
        began, in_round = time.process_time(), 0
        for _ in range(STEPS):
            windows = order.next_step()
            for share in share_out(windows, -(-per_step // per_pass)):
                loss_batch(split, share, 0, MaskingRule())
            in_round += int(windows.lengths.sum())
        best = min(best, (time.process_time() - began) / in_round)
        filled += in_round
    return {"tokens_per_second": round(1 / best), "waste": round(1 - filled / (ROUNDS * STEPS * per_step), 5)}


def milliseconds_to_resume(split: Split, weight: float) -> float:
    """To the first windows after a restart in the midst of an epoch that draws each protein so often."""
    split.sources = (replace(split.sources[0], weight=weight),)
    place = Place(epoch=3, index=round(weight * len(split)) // 2)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        TrainingOrder(split, 512, 65_536, 0, place).next_step()
        best = min(best, time.perf_counter() - began)
    return round(1000 * best, 2)


def main() -> None:
    from prepare import prepare  # of model_code; a file of this folder has the same name

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="bench-loader-") as name:
        here = Path(name)
        (here / "in").mkdir()
        (here / "in" / "a.fasta").write_bytes(corpus.text(26))
        with contextlib.redirect_stdout(io.StringIO()):
            prepare(here / "in", here / "dataset", read_recipe("demo", {"split_by": "hash"}), 1)
        split = Split(here / "dataset" / "train")
        figures = {f"{window}/{step}": measure(split, window, step, per) for window, step, per in SHAPES}
        resume = {f"{len(split) * weight:.0f}": milliseconds_to_resume(split, weight) for weight in (1.0, HUGE)}
    print(f"{'window':>8}{'tokens a step':>15}{'M tokens/s':>12}{'empty':>9}")
    for shape, figure in figures.items():
        window, step = shape.split("/")
        print(f"{window:>8}{step:>15}{figure['tokens_per_second'] / 1e6:>12.1f}{figure['waste']:>9.2%}")
    times = ", ".join(f"{took} ms among {int(count):,}" for count, took in resume.items())
    print(f"\nback at its place, with the first 65,536 tokens: {times} proteins an epoch")
    said = {"bench": "loader", "machine": platform.machine(), "torch": torch.__version__}
    print(json.dumps({**said, "shapes": figures, "resume_ms": resume}))


if __name__ == "__main__":
    main()
