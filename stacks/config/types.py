"""Whether a value is of the type that its field declares, and how to say what it is and what is wanted.

Of the types that settings have: text, numbers, switches, words, tuples, other settings, and None.
"""

import types
from typing import Any, Literal, Union, get_args, get_origin

MOST_SHOWN = 120
"""Letters of a value in a message."""

NAMES = {str: "text", bool: "True or False", int: "a whole number", float: "a number", type(None): "None"}


def fits(value: object, hint: Any) -> bool:
    """Whether it is of the type. True is no number, and a list no tuple: what is frozen stays so."""
    kind = get_origin(hint)
    if kind in (Union, types.UnionType):
        return any(fits(value, one) for one in get_args(hint))
    if kind is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(hint))
    if kind is tuple:
        return isinstance(value, tuple) and all(fits(item, get_args(hint)[0]) for item in value)
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, int | float if hint is float else hint)


def shown(value: object, hint: Any) -> str:
    """`is 5`, or `holds 5` of a tuple with something wrong in it."""
    if get_origin(hint) is tuple and isinstance(value, tuple):
        return f"holds {brief(next(item for item in value if not fits(item, get_args(hint)[0])))}"
    return f"is {brief(value)}"


def brief(value: object) -> str:
    """A value as Python writes it, of bearable length."""
    text = f"the class {value.__name__}, not a value of it" if isinstance(value, type) else repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def wanted(hint: Any) -> str:
    """The type in words."""
    kind, of = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        words = [wanted(one) for one in of]
        return f"one of {', '.join(words)}" if len(words) > 2 else " or ".join(words)
    if kind is Literal:
        return f"one of {', '.join(map(str, of))}"
    if kind is tuple:
        return f"a tuple of {'' if of[0] is str else 'some, each '}{wanted(of[0])}"
    return NAMES.get(hint) or f"{hint.__name__}(…)"
