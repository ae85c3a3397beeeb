"""A pipeline run on the screen: which step runs, how far training is, and the losses so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from operate import pipeline_run
from operate.aws import Aws
from operate.pipeline_run import LogLine, Metrics, StepChange
from operate.screen import Step

SAID = {"Prepare": "[prepare] ", "Train": "[rule] ", "Fetch": "[fetch] ", "Evaluate": "[evaluate] "}
"""Lines of a job's log that a person wants to keep: those that begin so."""


@dataclass
class Record:
    """What was seen of a run."""

    metrics: list[Mapping[str, float]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Duration of each step, by its name."""


def watch(aws: Aws, execution: str, screen: Step) -> Record:
    """Follow a run to its good end, showing it. Raises OperateError with the reason where it ends otherwise."""
    record = Record()
    latest: dict[str, float] = {}
    for event in pipeline_run.follow(aws, execution):
        match event:
            case StepChange(step, "Succeeded", seconds):
                record.seconds[step] = seconds
                screen.say(f"{step:<10} {seconds:6.1f} s")
                screen.show("")
            case StepChange(step, status, _):
                screen.show(f"{step}: {status}")
            case Metrics(values):
                record.metrics.append(values)
                latest |= values
                screen.show(progress_text(latest), latest.get("step", 0) / max(latest.get("steps", 1), 1))
            case LogLine(step, text):
                if text.startswith(SAID.get(step, "\0")):
                    screen.say(f"{step:<10} {text.split('] ', 1)[1]}")
                elif step != "Train":
                    screen.show(f"{step}: {text}")
    return record


def progress_text(latest: Mapping[str, float]) -> str:
    """`step 120 of 800 · loss 2.751 · 15,893 residues/s · validation 2.740`: what changes most comes first."""
    parts = [f"step {latest.get('step', 0):.0f} of {latest.get('steps', 0):.0f}"]
    if "train_loss" in latest:
        parts.append(f"loss {latest['train_loss']:.3f}")
    if "residues_per_second" in latest:
        parts.append(f"{latest['residues_per_second']:,.0f} residues/s")
    if "mfu" in latest:
        parts.append(f"{latest['mfu']:.0%} MFU")
    if "validation_loss" in latest:
        parts.append(f"validation {latest['validation_loss']:.3f}")
    if latest.get("rules_broken"):
        parts.append(f"{latest['rules_broken']:.0f} rules broken")
    return " · ".join(parts)
