"""The order of an epoch: no protein lost, none repeated, whatever the budget, the processes and the interruptions."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from amplify_lm import resume, tokenizer
from amplify_lm.dataset import DatasetError, ShardWriter, Split, Windows, share_out
from amplify_lm.loss import loss_batch
from amplify_lm.masking import MaskingRule
from amplify_lm.order import Place, TrainingOrder
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

RANDOM = np.random.default_rng(1)
LENGTHS = RANDOM.integers(1, 90, 60).tolist()


def write(folder: Path, lengths: list[int], mix: list[tuple[int, float]] | None = None) -> Split:
    with ShardWriter(folder, shard_tokens=700) as writer:
        for length in lengths:
            writer.write(tokenizer.encode("".join(RANDOM.choice(list("LAGVSERTIDPKQNFYMHWC"), length))))
    if mix is not None:
        listed = [{"name": f"s{i}", "proteins": count, "weight": weight} for i, (count, weight) in enumerate(mix)]
        (folder / "sources.json").write_text(json.dumps(listed))
    return Split(folder)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return write(tmp_path_factory.mktemp("split"), LENGTHS)


@pytest.fixture(scope="module")
def natural(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Lengths as proteins have them."""
    lengths = np.random.default_rng(0).lognormal(5.7, 0.6, 4000).astype(int).clip(20, 2048)
    folder = tmp_path_factory.mktemp("natural")
    with ShardWriter(folder) as writer:
        writer.write_many(np.full(int((lengths + 2).sum()), 6, np.uint8), lengths + 2)
    return Split(folder)


def epochs_of(split: Split, epochs: int, budget: int, seed: int = 3) -> list[Counter[int]]:
    """How often each protein came, by the epoch of its order."""
    order = TrainingOrder(split, window=32, tokens_per_step=budget, seed=seed)
    met = [Counter() for _ in range(epochs)]
    while order.place.epoch < epochs:
        windows = order.next_step()
        for epoch, protein in zip(windows.epochs.tolist(), windows.proteins.tolist(), strict=True):
            if epoch < epochs:
                met[epoch][protein] += 1
    return met


@settings(deadline=None)
@given(st.integers(32, 5000), st.integers(0, 2**63 - 1))
def test_every_epoch_holds_every_protein_once_whatever_the_budget(split: Split, budget: int, seed: int) -> None:
    for met in epochs_of(split, 3, budget, seed):
        assert met == Counter(range(len(split)))


def test_another_epoch_and_another_seed_have_another_order(split: Split) -> None:
    places = np.arange(len(split))

    def of(seed: int, epoch: int) -> list[int]:
        return TrainingOrder(split, 32, 100, seed).order(epoch, places)[1].tolist()

    assert sorted(of(0, 0)) == sorted(of(0, 1)) == sorted(of(1, 0)) == places.tolist()
    assert of(0, 0) == of(0, 0)
    assert of(0, 0) != of(0, 1)
    assert of(0, 0) != of(1, 0)


@pytest.mark.parametrize(("window", "budget"), [(256, 4096), (512, 16_384), (512, 65_536), (2048, 65_536)])
def test_steps_of_natural_lengths_leave_under_two_percent_of_the_budget_empty(
    natural: Split, window: int, budget: int
) -> None:
    order = TrainingOrder(natural, window, budget, seed=0)
    steps = [int(order.next_step().lengths.sum()) for _ in range(200)]
    assert max(steps) <= budget
    assert sum(steps) > 0.98 * budget * len(steps)


