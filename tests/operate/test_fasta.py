"""FASTA as the command reads it."""

import gzip
from pathlib import Path

import pytest

from operate import fasta
from operate.errors import OperateError


def test_records_are_read_as_they_stand_however_the_lines_end(tmp_path: Path) -> None:
    path = tmp_path / "a.fasta"
    path.write_bytes(b">P1 first one\r\nMKT\r\nLL*\r\n>P2\nMA\n\n")
    assert fasta.read(path) == [fasta.Protein("P1", "first one", "MKTLL*"), fasta.Protein("P2", "", "MA")]


def test_a_header_that_begins_with_a_space_still_names_its_protein(tmp_path: Path) -> None:
    path = tmp_path / "a.fasta"
    path.write_text("> MG007 x\nMK\n>\nMA\n")
    assert [one.name for one in fasta.read(path)] == ["MG007", "protein_2"]


def test_gzipped_fasta_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.fasta.gz"
    path.write_bytes(gzip.compress(b">P1\nMK\n", mtime=0))
    assert fasta.read(path) == [fasta.Protein("P1", "", "MK")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"MKTAYI\n", "begins with 'MKTAYI"),
        (b"\x89PNG\r\n\x1a\n\x00", "begins with"),
        (gzip.compress(b">P1\nMK\n" * 1000, mtime=0)[:40], "is damaged"),
        (b"\x1f\x8b not gzip at all", "cannot be read"),
        (b">P1\nM\xff\xfeK\n", "is damaged"),
    ],
)
def test_what_is_no_fasta_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.fasta"
    path.write_bytes(content)
    with pytest.raises(OperateError, match=message) as caught:
        fasta.read(path)
    assert str(path) in caught.value.message


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(OperateError, match=r"none\.fasta cannot be read: No such file"):
        fasta.read(tmp_path / "none.fasta")


def test_zstd_is_uploaded_as_it_is_and_what_is_no_fasta_is_not(tmp_path: Path) -> None:
    packed, other = tmp_path / "a.fasta.zst", tmp_path / "b.fasta"
    packed.write_bytes(b"\x28\xb5\x2f\xfd and so on")
    other.write_bytes(b"MKV")
    fasta.check_for_upload(packed)
    with pytest.raises(OperateError, match="FASTA begins with"):
        fasta.check_for_upload(other)
    with pytest.raises(OperateError, match="cannot be read"):
        fasta.check_for_upload(tmp_path / "none.fasta")
