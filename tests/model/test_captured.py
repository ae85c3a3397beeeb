"""Captured requests: every body that the server takes is read back, and what cannot be read is counted."""

import json

import pytest
from amplify_lm.captured import Census

from tests.model.capture_files import asking, captured


def census(*lines: str | bytes) -> Census:
    found = Census()
    for number, line in enumerate(lines, start=1):
        found.add(line.encode() if isinstance(line, str) else line, f"a.jsonl, line {number}", 100)
    return found


@pytest.mark.parametrize(
    "line",
    [
        asking(["MKT", "MKTAYI"]),
        captured('"MKT"\n{"sequence": "MKTAYI"}\n', "application/jsonlines; task=perplexity"),
        captured("id,sequence\na,MKT\nb,MKTAYI\n", "text/csv; task=embed", "CSV"),
        captured(">a\nMKT\n>b\nMKTAYI\n", "text/x-fasta; task=perplexity", "BASE64"),
    ],
    ids=["json", "json lines", "csv", "fasta"],
)
def test_a_body_of_each_type_is_read_as_the_server_reads_it(line: str) -> None:
    found = census(line)
    assert (found.requests, found.proteins, dict(found.broken)) == (1, 2, {})
    assert sorted(one.length for one in found.distinct.values()) == [3, 6]


def test_the_authors_form_and_masked_proteins_are_read_too() -> None:
    found = census(captured('{"sequence": "MKTX"}'), asking(["MK<mask>AYI", "MKT_YI"], "fill_mask"))
    assert found.proteins == 3
    assert {(one.length, one.num_unknown, one.is_whole) for one in found.distinct.values()} == {
        (4, 1, False),
        (6, 0, False),
    }


def test_a_protein_that_is_asked_about_often_is_one_protein() -> None:
    found = census(*[asking(["MKTAYI"])] * 5, asking(["mktayi", "MKT"]))
    assert (found.requests, found.proteins, len(found.distinct)) == (6, 7, 2)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not_json"),
        (b"\xff\xfe", "not_json"),
        ("[" * 100_000, "not_json"),
        ("[]", "no_capture_data"),
        ('{"captureData": {"endpointOutput": {}}}', "no_input"),
        (json.dumps({"captureData": {"endpointInput": {"data": "!", "encoding": "BASE64"}}}), "not_base64"),
        (json.dumps({"captureData": {"endpointInput": {"data": "!", "encoding": "GZIP"}}}), "unknown_encoding"),
        (
            json.dumps({"captureData": {"endpointInput": {"data": "!", "observedContentType": 1}}}),
            "no_content_type",
        ),
        (captured("{}"), "bad_request"),
        (
            captured('{"sequence": "\ud800"}'.encode("utf-8", "surrogatepass").decode("utf-8", "replace")),
            "bad_sequence",
        ),
        (captured("x", "image/png"), "unsupported_media_type"),
        (asking(["MK*T"]), "bad_sequence"),
        (asking([]), "nothing_to_score"),
        (captured('{"task": "dance", "inputs": ["MKT"]}'), "bad_request"),
    ],
)
def test_a_broken_record_is_counted_by_its_reason_and_ends_nothing(line: str | bytes, reason: str) -> None:
    found = census(asking(["MKT"]), line, asking(["MKTAYI"]))
    assert dict(found.broken) == {reason: 1}
    assert (found.records, found.requests, len(found.distinct)) == (3, 2, 2)
    assert found.broken_examples == [f"a.jsonl, line 2: {reason}"]


def test_the_place_of_a_broken_record_is_told_and_none_of_its_letters() -> None:
    found = census(*[asking(["SECRETSEQ*ENCE"])] * 9)
    assert len(found.broken_examples) == 5
    assert "SECRET" not in "".join(found.broken_examples)


def test_no_more_different_proteins_are_kept_than_asked_for() -> None:
    found = Census()
    found.add(asking(["MKT", "MKA", "MKC"]).encode(), "a", 2)
    assert (found.proteins, len(found.distinct)) == (3, 2)
