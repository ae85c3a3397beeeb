"""The document that the server serves about itself: what it promises holds, and what it refuses is refused."""

import json
from collections.abc import Iterator
from typing import Any

import inference
import jsonschema
import pytest
import schemathesis
from amplify_lm.checkpoint import save_model
from amplify_lm.openapi import document
from amplify_lm.predict import Predictor
from amplify_lm.tasks import TASKS
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.model.server_process import Server, serving
from tests.model.serving_model import PROTEIN, tiny_model

EXAMPLES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("embed", [PROTEIN, "mk t|AY*"], {}),
    ("embed", [PROTEIN], {"layer": [1, -1], "pooling": "per_residue", "normalize": True}),
    ("logits", ["MK_T"], {}),
    ("fill_mask", ["MK<mask>T"], {"top_k": 3}),
    ("perplexity", [{"id": None, "sequence": PROTEIN}], {"exact": True}),
    ("score_variants", [{"id": "P1", "sequence": "MKT", "variants": ["M1A"]}], {"variants": None}),
    ("score_variants", ["MKX"], {"scan": True, "method": "wt_marginal"}),
    ("contacts", ["MKT|A"], {}),
    ("contacts", ["MKTA"], {"maps": "each", "layer": "all"}),
]


def schema_of(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}


@pytest.mark.parametrize(("task", "inputs", "parameters"), EXAMPLES)
def test_requests_and_answers_of_every_task_are_as_the_document_says(
    task: str, inputs: list[Any], parameters: dict[str, Any]
) -> None:
    request = {"task": task, "inputs": inputs, "parameters": parameters, "partial": False, "stream": False}
    jsonschema.validate(request, schema_of(f"{task}_request"))
    answer = inference.predict_fn(inference.input_fn(json.dumps(request)), Predictor(tiny_model()))
    jsonschema.validate(json.loads(inference.output_fn(answer)[0]), schema_of(f"{task}_answer"))


def test_no_task_and_no_parameter_is_left_out() -> None:
    assert {task for task, _, _ in EXAMPLES} == set(TASKS)
    schemas = document()["components"]["schemas"]
    for name in TASKS:
        assert schemas[f"{name}_request"]["properties"]["task"] == {"const": name}


@pytest.mark.parametrize("sequence", ["", " ", "M4", "|MK", "MK||T", "M*K", "_", "<mask>", "-"])
def test_a_sequence_that_the_server_refuses_is_not_one_in_the_document(sequence: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(sequence, schema_of("Sequence"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("ml")
    save_model(tiny_model(), folder / "model")
    with serving(folder) as one:
        yield one.ready()


def test_the_server_serves_the_document(server: Server) -> None:
    answer = server.client.get("/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == json.loads(json.dumps(document()))


@schemathesis.serializer("application/jsonlines", "text/x-fasta", "text/csv")
def as_written(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Bodies of text go out as they are."""
    return value.encode("utf-8", "replace") if isinstance(value, str) else json.dumps(value).encode()


schema = schemathesis.openapi.from_dict(document())


@schema.parametrize()
@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_asked_the_answer_is_one_of_those_that_the_document_names(
    case: schemathesis.Case, server: Server
) -> None:
    # What no schema can say (variants that fit, blocks that exist) is refused although it is well formed.
    excluded = [positive_data_acceptance]
    if case.media_type != "application/json":
        excluded.append(negative_data_rejection)  # of text every body is text: `null` is a protein in CSV
    case.call_and_validate(base_url=f"http://127.0.0.1:{server.port}", excluded_checks=excluded, timeout=60)
