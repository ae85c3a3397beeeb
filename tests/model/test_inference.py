"""Bodies in and out through SageMaker's four functions, and every refusal a body can earn."""

import io
import json
import re
from pathlib import Path
from typing import Any

import inference
import numpy as np
import pytest
import torch
from amplify_lm.bodies import choose_answer_type
from amplify_lm.checkpoint import save_model
from amplify_lm.predict import Predictor
from amplify_lm.request_errors import RequestError
from amplify_lm.tokenizer import encode
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.serving_model import PROTEIN, tiny_model

JSON = "application/json"


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("model")
    save_model(tiny_model(), folder)
    return inference.model_fn(folder)


def answer(predictor: Predictor, body: str | bytes, content_type: str = JSON, accept: str = JSON) -> bytes:
    prediction = inference.predict_fn(inference.input_fn(body, content_type), predictor)
    content, media_type = inference.output_fn(prediction, accept)
    assert media_type == accept
    return content


def ask(predictor: Predictor, task: str, inputs: list[Any], **parameters: Any) -> list[dict[str, Any]]:
    body = json.dumps({"task": task, "inputs": inputs, "parameters": parameters})
    content = json.loads(answer(predictor, body))
    assert content["task"] == task
    return content["outputs"]


def refusal(predictor: Predictor, body: str | bytes, content_type: str | None = JSON) -> RequestError:
    with pytest.raises(RequestError) as refused:
        inference.predict_fn(inference.input_fn(body, content_type), predictor)
    return refused.value


# ---- bodies in -------------------------------------------------------------------------------------------------------


def test_the_authors_form_answers_with_the_models_logits(predictor: Predictor) -> None:
    content = json.loads(answer(predictor, json.dumps({"sequence": PROTEIN})))
    assert list(content) == ["output"]
    with torch.no_grad():
        logits = predictor.model(torch.from_numpy(encode(PROTEIN))[None]).logits
    np.testing.assert_allclose(content["output"], logits.numpy(), atol=1e-5)


def test_inputs_are_sequences_or_objects_and_answers_keep_order_names_and_counts(predictor: Predictor) -> None:
    outputs = ask(predictor, "embed", ["mkt ayi", {"id": "P1", "sequence": "MKX|U*"}])
    assert [(one["id"], one["length"], one["unknown"]) for one in outputs] == [(None, 6, 0), ("P1", 5, 2)]
    assert all(len(one["embedding"]) == 16 for one in outputs)


def test_each_kind_of_body_asks_the_same_question(predictor: Predictor) -> None:
    proteins = {"P1": "MKTAYI", "P2": "QRQISF"}
    expected = ask(predictor, "perplexity", [{"id": k, "sequence": v} for k, v in proteins.items()], exact=True)
    options = "; task=perplexity; exact=true"
    bodies = {
        "application/jsonlines": "\n".join(json.dumps({"id": k, "sequence": v}) for k, v in proteins.items()),
        "application/x-ndjson": "\r\n\r\n".join(json.dumps({"id": k, "sequence": v}) for k, v in proteins.items()),
        "text/x-fasta": "".join(f">{k} a header\r\n{v[:3]}\r\n{v[3:]}\r\n" for k, v in proteins.items()),
        "text/csv": "\n".join(f"{k},{v}" for k, v in proteins.items()),
        "text/csv; charset=UTF-8": "sequence,id\n" + "\n".join(f'"{v}", {k}' for k, v in proteins.items()),
    }
    for content_type, body in bodies.items():
        for mark in ("", "\ufeff"):
            assert json.loads(answer(predictor, mark + body, content_type + options))["outputs"] == expected