@settings(deadline=None)
@given(st.integers(32, 700), st.integers(0, 40), st.integers(0, 1000))
def test_the_order_goes_on_from_a_saved_place_as_if_never_left(
    split: Split, budget: int, steps: int, seed: int
) -> None:
    order = TrainingOrder(split, 32, budget, seed)
    for _ in range(steps):
        order.next_step()
    place = Place(**json.loads(json.dumps({name: getattr(order.place, name) for name in Place.__slots__})))
    resumed = TrainingOrder(split, 32, budget, seed, place)
    for _ in range(10):
        a, b = order.next_step(), resumed.next_step()
        assert all((getattr(a, name) == getattr(b, name)).all() for name in Windows.__slots__)
    assert order.place == resumed.place


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), min_size=1, max_size=6))
def test_another_number_of_processes_after_each_interruption_loses_and_repeats_nothing(
    split: Split, runs: list[tuple[int, int]]
) -> None:
    """Runs of (steps, processes), each from the place of the one before, against one run that nobody disturbs."""
    place, met = Place(), []
    for steps, processes in runs:
        order = TrainingOrder(split, 32, 300, 5, place)
        for _ in range(steps):
            shares = share_out(order.next_step(), processes)
            met.append(sorted((e, p) for one in shares for e, p in zip(one.epochs, one.proteins, strict=True)))
        place = order.place
    alone = TrainingOrder(split, 32, 300, 5)
    for seen in met:
        windows = alone.next_step()
        assert seen == sorted(zip(windows.epochs, windows.proteins, strict=True))


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(0, 30))
def test_what_is_masked_and_where_windows_begin_depend_on_neither_batch_nor_process(
    split: Split, shares: int, steps: int
) -> None:
    order = TrainingOrder(split, 32, 400, seed=2)
    for _ in range(steps):
        order.next_step()
    windows = order.next_step()

    def seen(parts: list[Windows]) -> dict[tuple[int, int], tuple[int, list[int]]]:
        met = {}
        for part in parts:
            if len(part):
                packed = loss_batch(split, part, 2, MaskingRule()).packed
                ids = np.split(packed.input_ids.numpy(), packed.cu_seqlens.numpy()[1:-1])
                keys = zip(part.epochs.tolist(), part.proteins.tolist(), part.starts.tolist(), ids, strict=True)
                met |= {(epoch, protein): (start, one.tolist()) for epoch, protein, start, one in keys}
        return met

    assert seen(share_out(windows, 1)) == seen(share_out(windows, shares))


@pytest.mark.parametrize("place", [Place(0, 60), Place(0, -1)])
def test_a_place_that_the_data_has_not_is_refused(split: Split, place: Place) -> None:
    with pytest.raises(DatasetError, match=rf"place {place.index} of an epoch that has 60 proteins"):
        TrainingOrder(split, 32, 100, 0, place)


# ---- mixes -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 25), st.floats(0.05, 3.5)), min_size=1, max_size=4),
    st.integers(1, 6),
    st.integers(0, 1000),
)
def test_a_mix_holds_each_source_by_its_weight_and_its_proteins_in_turn(
    tmp_path_factory: pytest.TempPathFactory, mix: list[tuple[int, float]], epochs: int, seed: int
) -> None:
    count = sum(proteins for proteins, _ in mix)
    split = write(tmp_path_factory.mktemp("mix"), RANDOM.integers(1, 60, count).tolist(), mix)
    order = TrainingOrder(split, 32, 300, seed)
    drawn: Counter[int] = Counter()
    for epoch in range(epochs):
        passes, proteins = order.order(epoch, np.arange(order.epoch_length))
        assert len(set(zip(passes.tolist(), proteins.tolist(), strict=True))) == order.epoch_length
        drawn.update(proteins.tolist())
    for source, (proteins, weight) in zip(split.sources, mix, strict=True):
        times = [drawn[protein] for protein in range(source.first, source.first + proteins)]
        assert sum(times) == epochs * max(1, round(weight * proteins))
        assert max(times) - min(times) <= 1


def test_a_protein_that_an_epoch_holds_twice_is_masked_in_two_ways(tmp_path: Path) -> None:
    split = write(tmp_path / "train", [50, 60], [(1, 2.0), (1, 1.0)])
    windows = TrainingOrder(split, 64, 10_000, 0).next_step()
    first_epoch = windows.take(np.flatnonzero(windows.proteins == 0).tolist()[:2])
    packed = loss_batch(split, first_epoch, 0, MaskingRule()).packed
    a, b = np.split(packed.input_ids.numpy(), packed.cu_seqlens.numpy()[1:-1])
    assert a.tolist() != b.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "does not say how sources are mixed"),
        ('[{"name": "a"}]', "does not say how sources are mixed"),
        ('[{"name": "a", "proteins": 2, "weight": 1}]', "2 × 1 do not make the 3 proteins"),
        ('[{"name": "a", "proteins": 3, "weight": 0}]', "3 × 0 do not make the 3 proteins"),
    ],
)
def test_a_mix_that_is_not_that_of_its_shards_is_refused(tmp_path: Path, content: str, message: str) -> None:
    write(tmp_path / "train", [5, 6, 7])
    (tmp_path / "train" / "sources.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        Split(tmp_path / "train")


def test_a_checkpoint_that_does_not_know_its_whole_place_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "old", metadata={"step": "1", "epoch": "0", "index": "3"})
    with pytest.raises(ValueError, match=r"old is of an older form, without ahead, .*begin anew in another checkpoint"):
        resume.read_progress(tmp_path / "old")
