"""Proteins sorted on the disk: every different one once, in the order of the hashes, however they were written."""

import itertools
import random
from pathlib import Path

import numpy as np
from amplify_lm.sorted_runs import BUCKETS, Runs, RunWriter, digest
from hypothesis import given, settings
from hypothesis import strategies as st

PROTEINS = st.lists(st.text("ACDEFGHIKLMNPQRSTVWYX|", min_size=1, max_size=12), max_size=60)


def write(folder: Path, name: str, proteins: list[str], run_bytes: int, sources: list[int] | None = None) -> int:
    with RunWriter(folder, name, run_bytes) as writer:
        for protein, source in zip(proteins, sources or [0] * len(proteins), strict=True):
            writer.add(protein.encode(), np.array([0]), np.array([len(protein)]), source)
    return writer.duplicates


def read(folder: Path, names: list[str], ranges: int) -> tuple[list[str], list[int], int]:
    """Residues and sources in order, and the duplicates left out."""
    residues: list[str] = []
    sources: list[int] = []
    duplicates = 0
    edges = [BUCKETS * i // ranges for i in range(ranges + 1)]
    with Runs(folder, names) as runs:
        for first, end in itertools.pairwise(edges):
            found = runs.between(first, end)
            residues += [bytes(one).decode() for one in found.residues(np.arange(len(found)))]
            sources += found.sources.tolist()
            assert [digest(one.encode()) for one in residues[len(residues) - len(found) :]] == found.digests()
            duplicates += found.duplicates
    return residues, sources, duplicates


@settings(deadline=None)
@given(PROTEINS, st.integers(1, 5000), st.integers(1, 4), st.integers(1, 50), st.randoms(use_true_random=False))
def test_every_protein_comes_once_by_its_hash_whoever_wrote_it(
    tmp_path_factory, proteins: list[str], run_bytes: int, writers: int, ranges: int, chance: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    shares: list[list[str]] = [[] for _ in range(writers)]
    for protein in proteins:
        chance.choice(shares).append(protein)
    left_out = sum(write(folder, str(i), share, run_bytes) for i, share in enumerate(shares))
    residues, _, duplicates = read(folder, [str(i) for i in range(writers)], ranges)
    assert residues == sorted(set(proteins), key=lambda one: digest(one.encode()))
    assert left_out + duplicates == len(proteins) - len(set(proteins))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ACDE"), st.integers(0, 3)), min_size=1, max_size=30), st.integers(1, 4000))
def test_a_protein_of_several_sources_is_of_the_first(
    tmp_path_factory, pairs: list[tuple[str, int]], run_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    write(folder, "a", [protein for protein, _ in pairs], run_bytes, [source for _, source in pairs])
    residues, sources, _ = read(folder, ["a"], 3)
    first = {protein: min(source for other, source in pairs if other == protein) for protein, _ in pairs}
    assert dict(zip(residues, sources, strict=True)) == first


def test_ranges_are_as_narrow_as_their_bytes_ask(tmp_path: Path) -> None:
    chance = random.Random(0)
    proteins = ["".join(chance.choices("ACDEFGHIKLMNPQRSTVWY", k=100)) for _ in range(2000)]
    write(tmp_path, "a", proteins, 1 << 14)
    with Runs(tmp_path, ["a"]) as runs:
        ranges = runs.ranges(0, BUCKETS, range_bytes=10_000)
        sizes = [int(runs.between(*one).lengths.sum()) for one in ranges]
    assert ranges[0][0] == 0
    assert ranges[-1][1] == BUCKETS
    assert len(ranges) >= 20
    assert sum(sizes) == 200_000
    assert max(sizes) < 20_000
