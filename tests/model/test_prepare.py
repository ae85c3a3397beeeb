"""FASTA files to a dataset: what gets in, what is refused and counted, and that nothing depends on chance."""

import dataclasses
import errno
import gzip
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import prepare
import pytest
from amplify_lm import checkpoint, clusters, tokenizer
from amplify_lm.container import Container
from amplify_lm.corpus import count_tokens, shard_ranges, share_files
from amplify_lm.dataset import Split, read_manifest
from amplify_lm.fasta import FastaError
from amplify_lm.model import Amplify
from amplify_lm.settings import SettingsError, read_recipe
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

RECIPE = read_recipe("tiny")


def proteins(count: int, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices("LAGVSERTIDPKQNFYMHWC", k=chance.randint(5, 80))) for _ in range(count)]


def fasta(sequences: list[str], prefix: str = "p") -> str:
    return "".join(f">{prefix}{i} of a test\n{sequence}\n" for i, sequence in enumerate(sequences))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "proteins"
    (folder / "deeper").mkdir(parents=True)
    return folder


def run(source: Path, tmp_path: Path, processes: int | None = None, **overrides: Any) -> tuple[dict[str, Any], Path]:
    """Prepare; proteins are drawn one by one unless the test says otherwise, whatever is installed here."""
    folder = tmp_path / "dataset"
    recipe = read_recipe("tiny", {"split_by": "hash", **overrides})
    return prepare.prepare(source, folder, recipe, processes), folder


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def contents(folder: Path) -> set[str]:
    split = Split(folder)
    return {tokenizer.decode(split.tokens(i, 0, 10_000), skip_special=True) for i in range(len(split))}


def test_every_protein_lands_in_exactly_one_split(source: Path, tmp_path: Path) -> None:
    sequences = proteins(80)
    (source / "a.fasta").write_text(fasta(sequences[:50]))
    (source / "deeper" / "b.faa.gz").write_bytes(gzip.compress(fasta(sequences[50:]).encode()))
    manifest, folder = run(source, tmp_path)
    train, validation = contents(folder / "train"), contents(folder / "validation")
    assert train | validation == set(sequences)
    assert not train & validation
    assert manifest["proteins"] == {"train": len(train), "validation": len(validation)}
    assert manifest["residues"]["train"] == sum(map(len, train))
    assert 4 < len(validation) < 30  # 20 % of 80


def test_the_manifest_describes_what_came_in_and_what_came_out(source: Path, tmp_path: Path) -> None:
    sequences = [*proteins(60), "MKXXU" * 3]
    text = fasta(sequences) + fasta(sequences[:3], "again")
    (source / "a.fasta").write_text(text)
    manifest, folder = run(source, tmp_path)
    assert manifest["inputs"] == [
        {
            "file": "a.fasta",
            "bytes": len(text),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "records": 64,
        }
    ]
    assert manifest["duplicates"] == 3
    assert manifest["unknown"] == {"U": 3, "X": 6}
    train = contents(folder / "train")
    # `decode` leaves <unk> out, as letter_counts does.
    assert manifest["letter_counts"]["L"] == sum(p.count("L") for p in train)
    assert sum(manifest["letter_counts"].values()) == sum(map(len, train))
    assert read_manifest(folder) == manifest
    for shard in manifest["shards"]:
        assert hashlib.sha256((folder / shard["file"]).read_bytes()).hexdigest() == shard["sha256"]


def test_headers_that_begin_with_a_space_are_read_counted_and_told(source: Path, tmp_path: Path) -> None:
    text = fasta(proteins(60)).replace(">", "> ", 7)
    (source / "a.fasta").write_text(text)
    manifest, _ = run(source, tmp_path)
    assert manifest["spaced_headers"] == 7
    assert sum(manifest["proteins"].values()) == 60
    assert next(line for line in prepare.summary(manifest) if "begin with a space" in line).startswith("7 headers")


def test_the_same_input_gives_the_same_bytes_with_any_number_of_processes(source: Path, tmp_path: Path) -> None:
    for name in "abcde":
        (source / f"{name}.fasta").write_text(fasta(proteins(50, seed=ord(name))) + ">bad\nM*K\n")
    found = [snapshot(run(source, tmp_path, processes)[1]) for processes in (1, 1, 2, 3)]
    assert found[0] == found[1] == found[2] == found[3]


