"""FASTA files to a dataset that training reads: clean, without duplicates, split, in shards, with a manifest.

    launch.py prepare --recipe demo --init scratch --overrides '{"validation_share": 0.02}'

reads every file below `processing/input/proteins/` and writes `processing/output/dataset/` (docs/seams.md has the
manifest's form) and `processing/output/init/`, the weights that training begins with. Proteins are sorted by a hash of
their residues on the disk (sorted_runs.py), so memory does not grow with the corpus, exact duplicates meet, and the
same proteins give the same shards, whatever files they came in and however many processes did the work (corpus.py).
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from amplify_lm import clusters, container, corpus, fasta, tokenizer
from amplify_lm.clusters import SplitMembers
from amplify_lm.container import Container
from amplify_lm.corpus import EXAMPLES, LEAST_BYTES_A_PROCESS, SPLITS, FileCensus, Shard, SourceCensus
from amplify_lm.dataset import FORMAT, SOURCES, offsets_file
from amplify_lm.settings import Recipe, SettingsError, parse_overrides, read_recipe
from amplify_lm.sorted_runs import Runs

SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
QUANTILES = {"min": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1.0}


class PrepareError(ValueError):
    """Input from which no dataset can be made."""


def main(box: Container, arguments: Sequence[str]) -> None:
    """Make the dataset and the starting weights of one run."""
    options = container.Arguments(prog="launch.py prepare", description=__doc__)
    options.add_argument("--recipe", required=True)
    options.add_argument("--init", default="scratch")
    options.add_argument("--overrides", default="")
    given = options.parse_args(arguments)
    recipe = read_recipe(given.recipe, parse_overrides(given.overrides))

    # First the weights: they are what a typing error is likeliest in, and quick to check.
    resolve_init(given.init, recipe, box.processing_output("init"))
    manifest = prepare(box.processing_input("proteins"), box.processing_output("dataset"), recipe)
    for line in summary(manifest):
        print(f"[prepare] {line}", flush=True)


def summary(manifest: dict[str, Any]) -> Iterator[str]:
    """What became of the records, for people: nothing is left out or changed without a word."""
    for split in SPLITS:
        yield f"{split}: {manifest['proteins'][split]:,} proteins, {manifest['residues'][split]:,} residues"
    yield f"the split is by {manifest['split']['by']}"
    if len(manifest["sources"]) > 1:
        mix = (
            f"{one['name']} {one['proteins']['train']:,} proteins × {one['weight']:g}" for one in manifest["sources"]
        )
        yield f"an epoch meets {', '.join(mix)}"
    if spaced := manifest["spaced_headers"]:
        yield f"{spaced:,} headers begin with a space, which is not taken for a part of the name"
    if duplicates := manifest["duplicates"]:
        yield f"{duplicates:,} exact duplicates left out"
    for reason, count in manifest["rejected"].items():
        examples = [one["message"] for one in manifest["rejected_examples"] if one["reason"] == reason]
        yield f"{count:,} records refused ({reason})" + (f", such as {examples[0]}" if examples else "")
    if unknown := manifest["unknown"]:
        letters = ", ".join(f"{count:,} × {letter}" for letter, count in unknown.items())
        yield f"letters outside the alphabet, read as <unk>: {letters}"
    lengths = manifest["lengths"]
    yield f"lengths from {lengths['min']:g} to {lengths['max']:,g} residues, half of them above {lengths['median']:g}"


# ---- proteins --------------------------------------------------------------------------------------------------------


def prepare(source: Path, folder: Path, recipe: Recipe, processes: int | None = None) -> dict[str, Any]:
    """Turn the FASTA files below `source` into the dataset `folder`; returns its manifest, written last.

    By default there are as many processes as there are cores and work for them; how many changes no byte. Beside
    `folder` as much room is taken for a while as the residues need. Raises PrepareError where there is nothing to train
    or validate on or too many records are refused, FastaError where there are no files or one is not FASTA,
    ClusterError where clusters are wanted and cannot be made, OSError such as on a full disk.
    """
    files, sources = find_files(source, recipe.mix)
    processes = processes or _processes(files)
    for split in SPLITS:
        shutil.rmtree(folder / split, ignore_errors=True)
    (folder / "manifest.json").unlink(missing_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".prepare-", dir=folder.parent) as temporary:
        scratch = Path(temporary)
        tasks = [
            corpus.FilesOfOne(files=share, runs=scratch / "runs", name=f"{number:03d}")
            for number, share in enumerate(corpus.share_files(files, processes))
        ]
        print(f"[prepare] {len(files):,} files, {len(tasks)} at a time", flush=True)
        read = list(corpus.in_processes(corpus.read_files, tasks, processes))
        inputs = sorted((census for met, _ in read for census in met), key=lambda one: Path(one.file).as_posix())
        _check_rejected(inputs, recipe)

        names = tuple(task.name for task in tasks)
        members, drawn_by = _split(scratch, names, recipe, processes)
        ranges = corpus.shard_ranges(sum(one.residues for one in inputs))
        shard_tasks = [
            corpus.ShardTask(
                runs=scratch / "runs",
                names=names,
                first=first,
                end=end,
                sources=len(sources),
                splits=members,
                folder=scratch / "shards" / f"{number:05d}",
            )
            for number, (first, end) in enumerate(ranges)
        ]
        duplicates = sum(left_out for _, left_out in read)
        census = [SourceCensus() for _ in sources]
        shards: list[Shard] = []
        for written, met, left_out in corpus.in_processes(corpus.write_shards, shard_tasks, processes):
            shards += written
            duplicates += left_out
            for whole, part in zip(census, met, strict=True):
                whole.add(part)
        _check_splits(census, sources, recipe)
        listed = _put_in_place(shards, sources, folder)
    weights = {name: recipe.mix.get(name, 1.0) for name in sources}
    if recipe.mix:
        _write_sources(census, weights, folder / "train")
    manifest = {"format": FORMAT, "split": drawn_by, **_of_files(inputs), "duplicates": duplicates}
    manifest |= {**_of_sources(census, weights), "shards": listed}
    partial = folder / "manifest.json.partial"
    partial.write_text(json.dumps(manifest, indent=1) + "\n")
    partial.replace(folder / "manifest.json")
    return manifest


def find_files(source: Path, mix: Mapping[str, float]) -> tuple[list[tuple[Path, str, int]], list[str]]:
    """The files below a folder, by name, each with the number of its source; and the sources.

    Raises PrepareError where the folders are not those of the mix, FastaError where there are no files.
    """
    sources = sorted(mix) or [""]
    files = [(path, path.relative_to(source).as_posix()) for path in fasta.files_below(source)]
    if not mix:
        return [(path, name, 0) for path, name in files], sources
    numbered = [(path, name, name.split("/")[0] if "/" in name else "") for path, name in files]
    lost = [name for _, name, folder in numbered if folder not in mix]
    empty = [name for name in sources if name not in {folder for _, _, folder in numbered}]
    if lost or empty:
        faults = [f"{lost[0]} lies in none of its folders (of {len(lost):,} files)"] if lost else []
        faults += [f"folder {name}/ has no files" for name in empty]
        raise PrepareError(f"mix of {', '.join(sources)}: {'; '.join(faults)}")
    return [(path, name, sources.index(folder)) for path, name, folder in numbered], sources


def _processes(files: list[tuple[Path, str, int]]) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    work = sum(path.stat().st_size for path, _, _ in files) // LEAST_BYTES_A_PROCESS
    return max(1, min(cores, work))


def _split(
    scratch: Path, names: tuple[str, ...], recipe: Recipe, processes: int
) -> tuple[SplitMembers, dict[str, Any]]:
    share = recipe.validation_share
    by_cluster = recipe.split_by == "cluster" or (recipe.split_by == "auto" and clusters.is_there())
    if not by_cluster:
        return SplitMembers(share), {"by": "hash of the sequence", "validation_share": share}
    with Runs(scratch / "runs", names) as runs:
        members, said = clusters.cluster(runs, share, scratch / "clusters", processes)
    return members, {"by": "cluster", "validation_share": share, **said}


def _check_rejected(inputs: list[FileCensus], recipe: Recipe) -> None:
    reasons: Counter[str] = sum((one.rejected for one in inputs), Counter())
    rejected, records = reasons.total(), sum(one.records for one in inputs)
    if rejected > recipe.max_rejected_share * records:
        counted = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
        first = next(example for one in inputs for example in one.rejected_examples)
        raise PrepareError(
            f"{rejected:,} of {records:,} records cannot be used ({counted}), more than max_rejected_share "
            f"({recipe.max_rejected_share:.1%}) allows; the first: {first['message']}"
        )


def _check_splits(census: list[SourceCensus], sources: list[str], recipe: Recipe) -> None:
    proteins: Counter[str] = sum((one.proteins for one in census), Counter())
    for split in SPLITS:
        if not proteins[split]:
            found = f"{proteins.total():,} different proteins, none of them in the {split} split"
            wanted = f"more proteins or another validation_share (now {recipe.validation_share}) is wanted"
            raise PrepareError(f"{found}; {wanted}")
    for name, one in zip(sources, census, strict=True):
        if not one.proteins["train"]:
            raise PrepareError(
                f"source {name}/ has no protein to train on that the sources before it have not; take it out of the mix"
            )


def _put_in_place(shards: list[Shard], sources: list[str], folder: Path) -> list[dict[str, Any]]:
    """Move shards to their final names: those of a split numbered by source, then by hash. The manifest's list."""
    listed: list[dict[str, Any]] = []
    for split in SPLITS:
        (folder / split).mkdir(parents=True)
        # Sorting is stable: within a source the order of the ranges stays.
        for number, shard in enumerate(sorted((s for s in shards if s.split == split), key=lambda s: s.source)):
            path = folder / split / f"shard-{number:05d}.tokens"
            shutil.move(shard.path, path)
            shutil.move(offsets_file(shard.path), offsets_file(path))
            listed.append(
                {
                    "file": path.relative_to(folder).as_posix(),
                    "source": sources[shard.source],
                    "sha256": shard.sha256,
                    "index_sha256": shard.index_sha256,
                    "proteins": shard.proteins,
                    "tokens": shard.tokens,
                }
            )
    return listed


