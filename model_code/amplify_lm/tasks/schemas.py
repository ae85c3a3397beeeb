"""Small pieces of JSON schema, of which tasks say what their answers hold."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
TEXT: Schema = {"type": "string"}


def listed(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def numbers(*depths: int, unknown: bool = False) -> Schema:
    """Arrays of arrays of numbers, of one of these depths; with `unknown`, null stands where there is none."""
    shapes = []
    for depth in depths:
        shape: Schema = {"type": ["number", "null"]} if unknown else NUMBER
        for _ in range(depth):
            shape = listed(shape)
        shapes.append(shape)
    return shapes[0] if len(shapes) == 1 else {"anyOf": shapes}