def test_the_same_proteins_give_the_same_shards_whatever_files_they_come_in(source: Path, tmp_path: Path) -> None:
    sequences = proteins(90)
    (source / "a.fasta").write_text(fasta(sequences))
    one_file, folder = run(source, tmp_path)
    tokens = {path: content for path, content in snapshot(folder).items() if path != "manifest.json"}
    (source / "a.fasta").unlink()
    sequences.reverse()
    (source / "deeper" / "x.faa.gz").write_bytes(gzip.compress(fasta(sequences[:30]).encode()))
    (source / "y.zst").write_bytes(zstd.compress(fasta(sequences[20:70]).lower().encode()))
    (source / "z.fasta").write_bytes(fasta(sequences[60:]).replace("\n", "*\r\n").encode())
    three_files, folder = run(source, tmp_path)
    assert {path: content for path, content in snapshot(folder).items() if path != "manifest.json"} == tokens
    assert three_files["duplicates"] == 20
    same = ("proteins", "residues", "lengths", "letter_counts", "shards")
    assert {name: one_file[name] for name in same} == {name: three_files[name] for name in same}


def test_a_protein_keeps_its_split_when_more_proteins_come(source: Path, tmp_path: Path) -> None:
    (source / "b.fasta").write_text(fasta(proteins(50)))
    _, folder = run(source, tmp_path)
    before = contents(folder / "validation")
    (source / "a.fasta").write_text(fasta(proteins(50, seed=1)))
    run(source, tmp_path)
    assert before < contents(folder / "validation")


def test_case_stops_and_line_ends_do_not_hide_a_duplicate(source: Path, tmp_path: Path) -> None:
    sequences = proteins(50)
    copies = [f">x\r\n{s[:3].lower()}\r\n{s[3:]}*\r\n" for s in sequences]
    (source / "a.fasta").write_text(fasta(sequences))
    (source / "b.fasta").write_bytes("".join(copies).encode())
    manifest, _ = run(source, tmp_path)
    assert manifest["duplicates"] == 50


def test_refused_records_are_counted_by_reason_and_shown_by_example(source: Path, tmp_path: Path) -> None:
    (source / "a.fasta").write_text(fasta(proteins(97)) + ">stop x\nMK*VL\n>none\n\n>digit\nMK7\n")
    manifest, _ = run(source, tmp_path)
    assert manifest["rejected"] == {"empty": 1, "inner_stop": 1, "not_a_residue": 1}
    first = manifest["rejected_examples"][0]
    assert first.pop("message").startswith("a.fasta, record 98 (stop), position 3: '*' (a stop) inside the sequence")
    assert first == {"file": "a.fasta", "record": 98, "name": "stop", "reason": "inner_stop"}
    assert manifest["inputs"][0]["records"] == 100


def test_too_many_refused_records_stop_the_job(source: Path, tmp_path: Path) -> None:
    (source / "a.fasta").write_text(fasta(proteins(90)) + ">bad\nM*K\n" * 10)
    message = (
        r"10 of 100 records cannot be used \(inner_stop 10\), more than max_rejected_share \(5\.0%\).*record 91 \(bad\)"
    )
    with pytest.raises(prepare.PrepareError, match=message):
        run(source, tmp_path)
    assert not (tmp_path / "dataset" / "manifest.json").exists()
    run(source, tmp_path, max_rejected_share=0.2)


def test_no_files_is_an_error_and_hidden_files_do_not_count(source: Path, tmp_path: Path) -> None:
    (source / ".DS_Store").write_bytes(b"\0\1\2")
    with pytest.raises(FastaError, match="proteins: no files; FASTA files"):
        run(source, tmp_path)


def test_too_few_proteins_to_validate_on_is_an_error(source: Path, tmp_path: Path) -> None:
    (source / "a.fasta").write_text(fasta(proteins(3)))
    with pytest.raises(prepare.PrepareError, match="none of them in the validation split"):
        run(source, tmp_path, validation_share=0.0001)


def test_a_corrupt_file_is_named(source: Path, tmp_path: Path) -> None:
    (source / "a.fasta").write_text(fasta(proteins(50)))
    (source / "deeper" / "b.fasta.gz").write_bytes(gzip.compress(fasta(proteins(50)).encode())[:-20])
    with pytest.raises(
        FastaError, match=r"deeper/b\.fasta\.gz, after record \d+: damaged or truncated compressed file"
    ):
        run(source, tmp_path)


