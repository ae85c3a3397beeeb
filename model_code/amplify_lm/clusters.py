"""Which proteins are validated on: drawn by the hash of each, or of the cluster of relatives that it belongs to.

A validation protein that differs from a training protein in a few residues measures memory. MMseqs2 puts relatives
into clusters (linclust: Steinegger & Söding 2018, in time linear in their number), and a cluster goes to one side as a
whole. Where the program is not there, each protein is drawn by itself; the manifest says which it was.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sorted_runs import BUCKETS, DIGEST_BYTES, Proteins, Runs, digest

MMSEQS = "mmseqs"
IDENTITY, COVERAGE = 0.5, 0.8
"""Proteins that share half of their residues over four fifths of both are relatives. Below 50 % linclust finds few."""
_LONGEST = 32_000  # residues that are compared; MMseqs2 takes up to 65,535
_FILES = 256  # of members, by the first byte of the hash
_FLUSHED = 1 << 20


class ClusterError(ValueError):
    """Clusters were wanted and cannot be made."""


@dataclass(frozen=True, slots=True)
class SplitMembers:
    """Says of proteins whether they are validated on."""

    share: float
    members: Path | None = None
    """Files `00` … `ff` of the hashes of validation proteins, by first byte; None: each protein by its own hash."""

    def in_validation(self, proteins: Proteins, first: int, end: int) -> NDArray[np.bool_]:
        """[n], for proteins of buckets first … end - 1."""
        if self.members is None:
            return drawn(proteins.high, self.share)
        a_file = BUCKETS // _FILES
        chosen: set[bytes] = set()
        for number in range(first // a_file, (end - 1) // a_file + 1):
            if (path := self.members / f"{number:02x}").exists():
                together = path.read_bytes()
                chosen |= {together[i : i + DIGEST_BYTES] for i in range(0, len(together), DIGEST_BYTES)}
        return np.array([one in chosen for one in proteins.digests()], bool)


def drawn(high: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Whether hashes, by their first 8 bytes, are among the `share` that is validated on."""
    return high < np.uint64(int(share * 2**64))


def split_of(residues: str, share: float) -> str:
    """The split of a protein by its own hash: the same wherever and however often it is prepared."""
    high = np.frombuffer(digest(residues.encode())[:8], ">u8").astype(np.uint64)
    return "validation" if drawn(high, share)[0] else "train"


def cluster(runs: Runs, share: float, scratch: Path, processes: int) -> tuple[SplitMembers, dict[str, Any]]:
    """Cluster all proteins; returns who is validated on, and what the manifest says about it.

    A cluster is drawn by the hash of its representative. Raises ClusterError where MMseqs2 fails.
    """
    if not is_there():
        raise ClusterError(
            f"split_by is 'cluster', and there is no {MMSEQS} on the PATH; install MMseqs2, or use 'hash'"
        )
    scratch.mkdir(parents=True)
    fasta, table = scratch / "proteins.fasta", scratch / "members.tsv"
    proteins = _write_fasta(runs, fasta)
    print(f"[prepare] clustering {proteins:,} proteins with MMseqs2", flush=True)
    base, found = scratch / "proteins", scratch / "clusters"
    rule = ["--min-seq-id", str(IDENTITY), "-c", str(COVERAGE), "--cov-mode", "0"]
    threads = ["--threads", str(processes)]
    _mmseqs("createdb", fasta, base, "--dbtype", "1")
    fasta.unlink()
    _mmseqs("linclust", base, found, scratch / "temporary", *rule, *threads)
    _mmseqs("createtsv", base, base, found, table, *threads)
    clusters, members = _choose(table, share, scratch / "chosen")
    if members != proteins:
        raise ClusterError(f"MMseqs2 put {members:,} of {proteins:,} proteins into clusters; all are wanted")
    said = {"tool": f"MMseqs2 {_mmseqs('version').strip()} linclust", "min_seq_id": IDENTITY, "coverage": COVERAGE}
    return SplitMembers(share, scratch / "chosen"), {**said, "clusters": clusters}


def is_there() -> bool:
    return shutil.which(MMSEQS) is not None


def _write_fasta(runs: Runs, path: Path) -> int:
    """Every protein under its hash; `|` becomes X, which stands for anything."""
    count = 0
    with path.open("wb") as file:
        for first, end in runs.ranges(0, BUCKETS):
            proteins = runs.between(first, end)
            count += len(proteins)
            residues = proteins.residues(np.arange(len(proteins)))
            for name, one in zip(proteins.digests(), residues, strict=True):
                file.write(b">%s\n%s\n" % (name.hex().encode(), bytes(one[:_LONGEST]).replace(b"|", b"X")))
    return count


def _choose(table: Path, share: float, folder: Path) -> tuple[int, int]:
    """Write the hashes of the chosen members; returns how many clusters and members there are."""
    folder.mkdir()
    chosen: list[list[bytes]] = [[] for _ in range(_FILES)]
    clusters = members = waiting = 0
    before, is_drawn = "", False
    for representative, member in _rows(table):
        members += 1
        if representative != before:
            clusters += 1
            before = representative
            is_drawn = bool(drawn(np.array([int(representative[:16], 16)], np.uint64), share)[0])
        if is_drawn:
            name = bytes.fromhex(member)
            chosen[name[0]].append(name)
            waiting += 1
        if waiting * DIGEST_BYTES >= _FLUSHED:
            _append(chosen, folder)
            waiting = 0
    _append(chosen, folder)
    return clusters, members


def _rows(table: Path) -> Iterator[tuple[str, str]]:
    with table.open() as file:
        for line in file:
            representative, member = line.split()
            yield representative, member


def _append(chosen: list[list[bytes]], folder: Path) -> None:
    for number, names in enumerate(chosen):
        if names:
            with (folder / f"{number:02x}").open("ab") as file:
                file.write(b"".join(names))
            names.clear()


def _mmseqs(verb: str, *arguments: object) -> str:
    done = subprocess.run([MMSEQS, verb, *map(str, arguments)], capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split()[-40:]) or "nothing"
        raise ClusterError(
            f"mmseqs {verb} ended with {done.returncode}, and said: {said}. Mend it, or set split_by to 'hash'"
        )
    return done.stdout
