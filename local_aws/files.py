"""Files that are never seen half-written."""

import os
from pathlib import Path


def write_whole(file: Path, content: str | bytes) -> None:
    """Write `content` beside `file`, then put it in its place: also after a power cut it is the old one or the new."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    with new.open("wb") as stream:
        stream.write(content if isinstance(content, bytes) else content.encode())
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
