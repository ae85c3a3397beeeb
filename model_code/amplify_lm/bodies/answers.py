"""Answers as bodies: JSON, JSON Lines, npz."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..request_errors import RequestError
from ..tasks import Output
from .media_types import JSON_LINES, NPZ, AnswerType
from .requests import Request

DECIMALS = 6  # of JSON's numbers; npz has all
MOST_FLOAT16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class Answer:
    """One output for each input of the request, in its order; of a partial request it may be an `error`."""

    request: Request
    outputs: tuple[Output, ...]


def write_answer(answer: Answer, form: AnswerType) -> bytes:
    """The answer's body. Raises RequestError (406) where a number is too large for the dtype that was asked for."""
    if form.media_type == NPZ:
        return _npz(answer, form.dtype)
    if answer.request.authors_form:
        text = f'{{"output":{_as_json(answer.outputs[0]["logits"][None])}}}'
    elif form.media_type == JSON_LINES:
        return b"".join(map(as_line, answer.outputs))
    else:
        text = f'{{"task":"{answer.request.task.name}","outputs":{_as_json(answer.outputs)}}}'
    return text.encode()


def as_line(output: Output) -> bytes:
    """One output as a line of JSON Lines."""
    return f"{_as_json(output)}\n".encode()


def _as_json(value: Any) -> str:
    """JSON row by row: json.dumps of a large array would keep every other thread from running for seconds."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_as_json(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        return "[" + ",".join(map(_as_json, value)) + "]"
    if not isinstance(value, np.ndarray):
        return json.dumps(value, allow_nan=False)
    if value.ndim > 1:
        return "[" + ",".join(map(_as_json, value)) + "]"
    numbers = np.round(value.astype(np.float64), DECIMALS).tolist()
    return json.dumps([None if math.isnan(number) else number for number in numbers], allow_nan=False)


def _npz(answer: Answer, dtype: str) -> bytes:
    """Fields of one shape as one array with a row for each input; the others as `<field>_<input's number from 0>`."""
    arrays: dict[str, NDArray[Any]] = {}
    first = answer.outputs[0]
    for field, value in first.items():
        column = [output[field] for output in answer.outputs]
        if field == "id":
            arrays[field] = np.array([name or "" for name in column])
        elif field in answer.request.task.stacked or isinstance(value, int | float | str):
            arrays[field] = np.array(column)
        else:
            arrays |= {f"{field}_{i}": np.array(one) for i, one in enumerate(column)}
    if dtype == "float16":
        arrays = {name: _halved(name, array) for name, array in arrays.items()}
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def _halved(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """What the model gave (float32) as float16; what was reckoned of it in float64 stays."""
    if array.dtype != np.float32:
        return array
    largest = float(np.nanmax(np.abs(array), initial=0.0))
    if largest > MOST_FLOAT16:
        message = f"{name} has numbers up to {largest:.6g}; float16 ends at {MOST_FLOAT16:g}: accept float32"
        raise RequestError(406, "not_acceptable", message, where="Accept")
    return array.astype(np.float16)
