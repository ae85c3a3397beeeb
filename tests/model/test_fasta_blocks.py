"""FASTA by the megabyte means what FASTA record by record means: same proteins, same refusals, same words."""

import gzip
import io
import pickle

import pytest
from amplify_lm import fasta, fasta_blocks
from backports import zstd
from hypothesis import example, given, settings
from hypothesis import strategies as st


def by_record(text: bytes) -> tuple[list[str], list[tuple[str, int, str]], int, int]:
    """Clean residues, (message, record, name) of the refusals, records and headers that begin with a space."""
    residues, refused, spaced, count = [], [], 0, 0
    for record in fasta.read(io.BytesIO(text), "a.fasta"):
        count += 1
        spaced += record.spaced
        try:
            residues.append(fasta.clean(record.sequence, f"a.fasta, {record.where}").residues)
        except fasta.FastaError as error:
            refused.append((str(error), record.number, record.name))
    return residues, refused, count, spaced


def by_block(text: bytes) -> tuple[list[str], list[tuple[str, int, str]], int, int]:
    residues, refused, spaced, count = [], [], 0, 0
    for block in fasta_blocks.read_blocks(io.BytesIO(text), "a.fasta"):
        letters = block.letters.decode()
        residues += [letters[a:b] for a, b in zip(block.starts.tolist(), block.ends.tolist(), strict=True)]
        refused += [(str(one.error), one.record.number, one.record.name) for one in block.refusals]
        count += block.records
        spaced += block.spaced
    return residues, refused, count, spaced


PIECES = st.sampled_from(
    b">/\n>/\n/\r\n/ /\t/\v/*/|/MK/mkv/L/X/U/-/5/\xc3\xa9/\xff/sp|P1 a>b/*\n>/|\n>/\n>\n>/||".split(b"/")
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=40).map(b"".join), st.integers(1, 60))
@example(b"a\n>b\n*", 3)
@example(b"a\n**\n>\n|\n>x\n*|*", 1)
def test_blocks_hold_what_records_hold(tail: bytes, block_bytes: int) -> None:
    text = b">" + tail
    expected = by_record(text)
    original, fasta._BLOCK_BYTES = fasta._BLOCK_BYTES, block_bytes
    try:
        assert by_block(text) == expected
        assert by_record(text) == expected
    finally:
        fasta._BLOCK_BYTES = original


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_compressed_files_are_read_in_all_their_parts(compress) -> None:
    one, two = b">a\nMKV\n", b">b\nLAG*\n"
    assert by_block(compress(one) + compress(two)) == by_block(one + two)
    assert by_record(compress(one) + compress(two))[0] == ["MKV", "LAG"]


@pytest.mark.parametrize("damage", [lambda d: d[:-3], lambda d: d[:40] + bytes([d[40] ^ 255]) + d[41:]])
@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_a_damaged_or_truncated_file_is_named(compress, damage) -> None:
    text = "".join(f">{i}\n{'MKVLAG'[i % 6 :]}{i * 'ACD'}\n" for i in range(50)).encode()
    with pytest.raises(fasta.FastaError, match=r"a\.fasta, after record \d+: damaged or truncated compressed file"):
        by_block(damage(compress(text)))


def test_a_record_that_no_memory_would_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fasta, "LONGEST", 3 << 20)
    text = b">a\nMK\n>chromosome\n" + b"ACGT" * (2 << 20)
    with pytest.raises(fasta.FastaError, match=r"a\.fasta, record 2: longer than 3 MB; a protein is wanted"):
        by_block(text)


@pytest.mark.parametrize(("text", "message"), [(b"MK", "not FASTA"), (b">a\nM\x00K", "binary data")])
def test_what_is_not_fasta_is_refused_by_name(text: bytes, message: str) -> None:
    with pytest.raises(fasta.FastaError, match=f"a.fasta: {message}"):
        by_block(text)


def test_a_refusal_finds_its_way_between_processes() -> None:
    with pytest.raises(fasta.FastaError) as refusal:
        fasta.clean("MK5", "record 3")
    copy = pickle.loads(pickle.dumps(refusal.value))
    assert str(copy) == str(refusal.value)
    assert (copy.reason, copy.where, copy.position) == ("not_a_residue", "record 3", 3)
