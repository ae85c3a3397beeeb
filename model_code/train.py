"""Train AMPLIFY by masked-language modelling: settings, data, model, optimiser, loop; to be read from top to bottom.

    launch.py train       reads channels `train` (a dataset) and `init`, writes checkpoints and the finished model

An interrupted run goes on from its newest good checkpoint as if it had never stopped: the order of the proteins, their
windows and their masks are functions of the seed (order.py, masking.py), all else is in the checkpoint (resume.py).
Under torchrun the processes share out each step's proteins; how many there are changes nothing but the speed.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from amplify_lm import (
    checkpoint,
    container,
    dataset,
    distributed,
    flops,
    metrics,
    optim,
    profiling,
    resume,
    rules,
)
from amplify_lm.container import Container
from amplify_lm.dataset import Split
from amplify_lm.distributed import Processes
from amplify_lm.loss import MaskedLoss, loss_batch, sample, validate
from amplify_lm.masking import MaskingRule
from amplify_lm.model import Amplify
from amplify_lm.order import Place, TrainingOrder
from amplify_lm.settings import Recipe, SettingsError, parse_overrides, read_recipe

HYPERPARAMETERS = ("recipe", "overrides", "script")


class DivergedError(ValueError):
    """The loss or its gradient is no number any more."""


def main(box: Container) -> None:
    """Train one model as one process of the run."""
    stop = StopSignal()
    with distributed.processes() as processes:
        train(box, processes, stop)


def train(box: Container, processes: Processes, stop: StopSignal) -> None:
    say = print if processes.is_first else _silence
    device = processes.device

    # ---- settings
    recipe = recipe_of(box.hyperparameters())
    if recipe.tokens_per_step < recipe.window * processes.count:
        wanted = f"at least window × processes ({recipe.window} × {processes.count}) is wanted"
        raise SettingsError(f"tokens_per_step is {recipe.tokens_per_step}, {wanted}")
    rule = MaskingRule(recipe.mask_share, recipe.mask_token_share, recipe.random_token_share, recipe.random_tokens)

    # ---- data
    data = box.channel("train")
    manifest = dataset.read_manifest(data)
    training, validation = Split(data / "train"), Split(data / "validation")

    # ---- model
    model = starting_model(box.channel("init"), recipe).to(device).train()
    if device.type == "cuda":
        for block in model.transformer_encoder:
            block.compile(dynamic=True)
    optimizer = optim.adamw(model, recipe)
    resume.create_state(optimizer)

    # ---- what an earlier run left
    progress = resume.Progress(0, 0, 0, 0, 0.0, 0, [], recipe.to_dict(), dataset.manifest_digest(data))
    if processes.is_first and (path := resume.newest(box.checkpoints, say)):
        found = resume.read_progress(path)
        resume.check_same_run(found, progress, path)
        resume.restore(path, model, optimizer)
        progress = found
        say(f"[train] resuming at step {progress.step} from {path.name}", flush=True)
    progress = processes.share(progress)
    processes.share_tensors(list(model.state_dict().values()) + resume.optimizer_tensors(optimizer))
    loss_of = processes.replicate(MaskedLoss(model))

    proteins, residues = manifest["proteins"], manifest["residues"]
    say(
        f"[train] recipe {recipe.name}: {model.num_parameters:,} parameters, {recipe.steps:,} steps of "
        f"{recipe.tokens_per_step:,} tokens; {proteins['train']:,} proteins, {residues['train']:,} residues; "
        f"{processes.count} process{'es' if processes.count > 1 else ''} on {device.type}",
        flush=True,
    )

    # ---- loop
    order = TrainingOrder(
        *(training, recipe.window, recipe.tokens_per_step, recipe.seed),
        Place(progress.epoch, progress.index, progress.ahead),
    )
    step, curve = progress.step, list(progress.curve)
    seconds, residues_seen, skipped = progress.seconds, progress.residues, progress.skipped
    best = (progress.best_validation_loss, progress.best_step)
    stopwatch = metrics.Stopwatch()
    steps = optim.FiniteSteps(optimizer, device)
    sums = torch.zeros(2, device=device, dtype=torch.float64)  # nats, residues predicted right
    asked = torch.zeros((), device=device, dtype=torch.float64)  # both since the last metric line
    watch, looked_at = rules.Watch(recipe, curve, say), sample(validation, recipe).to(device)
    peak = flops.peak_flops(device)
    writer = resume.Writer(box.checkpoints, recipe.keep_checkpoints, lambda line: say(f"[train] {line}\n", end=""))
    profiler = profiling.Profiler(recipe.profile_steps if processes.is_first else 0, box.output_data, say)

    while step < recipe.steps:
        # The step's windows, dealt to the processes and to the passes of each; then this process's batches.
        with stopwatch.reading():
            windows = order.next_step()
            passes = math.ceil(windows.lengths.sum() / (processes.count * recipe.tokens_per_pass))
            passes = min(passes, len(windows) // processes.count)
            shares = dataset.share_out(windows, processes.count * passes)[processes.rank :: processes.count]
            batches = [loss_batch(training, share, recipe.seed, rule) for share in shares]

        # The loss of a step is the mean over its masked residues, in whichever process they are.
        masked, stopping = _agree(processes, sum(batch.num_masked for batch in batches), stop.requested)
        sums_of_step = torch.zeros_like(sums)  # this process's
        for number, batch in enumerate(batches, start=1):
            last = number == len(batches)
            with contextlib.nullcontext() if last else distributed.unsynchronised(loss_of):
                nats, correct = loss_of(batch.to(device))
                (nats * (processes.count / max(masked, 1.0))).backward()
            sums_of_step += torch.stack([nats.detach().double(), correct.double()])
        gradient_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm, foreach=True)
        rate = optim.learning_rate(step, recipe)
        optim.set_learning_rate(optimizer, rate)
        finite = steps.step(gradient_norm)
        sums += torch.where(finite > 0, sums_of_step, 0)
        asked += finite * masked

        step += 1
        finished = step == recipe.steps
        keeping = finished or stopping or step % recipe.checkpoint_every == 0
        telling = keeping or step % recipe.log_every == 0
        dead_layers = rules.dead_layers(model) if telling else 0
        optimizer.zero_grad(set_to_none=True)
        residues_in_step = int(windows.residues.sum())
        residues_seen += residues_in_step
        stopwatch.count(residues_in_step)
        if peak is not None:  # else nobody asks how much arithmetic it was
            lengths = np.concatenate([share.lengths for share in shares])
            stopwatch.count_flops(flops.training_flops(model.config, lengths, masked / processes.count))
        profiler.step()

        if telling:
            newly_skipped, in_a_row = steps.read()
            skipped += newly_skipped
            loss, accuracy = (processes.sum(sums) / max(float(asked), 1.0)).tolist()
            if newly_skipped:
                say(f"[train] {newly_skipped} of the steps up to {step} had no finite gradient; skipped", flush=True)
            if in_a_row >= recipe.max_skipped_steps or not math.isfinite(loss):
                raise DivergedError(
                    f"{in_a_row} steps before step {step} had no finite gradient, one after the other, and the loss of "
                    f"the others is {loss:.4g}: training diverged. Lower learning_rate (now {rate:.3g}) or raise "
                    f"warmup_steps (now {recipe.warmup_steps}); good checkpoints stay in {box.checkpoints}"
                )
            pace = processes.share(stopwatch.read())  # the first one's, so that all judge alike
            seconds += pace.seconds
            point: dict[str, float] = {
                "step": step,
                "steps": recipe.steps,
                "train_loss": loss,
                "train_accuracy": accuracy,
                "perplexity": metrics.perplexity(loss),
                "learning_rate": rate,
                "residues_per_second": pace.residues_per_second,
                "seconds": seconds,
                "input_wait": pace.input_wait,
                "dead_layers": dead_layers,
            }
            if peak is not None:
                point["mfu"] = pace.flops_per_second / peak
            if math.isfinite(norm := float(gradient_norm)):
                point["gradient_norm"] = norm
            if float(asked):
                curve.append(point)
                point["rules_broken"] = watch.judge(curve)
                say(metrics.metric_line(point), flush=True)
            sums.zero_()
            asked.zero_()

        if finished or (step % recipe.validate_every == 0 and not stopping):
            began = time.perf_counter()
            validation_loss, accuracy = validate(model, validation, recipe, processes)
            point = {
                "step": step,
                "steps": recipe.steps,
                "validation_loss": validation_loss,
                "validation_accuracy": accuracy,
                "collapsed_heads": rules.collapsed_heads(model, looked_at),
            }
            curve.append(point)
            point["rules_broken"] = watch.judge(curve)
            say(metrics.metric_line(point), flush=True)
            stopwatch.skip(began)
            if keeping:
                best = min(best, (validation_loss, step))

        if keeping and processes.is_first:
            began = time.perf_counter()
            place = order.place
            progress = resume.Progress(
                *(step, place.epoch, place.index, place.ahead, seconds, residues_seen, list(curve)),
                *(recipe.to_dict(), progress.dataset, skipped, best[1], best[0]),
            )
            writer.save(progress, model, optimizer)
            stopwatch.skip(began)

        if stopping and not finished:
            profiler.stop()
            writer.wait()
            say(f"[train] stopped by a signal after step {step} of {recipe.steps}; the checkpoint is saved", flush=True)
            return

    # ---- the finished model
    profiler.stop()
    writer.wait()
    if processes.is_first:
        totals = {"steps": step, "residues": residues_seen, "seconds": round(seconds, 3), "processes": processes.count}
        totals |= {"skipped_steps": skipped, "best_step": best[1], "best_validation_loss": best[0]}
        write_artefact(box.model, model, recipe, data, {"totals": totals, "curve": curve})
        say(f"[train] finished: {box.model}", flush=True)


def recipe_of(hyperparameters: dict[str, str]) -> Recipe:
    """The recipe that a job's hyper-parameters name. Raises SettingsError for one that nothing would read."""
    unread = [name for name in hyperparameters if name not in HYPERPARAMETERS and not name.startswith("sagemaker_")]
    if unread or "recipe" not in hyperparameters:
        fault = f"{', '.join(unread)} would not be read" if unread else "'recipe' is missing"
        wanted = f"{', '.join(HYPERPARAMETERS)} are wanted, settings of a recipe go into overrides as a JSON object"
        raise SettingsError(f"hyper-parameters: {fault}; {wanted}")
    return read_recipe(hyperparameters["recipe"], parse_overrides(hyperparameters.get("overrides", "")))


