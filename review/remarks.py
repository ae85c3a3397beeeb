"""What the review has to say: one sentence about one change, and the rule that weighs it (review/rules.py)."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, order=True)
class Remark:
    """One thing a reviewer should know."""

    rule: str
    """A key of RULES."""
    environment: str
    stack: str
    """Without the environment."""
    what: str
    """For a person, one sentence without the environment's name: what was, what will be."""
    details: tuple[str, ...] = ()
    """What the sentence sums up, for whoever wants to read it all."""
