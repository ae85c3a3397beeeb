"""How fast FASTA becomes a dataset: a table for people, one JSON object on the last line for machines.

    make bench PARTS=prepare

One process prepares real proteins, plain and compressed. MB are those of the FASTA text unpacked; the best of several
rounds. "core" is by the time that the processor worked, which a busy neighbour changes little, "clock" by the clock.
Beside it, in the same run: reading alone, and record by record, as requests are read. Then the peak memory of a process
that prepares a part of it, and of one that prepares ten times as much.
"""

import contextlib
import gzip
import io
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from amplify_lm import fasta, fasta_blocks
from amplify_lm.settings import read_recipe
from backports import zstd

from bench import corpus

MODEL_CODE = Path(fasta.__file__).parents[1]
MEGABYTES = 150
PART = 60
ROUNDS = 4
WANTED = 150
PEAK = """
import sys
from pathlib import Path
import prepare
from amplify_lm.settings import read_recipe
prepare.prepare(Path(sys.argv[1]), Path(sys.argv[2]), read_recipe("demo", {"split_by": "hash"}), 1)
status = Path("/proc/self/status").read_text().splitlines()
print(*[int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM")])
"""


def rates(megabytes: float, work: Callable[[], object], rounds: int = ROUNDS) -> dict[str, float]:
    core = clock = float("inf")
    for _ in range(rounds):
        began, began_core = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            work()
        core = min(core, time.process_time() - began_core)
        clock = min(clock, time.perf_counter() - began)
    return {"core": round(megabytes / core, 1), "clock": round(megabytes / clock, 1)}


def by_record(text: bytes) -> None:
    for record in fasta.read(io.BytesIO(text)):
        with contextlib.suppress(fasta.FastaError):
            fasta.clean(record.sequence)


def by_block(text: bytes) -> None:
    for _ in fasta_blocks.read_blocks(io.BytesIO(text)):
        pass


def peak_megabytes(source: Path, dataset: Path) -> int:
    command = [sys.executable, "-c", PEAK, str(source), str(dataset)]
    done = subprocess.run(command, cwd=MODEL_CODE, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def folder_of(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir()
    (folder / name).write_bytes(content)
    return folder


def main() -> None:
    from prepare import prepare  # of model_code; this file has the same name

    whole = corpus.text(10 * PART)
    text = whole[: MEGABYTES * 10**6].rpartition(b"\n>")[0] + b"\n"
    size = len(text) / 1e6
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-prepare-") as name:
        here = Path(name)
        plain = folder_of(here / "plain", "a.fasta", text)
        packed = {
            "prepare, zstd": folder_of(here / "zstd", "a.fasta.zst", zstd.compress(text)),
            "prepare, gzip": folder_of(here / "gzip", "a.fasta.gz", gzip.compress(text, 6)),
        }
        recipe = read_recipe("demo", {"split_by": "hash"})
        figures["prepare, plain"] = rates(size, lambda: prepare(plain, here / "dataset", recipe, 1))
        for what, source in packed.items():
            figures[what] = rates(size, lambda source=source: prepare(source, here / "dataset", recipe, 1), 2)
        figures["read by block"] = rates(size, lambda: by_block(text))
        part = text[: len(text) // 10].rpartition(b"\n>")[0]
        figures["read and clean by record"] = rates(len(part) / 1e6, lambda: by_record(part))
        part = whole[: PART * 10**6].rpartition(b"\n>")[0]
        sizes = {"few": part, "many": whole}
        peaks = [
            peak_megabytes(folder_of(here / what, "a.fasta", content), here / "dataset")
            for what, content in sizes.items()
        ]

    print(f"{size:.0f} MB of FASTA, {text.count(b'>'):,} records; one process; wanted: {WANTED} MB/s a core, plain\n")
    print(f"{'':<28}{'MB/s, core':>12}{'MB/s, clock':>13}")
    for what, rate in figures.items():
        print(f"{what:<28}{rate['core']:>12.0f}{rate['clock']:>13.0f}")
    print(f"\npeak memory: {peaks[0]} MB for {PART} MB of FASTA, {peaks[1]} MB for {10 * PART} MB")
    said = {"bench": "prepare", "unit": "MB/s", "machine": platform.machine(), "rates": figures}
    print(json.dumps({**said, "peak_mb": {str(PART): peaks[0], str(10 * PART): peaks[1]}}))


if __name__ == "__main__":
    main()