def _write_sources(census: list[SourceCensus], weights: Mapping[str, float], folder: Path) -> None:
    """How the shards of a folder are mixed: all that the loader needs to know of it."""
    listed = [
        {"name": name, "weight": weight, "proteins": one.proteins["train"]}
        for (name, weight), one in zip(weights.items(), census, strict=True)
    ]
    (folder / SOURCES).write_text(json.dumps(listed, indent=1) + "\n")


def _of_files(inputs: list[FileCensus]) -> dict[str, Any]:
    rejected: Counter[str] = sum((one.rejected for one in inputs), Counter())
    return {
        "inputs": [
            {"file": one.file, "bytes": one.bytes, "sha256": one.sha256, "records": one.records} for one in inputs
        ],
        "spaced_headers": sum(one.spaced_headers for one in inputs),
        "rejected": dict(sorted(rejected.items())),
        "rejected_examples": [example for one in inputs for example in one.rejected_examples][:EXAMPLES],
    }


def _of_sources(census: list[SourceCensus], weights: Mapping[str, float]) -> dict[str, Any]:
    """Sums over the sources; what is the baseline of training, letters and lengths, weighed as training meets them."""
    proteins: Counter[str] = sum((one.proteins for one in census), Counter())
    residues: Counter[str] = sum((one.residues for one in census), Counter())
    unknown: Counter[str] = sum((one.unknown for one in census), Counter())
    tokens = np.zeros(len(tokenizer.VOCABULARY))
    lengths: dict[int, float] = {}
    for weight, one in zip(weights.values(), census, strict=True):
        tokens += weight * one.tokens
        for length, count in one.lengths.items():
            lengths[length] = lengths.get(length, 0) + weight * count
    letters = list(zip(tokenizer.VOCABULARY, np.rint(tokens).astype(int).tolist(), strict=True))
    return {
        "sources": [
            {
                "name": name,
                "weight": weight,
                "proteins": {split: one.proteins[split] for split in SPLITS},
                "residues": {split: one.residues[split] for split in SPLITS},
            }
            for (name, weight), one in zip(weights.items(), census, strict=True)
        ],
        "proteins": {split: proteins[split] for split in SPLITS},
        "residues": {split: residues[split] for split in SPLITS},
        "lengths": length_quantiles(lengths),
        "letter_counts": dict(letters[len(tokenizer.SPECIAL_TOKENS) :]),
        "unknown": dict(sorted(unknown.items())),
    }


