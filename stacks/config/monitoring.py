"""Who is told what, what may be spent, and the drift job: the settings of the monitoring stack."""

from collections.abc import Iterable
from dataclasses import dataclass

from stacks.config.checks import not_matching, out_of_range, unknown_instance_type
from stacks.config.settings import Settings
from stacks.training_types import processing_machine

MOST_HOURS = 28 * 24  # captured requests are kept for 30 days


@dataclass(frozen=True, kw_only=True)
class Drift(Settings):
    """A job that compares captured requests with the proteins that the model was trained on.

    It runs on the image and the model of the release. Each limit is held against the *lower confidence limit* of what
    is measured, so that chance does not ring an alarm: docs/decisions/monitoring.md.
    """

    every_hours: int = 24
    """How often it runs, and how far back it looks: every request is looked at once."""

    instance_type: str = "ml.m5.xlarge"
    """Where it runs: a type with a GPU where the models' image is the one for GPUs and wants one; CPUs do too."""

    max_length_shift: float = 0.2
    """Largest part of the requested proteins, 0 to 1, by which their distribution of lengths may differ."""

    max_residue_divergence: float = 0.02
    """Largest Jensen-Shannon divergence of residue frequencies, in bits, 0 to 1."""

    max_unknown_increase: float = 0.01
    """How much larger than in training the share of residues that the model cannot read may be."""

    max_loss_increase: float = 0.2
    """How much larger than at the end of training the model's loss may be, in nats a residue: 0.2 is a perplexity
    22 % larger."""

    def _faults(self) -> Iterable[str]:
        yield from out_of_range("every_hours", self.every_hours, 1, MOST_HOURS)
        yield from unknown_instance_type("instance_type", self.instance_type, processing_machine)
        for field, value, most in (
            ("max_length_shift", self.max_length_shift, 1.0),
            ("max_residue_divergence", self.max_residue_divergence, 1.0),
            ("max_unknown_increase", self.max_unknown_increase, 1.0),
            ("max_loss_increase", self.max_loss_increase, 10.0),
        ):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
                yield f"{field} is {value!r}: give a number above 0, at most {most:g}"


@dataclass(frozen=True, kw_only=True)
class Monitoring(Settings):
    """Alarms ring on one topic, that of the storage stack; here is who hears it, and what else is watched."""

    alarm_emails: tuple[str, ...] = ()
    """Addresses that every alarm is sent to. SNS asks each once for its consent, by e-mail."""

    monthly_budget_usd: int | None = None
    """What the *account* is meant to spend in a month: 80 % and 100 % of it ring, and so does a forecast above it.
    None: no budget, where others watch the bill."""

    longest_wait_hours: int = 6
    """How long training may wait for machines, for its first ones or after an interruption, before it rings."""

    drift: Drift | None = None
    """The drift job. Only beside an endpoint that captures its requests. None: nothing looks at requests."""

    def _faults(self) -> Iterable[str]:
        given: object = self.alarm_emails
        if not isinstance(given, tuple):
            yield f"alarm_emails is {given!r}: give a tuple of addresses"
        else:
            for address in given:
                yield from not_matching(
                    "alarm_emails", address, r"[^@\s]+@[^@\s]+\.[^@\s]+", "an address such as on-call@example.org"
                )
            if len(set(map(str, given))) < len(given):
                yield f"alarm_emails is {given}: give each once"
        if self.monthly_budget_usd is not None:
            yield from out_of_range("monthly_budget_usd", self.monthly_budget_usd, 1, 100_000_000)
        yield from out_of_range("longest_wait_hours", self.longest_wait_hours, 1, MOST_HOURS)
