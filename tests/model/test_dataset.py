"""Proteins on disk, the order of an epoch, and how a step is shared out."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from amplify_lm import tokenizer
from amplify_lm.dataset import (
    DatasetError,
    ShardWriter,
    Split,
    cut,
    read_manifest,
    share_out,
)
from amplify_lm.loss import loss_batch
from amplify_lm.masking import MaskingRule
from amplify_lm.order import TrainingOrder
from hypothesis import given
from hypothesis import strategies as st

RANDOM = np.random.default_rng(1)
PROTEINS = ["".join(RANDOM.choice(list("LAGVSERTIDPKQNFYMHWC"), n)) for n in RANDOM.integers(1, 90, 60)]


@pytest.fixture
def split(tmp_path: Path) -> Split:
    writer = ShardWriter(tmp_path / "train", shard_tokens=700)
    for protein in PROTEINS:
        writer.write(tokenizer.encode(protein))
    writer.close()
    assert len(writer.shards) > 2
    return Split(tmp_path / "train")


def test_proteins_come_back_as_they_were_written_over_all_shards(split: Split) -> None:
    assert len(split) == len(PROTEINS)
    assert [tokenizer.decode(split.tokens(i, 0, 1000)) for i in range(len(split))] == PROTEINS
    assert split.lengths(np.arange(len(split))).tolist() == [len(p) + 2 for p in PROTEINS]


def test_a_stretch_of_a_protein_ends_with_the_protein(split: Split) -> None:
    whole = split.tokens(7, 0, 1000)
    assert (split.tokens(7, 3, 4) == whole[3:7]).all()
    assert (split.tokens(7, len(whole) - 2, 100) == whole[-2:]).all()


def test_a_truncated_shard_is_named(split: Split, tmp_path: Path) -> None:
    shard = tmp_path / "train" / "shard-00001.tokens"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"shard-00001\.tokens: \d+ bytes, its index says \d+"):
        Split(tmp_path / "train")


def test_a_folder_without_shards_is_no_split(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no shards; a dataset made by `prepare` is wanted"):
        Split(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing"),
        ("{", "is not the manifest of a dataset"),
        ("[]", "is not the manifest of a dataset"),
        ('{"format": 3, "shards": []}', "its format is 3, up to 2 can be read here"),
        ('{"shards": []}', "is not the manifest of a dataset"),
        (
            '{"format": 1, "shards": [{"file": "train/shard-00000.tokens", "tokens": 9}]}',
            "is missing or has not the 9 bytes",
        ),
    ],
)
def test_a_manifest_that_does_not_fit_its_folder_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        read_manifest(tmp_path)


def test_residues_are_counted_without_begin_and_end(split: Split) -> None:
    whole = cut(split.lengths(np.arange(len(split))), window=20)
    assert whole.residues.sum() == sum(len(p) for p in PROTEINS)
    assert TrainingOrder(split, 512, 10**6, seed=0).next_step().residues.max() == max(len(p) for p in PROTEINS)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=30), st.integers(8, 128))
def test_cutting_covers_each_protein_once_in_pieces_that_fit(lengths: list[int], window: int) -> None:
    pieces = cut(np.array(lengths), window)
    assert pieces.lengths.max() <= window
    covered = [
        position
        for protein, start, length in zip(pieces.proteins, pieces.starts, pieces.lengths, strict=True)
        for position in range(sum(lengths[:protein]) + start, sum(lengths[:protein]) + start + length)
    ]
    assert covered == list(range(sum(lengths)))


@pytest.mark.parametrize("shares", [1, 2, 7])
def test_shares_hold_each_window_once_and_nearly_equal_tokens(split: Split, shares: int) -> None:
    windows = TrainingOrder(split, 32, 1200, seed=0).next_step()
    parts = share_out(windows, shares)
    assert sorted(p for part in parts for p in part.proteins.tolist()) == sorted(windows.proteins.tolist())
    tokens = [int(part.lengths.sum()) for part in parts]
    assert max(tokens) - min(tokens) <= 32
    assert all((np.diff(part.lengths) <= 0).all() for part in parts)


def test_what_is_masked_does_not_depend_on_how_a_step_is_shared_out(split: Split) -> None:
    windows = TrainingOrder(split, 32, 1200, seed=0).next_step()

    def by_protein(shares: int) -> dict[int, list[int]]:
        seen: dict[int, list[int]] = {}
        for part in share_out(windows, shares):
            packed = loss_batch(split, part, 0, MaskingRule()).packed
            bounds = packed.cu_seqlens.tolist()
            for i, protein in enumerate(part.proteins.tolist()):
                seen[protein] = packed.input_ids[bounds[i] : bounds[i + 1]].tolist()
        return seen

    assert by_protein(1) == by_protein(3)


def test_a_window_begins_where_its_hash_says_and_shows_the_protein_from_there(split: Split) -> None:
    windows = TrainingOrder(split, 32, 1200, seed=0).next_step()
    nothing_masked = MaskingRule(mask_share=0.0)
    packed = loss_batch(split, windows, 0, nothing_masked).packed
    bounds = packed.cu_seqlens.tolist()
    assert windows.starts.max() > 0
    for i, (protein, start) in enumerate(zip(windows.proteins.tolist(), windows.starts.tolist(), strict=True)):
        whole = tokenizer.encode(PROTEINS[protein]).tolist()
        assert packed.input_ids[bounds[i] : bounds[i + 1]].tolist() == whole[start : start + 32]


def test_preparing_data_does_not_need_torch() -> None:
    command = "import sys, prepare; sys.exit('torch' in sys.modules)"
    model_code = Path(__file__).parents[2] / "model_code"
    assert subprocess.run([sys.executable, "-c", command], cwd=model_code).returncode == 0