def length_quantiles(lengths: Mapping[int, float]) -> dict[str, float]:
    """Quantiles and mean of a histogram of lengths: each quantile is a length that occurs."""
    values = np.array(sorted(lengths))
    counts = np.array([lengths[value] for value in values.tolist()])
    reached = (
        np.cumsum(counts) / np.cumsum(counts)[-1]
    )  # ends in 1 exactly, also with weights that are no whole numbers
    quantiles = {name: int(values[np.searchsorted(reached, at)]) for name, at in QUANTILES.items()}
    return {**quantiles, "mean": round(float((values * counts).sum() / counts.sum()), 3)}


# ---- starting weights ------------------------------------------------------------------------------------------------


def resolve_init(init: str, recipe: Recipe, folder: Path) -> None:
    """Put what training begins with into a folder: a marker, and for weights that exist a model in our layout.

    The weights keep their own norms, biases, activation and `max_length`; their shape must be the recipe's. Raises
    CheckpointError where the weights cannot be used, SettingsError where they do not fit the recipe.
    """
    marker = {"init": init}
    if init != "scratch":
        from amplify_lm import checkpoint  # torch takes seconds to import, and a start from scratch needs none of it

        found = checkpoint.read_source(init)
        shapes = ((name, getattr(found.config, name), getattr(recipe, name)) for name in SHAPE)
        wrong = [f"{name} {given} (recipe: {wanted})" for name, given, wanted in shapes if given != wanted]
        if found.config.max_length < recipe.window:
            wrong.append(f"max_length {found.config.max_length} (the recipe's window: {recipe.window})")
        if wrong:
            raise SettingsError(f"init {init} has another shape than recipe {recipe.name!r}: {', '.join(wrong)}")
        model = checkpoint.build_model(found)
        checkpoint.save_model(model, folder)
        marker["resolved"] = found.source  # a branch of the Hub by the commit that it named
        print(f"[prepare] starting weights: {found.source}, {model.num_parameters:,} parameters", flush=True)
    (folder / "init.json").write_text(json.dumps(marker) + "\n")


if __name__ == "__main__":
    sys.exit(container.run(lambda box: main(box, sys.argv[1:])))
