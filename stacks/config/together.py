"""The door: all environments at once, so that a person hears of all that is wrong in environments.py, once."""

import itertools
import re
from collections.abc import Iterable

from stacks.config.checks import raise_if_any
from stacks.config.delivery import LOCAL, Delivery
from stacks.config.environment import NAME, Environment
from stacks.config.promotion import ways_that_lead_nowhere
from stacks.config.types import brief


def checked(*environments: Environment, delivery: Delivery | None = None) -> dict[str, Environment]:
    """The environments by name, in the order given.

    Raises SettingsError with every fault of every one of them, each with its place (`prod.network.cidr is …`), and with
    those of `delivery` and of the environments together.
    """
    faults: list[str] = []
    for place, given in [*_places(environments), ("delivery", delivery)]:
        wanted = Delivery if place == "delivery" else Environment
        if isinstance(given, wanted):
            faults += [f"{place}.{fault}" for fault in given.faults]
        elif given is not None or wanted is Environment:
            faults.append(f"{place} is {brief(given)}: give {wanted.__name__}(…)")
    known = [one for one in environments if isinstance(one, Environment)]
    faults += _shared(known)
    faults += ways_that_lead_nowhere({one.name: one for one in known if not one.unsound & {"name", "promotion"}})
    raise_if_any("environments.py", faults)
    return {environment.name: environment for environment in environments}


def _places(environments: Iterable[object]) -> Iterable[tuple[str, object]]:
    """Each with its name, or with its position where the name is no name."""
    for position, given in enumerate(environments, start=1):
        name = getattr(given, "name", None)
        sound = isinstance(name, str) and re.fullmatch(NAME, name) and name != "delivery"  # a place of its own
        yield str(name) if sound else f"environment {position}", given


def _shared(environments: list[Environment]) -> Iterable[str]:
    """What two environments cannot both have."""
    for other, one in itertools.combinations(environments, 2):
        unsound = one.unsound | other.unsound
        if "name" not in unsound and one.name == other.name:
            yield f"{one.name}.name is that of two environments: one would hide the other; give each its own"
        elif LOCAL in (one.name, other.name) or unsound & {"name", "account", "region"}:
            continue
        elif (one.account, one.region) == (other.account, other.region):
            yield (
                f"{one.name}.account is {one.account!r} in {one.region}, as that of {other.name}: who may deploy one "
                "could change the other; give each an account or a region of its own"
            )
