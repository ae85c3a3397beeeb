"""Checkpoints of the Hugging Face Hub: `owner/name@revision` → a verified folder of the Hub's cache on this machine.

A commit that lies whole in the cache is used without asking the network, so a filled cache works where there is none.
Everything else is downloaded by `huggingface_hub`, which goes on where a download was broken off. Either way each file
is then held against the digest under which the Hub published it, and what the caller gets back names the commit, not
the branch. The cache is where every Hugging Face library keeps it: `cache_folder`.
"""

import hashlib
import os
import re
from pathlib import Path

from .checkpoint_errors import CheckpointError, SourceUnavailableError
from .checkpoint_files import shards_of
from .checkpoint_layout import SHARD_INDEX, TOKENIZER_FILE, detect

# No pickles from the network: the published checkpoints are safetensors.
WANTED_FILES = [
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
    "tokenizer.json",
]
DEFAULT_REVISION = "main"

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHORT_COMMIT = re.compile(r"[0-9a-f]{7,40}")


def hub_snapshot(name: str) -> tuple[Path, str]:
    """Folder and pinned name, `owner/name@<commit>`, of `owner/name[@revision]`.

    Raises CheckpointError, and of its kind SourceUnavailableError for what is neither cached nor to be had.
    """
    repository, _, revision = name.partition("@")
    if not _REPOSITORY.fullmatch(repository):
        raise CheckpointError("wanted hf:<owner>/<name>@<revision>")
    revision = revision or DEFAULT_REVISION
    cached = _cached_commit(repository, revision)
    folder = cached if cached and not _missing(cached) else _download(repository, revision, cached)
    _verify(folder)
    return folder, f"{repository}@{folder.name}"


def cache_folder() -> Path:
    """Where huggingface_hub looks, by the same variables; an empty one counts as not set."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{base}/huggingface"
    folder = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or f"{home}/hub"
    return Path(os.path.expandvars(Path(folder).expanduser()))


def _cached_commit(repository: str, revision: str) -> Path | None:
    """The snapshot of a commit, whole or abbreviated, as far as it is there. A branch may have moved: not here."""
    if not _SHORT_COMMIT.fullmatch(revision):
        return None
    snapshots = cache_folder() / f"models--{repository.replace('/', '--')}" / "snapshots"
    matches = list(snapshots.glob(f"{revision}*"))
    return matches[0] if len(matches) == 1 else None


def _missing(snapshot: Path) -> set[str]:
    """Names that a snapshot lacks, by what it says itself: a download may have been broken off between its files.

    Only the Hub can say that a repository has no `tokenizer.json`; until then it is missing.
    """
    names = {path.name for path in snapshot.iterdir() if path.is_file()}
    try:
        layout = detect(names)
        wanted = shards_of(snapshot / SHARD_INDEX).keys() if layout.weights == SHARD_INDEX else set()
    except CheckpointError as error:
        return {str(error)}
    return {*wanted, TOKENIZER_FILE} - names


def _download(repository: str, revision: str, cached: Path | None) -> Path:
    """The snapshot as huggingface_hub fetches or finds it; without it, the cached one that may lack its tokenizer."""
    complete_enough = cached is not None and _missing(cached) == {TOKENIZER_FILE}
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        if cached and complete_enough:
            return cached
        raise SourceUnavailableError(
            f"not in the cache {cache_folder()}, and downloading needs the package huggingface_hub: "
            "install it, fill the cache on another machine, or copy the checkpoint to S3"
        ) from None
    commit = cached.name if cached else revision
    try:
        folder = snapshot_download(repository, revision=commit, cache_dir=cache_folder(), allow_patterns=WANTED_FILES)
    except Exception as error:  # its own errors, the HTTP client's, the disk's: to the caller all say "not there"
        if cached and complete_enough:
            return cached
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SourceUnavailableError(
            f"neither in the cache {cache_folder()} nor to be had from the Hub: {reason}"
        ) from error
    return Path(folder)


def _verify(snapshot: Path) -> None:
    """Hold each file against its published digest, which is the name of the blob it points to in the cache.

    Large files are stored under their SHA-256, small ones under git's SHA-1. A cache copied without its links has
    plain files here, with nothing to hold them against. A blob may itself be a link, into storage that is shared.
    """
    for path in sorted(snapshot.iterdir()):
        if not path.is_symlink():
            continue
        published = path.readlink().name
        if not path.exists():
            raise CheckpointError(f"{path.name} points to a blob that is not in the cache: {path.resolve()}")
        found = _sha256(path) if len(published) == 64 else _git_sha1(path)
        if found != published:
            raise CheckpointError(
                f"{path.name} is not what the Hub published: its digest is {found}, wanted {published}; "
                f"remove {path.resolve()} and load again"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git_sha1(path: Path) -> str:
    content = path.read_bytes()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
