"""FASTA files to a dataset: what gets in, what is refused and counted, and that nothing depends on chance."""

import dataclasses
import gzip
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import prepare
import pytest
from amplify_lm import checkpoint, tokenizer
from amplify_lm.container import Container
from amplify_lm.dataset import Split, read_manifest
from amplify_lm.fasta import FastaError
from amplify_lm.model import Amplify
from amplify_lm.settings import SettingsError, read_recipe

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


def run(source: Path, tmp_path: Path, **overrides: Any) -> tuple[dict[str, Any], Path]:
    folder = tmp_path / "dataset"
    folder.mkdir(exist_ok=True)
    return prepare.prepare(source, folder, read_recipe("tiny", overrides)), folder


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


def test_the_same_input_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    (source / "a.fasta").write_text(fasta(proteins(50)))
    (source / "b.fasta").write_text(fasta(proteins(50, seed=1)))

    def snapshot() -> dict[str, bytes]:
        _, folder = run(source, tmp_path)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert snapshot() == snapshot()


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
    with pytest.raises(FastaError, match=r"deeper/b\.fasta\.gz, after record \d+: damaged or truncated gzip"):
        run(source, tmp_path)


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
