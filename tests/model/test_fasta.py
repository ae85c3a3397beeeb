"""FASTA as people write it: what is read, what is refused, and what the refusal says."""

import gzip
import io
from pathlib import Path

import pytest
from amplify_lm import fasta
from hypothesis import given
from hypothesis import strategies as st


def parse(text: bytes) -> list[fasta.Record]:
    return list(fasta.read(io.BytesIO(text)))


def test_records_keep_name_sequence_and_number() -> None:
    assert parse(b">sp|P1 first protein\nMKV\nLAG\n>second\nAC\n") == [
        fasta.Record("sp|P1", "MKVLAG", 1),
        fasta.Record("second", "AC", 2),
    ]


@pytest.mark.parametrize(
    "text",
    [b"> P1 x\nMKV\n", b">P1\r\nMK\r\nV\r\n", b"\n\n>P1\nMK V", b">P1\n\nM\tKV\n\n", b"\xef\xbb\xbf>P1\nMKV"],
    ids=["header begins with a space", "CRLF", "no last line end", "blank lines and tabs", "byte order mark"],
)
def test_the_usual_variants_of_layout_read_the_same(text: bytes) -> None:
    assert parse(text) == [fasta.Record("P1", "MKV", 1)]


def test_a_greater_sign_inside_a_header_begins_no_record() -> None:
    assert parse(b">P1 a>b\nMKV\n") == [fasta.Record("P1", "MKV", 1)]


@given(st.lists(st.text("ACDEFGHIKLMNPQRSTVWY", min_size=1, max_size=50), min_size=1, max_size=20), st.integers(1, 40))
def test_block_borders_change_nothing(sequences: list[str], block_bytes: int) -> None:
    text = "".join(f">p{i}\n{sequence}\n" for i, sequence in enumerate(sequences)).encode()
    original, fasta._BLOCK_BYTES = fasta._BLOCK_BYTES, block_bytes
    try:
        assert [record.sequence for record in parse(text)] == sequences
    finally:
        fasta._BLOCK_BYTES = original


def test_gzip_is_told_by_its_content_and_may_have_several_members(tmp_path: Path) -> None:
    path = tmp_path / "proteins.fasta"
    path.write_bytes(gzip.compress(b">a\nMK\n") + gzip.compress(b">b\nLA\n"))
    assert [record.sequence for record in fasta.read(path)] == ["MK", "LA"]


def test_a_truncated_gzip_file_is_named_with_the_last_good_record(tmp_path: Path) -> None:
    path = tmp_path / "cut.fasta.gz"
    path.write_bytes(gzip.compress(b">a\nMK\n>b\nLA\n")[:-9])
    with pytest.raises(
        fasta.FastaError, match=r"cut\.fasta\.gz, after record \d: damaged or truncated compressed file"
    ):
        list(fasta.read(path))


def test_a_gzip_file_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    damaged = bytearray(gzip.compress(b">a\n" + b"MKVLAG" * 500))
    damaged[-6] ^= 1  # in the checksum: the content alone looks right
    path = tmp_path / "flipped.gz"
    path.write_bytes(damaged)
    with pytest.raises(fasta.FastaError, match="damaged or truncated compressed file"):
        list(fasta.read(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"MKVLAG\n", r"not FASTA: it begins with 'MKVLAG\\n'"),
        (b">a\nMK\x00V\n", r"binary data \(byte 0x00 at offset 5\)"),
        (b"PK\x03\x04 rest", "this is a zip file"),
    ],
)
def test_what_is_not_fasta_is_refused_by_file_and_cause(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "odd.fasta"
    path.write_bytes(content)
    with pytest.raises(fasta.FastaError, match=rf"odd\.fasta: {message}"):
        list(fasta.read(path))


def test_an_empty_file_has_no_records() -> None:
    assert parse(b"") == []
    assert parse(b"\n  \n") == []


def test_the_stream_given_stays_open() -> None:
    stream = io.BytesIO(b">a\nMK")
    list(fasta.read(stream))
    assert not stream.closed


def test_clean_makes_upper_case_drops_the_stop_and_counts_unknown_residues() -> None:
    assert fasta.clean("mkxU B\n*") == fasta.CleanSequence("MKXUB", 2)


def test_two_chains_stay_two_chains() -> None:
    assert fasta.clean("EVQ|DIQ") == fasta.CleanSequence("EVQ|DIQ", 0)


@pytest.mark.parametrize(
    ("sequence", "reason", "position"),
    [
        ("", "empty", None),
        (" *", "empty", None),
        ("MK*V", "inner_stop", 3),
        ("MKV**", "inner_stop", 4),
        ("MK VL5A", "not_a_residue", 5),
        ("MK-V", "not_a_residue", 3),
        ("MéV", "not_a_residue", 2),
        ("|MK", "empty_chain", 1),
        ("MK||V", "empty_chain", 3),
    ],
)
def test_a_refused_sequence_says_why_and_where(sequence: str, reason: str, position: int | None) -> None:
    with pytest.raises(fasta.FastaError) as refusal:
        fasta.clean(sequence, "record 3 (sp|P12345)")
    assert (refusal.value.reason, refusal.value.position) == (reason, position)
    place = "record 3 (sp|P12345)" if position is None else f"record 3 (sp|P12345), position {position}"
    assert str(refusal.value).startswith(place + ": ")


def test_the_object_that_says_these_are_all_is_no_protein_file(tmp_path: Path) -> None:
    for name in ("READY", "a.fasta", "more/READY"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in fasta.files_below(tmp_path)] == ["a.fasta", "more/READY"]


def test_ready_alone_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "READY").touch()
    with pytest.raises(fasta.FastaError, match="no files"):
        fasta.files_below(tmp_path)
