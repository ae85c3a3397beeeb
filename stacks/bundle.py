"""A folder of code as one zip, byte for byte the same on every machine: `model_code/` and `lambda_code/`.

The bundle's SHA-256 is its key in the CDK asset bucket, and of `model_code/` also the tag of the image built from it:
whoever holds a tag can say which code runs. No caches, no dates, no permissions and no compressor's version enter the
bytes.
"""

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold
READABLE_FILE = 0o100644 << 16


def archive(folder: Path, parts: Sequence[str] = (".",)) -> bytes:
    """The zip of `folder`, or of these files and folders in it. Raises ValueError where one of them is missing, where
    there is no file, or a link (whose target would not travel)."""
    if missing := [part for part in parts if part != "." and not (folder / part).exists()]:
        raise ValueError(f"{folder} has no {', '.join(missing)}: what is shipped is named where the bundle is made")
    buffer = io.BytesIO()
    found = {path for part in parts for path in ((folder / part), *(folder / part).rglob("*")) if _ships(path, folder)}
    names = sorted((path.relative_to(folder).as_posix() for path in found), key=os.fsencode)
    if not names:
        raise ValueError(f"{folder} holds no file to ship: give the folder of the model's code")
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as bundle:  # stored: deflate differs between zlib versions
        for name in names:
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.create_system = 3  # Unix, whatever made it
            entry.external_attr = READABLE_FILE
            bundle.writestr(entry, (folder / name).read_bytes())
    return buffer.getvalue()


def _ships(path: Path, folder: Path) -> bool:
    """Files people wrote: no caches, nothing hidden, nothing compiled."""
    parts = path.relative_to(folder).parts
    if any(part.startswith(".") or part == "__pycache__" or part.endswith(".egg-info") for part in parts):
        return False
    if path.is_symlink():
        raise ValueError(f"{path} is a link: its target does not travel with the bundle; put the file itself there")
    return path.is_file() and path.suffix != ".pyc"
