"""FASTA files to a dataset that training reads: clean, without duplicates, split, in shards, with a manifest.

    launch.py prepare --recipe demo --init scratch --overrides '{"validation_share": 0.02}'

reads every file below `processing/input/proteins/` and writes `processing/output/dataset/` (docs/seams.md has the
manifest's form) and `processing/output/init/`, the weights that training begins with. Records pass one by one: what
stays in memory is a 16-byte hash for each different protein. The same input gives the same bytes: files are taken in
the order of their paths, and a protein's split follows from a hash of its residues.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from amplify_lm import container, fasta, tokenizer
from amplify_lm.container import Container
from amplify_lm.dataset import ShardWriter, offsets_file
from amplify_lm.settings import Recipe, SettingsError, parse_overrides, read_recipe

SPLITS = ("train", "validation")
SHAPE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
EXAMPLES = 20
SECONDS_BETWEEN_LINES = 5.0
QUANTILES = {"min": 0.0, "q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95, "max": 1.0}


class PrepareError(ValueError):
    """Input from which no dataset can be made."""


@dataclass
class Census:
    """What was met on the way, for the manifest."""

    records: int = 0
    spaced_headers: int = 0
    duplicates: int = 0
    proteins: Counter[str] = field(default_factory=Counter)
    residues: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    """Residues of a training protein → how many have that length."""
    tokens: np.ndarray[Any, np.dtype[np.int64]] = field(
        default_factory=lambda: np.zeros(len(tokenizer.VOCABULARY), np.int64)
    )
    """How often each token id stands in the training split."""
    unknown: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    rejected_examples: list[dict[str, Any]] = field(default_factory=list)


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


def prepare(source: Path, folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Turn the FASTA files below `source` into the dataset `folder`; returns its manifest, written last.

    Raises PrepareError where there is nothing to train or validate on or too many records are refused, FastaError
    where there are no files or one is not FASTA.
    """
    files = fasta.files_below(source)
    for split in SPLITS:
        shutil.rmtree(folder / split, ignore_errors=True)
    census = Census()
    with ShardWriter(folder / "train") as train, ShardWriter(folder / "validation") as validation:
        writers = {"train": train, "validation": validation}
        inputs = _read_all(files, source, writers, census, recipe.validation_share)
    _check(census, recipe)
    manifest = _manifest(inputs, writers, census, folder, recipe)
    partial = folder / "manifest.json.partial"
    partial.write_text(json.dumps(manifest, indent=1) + "\n")
    partial.replace(folder / "manifest.json")
    return manifest


def _read_all(
    files: list[Path], source: Path, writers: dict[str, ShardWriter], census: Census, validation_share: float
) -> list[dict[str, Any]]:
    """Write each protein met for the first time to its split; returns the manifest's list of inputs."""
    inputs: list[dict[str, Any]] = []
    seen: set[bytes] = set()
    told = time.monotonic()
    for number, path in enumerate(files, start=1):
        name = path.relative_to(source).as_posix()
        before = census.records
        with path.open("rb") as raw:
            hashing = _HashingReader(raw)
            for record in fasta.read(hashing, name):
                census.records += 1
                census.spaced_headers += record.spaced
                _take(record, name, writers, seen, census, validation_share)
                if time.monotonic() - told > SECONDS_BETWEEN_LINES:
                    told = time.monotonic()
                    print(f"[prepare] {name}: {census.records:,} records", flush=True)
        records = census.records - before
        inputs.append({"file": name, "bytes": hashing.num_bytes, "sha256": hashing.sha256, "records": records})
        print(f"[prepare] file {number} of {len(files)}, {name}: {records:,} records", flush=True)
    return inputs


