"""Where an environment's releases come from, and what a release has to show before it is copied there."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stacks.config.checks import not_matching
from stacks.config.settings import Settings

if TYPE_CHECKING:
    from stacks.config.environment import Environment

LARGEST_MARGIN = 0.5  # nats; more than that is another model, not noise


@dataclass(frozen=True, kw_only=True)
class Promotion(Settings):
    """Releases arrive by `amplify promote`, from one other environment and from nowhere else."""

    source: str
    """The environment whose releases come here. Its bucket, key, repository and group name this one's promotion role,
    and that role may read there."""

    loss_margin: float = 0.0
    """How much worse than the release in service the new one may be, in nats a residue on the same held-out proteins.
    0: it has to be as good."""

    tolerance: float = 2e-2
    """How far a golden answer may be from the recorded one, relative: other machines round in another order."""

    def _faults(self) -> Iterable[str]:
        yield from not_matching("source", self.source, r"[a-z][a-z0-9-]{0,19}", "the name of an environment")
        yield from _not_within("loss_margin", self.loss_margin, 0, LARGEST_MARGIN)
        yield from _not_within("tolerance", self.tolerance, 0, 1)


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Whom an environment exchanges releases with."""

    source: "Environment | None" = None
    targets: "tuple[Environment, ...]" = ()

    @property
    def any(self) -> bool:
        """Whether the environment takes part in promotion at all."""
        return self.source is not None or bool(self.targets)


def neighbours(environments: "Mapping[str, Environment]") -> dict[str, Neighbours]:
    """Of each environment, all of them sound (`checked`)."""
    found = {}
    for name, environment in environments.items():
        promotion = environment.promotion
        targets = tuple(one for one in environments.values() if one.promotion and one.promotion.source == name)
        found[name] = Neighbours(source=environments[promotion.source] if promotion else None, targets=targets)
    return found


def ways_that_lead_nowhere(environments: "Mapping[str, Environment]") -> Iterable[str]:
    """Every source that is not there, and every circle; of environments whose `promotion` is sound."""
    for name, environment in environments.items():
        way = [name]
        here = environment
        while here.promotion is not None:
            source = here.promotion.source
            if source not in environments:
                if here is environment:
                    yield f"{name}.promotion.source is {source!r}: give one of {', '.join(environments)}"
                break
            way.append(source)
            if source in way[:-1]:
                yield f"{name}.promotion.source leads in a circle, {' from '.join(way)}: one has to make releases"
                break
            here = environments[source]


def _not_within(field: str, value: object, low: float, high: float) -> Iterable[str]:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not (number and low <= float(value) <= high):  # type: ignore[arg-type]
        yield f"{field} is {value!r}: give a number from {low:g} to {high:g}"