def test_a_csv_column_and_an_object_bring_variants_of_their_own(predictor: Predictor) -> None:
    outputs = ask(
        predictor, "score_variants", [{"sequence": "MKT", "variants": ["M1A", "K2V:T3L"]}, "KKT"], variants=["K1A"]
    )
    assert [one["variants"] for one in outputs] == [["M1A", "K2V:T3L"], ["K1A"]]
    table = "sequence,variants\nMKT,M1A; K2V:T3L\nKKT,K1A\n"
    rows = json.loads(answer(predictor, table, "text/csv; task=score_variants"))["outputs"]
    assert [one["scores"] for one in rows] == [one["scores"] for one in outputs]


def test_a_body_without_a_content_type_is_json_and_without_a_task_lines_are_embedded(predictor: Predictor) -> None:
    assert inference.input_fn(b'{"sequence": "MKT"}', None).authors_form
    assert json.loads(answer(predictor, '"MKT"\n', "application/jsonlines"))["task"] == "embed"


def body(**fields: Any) -> str:
    return json.dumps({"task": "embed", "inputs": ["MKT"], **fields})


REFUSED_BODIES = [
    ("", JSON, 400, "bad_body", "body", "empty"),
    (" \n", "text/csv", 400, "bad_body", "body", "empty"),
    ('{"task": "embed", ', JSON, 400, "bad_body", "body", "not JSON"),
    (b'{"sequence": "\xff"}', JSON, 400, "bad_body", "body", "byte 0xff at offset 14"),
    ("[" * 100_000, JSON, 400, "bad_body", "body", "nested too deeply"),
    ('{"task":' * 50_000, JSON, 400, "bad_body", "body", "nested too deeply"),
    ("[1]", JSON, 400, "bad_body", "body", "a JSON object is wanted"),
    ("null", JSON, 400, "bad_body", "body", "a JSON object is wanted"),
    ('{"task": "embed", "inputs": [NaN]}', JSON, 400, "bad_body", "body", "NaN is not JSON"),
    ('{"task": "embed", "inputs": [1e999]}', JSON, 400, "bad_body", "body", "too large"),
    ('{"task": "embed", "inputs": [' + "9" * 5000 + "]}", JSON, 400, "bad_body", "body", "99… has 5000 digits"),
    ('{"task": "embed", "task": "logits", "inputs": ["M"]}', JSON, 400, "bad_body", "body", "twice"),
    (body(task="embedd"), JSON, 400, "bad_request", "task", "did you mean 'embed'"),
    (body(task=None), JSON, 400, "bad_request", "task", "a string is wanted, not null"),
    ('{"inputs": ["MKT"]}', JSON, 400, "bad_request", "task", "missing"),
    ('{"task": "embed"}', JSON, 400, "bad_request", "inputs", "missing"),
    (body(input=["M"]), JSON, 400, "bad_request", "input", "did you mean 'inputs'"),
    (body(inputs="MKT"), JSON, 400, "bad_request", "inputs", "a list like"),
    (body(inputs=[1]), JSON, 400, "bad_request", "inputs[0]", "a sequence, or an object"),
    (body(inputs=["M", ["K"]]), JSON, 400, "bad_request", "inputs[1]", "a sequence, or an object"),
    (body(inputs=[{"sequence": 7}]), JSON, 400, "bad_request", "inputs[0].sequence", "a string of residues"),
    (body(inputs=[{"id": "x"}]), JSON, 400, "bad_request", "inputs[0].sequence", "a string of residues"),
    (body(inputs=[{"id": 5, "sequence": "M"}]), JSON, 400, "bad_request", "inputs[0].id", "a string is wanted"),
    (body(inputs=[{"seq": "M"}]), JSON, 400, "bad_request", "inputs[0].seq", "did you mean 'sequence'"),
    (body(parameters=[]), JSON, 400, "bad_request", "parameters", "an object is wanted"),
    (body(parameters={"poling": "mean"}), JSON, 400, "bad_parameter", "parameters.poling", "did you mean 'pooling'"),
    (
        body(parameters={"pooling": "max"}),
        JSON,
        400,
        "bad_parameter",
        "parameters.pooling",
        "mean or per_residue or bos",
    ),
    (body(parameters={"pooling": ["mean"]}), JSON, 400, "bad_parameter", "parameters.pooling", "is wanted"),
    (body(parameters={"layer": 1.5}), JSON, 400, "bad_parameter", "parameters.layer", "a whole number"),
    (body(parameters={"layer": True}), JSON, 400, "bad_parameter", "parameters.layer", "layer is true; a whole number"),
    (body(parameters={"layer": 10**30}), JSON, 400, "bad_parameter", "parameters.layer", "a whole number"),
    (body(parameters={"normalize": "yes"}), JSON, 400, "bad_parameter", "parameters.normalize", "true or false"),
    (body(task="logits", parameters={"a": 1}), JSON, 400, "bad_parameter", "parameters.a", "takes no parameters"),
    (body(task="fill_mask", parameters={"top_k": 0}), JSON, 400, "bad_parameter", "parameters.top_k", "from 1 to 20"),
    (
        body(task="score_variants", parameters={"variants": "M1A"}),
        JSON,
        400,
        "bad_parameter",
        "parameters.variants",
        "a list",
    ),
    (
        body(task="score_variants", parameters={"variants": [1]}),
        JSON,
        400,
        "bad_parameter",
        "parameters.variants",
        "a list",
    ),
    (
        body(task="score_variants", parameters={"variants": ["M1A"], "scan": True}),
        JSON,
        400,
        "bad_parameter",
        "parameters.scan",
        "not both",
    ),
    (
        body(task="score_variants", parameters={"variants": ["K1A"]}),
        JSON,
        400,
        "bad_variant",
        "inputs[0], variant 'K1A'",
        "is 'M', not 'K'",
    ),
    (
        body(inputs=["MKT", {"id": "P7", "sequence": "MK5"}]),
        JSON,
        400,
        "bad_sequence",
        "inputs[1] (P7), position 3",
        "'5' is not a residue",
    ),
    (body(inputs=["MK*T"]), JSON, 400, "bad_sequence", "inputs[0], position 3", "stop"),
    (body(inputs=[" "]), JSON, 400, "bad_sequence", "inputs[0]", "empty"),
    (body(inputs=["\ud800"]), JSON, 400, "bad_sequence", "inputs[0], position 1", "is not a residue"),
    (
        body(task="perplexity", inputs=["MK_T"]),
        JSON,
        400,
        "bad_sequence",
        "inputs[0], position 3",
        "'_' is not a residue",
    ),
    ('{"sequence": "MK1"}', JSON, 400, "bad_sequence", "sequence, position 3", "'1' is not a residue"),
    ('{"sequence": 5}', JSON, 400, "bad_request", "sequence", "a string of residues"),
    ('{"sequence": "M", "top_k": 5}', JSON, 400, "bad_request", "top_k", "unknown field"),
    (body(inputs=["M" * 2047]), JSON, 413, "sequence_too_long", "inputs[0]", "at most 2046"),
    (body(inputs=["M"] * 10_001), JSON, 413, "too_much_work", "inputs", "more than 10000"),
    (body(inputs=[]), JSON, 422, "nothing_to_score", "inputs", "no inputs"),
    (body(task="fill_mask"), JSON, 422, "nothing_to_score", "inputs[0]", "write <mask> or _"),
    (body(task="score_variants"), JSON, 422, "nothing_to_score", "inputs[0]", "scan: true"),
    ("MKT", "text/plain", 415, "unsupported_media_type", "Content-Type", "text/x-fasta"),
    ("x", "", 400, "bad_body", "body", "not JSON"),
    ("x", ";;;", 415, "unsupported_media_type", "Content-Type", "application/json"),
    ("{}", "application/json; charset=latin-1", 415, "unsupported_media_type", "Content-Type", "utf-8"),
    ('"MKT"\n{"sequence": ', "application/jsonlines", 400, "bad_body", "line 2", "not JSON"),
    ('"MKT"\n\n"M4"', "application/jsonlines", 400, "bad_sequence", "line 3, position 2", "'4'"),
    ("MKT\n", "text/x-fasta", 400, "bad_body", "body", "a header line '>name' is wanted"),
    (">a\nMKT\n>b\nMK7\n", "text/x-fasta", 400, "bad_sequence", "record 2 (b), position 3", "'7'"),
    (">a\n>b\nMK\n", "text/x-fasta", 400, "bad_sequence", "record 1 (a)", "empty"),
    (b">a\n\x00\n", "text/x-fasta", 400, "bad_body", "body", "binary"),
    (b"\x1f\x8b\x08\x00", "text/x-fasta", 400, "bad_body", "body", "plain text"),
    (b"\x28\xb5\x2f\xfd\x00", "text/x-fasta", 400, "bad_body", "body", "plain text"),
    (
        ">a\nMKT",
        "text/x-fasta; task=perplexity; exakt=true",
        400,
        "bad_parameter",
        "parameters.exakt",
        "did you mean 'exact'",
    ),
    (">a\nMKT", "text/x-fasta; task=nope", 400, "bad_request", "task", "unknown task"),
    ("a,b,c\n", "text/csv", 400, "bad_body", "row 1", "3 columns"),
    ("id,seq\nx,MKT\n", "text/csv", 400, "bad_body", "row 1", "a header without a column sequence"),
    ("\nseq\nMKT\n", "text/csv; task=perplexity", 400, "bad_body", "row 2", "a header without a column sequence"),
    ("id,sequence,colour\nx,M,red", "text/csv", 400, "bad_body", "row 1", "unknown column 'colour'"),
    ("id,sequence\nx,M\nMKT\n", "text/csv", 400, "bad_body", "row 3", "1 columns; 2 are wanted"),
    ('x,"MKT', "text/csv", 400, "bad_body", "row 1", "not CSV"),
    ("sequence\n", "text/csv", 422, "nothing_to_score", "inputs", "no inputs"),
]


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code", "where", "said"),
    REFUSED_BODIES,
    ids=[re.sub(r"\W+", "-", f"{said} {i}") for i, (*_, said) in enumerate(REFUSED_BODIES)],
)
def test_a_wrong_body_is_refused_saying_what_where_and_what_is_wanted(
    predictor: Predictor, body: str | bytes, content_type: str, status: int, code: str, where: str, said: str
) -> None:
    error = refusal(predictor, body, content_type)
    assert (error.status, error.code, error.where) == (status, code, where)
    assert said in error.message
    assert len(error.message) < 400


