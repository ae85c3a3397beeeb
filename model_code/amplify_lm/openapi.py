"""The API in OpenAPI 3.1, made of the tasks' own declarations; `GET /openapi.json` serves it.

SageMaker hands only /ping and /invocations through, so for users of an endpoint `python -m amplify_lm.openapi` prints
the document. What a schema cannot say is refused all the same, with a 4xx that says what and where: variants that do
not fit their protein, blocks that the model does not have, proteins that are too long for it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from .bodies.requests import MAX_INPUTS
from .tasks import TASKS, Task
from .tasks.parameters import VariantList
from .tasks.schemas import NUMBER, TEXT, WHOLE, Schema, listed, numbers

LETTER, LETTER_OR_MASK = "[A-Za-z]", "(?:[A-Za-z_]|<mask>)"
CODES = {
    400: "The request must be changed: the message says what, where, and what is wanted",
    406: "No form of answer that the caller accepts has room for it",
    413: "Too large, too long or too much work; the message says the limit",
    415: "A body of another type, charset or encoding",
    422: "Well formed, but there is nothing to do",
    429: "Busy: ask again in `retry_after_s` seconds",
    500: "A bug: the log has its trace under the request's id",
    503: "The server comes, goes or is unwell: ask another, or again in `retry_after_s` seconds",
}


def document() -> Schema:
    """The whole document, as plain JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AMPLIFY endpoint",
            "version": "1",
            "description": "Questions to a protein language model. Positions count from 1, with `|` between chains.",
        },
        "paths": {
            "/invocations": {"post": _invocations()},
            "/ping": {"get": _get("Whether requests are answered", {"200": _ping("Ready"), "503": _ping("Not ready")})},
            "/execution-parameters": {"get": _get("How batch transform should call", {"200": _execution_parameters()})},
            "/metrics": {"get": _get("Counters for Prometheus", {"200": _answer("Metrics", {"text/plain": TEXT})})},
            "/openapi.json": {"get": _get("This document", {"200": _json("OpenAPI", {"type": "object"})})},
        },
        "components": {
            "schemas": {
                "Sequence": _sequence(LETTER, "Residues; `|` parts chains. Case and white space do not matter."),
                "MaskedSequence": _sequence(LETTER_OR_MASK, "Residues; `_` or `<mask>` stands for one not known."),
                "Input": _input("Sequence"),
                "MaskedInput": _input("MaskedSequence"),
                "Error": _error(),
                **{f"{name}_request": _request(task) for name, task in TASKS.items()},
                **{f"{name}_answer": _task_answer(task) for name, task in TASKS.items()},
            }
        },
    }


# ---- POST /invocations -----------------------------------------------------------------------------------------------


def _invocations() -> Schema:
    authors = _object({"sequence": _ref("MaskedSequence")}, ("sequence",))
    authors["description"] = "The authors' own form, answered with `output`: the logits"
    words = "A JSON request says all; of the other forms the content type says the task: `text/csv; task=perplexity`."
    answers = {
        "application/json": {"anyOf": [*(_ref(f"{name}_answer") for name in TASKS), _authors_answer()]},
        "application/jsonlines": TEXT | {"description": "An output in each line; of a stream as they are computed"},
        "application/x-npz": TEXT | {"format": "binary", "description": "Arrays; `dtype=float16` has half the bytes"},
    }
    return {
        "operationId": "invoke",
        "summary": "Ask the model",
        "description": words,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"anyOf": [*(_ref(f"{name}_request") for name in TASKS), authors]}},
                "application/jsonlines": {"schema": TEXT | {"description": "An input in each line"}},
                "text/x-fasta": {"schema": TEXT | {"description": "A protein in each record"}},
                "text/csv": {"schema": TEXT | {"description": "`sequence`, `id,sequence`, or a header row"}},
            },
        },
        "responses": {"200": _answer("The answer", answers), **_refusals()},
    }


def _sequence(letter: str, about: str) -> Schema:
    chain = rf"({letter}\s*)+"
    return TEXT | {"pattern": rf"^\s*{chain}(\|\s*{chain})*(\*\s*)?$", "description": about}


def _input(sequence: str) -> Schema:
    fields = {"id": {"type": ["string", "null"]}, "sequence": _ref(sequence), "variants": VariantList().schema()}
    return {"anyOf": [_ref(sequence), _object(fields, ("sequence",))]}


def _request(task: type[Task]) -> Schema:
    inputs = listed(_ref("MaskedInput" if task.masks else "Input")) | {"minItems": 1, "maxItems": MAX_INPUTS}
    partial = "A protein at fault gets an `error` in its place, and refuses no other's answer"
    stream = "The answer comes as JSON Lines while it is computed, a scan by positions"
    fields = {
        "task": {"const": task.name},
        "inputs": inputs,
        "parameters": _object({field.name: _parameter(field) for field in dataclasses.fields(_dataclass(task))}),
        "partial": {"type": "boolean", "default": False, "description": partial},
        "stream": {"type": "boolean", "default": False, "description": stream},
    }
    return _object(fields, ("task", "inputs")) | {"description": (task.__doc__ or "").partition("\n")[0]}


def _parameter(field: dataclasses.Field[Any]) -> Schema:
    schema, about = field.metadata["kind"].schema(), field.metadata["about"]
    if field.default is None:
        return {"anyOf": [schema, {"type": "null"}], "default": None, "description": about}
    return schema | {"default": field.default, "description": about}


def _task_answer(task: type[Task]) -> Schema:
    about = {"id": {"type": ["string", "null"]}, "length": WHOLE, "unknown": WHOLE}
    forms = [_object(about | dict(fields), ("length", "unknown", *fields)) for fields in task.answers]
    error = _object({"id": about["id"], "error": _ref("Error")}, ("error",))
    return _object({"task": {"const": task.name}, "outputs": listed({"anyOf": [*forms, error]})}, ("task", "outputs"))


def _authors_answer() -> Schema:
    return _object({"output": numbers(3)}, ("output",))


def _error() -> Schema:
    fields = {"code": TEXT, "message": TEXT, "where": TEXT, "retry_after_s": NUMBER}
    return _object(fields, ("code", "message", "where"))


def _refusals() -> Schema:
    return {str(status): _json(about, _ref("Error")) for status, about in CODES.items()}


# ---- the other paths -------------------------------------------------------------------------------------------------


def _ping(about: str) -> Schema:
    fields: Schema = {name: {} for name in ("device", "dtype", "parameters", "max_residues")}
    return _json(about, {"type": "object", "properties": {"status": TEXT} | fields, "required": ["status"]})


def _execution_parameters() -> Schema:
    fields = {"MaxConcurrentTransforms": WHOLE, "BatchStrategy": TEXT, "MaxPayloadInMB": WHOLE}
    return _json("Parameters", _object(fields, tuple(fields)))


def _get(summary: str, responses: Schema) -> Schema:
    return {"summary": summary, "responses": responses}


def _json(about: str, schema: Schema) -> Schema:
    return _answer(about, {"application/json": schema})


def _answer(about: str, schemas: dict[str, Schema]) -> Schema:
    return {"description": about, "content": {name: {"schema": schema} for name, schema in schemas.items()}}


def _object(fields: dict[str, Schema], required: tuple[str, ...] = ()) -> Schema:
    schema: Schema = {"type": "object", "properties": fields, "additionalProperties": False}
    return schema | {"required": list(required)} if required else schema


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _dataclass(task: type[Task]) -> Any:
    return task


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=2, ensure_ascii=False)
    print()
