"""The seam between the command and the server: which first rows of a table are headers."""

import pytest
from amplify_lm.bodies import requests

from operate import batch_records

ROWS = [
    (["id", "seq"], True),
    (["ID", "SEQ"], True),
    (["Seq", "Id"], True),
    (["Name", "Protein"], True),
    (["seq"], True),
    ([" sequences "], True),
    (["SEQ"], False),
    (["x", "SEQ"], False),
    (["id", "MKT"], False),
    (["protein", "MKTAYI"], False),
    (["MKTAYI"], False),
]


@pytest.mark.parametrize(("row", "is_header"), ROWS, ids=lambda value: ",".join(value) if value is list else None)
def test_a_header_that_names_no_sequence_is_known_by_both(row: list[str], is_header: bool) -> None:
    assert (batch_records.is_heading(row), requests.is_heading(row)) == (is_header, is_header)


def test_both_know_the_same_words() -> None:
    assert batch_records.HEADINGS == requests.HEADINGS