# ---- bodies out ------------------------------------------------------------------------------------------------------


def test_json_lines_answers_have_one_output_a_line(predictor: Predictor) -> None:
    request = body(inputs=["MKT", "AYI"])
    lines = answer(predictor, request, accept="application/jsonlines").decode().splitlines()
    assert [json.loads(line) for line in lines] == json.loads(answer(predictor, request))["outputs"]


def test_npz_stacks_what_has_one_shape_and_numbers_what_has_not(predictor: Predictor) -> None:
    def arrays(**fields: Any) -> dict[str, np.ndarray]:
        content = answer(
            predictor, body(inputs=["MKT", {"id": "P2", "sequence": "AYIAK"}], **fields), accept="application/x-npz"
        )
        with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
            return dict(loaded)

    mean = arrays()
    assert {key: value.shape for key, value in mean.items()} == {
        "id": (2,),
        "length": (2,),
        "unknown": (2,),
        "embedding": (2, 16),
    }
    assert (mean["id"].tolist(), mean["embedding"].dtype) == (["", "P2"], np.float32)
    assert arrays(task="logits")["logits_1"].shape == (7, 27)
    assert arrays(parameters={"pooling": "per_residue"})["embedding_0"].shape == (3, 16)
    assert arrays(task="perplexity")["perplexity"].shape == (2,)
    scan = arrays(task="score_variants", parameters={"scan": True})
    assert (scan["scores_0"].shape, scan["letters"].tolist()) == ((3, 20), ["ACDEFGHIKLMNPQRSTVWY"] * 2)