def starting_model(folder: Path, recipe: Recipe) -> Amplify:
    """The model of channel `init`: random weights of the recipe's seed, or those that `prepare` put there."""
    marker = folder / "init.json"
    if not marker.is_file():
        raise SettingsError(f"{marker} is missing; channel init takes what `prepare` writes to init/")
    if json.loads(marker.read_text()).get("init") == "scratch":
        torch.manual_seed(recipe.seed)
        return Amplify(recipe.model_config())
    return checkpoint.load_model(folder)


def write_artefact(folder: Path, model: Amplify, recipe: Recipe, data: Path, record: dict[str, Any]) -> None:
    """What becomes `model.tar.gz` (docs/seams.md)."""
    checkpoint.save_model(model, folder)
    (folder / "recipe.json").write_text(json.dumps(recipe.to_dict(), indent=1) + "\n")
    (folder / "metrics.json").write_text(json.dumps(record, indent=1) + "\n")
    shutil.copyfile(data / "manifest.json", folder / "manifest.json")


class StopSignal:
    """Notes SIGTERM (a spot interruption, StopTrainingJob), which the loop heeds at the end of a step."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._note)

    def _note(self, _number: int, _frame: object) -> None:
        self.requested = True


def _agree(processes: Processes, masked: int, stop: bool) -> tuple[float, bool]:
    """Masked residues over all processes, and whether any of them was told to stop."""
    if processes.count == 1:
        return float(masked), stop
    total, stops = processes.sum(torch.tensor([masked, stop], dtype=torch.float64, device=processes.device)).tolist()
    return total, stops > 0


def _silence(*_words: object, **_options: object) -> None:
    """What the other processes print."""


if __name__ == "__main__":
    sys.exit(container.run(main))