def _take(
    record: fasta.Record,
    file: str,
    writers: dict[str, ShardWriter],
    seen: set[bytes],
    census: Census,
    validation_share: float,
) -> None:
    try:
        protein = fasta.clean(record.sequence, f"{file}, {record.where}")
    except fasta.FastaError as refusal:
        census.rejected[refusal.reason] += 1
        if len(census.rejected_examples) < EXAMPLES:
            example = {"file": file, "record": record.number, "name": record.name, "reason": refusal.reason}
            census.rejected_examples.append({**example, "message": str(refusal)})
        return
    digest = hashlib.blake2b(protein.residues.encode(), digest_size=16).digest()
    if digest in seen:
        census.duplicates += 1
        return
    seen.add(digest)
    split = split_of(digest, validation_share)
    tokens = tokenizer.encode(protein.residues)
    writers[split].write(tokens)
    census.proteins[split] += 1
    census.residues[split] += len(protein.residues)
    if protein.num_unknown:
        census.unknown.update(letter for letter in protein.residues if letter not in tokenizer.VOCABULARY)
    if split == "train":
        census.lengths[len(protein.residues)] += 1
        census.tokens += np.bincount(tokens, minlength=len(census.tokens))


def split_of(digest: bytes, validation_share: float) -> str:
    """The split of a protein by its hash: the same wherever and however often it is prepared."""
    return "validation" if int.from_bytes(digest[:8]) < validation_share * 2**64 else "train"


def _check(census: Census, recipe: Recipe) -> None:
    rejected = sum(census.rejected.values())
    if rejected > recipe.max_rejected_share * census.records:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in census.rejected.most_common())
        raise PrepareError(
            f"{rejected:,} of {census.records:,} records cannot be used ({reasons}), more than max_rejected_share "
            f"({recipe.max_rejected_share:.1%}) allows; the first: {census.rejected_examples[0]['message']}"
        )
    for split in SPLITS:
        if not census.proteins[split]:
            found = f"{sum(census.proteins.values()):,} different proteins, none of them in the {split} split"
            wanted = f"more proteins or another validation_share (now {recipe.validation_share}) is wanted"
            raise PrepareError(f"{found}; {wanted}")


def _manifest(
    inputs: list[dict[str, Any]], writers: dict[str, ShardWriter], census: Census, folder: Path, recipe: Recipe
) -> dict[str, Any]:
    letters = [(token, int(count)) for token, count in zip(tokenizer.VOCABULARY, census.tokens, strict=True)]
    return {
        "format": 1,
        "split": {"by": "hash of the sequence", "validation_share": recipe.validation_share},
        "inputs": inputs,
        "proteins": {split: census.proteins[split] for split in SPLITS},
        "residues": {split: census.residues[split] for split in SPLITS},
        "lengths": length_quantiles(census.lengths),
        "letter_counts": dict(letters[len(tokenizer.SPECIAL_TOKENS) :]),
        "unknown": dict(sorted(census.unknown.items())),
        "spaced_headers": census.spaced_headers,
        "duplicates": census.duplicates,
        "rejected": dict(sorted(census.rejected.items())),
        "rejected_examples": census.rejected_examples,
        "shards": [_shard(shard, folder) for split in SPLITS for shard in writers[split].shards],
    }


def length_quantiles(lengths: Counter[int]) -> dict[str, float]:
    """Quantiles and mean of a histogram of lengths: each quantile is a length that occurs."""
    values = np.array(sorted(lengths))
    counts = np.array([lengths[value] for value in values.tolist()])
    reached = np.cumsum(counts) / counts.sum()
    quantiles = {name: int(values[np.searchsorted(reached, at)]) for name, at in QUANTILES.items()}
    return {**quantiles, "mean": round(float((values * counts).sum() / counts.sum()), 3)}


def _shard(shard: Path, folder: Path) -> dict[str, Any]:
    offsets = np.load(offsets_file(shard))
    return {
        "file": shard.relative_to(folder).as_posix(),
        "sha256": _sha256(shard),
        "index_sha256": _sha256(offsets_file(shard)),
        "proteins": len(offsets) - 1,
        "tokens": int(offsets[-1]),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _HashingReader(io.RawIOBase):
    """A binary stream that remembers the length and the SHA-256 of what was read through it."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._hash = hashlib.sha256()
        self.num_bytes = 0

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self._hash.update(data)
        self.num_bytes += len(data)
        return len(data)


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