def test_npz_of_float16_has_half_the_bytes_of_what_the_model_gave(predictor: Predictor) -> None:
    def arrays(accept: str, task: str) -> dict[str, np.ndarray]:
        prediction = inference.predict_fn(inference.input_fn(body(task=task, inputs=[PROTEIN, "MKT"])), predictor)
        content, media_type = inference.output_fn(prediction, accept)
        assert media_type == "application/x-npz"
        with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
            return dict(loaded)

    full = arrays("application/x-npz; dtype=float32", "embed")["embedding"]
    half = arrays("application/x-npz; dtype=float16, application/json", "embed")["embedding"]
    assert (full.dtype, half.dtype) == (np.float32, np.float16)
    np.testing.assert_array_equal(half, full.astype(np.float16))
    assert arrays("application/x-npz; dtype=float16", "perplexity")["perplexity"].dtype == np.float64


def test_numbers_beyond_float16_are_refused_instead_of_becoming_infinite(predictor: Predictor) -> None:
    prediction = inference.predict_fn(inference.input_fn(body()), predictor)
    prediction.outputs[0]["embedding"][0] = 70_000
    with pytest.raises(RequestError, match="embedding has numbers up to 70000; float16 ends at 65504") as refused:
        inference.output_fn(prediction, "application/x-npz; dtype=float16")
    assert refused.value.status == 406


