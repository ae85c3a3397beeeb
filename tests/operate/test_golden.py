"""Golden answers: what counts as the same, and what does not."""

from typing import Any

import pytest

from operate import golden

ANSWER = {"task": "embed", "outputs": [{"id": "a", "embedding": [1.0, -2.0, 1e-9]}, {"perplexity": 12.0, "length": 30}]}


def changed(**outputs: Any) -> dict[str, Any]:
    first = {"id": "a", "embedding": [1.0, -2.0, 1e-9]} | {k: v for k, v in outputs.items() if k in ("id", "embedding")}
    second = {"perplexity": 12.0, "length": 30} | {k: v for k, v in outputs.items() if k == "perplexity"}
    return {"task": "embed", "outputs": [first, second]}


@pytest.mark.parametrize(
    "answer",
    [changed(), changed(embedding=[1.01, -2.0, 0.001]), changed(perplexity=12.1)],
    ids=["same", "rounded-elsewhere", "within"],
)
def test_rounding_is_no_difference(answer: dict[str, Any]) -> None:
    assert golden.difference(answer, ANSWER, 2e-2) is None


@pytest.mark.parametrize(
    ("answer", "where"),
    [
        (changed(embedding=[1.1, -2.0, 0.0]), "outputs[0].embedding is off by 0.05; 0.02 is tolerated"),
        (changed(embedding=[float("nan"), -2.0, 0.0]), "outputs[0].embedding is off by nan"),
        (changed(embedding=[1.0, -2.0]), "outputs[0].embedding is [1.0, -2.0], not [1.0, -2.0, 1e-09]"),
        (changed(perplexity=13.0), "outputs[1].perplexity is off by 0.083"),
        (changed(perplexity="12.0"), "outputs[1].perplexity is 12.0, not 12.0"),
        (changed(id="b"), "outputs[0].id is b, not a"),
        ({"task": "embed", "outputs": []}, "outputs is [], not [{"),
        ({"error": "busy"}, "it is {'error': 'busy'}, not"),
        (None, "it is None"),
    ],
)
def test_a_difference_is_told_with_its_place(answer: Any, where: str) -> None:
    told = golden.difference(answer, ANSWER, 2e-2)
    assert told is not None
    assert told.startswith(where)


def test_a_set_of_answers_names_the_request() -> None:
    kept = golden.Golden(
        artifact_sha256="a",
        image_digest="b",
        endpoint="e",
        recorded_at="now",
        requests=({"task": "embed"},),
        answers=(ANSWER,),
    )
    assert golden.agree([ANSWER], kept, 0) is None
    assert str(golden.agree([changed(perplexity=1)], kept, 0)).startswith("embed: outputs[1].perplexity")
    assert golden.Golden.from_json(kept.as_json() | {"answers": [ANSWER]}) == kept
