"""Where a checkpoint may lie, each turned into a folder on this machine for as long as it is read."""

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .checkpoint_files import CheckpointError


@contextmanager
def local_folder(source: str | Path) -> Iterator[Path]:
    """The source's files as a local folder; a temporary one is removed on leaving."""
    path = Path(source)
    if path.is_dir():
        yield path
    elif path.is_file():
        with tempfile.TemporaryDirectory(prefix="checkpoint-") as scratch:
            unpack(path, Path(scratch))
            yield Path(scratch)
    else:
        raise CheckpointError("no such folder or file")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a `model.tar.gz`; members that reach outside the folder are refused, as are links and devices."""
    try:
        with tarfile.open(archive, "r:*") as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CheckpointError(f"not a readable model.tar.gz: {error}") from error