def test_an_array_type_that_cannot_be_had_is_refused_naming_those_that_can() -> None:
    with pytest.raises(RequestError, match="float32 or float16 can be had") as refused:
        choose_answer_type("application/x-npz; dtype=int8", JSON)
    assert (refused.value.status, refused.value.where) == (406, "Accept")


def test_contacts_between_chains_are_numbers_and_the_break_itself_is_null(predictor: Predictor) -> None:
    (output,) = ask(predictor, "contacts", ["MKT|AY"])
    assert output["contacts"][3] == [None] * 6
    assert [row[3] for row in output["contacts"]] == [None] * 6
    assert None not in output["contacts"][0][:3] + output["contacts"][0][4:]


def test_a_content_type_names_several_blocks_and_variants_as_lists(predictor: Predictor) -> None:
    expected = ask(predictor, "embed", ["MKT"], layer=[1, -1])
    lines = answer(predictor, ">a\nMKT\n", 'text/x-fasta; task=embed; layer="1,-1"', accept="application/jsonlines")
    assert json.loads(lines)["embedding"] == expected[0]["embedding"]
    scored = answer(predictor, "MKT\n", "text/csv; task=score_variants; variants=M1A,K2V:T3L")
    assert json.loads(scored)["outputs"][0]["variants"] == ["M1A", "K2V:T3L"]


def test_a_scans_row_without_a_known_residue_is_null_in_json(predictor: Predictor) -> None:
    (output,) = ask(predictor, "score_variants", ["MXK"], scan=True)
    assert output["scores"][1] == [None] * 20
    assert None not in output["scores"][0]


@pytest.mark.parametrize(
    ("accept", "content_type", "chosen"),
    [
        (None, None, JSON),
        ("*/*", JSON, JSON),
        ("", "text/csv; task=embed", JSON),
        ("*/*", "application/x-ndjson", "application/jsonlines"),
        ("application/json", "application/jsonlines", JSON),
        ("text/html, application/x-npz;q=0.9, */*;q=0.1", JSON, "application/x-npz"),
        ("APPLICATION/JSON; charset=utf-8", JSON, JSON),
        ("application/json;q=0, application/jsonlines", JSON, "application/jsonlines"),
    ],
)
def test_the_answers_format_is_the_first_of_ours_that_is_accepted(
    accept: str | None, content_type: str | None, chosen: str
) -> None:
    assert choose_answer_type(accept, content_type).media_type == chosen