def test_a_damaged_file_is_named_by_another_process_too(source: Path, tmp_path: Path) -> None:
    (source / "a.fasta").write_text(fasta(proteins(50)))
    (source / "b.fasta.zst").write_bytes(zstd.compress(fasta(proteins(50)).encode())[:-20])
    with pytest.raises(FastaError, match=r"b\.fasta\.zst, after record \d+: damaged or truncated") as refusal:
        run(source, tmp_path, processes=2)
    assert refusal.value.reason == "unreadable"
    assert not list(tmp_path.glob(".prepare-*"))


PROGRAM = """
import resource, sys
from pathlib import Path
import prepare
from amplify_lm import corpus, sorted_runs
from amplify_lm.settings import read_recipe
# A megabyte each, so that ten times a few megabytes is many times what memory holds.
corpus.FilesOfOne.__init__.__defaults__ = (1 << 20,)
sorted_runs.Runs.ranges.__defaults__ = (1 << 20,)
recipe = read_recipe("tiny", {"split_by": "hash"})
prepare.prepare(Path(sys.argv[1]), Path(sys.argv[2]), recipe, 1)
# Not ru_maxrss where it can be helped: Linux counts in it what the process that started this one held.
status = Path("/proc/self/status")
lines = status.read_text().splitlines() if status.exists() else []
of_its_own = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
print(*of_its_own or [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss])
"""


def test_ten_times_the_input_takes_the_same_memory(tmp_path: Path) -> None:
    """Peak resident memory of a process of its own, in kilobytes (macOS: bytes)."""
    peaks = []
    for times in (1, 10):
        source = tmp_path / f"in-{times}"
        source.mkdir()
        for number in range(4 * times):
            chance = np.random.default_rng(number)
            letters = chance.choice(np.frombuffer(b"LAGVSERTIDPKQNFYMHWC", np.uint8), (4000, 300))
            records = (b">%d\n%s\n" % (i, row.tobytes()) for i, row in enumerate(letters))
            (source / f"{number}.fasta").write_bytes(b"".join(records) + b">refused\nM*K\n" * 20)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, source, tmp_path / "dataset"],
            capture_output=True,
            text=True,
            cwd=Path(prepare.__file__).parent,
            check=True,
        )
        peaks.append(int(done.stdout.split()[-1]))
    # 43 MB more of input; a set of its hashes alone would be 14 MB more.
    assert peaks[1] < 1.05 * peaks[0] + 1024, peaks


def test_a_full_disk_is_told_and_leaves_nothing_behind(source: Path, tmp_path: Path) -> None:
    """A limit on the size of files is what a full disk looks like to a program."""
    (source / "a.fasta").write_text(fasta(proteins(3000)))
    code = "import resource, signal, sys; from pathlib import Path; import prepare; from amplify_lm.settings import *\n"
    code += "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
    code += "try: prepare.prepare(Path(sys.argv[1]), Path(sys.argv[2]), read_recipe('tiny'))\n"
    code += "except OSError as error: sys.exit(error.errno)"
    command = [sys.executable, "-c", code, source, tmp_path / "out" / "dataset"]
    done = subprocess.run(command, cwd=Path(prepare.__file__).parent, capture_output=True)
    assert done.returncode == errno.EFBIG
    assert not list((tmp_path / "out").rglob("manifest.json"))
    assert not list((tmp_path / "out").glob(".prepare-*"))


@settings(deadline=None)
@given(st.binary(max_size=3000).map(lambda data: bytes(byte % 27 for byte in data)))
def test_tokens_are_counted_as_one_by_one(tokens: bytes) -> None:
    assert count_tokens(tokens).tolist() == [tokens.count(token) for token in range(27)]