def test_an_accept_header_without_a_format_of_ours_is_refused_naming_them() -> None:
    with pytest.raises(RequestError, match="application/x-npz can be had") as refused:
        choose_answer_type("text/html", JSON)
    assert (refused.value.status, refused.value.where) == (406, "Accept")


# ---- anything at all -------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["MKT", "M_K", "A1G"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
known_keys = st.sampled_from(["pooling", "layer", "normalize", "top_k", "exact", "variants", "scan", "method", "x"])
requests = st.fixed_dictionaries(
    {
        "task": st.sampled_from(["embed", "logits", "fill_mask", "perplexity", "score_variants", "contacts"])
        | json_values,
        "inputs": st.lists(st.text("MKTX|_*5 ", max_size=6) | json_values, max_size=3) | json_values,
    },
    optional={"parameters": st.dictionaries(known_keys, json_values, max_size=3) | json_values, "x": json_values},
).map(json.dumps)
content_types = st.sampled_from(
    [JSON, "application/jsonlines", "text/x-fasta", "text/csv", "text/csv; task=score_variants", "text/x-fasta; =; a"]
)


@settings(deadline=None, max_examples=300)
@given(
    body=requests | json_values.map(json.dumps) | st.binary(max_size=60) | st.text(max_size=60),
    content_type=content_types,
)
def test_whatever_comes_is_answered_or_refused_as_the_callers_mistake(
    predictor: Predictor, body: bytes | str, content_type: str
) -> None:
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    refused: RequestError | None = None
    try:
        prediction = inference.predict_fn(inference.input_fn(raw, content_type), predictor)
    except RequestError as error:
        refused = error
    if refused is not None:
        assert refused.status in (400, 413, 415, 422)
        assert json.loads(json.dumps(refused.body()))["code"]
        return
    for accept in (JSON, "application/jsonlines", "application/x-npz"):
        assert inference.output_fn(prediction, accept)[0]


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        inference.model_fn(tmp_path / "nothing")


# ---- partial answers -------------------------------------------------------------------------------------------------


def test_in_a_partial_answer_each_bad_protein_has_its_error_and_the_others_their_answers(predictor: Predictor) -> None:
    inputs = [{"id": "a", "sequence": PROTEIN}, {"id": "b", "sequence": "MK*TA"}, {"id": "c", "sequence": "XX"}]
    body = json.dumps({"task": "perplexity", "inputs": inputs, "partial": True})
    good, stopped, empty = json.loads(answer(predictor, body))["outputs"]
    [alone] = ask(predictor, "perplexity", inputs[:1])
    assert good == alone
    assert (stopped["id"], stopped["error"]["code"]) == ("b", "bad_sequence")
    assert stopped["error"]["where"] == "inputs[1] (b), position 3"
    assert (empty["id"], empty["error"]["code"]) == ("c", "nothing_to_score")


def test_a_partial_answer_may_hold_errors_only(predictor: Predictor) -> None:
    outputs = answer(predictor, ">x\nM1\n", "text/x-fasta; task=embed; partial=true", "application/jsonlines")
    assert json.loads(outputs)["error"]["code"] == "bad_sequence"


def test_arrays_have_no_room_for_a_partial_answer(predictor: Predictor) -> None:
    body = json.dumps({"task": "embed", "inputs": [PROTEIN], "partial": True})
    with pytest.raises(RequestError, match="no room for the errors") as refused:
        answer(predictor, body, accept="application/x-npz")
    assert refused.value.status == 406


@pytest.mark.parametrize("content_type", [JSON, "text/csv; partial=7"])
def test_partial_is_true_or_false(predictor: Predictor, content_type: str) -> None:
    body = json.dumps({"task": "embed", "inputs": [PROTEIN], "partial": "yes"})
    assert "true or false is wanted" in refusal(predictor, body, content_type).message