@settings(deadline=None)
@given(st.integers(0, 10**15), st.integers(1, 10**9))
def test_shards_cover_all_hashes_once(residues: int, shard_tokens: int) -> None:
    ranges = shard_ranges(residues, shard_tokens)
    assert [bucket for one in ranges for bucket in range(*one)] == list(range(1 << 14))
    assert len(ranges) == min(1 << 14, max(1, -(-residues // shard_tokens)))


def test_files_are_shared_out_by_their_size(tmp_path: Path) -> None:
    files = []
    for number, size in enumerate([50, 10, 20, 30, 5]):
        path = tmp_path / str(number)
        path.write_bytes(bytes(size))
        files.append((path, path.name, 0))
    shares = share_files(files, 2)
    assert [[name for _, name, _ in share] for share in shares] == [["0", "1"], ["2", "3", "4"]]
    assert [len(share) for share in share_files(files, 9)] == [1] * 5


# ---- mixes -----------------------------------------------------------------------------------------------------------


def test_a_mix_keeps_its_sources_apart_and_weighs_the_baseline(source: Path, tmp_path: Path) -> None:
    shutil.rmtree(source / "deeper")
    both = proteins(20, seed=7)
    for name, sequences in (("oas", [*proteins(40), *both]), ("uniref", [*proteins(60, seed=1), *both])):
        (source / name).mkdir()
        (source / name / "a.fasta").write_text(fasta(sequences))
    manifest, folder = run(source, tmp_path, mix={"uniref": 0.5, "oas": 3})
    assert [(one["name"], one["weight"]) for one in manifest["sources"]] == [("oas", 3), ("uniref", 0.5)]
    assert manifest["duplicates"] == 20
    oas, uniref = (one["proteins"] for one in manifest["sources"])
    assert oas["train"] + oas["validation"] == 60  # what both have is of the first by name
    assert uniref["train"] + uniref["validation"] == 60
    split = Split(folder / "train")
    assert [(one.proteins, one.weight) for one in split.sources] == [(oas["train"], 3.0), (uniref["train"], 0.5)]
    letters = [tokenizer.decode(split.tokens(i, 0, 1000)).count("L") for i in range(len(split))]
    weighed = 3 * sum(letters[: oas["train"]]) + 0.5 * sum(letters[oas["train"] :])
    assert manifest["letter_counts"]["L"] == round(weighed)
    assert [shard["source"] for shard in manifest["shards"]] == ["oas", "uniref"] * 2
    assert read_manifest(folder) == manifest
    assert "an epoch meets oas" in "\n".join(prepare.summary(manifest))


def test_files_outside_of_the_mix_and_folders_without_files_are_named(source: Path, tmp_path: Path) -> None:
    (source / "a.fasta").write_text(fasta(proteins(50)))
    message = (
        r"mix of oas, scop: a\.fasta lies in none of its folders \(of 1 files\); folder oas/ .*; folder scop/ has no"
    )
    with pytest.raises(prepare.PrepareError, match=message):
        run(source, tmp_path, mix={"scop": 1, "oas": 1})


def test_a_source_that_adds_nothing_is_named(source: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (source / name).mkdir()
        (source / name / "a.fasta").write_text(fasta(proteins(50)))
    with pytest.raises(prepare.PrepareError, match="source b/ has no protein to train on"):
        run(source, tmp_path, mix={"a": 1, "b": 1})


# ---- clusters --------------------------------------------------------------------------------------------------------


def mutated(sequence: str, chance: random.Random) -> str:
    at = chance.randrange(len(sequence))
    return sequence[:at] + chance.choice("LAGVSERTIDPKQNFYMHWC") + sequence[at + 1 :]


@pytest.mark.skipif(not clusters.is_there(), reason="MMseqs2 (mmseqs) is not installed here")
@pytest.mark.parametrize("processes", [1, 2])
def test_relatives_come_to_one_side(source: Path, tmp_path: Path, processes: int) -> None:
    chance = random.Random(0)
    families = [["".join(chance.choices("LAGVSERTIDPKQNFYMHWC", k=120))] for _ in range(60)]
    for family in families:
        family += [mutated(family[0], chance) for _ in range(4)]
    odd = ["MKXX", "M", "EVQ|DIQ", "X" * 40, "MKV" * 12_000]
    (source / "a.fasta").write_text(fasta(sum(families, odd)))
    manifest, folder = run(source, tmp_path, processes, split_by="auto")
    assert manifest["split"]["by"] == "cluster"
    assert manifest["split"]["tool"].startswith("MMseqs2 ")
    assert manifest["split"]["clusters"] < 100
    train, validation = contents(folder / "train"), contents(folder / "validation")
    assert sum(manifest["proteins"].values()) == len({*sum(families, odd)})
    assert len(validation) > 15
    for family in families:
        assert {*family} <= train or {*family} <= validation
    before = snapshot(folder)
    assert snapshot(run(source, tmp_path, processes, split_by="cluster")[1]) == before


def test_without_mmseqs_the_manifest_says_that_hashes_drew(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    (source / "a.fasta").write_text(fasta(proteins(50)))
    manifest, _ = run(source, tmp_path, split_by="auto")
    assert manifest["split"] == {"by": "hash of the sequence", "validation_share": 0.2}
    with pytest.raises(clusters.ClusterError, match="split_by is 'cluster', and there is no mmseqs"):
        run(source, tmp_path, split_by="cluster")


def test_a_failure_of_mmseqs_is_told_in_its_words(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "mmseqs"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'no more memory'\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    (source / "a.fasta").write_text(fasta(proteins(50)))
    with pytest.raises(clusters.ClusterError, match="mmseqs createdb ended with 3, and said: no more memory"):
        run(source, tmp_path, split_by="auto")


def test_the_split_of_a_protein_can_be_told_from_its_residues(source: Path, tmp_path: Path) -> None:
    (source / "a.fasta").write_text(fasta(proteins(80)))
    _, folder = run(source, tmp_path)
    for split in ("train", "validation"):
        assert {clusters.split_of(one, 0.2) for one in contents(folder / split)} == {split}


def test_length_quantiles_are_lengths_that_occur() -> None:
    lengths = [1] * 5 + [10] * 90 + [100] * 5
    quantiles = prepare.length_quantiles(prepare.Counter(lengths))
    assert quantiles == {
        "min": 1, "q05": 1, "q25": 10, "median": 10, "q75": 10, "q95": 10, "max": 100, "mean": np.mean(lengths),
    }  # fmt: skip


def test_scratch_is_a_marker_only(tmp_path: Path) -> None:
    prepare.resolve_init("scratch", RECIPE, tmp_path)
    assert json.loads((tmp_path / "init.json").read_text()) == {"init": "scratch"}
    assert len(list(tmp_path.iterdir())) == 1


def test_starting_weights_are_verified_and_stored_in_our_layout(tmp_path: Path) -> None:
    model = Amplify(RECIPE.model_config())
    checkpoint.save_model(model, tmp_path / "given")
    (tmp_path / "init").mkdir()
    prepare.resolve_init(str(tmp_path / "given"), RECIPE, tmp_path / "init")
    loaded = checkpoint.load_model(tmp_path / "init")
    assert all((a == b).all() for a, b in zip(model.parameters(), loaded.parameters(), strict=True))


def test_starting_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    checkpoint.save_model(Amplify(read_recipe("tiny", {"hidden_size": 8}).model_config()), tmp_path / "given")
    with pytest.raises(SettingsError, match=r"another shape than recipe 'tiny': hidden_size 8 \(recipe: 16\)"):
        prepare.resolve_init(str(tmp_path / "given"), RECIPE, tmp_path)


def test_starting_weights_that_take_less_than_a_window_are_refused(tmp_path: Path) -> None:
    config = dataclasses.replace(RECIPE.model_config(), max_length=RECIPE.window // 2)
    checkpoint.save_model(Amplify(config), tmp_path / "given")
    with pytest.raises(SettingsError, match=r"max_length 32 \(the recipe's window: 64\)"):
        prepare.resolve_init(str(tmp_path / "given"), RECIPE, tmp_path)


def test_starting_weights_keep_their_own_norms_and_say_where_they_came_from(tmp_path: Path) -> None:
    config = dataclasses.replace(RECIPE.model_config(), rms_norm=False, max_length=100)
    checkpoint.save_model(Amplify(config), tmp_path / "given")
    (tmp_path / "init").mkdir()
    prepare.resolve_init(str(tmp_path / "given"), RECIPE, tmp_path / "init")
    assert checkpoint.load_model(tmp_path / "init").config == config
    marker = json.loads((tmp_path / "init" / "init.json").read_text())
    assert marker == {"init": str(tmp_path / "given"), "resolved": str(tmp_path / "given")}


def test_starting_weights_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(checkpoint.CheckpointError, match="nowhere"):
        prepare.resolve_init(str(tmp_path / "nowhere"), RECIPE, tmp_path)


def test_the_verb_reads_and_writes_where_the_container_contract_says(tmp_path: Path) -> None:
    source = tmp_path / "processing" / "input" / "proteins"
    source.mkdir(parents=True)
    (source / "a.fasta").write_text(fasta(proteins(50)))
    prepare.main(Container(tmp_path), ["--recipe", "tiny", "--init", "scratch", "--overrides", "{}"])
    output = tmp_path / "processing" / "output"
    assert (output / "dataset" / "manifest.json").is_file()
    assert (output / "init" / "init.json").is_file()
